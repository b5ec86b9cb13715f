# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets as a source: version 3.0, and 2.1, which has a file per episode instead.

Pictures come from video files or out of the rows. Depth, language and
whatever else a store has no place for is named and left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.interop import lerobot_format as fmt
from uwm_core.data.interop.lerobot_rows import (
    Place,
    load_tasks,
    numbers,
    picture,
    places,
    read_json,
    read_rows,
)
from uwm_core.data.interop.source import (
    Layout,
    Row,
    SourceEpisode,
    column_names,
    digest,
    grid_ns,
    readable,
    unreadable,
)
from uwm_core.data.interop.video import pictures_at
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

_OBSERVATION = "observation."
_FLOATS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")


class LerobotSource:
    """A LeRobot data set.

    Args:
        path: Its folder.

    Raises:
        DataError: If it is none, of another version, or damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self._root = Path(path)
        info = read_json(self._root / fmt.INFO)
        version = str(info.get("codebase_version", ""))
        if not version.startswith(("v3.", "v2.1")):
            raise DataError(f"{path}: is LeRobot {version or '?'}; v3.0 and v2.1 can be read")
        if missing := sorted({"features", "fps", "data_path"} - info.keys()):
            raise DataError(f"{self._root / fmt.INFO}: lacks {missing[0]!r}")
        self._features: dict[str, dict[str, Any]] = info["features"]
        self._rate_hz = float(info["fps"])
        self._tasks = load_tasks(self._root)
        self._places = places(self._root, info)
        extra = self._root / fmt.EXTRA
        self._extra: dict[str, Any] = read_json(extra) if extra.is_file() else {}
        self.embodiment = (
            Embodiment.parse(self._extra["embodiment"], str(extra)) if self._extra else None
        )
        self._feature_of: dict[str, str] = {}
        self._left_out: dict[str, str] = {}
        self.layout = self._layout(str(info.get("robot_type") or self._root.name))

    def _layout(self, name: str) -> Layout:
        cameras: dict[str, tuple[int, int]] = {}
        state: dict[str, tuple[str, ...]] = {}
        action: tuple[str, ...] = ()
        for feature, spec in self._features.items():
            shape, key = tuple(spec["shape"]), _key(feature)
            if feature in fmt.COUNTERS or feature == fmt.STAMP:
                continue
            if spec["dtype"] in ("image", "video") and not _is_depth(spec):
                cameras[key] = _size(spec)
            elif spec["dtype"] in _FLOATS and len(shape) == 1 and feature == fmt.ACTION:
                action = _names(spec, "action")
                continue
            elif spec["dtype"] in _FLOATS and len(shape) == 1 and feature.startswith(_OBSERVATION):
                state[key] = _names(spec, key)
            else:
                self._left_out[feature] = f"it is {spec['dtype']} {shape}"
                continue
            if key in self._feature_of:
                both = f"{self._feature_of[key]} and {feature}"
                raise DataError(f"{self._root}: {both} have one name, {key!r}")
            self._feature_of[key] = feature
        return Layout(name=name, rate_hz=self._rate_hz, cameras=cameras, state=state, action=action)

    @property
    def notes(self) -> tuple[str, ...]:
        """What it holds that a store has no place for."""
        return tuple(f"{key} is left out: {why}" for key, why in self._left_out.items())

    def episodes(self, wanted: Collection[str]) -> Iterator[SourceEpisode]:
        """Episodes by their numbers."""
        for place in self._places:
            try:
                episode = self._episode(place, wanted)
            except DataError as error:
                episode = unreadable(self._name(place), error)
            yield episode

    def _name(self, place: Place) -> str:
        return f"{self._root.name}/{place.number}"

    def _episode(self, place: Place, wanted: Collection[str]) -> SourceEpisode:
        features = [self._feature_of[key] for key in self.layout.state]
        features += [fmt.ACTION] if self.layout.action else []
        stamped = [fmt.STAMP] if fmt.STAMP in self._features else []
        table = read_rows(place, [*features, *stamped, "task_index"])
        vectors = {feature: numbers(table, feature) for feature in (*features, *stamped)}
        tasks = [
            self._tasks.get(int(n), "") for n in dict.fromkeys(table["task_index"].to_pylist())
        ]
        several = (f"has the tasks {', '.join(tasks)}; the first counts",) * (len(tasks) > 1)
        known = self._record(place)
        record = dataclasses.replace(
            known,
            task=tasks[0],
            source=self._name(place),
            source_hash=digest(*vectors.values()),
            notes=known.notes + several,
        )
        return SourceEpisode(record, self._rows(place, vectors, wanted))

    def _record(self, place: Place) -> EpisodeRecord:
        """What this project wrote of the episode, unless others changed the data set since."""
        with readable(fmt.EXTRA):
            entries = self._extra.get("episodes", [])
            if place.number < len(entries) and entries[place.number]["steps"] == place.length:
                return EpisodeRecord.from_json(entries[place.number])
        return EpisodeRecord()

    def _rows(
        self, place: Place, vectors: dict[str, npt.NDArray[Any]], wanted: Collection[str]
    ) -> Iterator[Row]:
        cameras = {key: self._feature_of[key] for key in wanted if key in self.layout.cameras}
        streams = {key: self._pictures(place, feature) for key, feature in cameras.items()}
        state = {key: self._feature_of[key] for key in wanted if key in self.layout.state}
        action, stamps = vectors.get(fmt.ACTION), vectors.get(fmt.STAMP)
        for k in range(place.length):
            yield Row(
                stamp_ns=grid_ns(k, self.layout.rate_hz) if stamps is None else int(stamps[k, 0]),
                images={key: next(stream) for key, stream in streams.items()},
                state={key: vectors[feature][k] for key, feature in state.items()},
                action=None if action is None else action[k],
            )

    def _pictures(self, place: Place, feature: str) -> Iterator[npt.NDArray[np.uint8]]:
        """All pictures of an episode, in order."""
        if feature in place.videos:
            path, start_s = place.videos[feature]
            yield from pictures_at(path, start_s, place.length, self.layout.rate_hz)
        else:
            for cell in read_rows(place, [feature])[feature]:
                yield picture(cell.as_py(), self._root)


def _key(feature: str) -> str:
    return feature.removeprefix("observation.").removeprefix("images.")


def _is_depth(spec: dict[str, Any]) -> bool:
    about = {**(spec.get("video_info") or {}), **(spec.get("info") or {})}
    return bool(about.get("is_depth_map") or about.get("video.is_depth_map"))


def _size(spec: dict[str, Any]) -> tuple[int, int]:
    """(H, W), whether channels come last, as they should, or first."""
    first, second, third = spec["shape"]
    names = spec.get("names") or [""]
    channels_first = str(names[0]).startswith("channel") or (first == 3 and third != 3)
    return (second, third) if channels_first else (first, second)


def _names(spec: dict[str, Any], key: str) -> tuple[str, ...]:
    """Names of the columns, however they are nested; our own if they are not names of columns."""
    (size,) = spec["shape"]
    waiting, names = [spec.get("names")], []
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, str):
            names.append(value)
        elif isinstance(value, dict | list):
            waiting = [*(value.values() if isinstance(value, dict) else value), *waiting]
    return tuple(names) if len(names) == size == len(set(names)) else column_names(key, size)
