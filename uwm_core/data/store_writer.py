# SPDX-License-Identifier: Apache-2.0
"""Writes a store step by step; what was committed survives whatever happens to the writer.

The order of a commit is the whole protocol: files of rows, metadata of arrays, then the root, each
replaced as a whole and on the disk before the next. Until the root is there, nobody knows of the
rows; what a killed writer left of them is written over by the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core import __version__
from uwm_core.data.store_arrays import mask_name, rows_per_file
from uwm_core.data.store_columns import Column
from uwm_core.data.store_files import files_at
from uwm_core.data.store_format import EncodedStep, EpisodeRecord, ImageCoding
from uwm_core.data.store_images import encode_image
from uwm_core.data.store_place import Mode, StorePlace
from uwm_core.data.store_root import ROOT_FILE, Root, metadata_files
from uwm_core.embodiment import Embodiment, Vector
from uwm_core.errors import ShapeError, StoreError
from uwm_core.records import Step

FILE_BYTES = 48 << 20
"""Rows of a file together have at most this size before coding: a commit rewrites one of them."""

SOFTWARE = f"uwm {__version__}"
ENDS = "meta/episode_ends"


class StoreWriter:
    """Writes a store by steps, episodes and commits.

    Rows are added one by one and become an episode with ``end_episode``; ``commit`` makes what was
    ended durable and visible, ``rollback`` forgets everything since the last commit. Memory is that
    of one file per array, however long the store. Use as a context manager: the end commits, an
    exception leaves what was committed before.

    Args:
        path: Folder of the store, or an fsspec URL such as ``s3://bucket/lift.zarr``.
        embodiment: The robot; decides the arrays.
        mode: ``create`` refuses an existing store, ``append`` goes on with it (or creates one),
            ``overwrite`` takes its name at ``close``.
        images: How images are coded; by default as the store has it, without loss in a new one.
        file_bytes: Size of a file of rows before coding, in a new store.

    Raises:
        StoreError: If the store exists, is of another embodiment or coding, or is being written.
    """

    def __init__(
        self,
        path: Path | str,
        embodiment: Embodiment,
        *,
        mode: Mode = "create",
        images: ImageCoding | None = None,
        file_bytes: int = FILE_BYTES,
    ) -> None:
        fresh = Root(
            embodiment=embodiment,
            embodiment_text=embodiment.to_yaml(),
            images=images or ImageCoding(),
            rows=rows_per_file(embodiment, file_bytes),
            software=SOFTWARE,
        )
        self._place = StorePlace(path, mode)
        try:
            self._root = self._place.begin(fresh)
            self._check_same(embodiment, images)
            self._files = files_at(self._place.target)
            self._columns = {
                name: Column(self._files, spec, self._root.rows_of(name))
                for name, spec in self._root.specs.items()
            }
        except BaseException:
            self._place.release()
            raise
        self._written = metadata_files(self._root)
        self._episodes = list(self._root.episodes)
        # Whether a row is in some columns only, because the disk was full in the middle of it.
        self._torn = False

    def _check_same(self, embodiment: Embodiment, images: ImageCoding | None) -> None:
        if differences := self._root.embodiment.difference(embodiment):
            raise StoreError(f"{self.location}: is of another embodiment: {differences[0]}")
        if images is not None and str(images) != str(self._root.images):
            raise StoreError(
                f"{self.location}: has images as {self._root.images}, not {images}; append with "
                "the same coding or choose another name"
            )

    @property
    def location(self) -> str:
        """The folder or URL that the store has, or will have, for people."""
        return self._place.location

    @property
    def embodiment(self) -> Embodiment:
        """The robot, as the store has it."""
        return self._root.embodiment

    @property
    def images(self) -> ImageCoding:
        """How images are coded."""
        return self._root.images

    @property
    def episodes(self) -> tuple[EpisodeRecord, ...]:
        """Episodes ended so far, those that were there before included."""
        return tuple(self._episodes)

    @property
    def steps(self) -> int:
        """Rows so far, those of the episode in progress included."""
        return self._columns["data/stamp_ns"].rows

    def add(self, step: Step) -> None:
        """Append one row to the episode in progress.

        Args:
            step: Everything at one tick; without actions the row's action is NaN.

        Raises:
            ShapeError: If the step is not of the embodiment.
        """
        _check_keys("images", step.images, self.embodiment.cameras, whole=True)
        _check_keys("state", step.state, self.embodiment.state, whole=True)
        for name, image in step.images.items():
            _check_shape(f"image {name}", image, (*self.embodiment.cameras[name].size, 3))
        images = {name: encode_image(self.images, image) for name, image in step.images.items()}
        self.add_encoded(EncodedStep(step.stamp_ns, images, step.state, step.action))

    def add_encoded(self, row: EncodedStep) -> None:
        """Append one row whose images are coded already; what it lacks is absent.

        Raises:
            ShapeError: If the row is not of the embodiment.
        """
        self._check_row(row)
        values: dict[str, Any] = {"stamp_ns": np.int64(row.stamp_ns)}
        real: dict[str, bool] = {}
        for name in self.embodiment.cameras:
            values[f"obs.{name}"] = image = row.images.get(name)
            real[f"obs.{name}"] = bool(image)
        for key, vector in self.embodiment.state.items():
            values[f"obs.{key}"] = row.state.get(key, _absent(vector))
            real[f"obs.{key}"] = key in row.state
        channels = self.embodiment.action.items()
        values["action"] = np.concatenate([row.action.get(key, _absent(c)) for key, c in channels])
        real["action"] = len(row.action) == len(self.embodiment.action)
        self._torn = True
        for key, value in values.items():
            self._columns[f"data/{key}"].add(value)
        for key, is_real in real.items():
            self._columns[mask_name(key)].add(is_real)
        self._torn = False

    def _check_row(self, row: EncodedStep) -> None:
        _check_keys("images", row.images, self.embodiment.cameras)
        for kind, given, known in (
            ("state", row.state, self.embodiment.state),
            ("action", row.action, self.embodiment.action),
        ):
            _check_keys(kind, given, known)
            for key, value in given.items():
                _check_shape(f"{kind} {key}", value, (known[key].size,))

    def end_episode(self, record: EpisodeRecord) -> None:
        """Make the rows since the last end one episode.

        Args:
            record: What is known of it; its ``steps`` and ``content`` are set here, and its
                ``software`` if it has none.

        Raises:
            StoreError: If there are none, or one of them could not be written.
        """
        if self._torn:
            raise StoreError(f"{self.location}: a row could not be written; drop its episode first")
        start = self._ended
        if self.steps == start:
            raise StoreError(f"{self.location}: an episode of {record.source!r} has no steps")
        content = hashlib.sha256()
        for column in self._rows():
            content.update(column.take_hash())
        self._episodes.append(
            dataclasses.replace(
                record,
                steps=self.steps - start,
                content=content.hexdigest(),
                software=record.software or SOFTWARE,
            )
        )
        self._columns[ENDS].add(self.steps)

    def relabel(self, index: int, record: EpisodeRecord) -> None:
        """Change what is known of an episode; its rows stay as they are.

        Raises:
            StoreError: If there is no such episode, or the record is of other rows.
        """
        if not 0 <= index < len(self._episodes):
            count = len(self._episodes)
            raise StoreError(f"{self.location}: has {count} episodes, there is no {index}")
        old = self._episodes[index]
        if (record.steps, record.content) != (old.steps, old.content):
            raise StoreError(f"{self.location}: the record is not of the rows of episode {index}")
        self._episodes[index] = record

    def _rows(self) -> list[Column]:
        """The columns that have one row per step."""
        return [column for name, column in self._columns.items() if name != ENDS]

    @property
    def _ended(self) -> int:
        """Rows of the episodes that were ended."""
        return sum(record.steps for record in self._episodes)

    def drop_episode(self) -> None:
        """Forget the rows of the episode in progress."""
        for column in self._rows():
            column.truncate(self._ended)
        self._torn = False

    def commit(self) -> None:
        """Make the episodes ended so far durable, and visible to whoever opens the store.

        Raises:
            StoreError: If a file cannot be written; the store is then as it was.
        """
        root = self._root.with_episodes(self._episodes, SOFTWARE)
        changed = {
            name: data for name, data in metadata_files(root).items() if self._written[name] != data
        }
        for column in self._columns.values():
            changed.update(column.unwritten())
        self._files.write(changed)
        self._written.update((name, changed[name]) for name in self._written.keys() & changed)
        for column in self._columns.values():
            column.wrote()
        if root.episodes != self._root.episodes:
            self._files.write({ROOT_FILE: root.to_json()})
            self._root = root

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        self._episodes = list(self._root.episodes)
        self._columns[ENDS].truncate(len(self._episodes))
        self.drop_episode()

    def close(self) -> Path | str:
        """Commit, and give the store its name.

        Returns:
            The store's folder, or its URL.

        Raises:
            StoreError: If it has no episode.
        """
        self.drop_episode()
        if not self._episodes:
            self.abort()
            raise StoreError(f"{self.location}: no episode was written")
        self.commit()
        self._tidy()
        return self._place.finish()

    def _tidy(self) -> None:
        """Remove files that hold no committed row: of rolled back episodes, of killed writers."""
        keep = {ROOT_FILE, *self._written}
        for name, column in self._columns.items():
            files = column.spec.files(self._root.rows_of(name))
            keep.update(column.spec.file(number) for number in range(files))
        self._files.remove(sorted(self._files.sizes().keys() - keep))

    def abort(self) -> None:
        """Stop without committing; a new store without an episode goes. Nothing after ``close``."""
        self._place.give_up(empty=not self._root.episodes)

    def __enter__(self) -> StoreWriter:
        """For ``with``: closed at the end, aborted on an exception."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, or abort it if something was raised."""
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()


def _absent(vector: Vector) -> npt.NDArray[np.float32]:
    return np.full(vector.size, np.nan, np.float32)


def _check_keys(
    kind: str, given: Mapping[str, Any], known: Mapping[str, Any], *, whole: bool = False
) -> None:
    odd = given.keys() ^ known.keys() if whole else given.keys() - known.keys()
    if odd:
        raise ShapeError(f"a step must have the {kind} of the embodiment; differing: {sorted(odd)}")


def _check_shape(name: str, value: Any, wanted: tuple[int, ...]) -> None:
    if np.shape(value) != wanted:
        raise ShapeError(f"{name} must be {wanted} in every step, got {np.shape(value)}")
