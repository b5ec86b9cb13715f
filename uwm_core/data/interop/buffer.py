# SPDX-License-Identifier: Apache-2.0
"""The Zarr v2 buffers of UWM and diffusion_policy: ``data/<key>`` and ``meta/episode_ends``.

UWM's keys are ``obs.<name>`` and ``action``, diffusion_policy's are whatever a task chose; an array
(N, H, W, 3) holds pictures, (N, k) or (N,) numbers. Rows after the last episode's end are spare
room. UMI's ``.zarr.zip`` is the same in an archive; its codecs come with ``imagecodecs``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from uwm_core.data.interop.exporting import (
    EMBODIMENT,
    RECORD,
    Progress,
    Selection,
    record_json,
    whole_or_absent,
)
from uwm_core.data.interop.source import (
    Layout,
    Row,
    SourceEpisode,
    action_names,
    column_names,
    digest,
    grid_ns,
    readable,
    require_rate,
    unreadable,
)
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

STAMPS = "stamp_ns"
ACTIONS = ("action", "actions")
# Time is no observation.
TIMES = (STAMPS, "timestamp")
# Read at once: enough to be quick, far less than an episode of pictures.
BLOCK_ROWS = 64


class BufferSource:
    """Episodes of a Zarr v2 buffer.

    Args:
        path: The folder, or a ``.zip`` of it.
        rate_hz: Rows per second; buffers do not say.

    Raises:
        DataError: If it is no buffer, is damaged, or the rate is not known.
    """

    def __init__(self, path: Path | str, rate_hz: float | None = None) -> None:
        self._path = Path(path)
        with readable(str(path)):
            group = _opened(self._path)
            self.embodiment = _embodiment(group, self._path)
            self._ends = np.asarray(group["meta/episode_ends"][:], np.int64)  # type: ignore[index]
            self._records = json.loads(str(group.attrs.get(RECORD, "[]")))
            arrays = dict(group["data"].arrays())  # type: ignore[union-attr]
        if not len(self._ends) or (np.diff(self._ends, prepend=0) <= 0).any():
            raise DataError(f"{path}: episode_ends must rise, are {self._ends[:8].tolist()}")
        self._arrays: dict[str, Any] = {}
        self._action: Any = None
        self._stamps: Any = None
        self._left_out: dict[str, str] = {}
        cameras, state = self._sort(arrays)
        known = self.embodiment.rate_hz if self.embodiment else None
        width = self._action.shape[1] if self._action is not None else 0
        self.layout = Layout(
            name=self._path.name.split(".")[0],
            rate_hz=require_rate(rate_hz or known, str(path)),
            cameras=cameras,
            state=state,
            action=action_names(width, self.embodiment),
        )

    def _sort(
        self, arrays: dict[str, Any]
    ) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[str, ...]]]:
        """Which array is what, by its name and shape."""
        cameras, state = {}, {}
        rows = int(self._ends[-1])
        for name, array in sorted(arrays.items()):
            shape, key = array.shape, name.removeprefix("obs.")
            if shape[0] < rows:
                raise DataError(f"{self._path}: {name} has {shape[0]} rows, episodes {rows}")
            if name in ACTIONS and len(shape) == 2:
                self._action = array
            elif name == STAMPS:
                self._stamps = array
            elif name in TIMES:
                self._left_out[name] = "rows lie on the grid of the rate"
            elif len(shape) == 4 and shape[3] == 3 and array.dtype.kind in "uf":
                cameras[key] = (shape[1], shape[2])
                self._arrays[key] = array
            elif len(shape) in (1, 2) and array.dtype.kind in "fiu":
                state[key] = column_names(key, shape[1] if len(shape) == 2 else 1)
                self._arrays[key] = array
            else:
                self._left_out[name] = f"it is {array.dtype} {shape}"
        return cameras, state

    @property
    def notes(self) -> tuple[str, ...]:
        """What the buffer holds that a store has no place for."""
        return tuple(f"{key} is left out: {why}" for key, why in self._left_out.items())

    def episodes(self, wanted: Collection[str]) -> Iterator[SourceEpisode]:
        """Episodes in the order of the buffer."""
        starts = [0, *self._ends[:-1].tolist()]
        for number, (start, stop) in enumerate(zip(starts, self._ends.tolist(), strict=True)):
            rows, source = slice(start, stop), f"{self._path.name}/{number}"
            try:
                record = self._record(number, rows)
            except DataError as error:
                yield unreadable(source, error)
            else:
                yield SourceEpisode(
                    dataclasses.replace(record, source=source), self._rows(rows, wanted)
                )

    def _record(self, number: int, rows: slice) -> EpisodeRecord:
        """What is known of an episode; its numbers stand for its content, pictures are too many."""
        numbers = [self._action, *(self._arrays[key] for key in self.layout.state)]
        with readable("numbers"):
            known = EpisodeRecord.from_json(self._records[number] if self._records else {})
            content = digest(*(np.asarray(array[rows]) for array in numbers if array is not None))
        return dataclasses.replace(known, source_hash=content)

    def _rows(self, rows: slice, wanted: Collection[str]) -> Iterator[Row]:
        for start in range(rows.start, rows.stop, BLOCK_ROWS):
            block = slice(start, min(start + BLOCK_ROWS, rows.stop))
            arrays = {key: self._read(key, block) for key in wanted}
            with readable("numbers"):
                actions = None if self._action is None else np.asarray(self._action[block])
                stamps = None if self._stamps is None else np.asarray(self._stamps[block])
            for i in range(block.stop - start):
                on_grid = grid_ns(start + i - rows.start, self.layout.rate_hz)
                yield Row(
                    stamp_ns=on_grid if stamps is None else int(stamps[i]),
                    images={k: arrays[k][i] for k in wanted if k in self.layout.cameras},
                    state={k: np.ravel(arrays[k][i]) for k in wanted if k in self.layout.state},
                    action=None if actions is None else actions[i],
                )

    def _read(self, key: str, rows: slice) -> npt.NDArray[Any]:
        with readable(key):
            values: npt.NDArray[Any] = np.asarray(self._arrays[key][rows])
        if key not in self.layout.cameras or values.dtype == np.uint8:
            return values
        # diffusion_policy keeps some pictures as floats from 0 to 255.
        if not (np.isfinite(values).all() and values.min() >= 0 and 1 < values.max() <= 255):
            raise DataError(f"{key} must be pixels from 0 to 255")
        pixels: npt.NDArray[np.uint8] = np.rint(values).astype(np.uint8)
        return pixels


def _opened(path: Path) -> zarr.Group:
    """The buffer's root."""
    if not path.exists():
        raise DataError(f"{path}: there is no such buffer")
    _register_codecs()
    store = zarr.storage.ZipStore(path, mode="r") if path.suffix == ".zip" else str(path)
    group = zarr.open_group(store, mode="r")
    if "data" not in group or "meta/episode_ends" not in group:
        raise DataError(f"{path}: has no data and meta/episode_ends; it holds {sorted(group)}")
    return group


