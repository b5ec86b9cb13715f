# SPDX-License-Identifier: Apache-2.0
"""Episodes on disk: one Zarr v3 folder, whole or absent.

Arrays ``data/obs.<key>`` (images (N, H, W, 3) uint8, state (N, n) float32), ``data/action``
(N, D) float32 and ``data/stamp_ns`` (N,) int64 hold all steps one after the other;
``meta/episode_ends`` (E,) says where episodes end; the root's attributes hold the format, the
embodiment and one record per episode. ``docs/reference/store.md`` describes it for other readers.

``StoreWriter`` writes ``X.part`` and renames it last; ``Store`` refuses anything half-written.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from uwm_core.data.store_format import FORMAT, VERSION, EpisodeRecord, part_path, row_layout
from uwm_core.data.store_writer import StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError, UwmError

__all__ = ["Episode", "EpisodeRecord", "Store", "StoreWriter", "StoredArray"]


@dataclasses.dataclass(frozen=True, eq=False)
class Episode:
    """One episode in memory.

    Attributes:
        record: What is known of it.
        stamp_ns: (n,) int64.
        images: Per camera (n, H, W, 3) uint8.
        state: Per key (n, k) float32.
        action: (n, D) float32.
    """

    record: EpisodeRecord
    stamp_ns: npt.NDArray[np.int64]
    images: dict[str, npt.NDArray[np.uint8]]
    state: dict[str, npt.NDArray[np.float32]]
    action: npt.NDArray[np.float32]


class StoredArray:
    """Rows of one array on disk; ``len``, slices and integer arrays give numpy arrays."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._array.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    def __getitem__(self, rows: slice | int | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Read rows; chunks that hold none of them are not touched."""
        if isinstance(rows, slice | int | np.integer):
            return np.asarray(self._array[rows])
        index = np.asarray(rows)
        # One read per row: orthogonal indexing, but with rows in any order and repeated.
        unique, inverse = np.unique(index.reshape(-1), return_inverse=True)
        found = np.asarray(self._array.oindex[unique])
        return found[inverse].reshape(*index.shape, *self.shape[1:])


class Store:
    """A finished store, for reading.

    Attributes:
        path: Its folder.
        embodiment: The robot that it was recorded on.
        episodes: One record per episode.
        episode_ends: (E,) int64, row after the last of each episode.

    Raises:
        StoreError: From ``open``, if it is missing, half-written or of another format.
    """

    def __init__(
        self, path: Path, group: zarr.Group, embodiment: Embodiment, ends: npt.NDArray[np.int64]
    ) -> None:
        self.path = path
        self.embodiment = embodiment
        self.episode_ends = ends
        self._group = group
        entries: Any = group.attrs["episodes"]
        self.episodes = tuple(EpisodeRecord.from_json(entry) for entry in entries)

    @classmethod
    def open(cls, path: Path | str) -> Store:
        """Open a finished store.

        Raises:
            StoreError: If it is missing, half-written or of another format.
        """
        path = Path(path)
        part = part_path(path)
        if path.suffix == ".part":
            raise StoreError(
                f"{path}: is half-written, the conversion did not finish; run it again"
            )
        if not path.exists():
            hint = f"; only the half-written {part.name} is there" if part.exists() else ""
            raise StoreError(f"{path}: there is no such store{hint}")
        if not (path / "zarr.json").is_file():
            raise StoreError(f"{path}: is not a store (no zarr.json)")
        try:
            return cls._checked(path)
        except StoreError:
            raise
        except UwmError as error:
            raise StoreError(f"{path}: {error}") from None
        except Exception as error:  # A damaged folder makes the library raise anything.
            shown = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{path}: cannot be read: {shown}") from None

    @classmethod
    def _checked(cls, path: Path) -> Store:
        group = zarr.open_group(str(path), mode="r")
        attrs = dict(group.attrs)
        if attrs.get("format") != FORMAT:
            raise StoreError(f"{path}: is Zarr, but not a store of this project, or half-written")
        version: Any = attrs.get("version")
        if version != VERSION:
            raise StoreError(f"{path}: has version {version}, this software reads {VERSION}")
        embodiment = Embodiment.parse(str(attrs["embodiment"]), f"{path}/embodiment")
        ends = np.asarray(group["meta/episode_ends"][:], np.int64)  # type: ignore[index]
        rows = int(ends[-1]) if len(ends) else 0
        episodes: Any = attrs["episodes"]
        if len(episodes) != len(ends) or (np.diff(ends, prepend=0) <= 0).any():
            raise StoreError(f"{path}: is damaged: {len(episodes)} records, ends {ends.tolist()}")
        store = cls(path, group, embodiment, ends)
        for key, (tail, _) in row_layout(embodiment).items():
            shape = store.array(key).shape
            if shape != (rows, *tail):
                raise StoreError(f"{path}: is damaged: {key} is {shape}, not {(rows, *tail)}")
        return store

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def steps(self) -> int:
        """Number of steps (N)."""
        return int(self.episode_ends[-1]) if len(self.episode_ends) else 0

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays: ``obs.<key>``, ``action``, ``stamp_ns``."""
        return tuple(row_layout(self.embodiment))

    def array(self, key: str) -> StoredArray:
        """One array, read from disk as its rows are asked for.

        Args:
            key: E.g. ``obs.front`` or ``action``.

        Raises:
            UnknownNameError: If the store has no such array.
        """
        if key not in self.keys:
            raise UnknownNameError("array", key, self.keys)
        return StoredArray(self._group[f"data/{key}"])

    def mask(self, key: str) -> npt.NDArray[np.bool_]:
        """Which rows of an array are real: (N,) bool."""
        return np.ones(self.steps, bool)

    def state(self) -> npt.NDArray[np.float32]:
        """All state vectors side by side: (N, S) float32, in the embodiment's order."""
        parts = [self.array(f"obs.{key}")[:] for key in self.embodiment.state]
        return np.concatenate([np.empty((self.steps, 0), np.float32), *parts], axis=1)

    def span(self, index: int) -> slice:
        """Rows of one episode."""
        start = int(self.episode_ends[index - 1]) if index else 0
        return slice(start, int(self.episode_ends[index]))

    def episode(self, index: int) -> Episode:
        """Read one episode.

        Raises:
            StoreError: If there is no such episode.
        """
        if not 0 <= index < len(self):
            raise StoreError(f"{self.path}: has {len(self)} episodes, there is no episode {index}")
        rows = self.span(index)
        return Episode(
            record=self.episodes[index],
            stamp_ns=self.array("stamp_ns")[rows],
            images={name: self.array(f"obs.{name}")[rows] for name in self.embodiment.cameras},
            state={key: self.array(f"obs.{key}")[rows] for key in self.embodiment.state},
            action=self.array("action")[rows],
        )
