# SPDX-License-Identifier: Apache-2.0
"""Reads ROS 2 bags without ROS; with its siblings ``bag_*`` the only place that imports rosbags.

``BagReader`` gives messages in log order, decoded only when a field is asked for; ``BagWriter``
(from ``bag_writer``) is its counterpart for the recorder. Whatever a broken file makes the library
raise becomes one ``DataError`` that names the bag.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple

from rosbags.rosbag2 import Reader

from uwm_core.data.bag_types import standard_types
from uwm_core.data.bag_writer import BagWriter
from uwm_core.errors import DataError

__all__ = ["BagReader", "BagWriter", "LazyMessage", "TopicInfo"]


class TopicInfo(NamedTuple):
    """A topic of a bag: its type and how many messages it has."""

    type: str
    messages: int


class Place(NamedTuple):
    path: str
    offset: int
    size: int


class LazyMessage:
    """A serialized message that is decoded when a field other than its stamp is asked for.

    Conversion looks at the stamp of every message and at the rest of few.

    Args:
        data: CDR with its encapsulation header.
        type: Its type, e.g. ``sensor_msgs/msg/Image``.
    """

    def __init__(self, data: bytes, type: str) -> None:
        self._data = data
        self._type = type
        self._message: Any = None

    @property
    def place(self) -> Place | None:
        return None

    @classmethod
    def at(cls, place: Place, type: str) -> LazyMessage:
        raise NotImplementedError

    @property
    def raw(self) -> bytes:
        """The serialized message, e.g. to be published again."""
        return self._data

    @property
    def header(self) -> Any:
        """Header with its stamp only; every type with a header begins with it.

        Raises:
            DataError: If the message is too short to have one.
        """
        if len(self._data) < 12:
            raise DataError(f"{self._type} of {len(self._data)} bytes is too short")
        order = "<" if self._data[1] else ">"
        sec, nanosec = struct.unpack_from(f"{order}iI", self._data, 4)
        return SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec))

    def __getattr__(self, name: str) -> Any:
        """Decode, once, and look the field up.

        Raises:
            DataError: If the bytes are not a message of the type.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        if self._message is None:
            try:
                self._message = standard_types().deserialize_cdr(self._data, self._type)
            except Exception as error:  # A library on hostile bytes may raise anything.
                shown = " ".join(str(error).split())
                raise DataError(
                    f"{len(self._data)} bytes are not a readable {self._type}: {shown}"
                ) from None
        return getattr(self._message, name)


class BagReader:
    """One recorded bag: a rosbag2 folder (MCAP or sqlite3, split, zstd) or a single file.

    Use as a context manager.

    Args:
        path: The bag's folder, or its ``.mcap`` or ``.db3`` file.

    Attributes:
        path: Where it is.

    Raises:
        DataError: If there is no bag, or it is empty, truncated or of an unknown kind.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._reader: Reader | None = None

    def __enter__(self) -> BagReader:
        """Open it."""
        if not self.path.exists():
            raise DataError(f"{self.path}: there is no such bag")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            inside = sorted(self.path.glob("*.mcap")) + sorted(self.path.glob("*.db3"))
            hint = "a recording that was cut off?" if inside else "not a bag folder"
            raise DataError(f"{self.path}: has no metadata.yaml ({hint})")
        with self._named_errors():
            reader = Reader(self.path)
            reader.open()
            self._reader = reader
        if not self._open.message_count:
            self._close()
            raise DataError(f"{self.path}: the bag is empty, it has no messages")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._close()

    def _close(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(Exception):
                self._reader.close()
            self._reader = None

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # A library on hostile bytes may raise anything.
            shown = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self.path}: cannot be read as a bag: {shown}") from None

    @property
    def _open(self) -> Reader:
        if self._reader is None:
            raise DataError(f"{self.path}: is not open")
        return self._reader

    @property
    def metadata(self) -> dict[str, str]:
        """What the recorder wrote beside the messages (``uwm.task`` and others); may be empty."""
        custom = getattr(self._open.storage, "metadata", None)
        return dict(getattr(custom, "custom", None) or {})

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """Every topic with its type and count.

        Raises:
            DataError: If one topic was recorded with two types.
        """
        found: dict[str, TopicInfo] = {}
        for connection in self._open.connections:
            before = found.get(connection.topic, TopicInfo(connection.msgtype, 0))
            if before.type != connection.msgtype:
                raise DataError(
                    f"{self.path}: {connection.topic} has two types, {before.type} and "
                    f"{connection.msgtype}"
                )
            found[connection.topic] = before._replace(
                messages=before.messages + connection.msgcount
            )
        return found

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return int(self._open.start_time)

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return int(self._open.end_time) - 1

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def identity(self) -> str:
        import hashlib

        h = hashlib.sha256()
        files = self.path.glob("*.mcap") if self.path.is_dir() else [self.path]
        for f in sorted(files):
            h.update(f.read_bytes())
        return h.hexdigest()[:32]

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, LazyMessage, int]]:
        """Messages of some topics in log order.

        Args:
            topics: Names as in the bag.

        Yields:
            Topic, message, log time in ns.

        Raises:
            DataError: If the bag breaks off or is damaged.
        """
        wanted = set(topics)
        connections = [c for c in self._open.connections if c.topic in wanted]
        if not connections:
            return
        with self._named_errors():
            for connection, log_ns, data in self._open.messages(connections):
                yield connection.topic, LazyMessage(data, connection.msgtype), log_ns
