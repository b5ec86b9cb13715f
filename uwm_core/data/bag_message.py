# SPDX-License-Identifier: Apache-2.0
"""One serialized message of a bag that is read and decoded only as far as somebody looks.

Conversion looks at the stamp of every message and at the rest of few: a message of a camera that
no step uses is never read from the disk.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Any, NamedTuple

from uwm_core.data.bag_types import Definitions
from uwm_core.errors import DataError

# Encapsulation (4 bytes) and the stamp, with which every header begins.
HEAD_BYTES = 12
_STAMP = {True: struct.Struct("<4xiI"), False: struct.Struct(">4xiI")}
_NO_DEFINITIONS = Definitions()


class Place(NamedTuple):
    """Where the bytes of a message lie plainly in a file."""

    path: str
    offset: int
    size: int


class Stamp(NamedTuple):
    """A ``builtin_interfaces/Time``."""

    sec: int
    nanosec: int


class StampHeader(NamedTuple):
    """A ``std_msgs/Header`` of which only the stamp was read."""

    stamp: Stamp


class LazyMessage:
    """A serialized message that is decoded when a field other than its stamp is asked for.

    Args:
        data: CDR with its encapsulation header; with a ``place``, at least its first 12 bytes.
        type: Its type, e.g. ``sensor_msgs/msg/Image``.
        definitions: Where types that are not standard are defined.
        place: Where the whole message lies, if ``data`` is only its beginning.
    """

    __slots__ = ("_data", "_definitions", "_message", "_place", "_type")

    def __init__(
        self,
        data: bytes | memoryview,
        type: str,
        definitions: Definitions = _NO_DEFINITIONS,
        place: Place | None = None,
    ) -> None:
        self._data = data
        self._type = type
        self._definitions = definitions
        self._place = place
        self._message: Any = None

    @classmethod
    def at(cls, place: Place, type: str) -> LazyMessage:
        """Read a message of a standard type from where it lies, e.g. in another process.

        Raises:
            DataError: If the file cannot be read or ends before.
        """
        return cls(_read(place), type)

    @property
    def place(self) -> Place | None:
        """Where a large message lies plainly in a file; None for one that is in memory already."""
        return self._place

    def ask(self) -> None:
        """Let the system fetch the message from the disk while we do something else."""
        if self._place is not None:
            path, offset, size = self._place
            # Trouble will be told by the one who reads.
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)
                finally:
                    os.close(file)

    @property
    def raw(self) -> bytes:
        """The serialized message, e.g. to be published again.

        Raises:
            DataError: If it cannot be read.
        """
        return bytes(self._bytes())

    @property
    def header(self) -> Any:
        """Header with its stamp only; every type with a header begins with it.

        Raises:
            DataError: If the message is too short to have one.
        """
        data = self._data
        if len(data) < HEAD_BYTES:
            raise DataError(f"{self._type} of {len(data)} bytes is too short")
        return StampHeader(Stamp(*_STAMP[data[1] != 0].unpack_from(data)))

    def __getattr__(self, name: str) -> Any:
        """Decode, once, and look the field up.

        Raises:
            DataError: If the bytes are not a message of the type, or nobody defines it.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        if self._message is None:
            self._message = self._definitions.decode(self._bytes(), self._type)
        return getattr(self._message, name)

    def _bytes(self) -> bytes | memoryview:
        return self._data if self._place is None else _read(self._place)


def _read(place: Place) -> bytes:
    """The bytes at a place; a file of its own, so that it works in any process and at any time."""
    try:
        file = os.open(place.path, os.O_RDONLY)
        try:
            data = os.pread(file, place.size, place.offset)
        finally:
            os.close(file)
    except OSError as error:
        raise DataError(f"{place.path}: cannot be read: {error.strerror}") from None
    if len(data) != place.size:
        raise DataError(
            f"{place.path}: ends within the message of {place.size} bytes at {place.offset}"
        )
    return data
