# SPDX-License-Identifier: Apache-2.0
"""The folder of a bag: which files belong to it, and ``metadata.yaml`` beside them.

Layout and keys are those of rosbag2, metadata versions 5 (Humble) to 9.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from uwm_core.errors import DataError

METADATA_FILE = "metadata.yaml"
_ROOT = "rosbag2_bagfile_information"
# Version 8 is written: with the newest players it needs no conversion, and Humble reads it too.
_VERSION = 8
MAX_METADATA_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True)
class Folder:
    """What belongs to a bag.

    Attributes:
        files: Its files in order of time.
        storage: ``mcap`` or ``sqlite3``.
        compressed: Whether files or messages are compressed, as rosbag2 does it.
        custom: What the recorder noted, by key.
    """

    files: tuple[Path, ...]
    storage: str
    compressed: bool = False
    custom: Mapping[str, str] = dataclasses.field(default_factory=dict)


def open_folder(path: Path, *, recover: bool = False) -> Folder:
    """Find the files of a bag.

    Args:
        path: The bag's folder or its only file.
        recover: Take the files that are there where there is no usable ``metadata.yaml``.

    Raises:
        DataError: If there is no bag, or a file of it is missing.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such bag")
    if not path.is_dir():
        return Folder((path,), _storage_of(path))
    try:
        return _by_metadata(path)
    except DataError:
        if not recover:
            raise
    inside = sorted(path.rglob("*.mcap")) or sorted(path.rglob("*.db3"))
    if not inside:
        raise DataError(f"{path}: holds no bag file to recover (*.mcap or *.db3)")
    return Folder(tuple(inside), _storage_of(inside[0]))


def _storage_of(file: Path) -> str:
    known = {".mcap": "mcap", ".db3": "sqlite3"}
    if file.suffix not in known:
        raise DataError(f"{file}: is not a bag; bags are folders, .mcap or .db3 files")
    return known[file.suffix]


def _by_metadata(path: Path) -> Folder:
    where = path / METADATA_FILE
    if not where.is_file():
        inside = [*path.glob("*.mcap"), *path.glob("*.db3")]
        hint = "a recording that was cut off?" if inside else "not a bag folder"
        raise DataError(f"{path}: has no {METADATA_FILE} ({hint})")
    try:
        if where.stat().st_size > MAX_METADATA_BYTES:
            raise DataError(f"{where}: is larger than {MAX_METADATA_BYTES} bytes")
        known = parse(where.read_text(encoding="utf-8"))[_ROOT]
        # Names only: a path that leads out of the folder is not followed.
        files = tuple(path / PurePath(name).name for name in known["relative_file_paths"])
        storage, mode = str(known["storage_identifier"]), known.get("compression_mode")
        custom = custom_data(known)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        shown = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: is not the description of a bag: {shown}") from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise DataError(f"{path}: lacks its files {', '.join(missing)}")
    if not files:
        raise DataError(f"{path}: the bag is empty, it has no files")
    # Chunks that are compressed inside of a file are the file's own business.
    compressed = str(mode or "none").lower() not in ("none", "storage")
    return Folder(files, storage, compressed, custom)


def parse(text: str) -> Any:
    """Read YAML of an unknown author: data only, with the quick parser where there is one."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def custom_data(known: Mapping[str, Any]) -> dict[str, str]:
    """What the recorder noted; empty before version 6."""
    custom = known.get("custom_data")
    return {str(key): str(value) for key, value in (custom or {}).items()}


@dataclasses.dataclass(frozen=True)
class TopicSummary:
    """What ``metadata.yaml`` says of one topic."""

    name: str
    type: str
    qos: str
    digest: str = ""
    messages: int = 0


def describe(
    file: str, topics: list[TopicSummary], span_ns: tuple[int, int], custom: Mapping[str, str]
) -> dict[str, Any]:
    """The content of ``metadata.yaml`` for a bag of one file.

    Args:
        file: Name of the file.
        topics: Its topics.
        span_ns: First and last log time.
        custom: What the recorder noted.
    """
    start_ns, end_ns = span_ns
    count = sum(topic.messages for topic in topics)
    begin = {"nanoseconds_since_epoch": start_ns}
    duration = {"nanoseconds": end_ns - start_ns}
    return {
        "version": _VERSION,
        "storage_identifier": "mcap",
        "relative_file_paths": [file],
        "duration": dict(duration),
        "starting_time": dict(begin),
        "message_count": count,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": topic.qos,
                    "type_description_hash": topic.digest,
                },
                "message_count": topic.messages,
            }
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "files": [
            {
                "path": file,
                "starting_time": dict(begin),
                "duration": dict(duration),
                "message_count": count,
            }
        ],
        "custom_data": dict(custom) or None,
        "ros_distro": "rosbags",
    }


def dump(content: Mapping[str, Any]) -> str:
    """YAML of a description, without its root."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def write_metadata(folder: Path, content: Mapping[str, Any]) -> None:
    """Put ``metadata.yaml`` beside the file that it describes."""
    (folder / METADATA_FILE).write_text(dump({_ROOT: content}), encoding="utf-8")
