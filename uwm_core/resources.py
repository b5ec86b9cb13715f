# SPDX-License-Identifier: Apache-2.0
"""Finds what ships with the project: ``config/`` in a checkout, in a wheel, or in a ROS share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from uwm_core.errors import UwmError


def config_folders() -> list[Path]:
    """Folders that may hold ``embodiments/``, ``train/``, ``checkpoints/``; the nearest first."""
    here = Path(__file__).resolve().parent
    # lib/pythonX.Y/site-packages/uwm_core -> the prefix, also where neither ROS nor Python names it
    # (a user install, a workspace that was not sourced).
    own = here.parents[min(3, len(here.parents) - 1)]
    named = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if entry]
    share = [prefix / "share" / "uwm_ros" / "config" for prefix in (own, *named, Path(sys.prefix))]
    candidates = [here.parent / "config", *share]
    # Anybody may leave a folder called config beside our packages; ours holds embodiments.
    return [folder for folder in candidates if (folder / "embodiments").is_dir()]


def config_path(*parts: str) -> Path:
    """One file or folder below ``config/``, wherever the project is installed.

    Args:
        *parts: Path below ``config/``, e.g. ``config_path("dds", "large_images.xml")``.

    Returns:
        The path in the nearest folder that has it.

    Raises:
        UwmError: None has it; the message names the folders that were searched.
    """
    folders = config_folders()
    for folder in folders:
        if (path := folder.joinpath(*parts)).exists():
            return path
    searched = ", ".join(map(str, folders)) or "no config folder is installed"
    raise UwmError(f"config/{'/'.join(parts)} is missing; searched: {searched}")


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
