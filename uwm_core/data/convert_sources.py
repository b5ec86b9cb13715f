# SPDX-License-Identifier: Apache-2.0
"""Finds bags among paths, and names them as a store's records do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from uwm_core.errors import DataError

PART = ".part"


class Source(NamedTuple):
    """One bag.

    Attributes:
        path: Where it is.
        name: What the store calls it: its path below the folder that was named, or its own name.
        cut_off: Whether its recorder has not finished it.
    """

    path: Path
    name: str
    cut_off: bool = False


def find_bags(paths: Iterable[Path | str]) -> list[Path]:
    """Bags among paths: bags themselves, and folders that contain bags.

    Args:
        paths: Bag folders, ``.mcap`` or ``.db3`` files, or folders of bags.

    Returns:
        Bags in natural order (``ep_2`` before ``ep_10``) within each path.

    Raises:
        DataError: If a path does not exist or holds no bag.
    """
    return [source.path for source in find_sources(paths) if not source.cut_off]


def find_sources(paths: Iterable[Path | str | Source]) -> list[Source]:
    """The same with their names, and with those that a killed recorder left as ``.part``.

    A ``Source`` among the paths is itself.

    Raises:
        DataError: If a path does not exist or holds no bag.
    """
    found: dict[Path, Source] = {}
    for given in paths:
        if isinstance(given, Source):
            found.setdefault(given.path, given)
            continue
        path = Path(given)
        if not path.exists():
            raise DataError(f"{path}: there is no such bag")
        folders = [path, *path.rglob("*")] if path.is_dir() else []
        bags = sorted((p for p in folders if p.is_dir() and is_bag(p)), key=natural)
        if is_bag(path):
            bags = [path]
        if not bags:
            raise DataError(f"{path}: holds no bag")
        for bag in bags:
            found.setdefault(bag, _source(bag, path))
    return list(found.values())


def _source(bag: Path, root: Path) -> Source:
    # A recorder writes the bag `ep_3` as `ep_3.part/ep_3`.
    cut_off = PART in (bag.suffix, bag.parent.suffix)
    inner = bag.relative_to(root).parts or (bag.name,)
    whole = [part for part in inner if not part.endswith(PART)] or [bag.stem]
    return Source(bag, "/".join(whole if cut_off else inner), cut_off)


def is_bag(path: Path) -> bool:
    """Whether a path is a bag's file, or a folder with one."""
    if not path.is_dir():
        return path.suffix in (".mcap", ".db3")
    # A folder without metadata.yaml but with a bag file is a bag that was cut off: it is taken
    # too, so that the reader can name it instead of it going missing.
    return any(
        file.is_file()
        for file in (path / "metadata.yaml", *path.glob("*.mcap"), *path.glob("*.db3"))
    )


def natural(path: Path) -> list[tuple[int, str]]:
    """Key that sorts ``ep_2`` before ``ep_10``."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))
    ]


def size_bytes(path: Path) -> int:
    """Bytes of a bag on disk."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
