# SPDX-License-Identifier: Apache-2.0
"""Finds what ships with the project: ``config/`` in a checkout, in a wheel, or in a ROS share."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def config_folders() -> list[Path]:
    """Folders that may hold ``embodiments/``, ``train/``, ``checkpoints/``; the nearest first."""
    here = Path(__file__).resolve().parent
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(":")]
    candidates = [
        here.parent / "config",
        here / "config",
        *(prefix / "share" / "uwm_ros" / "config" for prefix in prefixes if prefix.parts),
        Path(sys.prefix) / "share" / "uwm_ros" / "config",
    ]
    return [folder for folder in candidates if folder.is_dir()]


def bundled(kind: str, suffix: str = "") -> dict[str, Path]:
    """Name to path of everything of one kind, e.g. ``bundled("embodiments", ".yaml")``.

    Args:
        kind: Folder inside ``config/``.
        suffix: How the file's name ends; empty for folders.

    Returns:
        Paths by name without the suffix; the nearest folder wins.
    """
    found: dict[str, Path] = {}
    for folder in config_folders():
        for path in sorted((folder / kind).glob(f"*{suffix}")):
            if path.is_dir() == (not suffix):
                found.setdefault(path.name.removesuffix(suffix), path)
    return found
