# SPDX-License-Identifier: Apache-2.0
"""What is said about a finished bag: read and changed without touching its data.

Labels (``uwm.task``, ``uwm.outcome``, ...) are the ``custom_data`` of the bag's ``metadata.yaml``.
A change writes the file anew beside the old one and renames it, so a bag has either the old labels
or the new ones, whenever the power goes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from uwm_core.errors import DataError

_FILE = "metadata.yaml"
_ROOT = "rosbag2_bagfile_information"


def read_labels(bag: Path | str) -> dict[str, str]:
    """Labels of a bag's folder.

    Raises:
        DataError: If there is no bag, or its metadata are damaged.
    """
    return dict(_load(Path(bag))[_ROOT].get("custom_data") or {})


def write_labels(bag: Path | str, changes: Mapping[str, str]) -> None:
    """Change some labels of a bag's folder; the others and the data stay as they are.

    Raises:
        DataError: If there is no bag, or its metadata are damaged.
    """
    path = Path(bag) / _FILE
    content = _load(Path(bag))
    content[_ROOT]["custom_data"] = {**(content[_ROOT].get("custom_data") or {}), **changes}
    part = path.with_name(f"{_FILE}.part")
    with part.open("w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _load(bag: Path) -> dict[str, Any]:
    path = bag / _FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise DataError(f"{bag}: has no readable {_FILE}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get(_ROOT), dict):
        raise DataError(f"{path}: has no {_ROOT}; it is not of a bag")
    return content