def _register_codecs() -> None:
    """Make the picture codecs of diffusion_policy and UMI known, where they are installed."""
    try:
        from imagecodecs.numcodecs import register_codecs
    except ImportError:
        return
    register_codecs(verbose=False)


def _embodiment(group: zarr.Group, path: Path) -> Embodiment | None:
    text = group.attrs.get(EMBODIMENT)
    return Embodiment.parse(str(text), f"{path}/embodiment") if text else None


def export_buffer(
    selection: Selection,
    path: Path,
    *,
    prefix: str = "obs.",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a Zarr v2 buffer, pictures in chunks of one as UWM's loader expects.

    Args:
        selection: The episodes.
        path: The folder.
        prefix: Before the keys of cameras and state: ``obs.`` for UWM, nothing for
            diffusion_policy.
        overwrite: Replace a buffer of this name.
        progress: Called after every episode.

    Raises:
        DataError: If the folder exists.
    """
    store, steps = selection.store, selection.steps
    with whole_or_absent(path, overwrite=overwrite) as part:
        root = zarr.create_group(str(part), zarr_format=2)
        arrays: dict[str, Any] = {}
        for key in store.keys:
            source = store.array(key)
            name = f"{prefix}{key.removeprefix('obs.')}" if key.startswith("obs.") else key
            shape = (steps, *source.shape[1:])
            arrays[key] = _array(root, f"data/{name}", shape, source.dtype)
        records, ends = [], [0]
        for episode in selection.episodes(progress):
            rows = slice(ends[-1], ends[-1] + len(episode.stamp_ns))
            for name, images in episode.images.items():
                arrays[f"obs.{name}"][rows] = images
            for key, vectors in episode.state.items():
                arrays[f"obs.{key}"][rows] = vectors
            arrays["action"][rows] = episode.action
            arrays["stamp_ns"][rows] = episode.stamp_ns
            records.append(json.loads(record_json(episode.record)))
            ends.append(rows.stop)
        root.create_array("meta/episode_ends", data=np.array(ends[1:], np.int64), compressors=None)
        root.update_attributes(
            {EMBODIMENT: store.embodiment.to_yaml(), RECORD: json.dumps(records)}
        )


def _array(root: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    from numcodecs import Blosc

    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    chunk = 1 if len(shape) == 4 else max(1, min(shape[0], 2_000_000 // row_bytes))
    return root.create_array(
        name,
        shape=shape,
        chunks=(chunk, *shape[1:]),
        dtype=dtype,
        compressors=Blosc(cname="lz4", clevel=5, shuffle=Blosc.NOSHUFFLE),
        fill_value=0,
    )
