# SPDX-License-Identifier: Apache-2.0
"""Writes a store step by step, with memory for one shard per array, whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle

from uwm_core import __version__
from uwm_core.data.store_format import (
    FORMAT,
    VERSION,
    EpisodeRecord,
    lock_path,
    part_path,
    row_layout,
)
from uwm_core.embodiment import Embodiment
from uwm_core.errors import ShapeError, StoreError
from uwm_core.records import Step

# About this many bytes of pixels per chunk: small enough that a window reads little that it does
# not want, large enough that an episode is not a thousand files.
CHUNK_BYTES = 1 << 18
SHARD_BYTES = 1 << 24


class StoreWriter:
    """Writes a store by steps, episodes and commits; nothing is under ``path`` until ``close``.

    Rows are added one by one and become an episode with ``end_episode``; ``commit`` keeps what was
    ended, ``rollback`` forgets everything since the last commit. Memory is that of one shard per
    array, however long the store. Use as a context manager: an exception leaves nothing behind.

    Args:
        path: Folder of the store.
        embodiment: The robot; decides the arrays.
        overwrite: Replace a finished store of this name, at ``close``.

    Raises:
        StoreError: If the store exists, or another process is writing it.
    """

    def __init__(
        self, path: Path | str, embodiment: Embodiment, *, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.embodiment = embodiment
        self._overwrite = overwrite
        if self.path.suffix == ".part":
            raise StoreError(f"{self.path}: .part is for half-written stores; choose another name")
        if self.path.exists() and not overwrite:
            raise StoreError(f"{self.path}: exists already; choose another name or overwrite it")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = part_path(self.path)
        self._lock: IO[bytes] | None = self._take_lock()
        # What an interrupted conversion left is worth nothing: it was never a store.
        shutil.rmtree(self._part, ignore_errors=True)
        self._group = zarr.create_group(str(self._part), zarr_format=3)
        self._columns = {
            key: _Column(self._group, f"data/{key}", tail, dtype)
            for key, (tail, dtype) in row_layout(embodiment).items()
        }
        self._records: list[EpisodeRecord] = []
        self._ends: list[int] = []
        self._committed = 0

    def _take_lock(self) -> IO[bytes]:
        lock = lock_path(self.path).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StoreError(f"{self.path}: another process is writing it") from None
        return lock

    @property
    def steps(self) -> int:
        """Rows added so far, those of the episode in progress included."""
        return self._columns["stamp_ns"].rows

    def add(self, step: Step) -> None:
        """Append one row to the episode in progress.

        Args:
            step: Everything at one tick; without actions the row's action is NaN.

        Raises:
            ShapeError: If the step is not of the embodiment.
        """
        actions = [
            step.action.get(key, np.full(channel.size, np.nan, np.float32))
            for key, channel in self.embodiment.action.items()
        ]
        values: dict[str, Any] = {
            **{f"obs.{name}": image for name, image in step.images.items()},
            **{f"obs.{key}": vector for key, vector in step.state.items()},
            "action": np.concatenate(actions),
            "stamp_ns": np.int64(step.stamp_ns),
        }
        if values.keys() != self._columns.keys():
            odd = sorted(values.keys() ^ self._columns.keys())
            raise ShapeError(f"a step must have the arrays of the embodiment; differing: {odd}")
        for key, column in self._columns.items():
            if np.shape(values[key]) != column.tail:
                shape = np.shape(values[key])
                raise ShapeError(f"{key} must be {column.tail} in every step, got {shape}")
        for key, column in self._columns.items():
            column.add(values[key])

    def end_episode(self, record: EpisodeRecord) -> None:
        """Make the rows since the last end one episode.

        Raises:
            StoreError: If there are none.
        """
        start = self._ends[-1] if self._ends else 0
        if self.steps == start:
            raise StoreError(f"{self.path}: an episode of {record.source!r} has no steps")
        self._ends.append(self.steps)
        self._records.append(dataclasses.replace(record, steps=self.steps - start))

    def drop_episode(self) -> None:
        """Forget the rows of the episode in progress."""
        self._truncate()

    def commit(self) -> None:
        """Keep the episodes ended so far."""
        self._committed = len(self._ends)

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        del self._ends[self._committed :], self._records[self._committed :]
        self._truncate()

    def _truncate(self) -> None:
        """Forget the rows after the last ended episode."""
        for column in self._columns.values():
            column.truncate(self._ends[-1] if self._ends else 0)

    def close(self) -> Path:
        """Write the rest and give the store its name.

        Returns:
            The store's folder.

        Raises:
            StoreError: If no episode was committed.
        """
        self.rollback()
        if not self._ends:
            raise StoreError(f"{self.path}: no episode was written")
        for column in self._columns.values():
            column.flush()
        ends = np.array(self._ends, np.int64)
        self._group.create_array("meta/episode_ends", data=ends)
        self._group.update_attributes(
            {
                "format": FORMAT,
                "version": VERSION,
                "software": f"uwm {__version__}",
                "embodiment": self.embodiment.to_yaml(),
                "episodes": [dataclasses.asdict(record) for record in self._records],
            }
        )
        if self._overwrite and self.path.exists():
            old = self.path.with_name(f"{self.path.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            os.replace(self.path, old)
            os.replace(self._part, self.path)
            shutil.rmtree(old)
        else:
            os.replace(self._part, self.path)
        self._release()
        return self.path

    def abort(self) -> None:
        """Remove everything that was written; does nothing after ``close``."""
        if self._lock is not None:
            shutil.rmtree(self._part, ignore_errors=True)
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                lock_path(self.path).unlink()
            lock.close()

    def __enter__(self) -> StoreWriter:
        """For ``with``: closed at the end, removed on an exception."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, or remove it if something was raised."""
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()


class _Column:
    """One growing array: rows wait in memory until a shard is full."""

    def __init__(self, group: zarr.Group, name: str, tail: tuple[int, ...], dtype: str) -> None:
        self.tail = tail
        self.rows = 0
        self._pending: list[npt.NDArray[Any]] = []
        row_bytes = int(np.prod(tail, dtype=np.int64)) * np.dtype(dtype).itemsize
        chunk = max(1, min(4096, CHUNK_BYTES // row_bytes))
        self._shard = chunk * max(1, SHARD_BYTES // (row_bytes * chunk)) if tail else 1 << 16
        chunk = min(chunk, self._shard)
        self._shard -= self._shard % chunk
        shuffle = BloscShuffle.noshuffle if dtype == "uint8" else BloscShuffle.shuffle
        self._array = group.create_array(
            name,
            shape=(0, *tail),
            chunks=(chunk, *tail),
            shards=(self._shard, *tail),
            dtype=dtype,
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle=shuffle),
            fill_value=0,
        )

    def add(self, row: npt.NDArray[Any]) -> None:
        self._pending.append(row)
        self.rows += 1
        if len(self._pending) == self._shard:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            start = self.rows - len(self._pending)
            self._array.resize((self.rows, *self.tail))
            self._array[start : self.rows] = np.stack(self._pending)
            self._pending.clear()

    def truncate(self, rows: int) -> None:
        """Forget the rows from ``rows`` on; those of a shard already written come back."""
        written = self.rows - len(self._pending)
        if rows >= written:
            del self._pending[rows - written :]
        else:
            start = rows - rows % self._shard
            self._pending = list(np.asarray(self._array[start:rows]))
        self.rows = rows
