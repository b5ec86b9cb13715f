# SPDX-License-Identifier: Apache-2.0
"""Episodes on disk or in object storage, as Zarr v3 arrays: reading them.

Arrays ``data/obs.<key>`` (images (N, H, W, 3) uint8, state (N, n) float32), ``data/action``
(N, D) float32 and ``data/stamp_ns`` (N,) int64 hold all steps one after the other, ``mask/<key>``
says which of their rows are real; the root's attributes hold the embodiment and one record per
episode. ``docs/reference/store.md`` describes it for other readers.

``StoreWriter`` writes stores, ``store_edit`` joins and prunes them, ``store_verify`` checks them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from uwm_core.data.store_arrays import mask_name
from uwm_core.data.store_files import Files, files_at, is_url, local_path
from uwm_core.data.store_format import (
    EncodedStep,
    EpisodeRecord,
    ImageCoding,
    part_path,
    replaced_path,
    row_layout,
)
from uwm_core.data.store_read import Index, StoredArray
from uwm_core.data.store_root import ROOT_FILE, Root
from uwm_core.data.store_writer import StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError

__all__ = [
    "EncodedStep",
    "Episode",
    "EpisodeRecord",
    "ImageCoding",
    "Store",
    "StoreWriter",
    "StoredArray",
]


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


class Store:
    """A store as it was committed when it was opened; what is appended later needs another opening.

    Args:
        files: Where it lies.
        root: What it says of itself.
        threads: Threads that decode images.
    """

    def __init__(self, files: Files, root: Root, *, threads: int = 1) -> None:
        self.files = files
        self.root = root
        self._threads = threads
        self._arrays: dict[str, StoredArray] = {}

    @classmethod
    def open(cls, path: Path | str, *, threads: int = 1) -> Store:
        """Open a store for reading.

        Args:
            path: Its folder, or an fsspec URL such as ``s3://bucket/lift.zarr``.
            threads: Threads that decode images.

        Raises:
            StoreError: If it is missing, damaged or of another format.
        """
        files = files_at(path)
        try:
            return cls(files, Root.parse(files.read(ROOT_FILE), files.location), threads=threads)
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(_why_missing(path)) from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error}") from None

    @property
    def location(self) -> str:
        """The folder or URL, for people."""
        return self.files.location

    @property
    def name(self) -> str:
        """The last part of the location."""
        return self.location.rstrip("/").rpartition("/")[2]

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            StoreError: If the store is behind a URL.
        """
        if is_url(self.location):
            raise StoreError(f"{self.location}: is no local folder; this needs one")
        return Path(self.location)

    @property
    def embodiment(self) -> Embodiment:
        """The robot that it was recorded on."""
        return self.root.embodiment

    @property
    def coding(self) -> ImageCoding:
        """How its images are coded."""
        return self.root.images

    @property
    def episodes(self) -> tuple[EpisodeRecord, ...]:
        """One record per episode."""
        return self.root.episodes

    @property
    def episode_ends(self) -> npt.NDArray[np.int64]:
        """Row after the last of each episode: (E,)."""
        return self.root.ends

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def steps(self) -> int:
        """Number of steps (N)."""
        return self.root.steps

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(self.files.sizes().values())

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays: ``obs.<key>``, ``action``, ``stamp_ns``."""
        return tuple(row_layout(self.embodiment))

    def array(self, key: str) -> StoredArray:
        """One array, read as its rows are asked for.

        Args:
            key: E.g. ``obs.front`` or ``action``.

        Raises:
            UnknownNameError: If the store has no such array.
        """
        if key not in self.keys:
            raise UnknownNameError("array", key, self.keys)
        return self._array(f"data/{key}")

    def mask(self, key: str) -> npt.NDArray[np.bool_]:
        """Which rows of an array are real: (N,); the others are black, or NaN.

        Raises:
            UnknownNameError: If no such array has a mask.
        """
        masked = [name for name in self.keys if name != "stamp_ns"]
        if key not in masked:
            raise UnknownNameError("array with a mask", key, masked)
        return self._array(mask_name(key))[:]

    def encoded(self, camera: str, rows: Index) -> list[bytes]:
        """Images of one camera as they are stored (``decode_image``); an absent one is empty.

        Raises:
            UnknownNameError: If there is no such camera.
        """
        if camera not in self.embodiment.cameras:
            raise UnknownNameError("camera", camera, self.embodiment.camera_names)
        return self._array(f"data/obs.{camera}").coded(rows)

    def _array(self, name: str) -> StoredArray:
        if name not in self._arrays:
            spec = self.root.specs[name]
            self._arrays[name] = StoredArray(self.files, spec, self.steps, threads=self._threads)
        return self._arrays[name]

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
            raise StoreError(f"{self.location}: has {len(self)} episodes, there is no {index}")
        rows = self.span(index)
        return Episode(
            record=self.episodes[index],
            stamp_ns=self.array("stamp_ns")[rows],
            images={name: self.array(f"obs.{name}")[rows] for name in self.embodiment.cameras},
            state={key: self.array(f"obs.{key}")[rows] for key in self.embodiment.state},
            action=self.array("action")[rows],
        )


def _why_missing(path: Path | str) -> str:
    if is_url(path):
        return f"{path}: there is no such store"
    folder = local_path(path)
    if folder.exists():
        return f"{path}: is not a store (no {ROOT_FILE})"
    if replaced_path(folder).exists():
        kept = replaced_path(folder)
        return f"{path}: its replacement was interrupted; get it back with: mv {kept} {folder}"
    if part_path(folder).exists():
        return f"{path}: there is no such store; only the half-written {part_path(folder).name}"
    return f"{path}: there is no such store"
