# SPDX-License-Identifier: Apache-2.0
"""robomimic's HDF5, and LIBERO's, which is the same with other names and pictures upside down.

``data/demo_<k>`` holds ``actions`` (n, D) and ``obs/<key>``: pictures (n, H, W, 3) uint8 and
vectors (n, k); attributes of ``data`` say what the environment was, ``mask/<name>`` lists demos.
Depth, rewards and simulator states have no place in a store; they are named and left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uwm_core.data.interop.exporting import EMBODIMENT, RECORD
from uwm_core.data.interop.source import (
    Layout,
    Row,
    SourceEpisode,
    action_names,
    column_names,
    digest,
    grid_ns,
    needs,
    one_line,
    readable,
    require_rate,
    unreadable,
)
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError

STAMPS = "uwm.stamp_ns"
# Read at once: enough to be quick, far less than an episode of pictures.
BLOCK_ROWS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobomimicOptions:
    """How the files are read.

    Attributes:
        rate_hz: Rows per second; by default what the environment's arguments say.
        mask: Name of the mask whose demos are wanted; all by default.
        upside_down: Whether pictures lie bottom row first, as LIBERO's do; by default they do
            in LIBERO's files.
    """

    rate_hz: float | None = None
    mask: str | None = None
    upside_down: bool | None = None


class RobomimicSource:
    """Demonstrations of HDF5 files that hold the same things.

    Args:
        paths: Files, or folders of ``.hdf5`` and ``.h5`` files.
        options: How they are read.

    Raises:
        DataError: If there is no file, one cannot be read, or they do not hold the same things.
    """

    def __init__(
        self, paths: Sequence[Path | str], options: RobomimicOptions | None = None
    ) -> None:
        self._options = options or RobomimicOptions()
        self._files = _find(paths)
        self._left_out: dict[str, str] = {}
        self._libero = False
        first, *others = [self._look(path) for path in self._files]
        self.layout, self.embodiment = first
        for path, (layout, _) in zip(self._files[1:], others, strict=True):
            if dataclasses.replace(layout, name=self.layout.name) != self.layout:
                raise DataError(
                    f"{path}: holds other things than {self._files[0]}; import it alone"
                )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the files hold that a store has no place for."""
        return tuple(f"{key} is left out: {why}" for key, why in self._left_out.items())

    @property
    def _upside_down(self) -> bool:
        chosen = self._options.upside_down
        return self._libero if chosen is None else chosen

    def _look(self, path: Path) -> tuple[Layout, Embodiment | None]:
        """What one file holds, going by its first demo."""
        with _opened(path) as file:
            data = file["data"]
            demos = _demos(path, file, self._options.mask)
            demo = data[demos[0]]
            if "obs" not in demo or "actions" not in demo:
                raise DataError(f"{path}: {demos[0]} lacks obs or actions; it has {list(demo)}")
            cameras, state = {}, {}
            for key, array in demo["obs"].items():
                shape = tuple(array.shape)
                if len(shape) == 4 and shape[3] == 3 and array.dtype == np.uint8:
                    cameras[key] = (shape[1], shape[2])
                elif len(shape) in (1, 2) and array.dtype.kind in "fiu":
                    state[key] = column_names(key, shape[1] if len(shape) == 2 else 1)
                else:
                    self._left_out[key] = f"it is {array.dtype} {shape}"
            if demo["actions"].ndim != 2:
                raise DataError(f"{path}: actions must be (n, D), are {demo['actions'].shape}")
            self._libero = "problem_info" in data.attrs
            text = data.attrs.get(EMBODIMENT)
            embodiment = Embodiment.parse(text, str(path)) if text else None
            layout = Layout(
                name=_json(data.attrs, "env_args").get("env_name") or path.stem,
                rate_hz=self._rate(path, data.attrs),
                cameras=cameras,
                state=state,
                action=action_names(demo["actions"].shape[1], embodiment),
            )
            return layout, embodiment

    def _rate(self, path: Path, attrs: Any) -> float:
        known = _json(attrs, "env_args").get("env_kwargs", {}).get("control_freq")
        return float(require_rate(self._options.rate_hz or known, str(path)))

    def episodes(self, wanted: Collection[str]) -> Iterator[SourceEpisode]:
        """Demos in the order of their numbers, file by file."""
        for path in self._files:
            with _opened(path) as file:
                task = _task(file["data"].attrs)
                for name in _demos(path, file, self._options.mask):
                    demo = file["data"][name]
                    source = f"{path.name}/{name}"
                    try:
                        record = _record(demo, source, task)
                    except DataError as error:
                        yield unreadable(source, error)
                    else:
                        yield SourceEpisode(record, self._rows(demo, wanted))

    def _rows(self, demo: Any, wanted: Collection[str]) -> Iterator[Row]:
        with readable("demo"):
            actions = np.asarray(demo["actions"])
            arrays = {key: demo["obs"][key] for key in wanted}
            stamps = np.asarray(demo[STAMPS]) if STAMPS in demo else None
        n = len(actions)
        for key, array in arrays.items():
            if len(array) != n:
                raise DataError(f"{key} has {len(array)} rows, actions have {n}")
            size = self.layout.cameras.get(key)
            if size is not None and array.shape[1:] != (*size, 3):
                raise DataError(f"{key} is {array.shape}, not {(n, *size, 3)} as in other demos")
        flip = slice(None, None, -1 if self._upside_down else 1)
        for start in range(0, n, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n))
            with readable("demo"):
                block = {key: np.asarray(array[rows]) for key, array in arrays.items()}
            for i in range(rows.stop - start):
                k = start + i
                yield Row(
                    stamp_ns=grid_ns(k, self.layout.rate_hz) if stamps is None else int(stamps[k]),
                    images={c: block[c][i][flip] for c in wanted if c in self.layout.cameras},
                    state={c: np.ravel(block[c][i]) for c in wanted if c in self.layout.state},
                    action=actions[k],
                )


