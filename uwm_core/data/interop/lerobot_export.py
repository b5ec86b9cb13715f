# SPDX-License-Identifier: Apache-2.0
"""A store to a LeRobot data set of version 3.0, one episode in memory at a time.

Beside the format's own, ``meta/uwm.json`` keeps the embodiment and the episodes' records, and a
feature ``stamp_ns`` the robot's clock, so that the way back loses nothing (but what a video codec
takes). LeRobot reads past both.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from uwm_core.data.interop import lerobot_format as fmt
from uwm_core.data.interop.exporting import Progress, Selection, whole_or_absent
from uwm_core.data.interop.lerobot_files import DataFiles, VideoFiles, write_table, write_tasks
from uwm_core.data.interop.source import needs
from uwm_core.data.interop.video import VideoCoding
from uwm_core.data.store import Episode
from uwm_core.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class LerobotOptions:
    """How a LeRobot data set is written.

    Attributes:
        images: ``video`` files, or ``image``: PNG in the rows, without loss.
        video: How video is coded.
        data_mb: A file of rows takes no further episode beyond this size.
        video_mb: The same for a video file.
        chunk_files: Files per folder.
    """

    images: Literal["video", "image"] = "video"
    video: VideoCoding = dataclasses.field(default_factory=VideoCoding)
    data_mb: int = 100
    video_mb: int = 200
    chunk_files: int = 1000


def export_lerobot(
    selection: Selection,
    path: Path,
    options: LerobotOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a LeRobot data set.

    Args:
        selection: The episodes.
        path: Its folder.
        options: How.
        overwrite: Replace a folder of this name.
        progress: Called after every episode.

    Raises:
        DataError: If the folder exists, or the format cannot hold the store.
    """
    needs("pyarrow")
    rate_hz = selection.store.embodiment.rate_hz
    if rate_hz != int(rate_hz):
        raise DataError(f"LeRobot knows whole frames per second only, the store has {rate_hz:g}")
    with whole_or_absent(path, overwrite=overwrite) as part:
        export = _Export(selection, part, options or LerobotOptions())
        try:
            for episode in selection.episodes(progress):
                export.episode(episode)
        finally:
            export.close()
        export.write_meta()


class _Export:
    """A data set in the making."""

    def __init__(self, selection: Selection, root: Path, options: LerobotOptions) -> None:
        self._embodiment = selection.store.embodiment
        self._root = root
        self._options = options
        self._video = options.images == "video"
        self._features = fmt.features_of(self._embodiment, video=self._video)
        self._fps = int(self._embodiment.rate_hz)
        self._data = DataFiles(root, self._features, options.data_mb, options.chunk_files)
        self._videos = {
            name: VideoFiles(
                root,
                fmt.IMAGES + name,
                size=self._embodiment.cameras[name].size,
                fps=self._fps,
                coding=options.video,
                limits=(options.video_mb, options.chunk_files),
            )
            for name in (self._embodiment.camera_names if self._video else ())
        }
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []
        self._records: list[dict[str, Any]] = []
        self._stats: dict[str, fmt.Stats] = {}
        self._frames = 0

    def episode(self, episode: Episode) -> None:
        """Append one episode."""
        n, task = len(episode.stamp_ns), episode.record.task
        number = len(self._rows)
        columns = self._columns(episode, self._tasks.setdefault(task, len(self._tasks)))
        stats = {key: fmt.vector_stats(values) for key, values in columns.items()}
        pictures = {fmt.IMAGES + name: images for name, images in episode.images.items()}
        stats |= {key: fmt.image_stats(images) for key, images in pictures.items()}
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [task],
            "length": n,
            **self._data.add({**columns, **({} if self._video else pictures)}),
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + n,
        }
        for name, files in self._videos.items():
            row |= files.add(episode.images[name])
        for key, of in stats.items():
            row |= {f"stats/{key}/{kind}": value.tolist() for kind, value in of.items()}
        self._rows.append({**row, "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._records.append(dataclasses.asdict(episode.record))
        for key, of in stats.items():
            self._stats[key] = fmt.merged_stats(self._stats[key], of) if key in self._stats else of
        self._frames += n

    def _columns(self, episode: Episode, task: int) -> dict[str, npt.NDArray[Any]]:
        """Everything but pictures."""
        n = len(episode.stamp_ns)
        state = [episode.state[key] for key in self._embodiment.state]
        return {
            **({fmt.STATE: np.concatenate(state, 1)} if state else {}),
            fmt.ACTION: episode.action,
            fmt.STAMP: episode.stamp_ns,
            "timestamp": (np.arange(n) / self._fps).astype(np.float32),
            "frame_index": np.arange(n),
            "episode_index": np.full(n, len(self._rows)),
            "index": np.arange(self._frames, self._frames + n),
            "task_index": np.full(n, task),
        }

    def close(self) -> None:
        """Finish the files of rows and pictures."""
        self._data.close()
        for files in self._videos.values():
            files.close()

    def write_meta(self) -> None:
        """Write what describes the whole."""
        for name, files in self._videos.items():
            self._features[fmt.IMAGES + name]["info"] = files.info()
        options = self._options
        info = {
            "codebase_version": fmt.VERSION,
            "robot_type": self._embodiment.name,
            "total_episodes": len(self._rows),
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": options.chunk_files,
            "data_files_size_in_mb": options.data_mb,
            "video_files_size_in_mb": options.video_mb,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": fmt.DATA_PATH,
            "video_path": fmt.VIDEO_PATH if self._video else None,
            "features": self._features,
        }
        stats = {
            key: {kind: value.tolist() for kind, value in of.items()}
            for key, of in self._stats.items()
        }
        extra = {"embodiment": self._embodiment.to_yaml(), "episodes": self._records}
        for name, content in ((fmt.INFO, info), (fmt.STATS, stats), (fmt.EXTRA, extra)):
            file = self._root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content, indent=4), encoding="utf-8")
        write_tasks(self._root / fmt.TASKS, list(self._tasks))
        episodes = {key: [row[key] for row in self._rows] for key in self._rows[0]}
        write_table(self._root / fmt.EPISODES_PATH.format(chunk_index=0, file_index=0), episodes)
