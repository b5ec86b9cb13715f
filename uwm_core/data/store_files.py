# SPDX-License-Identifier: Apache-2.0
"""The files of a store, on a local disk or behind an fsspec URL: ranges to read, whole writes.

A write is all or nothing, and has reached the disk (or the object store) when it returns: what is
written after it can be trusted to mean that it is there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from uwm_core.errors import StoreError

PART = ".part"
"""Ends the name of a file that is being written."""

OPEN_FILES = 64
WRITERS = 8


class Range(NamedTuple):
    """Bytes of one file."""

    name: str
    offset: int
    size: int


class Files(Protocol):
    """Files below one place, by relative name with ``/``.

    Attributes:
        location: The folder or URL, for messages.
    """

    location: str

    def read(self, name: str) -> bytes:
        """A whole file; FileNotFoundError if there is none."""
        ...

    def read_tails(self, names: Sequence[str], size: int) -> list[bytes]:
        """The last bytes of several files; FileNotFoundError if one is missing."""
        ...

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Several pieces; FileNotFoundError if a file is missing."""
        ...

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Put files in place of what had their names, in any order; durable when this returns."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by name."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        ...


def is_url(path: Path | str) -> bool:
    """Whether a store's name is an fsspec URL that is not a local file's."""
    return "://" in str(path) and not str(path).startswith("file://")


def local_path(path: Path | str) -> Path:
    """The local folder that a store's name means."""
    return Path(str(path).removeprefix("file://"))


def files_at(path: Path | str) -> Files:
    """Files at a local path or an fsspec URL.

    Raises:
        StoreError: If the URL's protocol is unknown or what it needs is not installed.
    """
    return RemoteFiles(str(path)) if is_url(path) else LocalFiles(local_path(path))


class LocalFiles:
    """Files below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._open = lru_cache(maxsize=OPEN_FILES)(_OpenFile)

    def __reduce__(self) -> tuple[type[LocalFiles], tuple[Path]]:
        # Open files do not travel to another process.
        return LocalFiles, (self.root,)

    def read(self, name: str) -> bytes:
        """A whole file."""
        return (self.root / name).read_bytes()

    def read_tails(self, names: Sequence[str], size: int) -> list[bytes]:
        """The last bytes of several files."""
        files = [self._open(f"{self.location}/{name}") for name in names]
        return [file.read(max(0, file.size - size), size) for file in files]

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Several pieces."""
        return [
            self._open(f"{self.location}/{name}").read(offset, size)
            for name, offset, size in ranges
        ]

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Put files in place of what had their names."""
        paths = {self.root / name: data for name, data in contents.items()}
        folders = {path.parent for path in paths}
        try:
            for folder in [folder for folder in folders if not folder.is_dir()]:
                folder.mkdir(parents=True, exist_ok=True)
                folders.update(up for up in folder.parents if up.is_relative_to(self.root))
            # In threads, so that the disk is waited for once and not file by file.
            with ThreadPoolExecutor(WRITERS) as pool:
                list(pool.map(_replace, paths, paths.values()))
                list(pool.map(sync_folder, folders))
        except OSError as error:
            raise StoreError(f"{self.location}: cannot be written: {error.strerror}") from None

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        return {
            path.relative_to(self.root).as_posix(): path.stat().st_size
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)


class _OpenFile:
    """A file that is open as long as someone holds it; its content stays that of the opening."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.descriptor, size, offset)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the file could not be opened
            os.close(self.descriptor)


class RemoteFiles:
    """Files behind an fsspec URL, such as ``s3://bucket/lift.zarr``."""

    def __init__(self, url: str) -> None:
        self.location = url.rstrip("/")
        self._connect()

    def __reduce__(self) -> tuple[type[RemoteFiles], tuple[str]]:
        return RemoteFiles, (self.location,)

    def _connect(self) -> None:
        import fsspec

        with self._reaching():
            self._system, self._root = fsspec.core.url_to_fs(self.location)
        self._process = os.getpid()

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Every file system behind fsspec raises errors of its own; one line says what it was."""
        try:
            yield
        except (FileNotFoundError, StoreError):
            raise
        except Exception as error:
            shown = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{self.location}: cannot be reached: {shown}") from None

    @property
    def system(self) -> Any:
        """The file system; a connection is never shared with the process that forked this one."""
        if self._process != os.getpid():
            self._connect()
        return self._system

    def read(self, name: str) -> bytes:
        """A whole file."""
        with self._reaching():
            return bytes(self.system.cat_file(f"{self._root}/{name}"))

    def read_tails(self, names: Sequence[str], size: int) -> list[bytes]:
        """The last bytes of several files, asked for at the same time where that can be."""
        paths = [f"{self._root}/{name}" for name in names]
        with self._reaching():
            found = self.system.cat_ranges(paths, -size, None, on_error="raise")
        return [bytes(data) for data in found]

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Several pieces, asked for at the same time where that can be."""
        paths = [f"{self._root}/{name}" for name, _, _ in ranges]
        starts = [offset for _, offset, _ in ranges]
        ends = [offset + size for _, offset, size in ranges]
        with self._reaching():
            found = self.system.cat_ranges(paths, starts, ends, on_error="raise")
        return [bytes(data) for data in found]

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Put files in place of what had their names, at the same time where that can be."""
        with self._reaching():
            self.system.pipe({f"{self._root}/{name}": data for name, data in contents.items()})

    def sizes(self) -> dict[str, int]:
        """Bytes of every file."""
        with self._reaching():
            self.system.invalidate_cache()
            found: dict[str, dict[str, Any]] = self.system.find(self._root, detail=True)
        start = len(self._root.rstrip("/")) + 1
        return {path[start:]: int(entry["size"]) for path, entry in found.items()}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        paths = [f"{self._root}/{name}" for name in names]
        if paths:
            with self._reaching():
                self.system.rm(paths)


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(folder: Path) -> None:
    """Remove a folder of our own, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