def _find(paths: Sequence[Path | str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*") if p.suffix in (".hdf5", ".h5"))
        found += inside if path.is_dir() else [path]
    for path in found:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
    if not found:
        raise DataError(f"{paths[0]}: holds no .hdf5 file")
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, if it is HDF5 with demonstrations."""
    try:
        file = needs("h5py").File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: is not a readable HDF5 file: {one_line(error)}") from None
    with file, readable(str(path)):
        if "data" not in file or not any(name.startswith("demo") for name in file["data"]):
            raise DataError(f"{path}: has no data/demo_0; it holds {list(file)}")
        yield file


def _demos(path: Path, file: Any, mask: str | None) -> list[str]:
    """Names of the demos that are wanted, in natural order."""
    names = list(file["data"])
    if mask is not None:
        masks = list(file.get("mask", ()))
        if mask not in masks:
            raise UnknownNameError(f"mask of {path}", mask, masks)
        chosen = [n.decode() if isinstance(n, bytes) else str(n) for n in file["mask"][mask][:]]
        if strangers := sorted(set(chosen) - set(names)):
            raise DataError(f"{path}: mask {mask} names {strangers[0]}, which is not there")
        names = chosen
    if not names:
        raise DataError(f"{path}: mask {mask} is empty")
    return sorted(names, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])


def _json(attrs: Any, key: str) -> dict[str, Any]:
    try:
        value = json.loads(attrs.get(key, "{}"))
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _task(attrs: Any) -> str:
    """LIBERO's sentence, which some of its files keep as a list of letters."""
    sentence = _json(attrs, "problem_info").get("language_instruction", "")
    return "".join(sentence).strip().strip('"')


def _record(demo: Any, source: str, task: str) -> EpisodeRecord:
    """What is known of a demo; its actions stand for its content."""
    with readable("actions"):
        content = digest(np.asarray(demo["actions"]))
        entry = {"task": task, **_json(demo.attrs, RECORD)}
    known = EpisodeRecord.from_json(entry)
    return dataclasses.replace(known, source=source, source_hash=content)
