# SPDX-License-Identifier: Apache-2.0
"""Message types and their full definitions, for reading bags and for embedding into them.

A message is decoded by the standard definition of its type; only where there is none, by the one
that its bag carries.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from uwm_core.errors import DataError
from uwm_core.resources import config_folders


@functools.cache
def standard_types() -> Typestore:
    """The messages that an embodiment can name."""
    # They are the same from Humble to the newest release.
    return get_typestore(Stores.ROS2_KILTED)


class Definition(NamedTuple):
    """The full text of a type, with everything that it contains.

    Attributes:
        text: As ``ros2 interface show`` would give it, sections divided by ``===``.
        encoding: ``ros2msg`` or ``ros2idl``.
    """

    text: str
    encoding: str = "ros2msg"


class Definitions:
    """Decodes messages: of standard types, and of those that a bag defines.

    Args:
        carried: The definitions in the bag, by type.
    """

    def __init__(self, carried: Mapping[str, Definition] | None = None) -> None:
        self._carried = dict(carried or {})
        self._stores: dict[str, Typestore] = {}

    def decode(self, data: bytes | memoryview, type_name: str) -> object:
        """Decode one message; its arrays may share memory with ``data``.

        Raises:
            DataError: If nobody defines the type, or the bytes are not such a message.
        """
        store = self._stores.get(type_name)
        if store is None:
            store = self._stores[type_name] = self._store(type_name)
        try:
            # A view: cutting the encapsulation off would copy a whole image.
            return store.deserialize_cdr(memoryview(data), type_name)
        except Exception as error:  # A library on hostile bytes may raise anything.
            shown = " ".join(str(error).split())
            raise DataError(f"{len(data)} bytes are not a readable {type_name}: {shown}") from None

    def _store(self, type_name: str) -> Typestore:
        if type_name in standard_types().fielddefs:
            return standard_types()
        if type_name not in self._carried:
            raise DataError(
                f"no definition of {type_name or 'a message without a type'}: it is not a standard "
                "type and the bag carries none; record it again where its package is installed"
            )
        text, encoding = self._carried[type_name]
        try:
            if encoding == "ros2idl":
                found = get_types_from_idl(text)
            else:
                found = get_types_from_msg(text, type_name)
            # Its own store: what it contains may differ from the standard type of that name.
            store = get_typestore(Stores.EMPTY)
            store.register({**_builtin(), **found})
            store.get_msgdef(type_name)
        except Exception as error:  # A library on hostile text may raise anything.
            shown = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"the bag's definition of {type_name} is bad: {shown}") from None
        return store


def _builtin() -> Typesdict:
    """Time and Duration, which some recorders leave out of the text."""
    names = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")
    return {name: standard_types().fielddefs[name] for name in names}


@functools.cache
def definition(type_name: str) -> tuple[str, str]:
    """Full text and hash of a message type, for embedding into a bag.

    Raises:
        DataError: If it is neither a standard type nor found among installed ``.msg`` files.
    """
    types = get_typestore(Stores.ROS2_KILTED)
    pending = [type_name]
    while pending:
        name = pending.pop()
        if name in types.fielddefs:
            continue
        text = _msg_file(name).read_text(encoding="utf-8")
        found = get_types_from_msg(text, name)
        types.register(found)
        package = name.split("/")[0]
        for word in re.findall(
            r"^\s*([A-Z]\w*|[a-z]\w*/[A-Z]\w*|[a-z]\w*/msg/[A-Z]\w*)", text, re.M
        ):
            parts = word.split("/")
            owner = parts[0] if len(parts) > 1 else package
            pending.append(f"{owner}/msg/{parts[-1]}")
    text, _ = types.generate_msgdef(type_name, ros_version=2)
    return text, types.hash_rihs01(type_name)


def _msg_file(type_name: str) -> Path:
    """The ``.msg`` file of a type: of our own package in a checkout, else from a ROS share."""
    package, _, name = type_name.partition("/msg/")
    shares = [Path(p) / "share" for p in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if p]
    candidates = [share / package / "msg" / f"{name}.msg" for share in shares]
    if package == "uwm_ros":
        candidates += [folder.parent / "msg" / f"{name}.msg" for folder in config_folders()]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no definition of {type_name} is installed, so it cannot be recorded; source the "
        "workspace that has it"
    )
