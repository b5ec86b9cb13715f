# SPDX-License-Identifier: Apache-2.0
"""Message types and their full definitions, for reading bags and for embedding into them."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from uwm_core.errors import DataError
from uwm_core.resources import config_folders


@functools.cache
def standard_types() -> Typestore:
    """The messages that an embodiment can name."""
    # They are the same from Humble to the newest release.
    return get_typestore(Stores.ROS2_KILTED)


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
