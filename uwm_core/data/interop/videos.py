# SPDX-License-Identifier: Apache-2.0
"""Folders of videos as episodes without actions: what a world model may watch.

A video becomes steps at the embodiment's rate: at every tick the last picture shown at or before
it, whatever the video's own rate, constant or not. Everything but one camera is absent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

from uwm_core.data.interop.source import Layout, Row, SourceEpisode, grid_ns, one_line
from uwm_core.data.interop.video import Image, read_video
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
# A stamp is rounded to the video's own clock: a picture this little after a tick belongs to it.
CLOCK_S = 1e-4
MIN_STEPS = 2
SAMPLE_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideosOptions:
    """How videos become episodes.

    Attributes:
        camera: Whose pictures they are; needed where the embodiment has several.
        task: Where the task sentence comes from if no ``<name>.txt`` or ``<name>.json`` (with
            ``task``) lies beside the video: nowhere, its file name, or its folder's name.
        crop: Cut the pictures to the camera's shape instead of squeezing them into it.
    """

    camera: str | None = None
    task: Literal["none", "name", "folder"] = "none"
    crop: bool = False


class VideoFolder:
    """Videos in files and folders, at any depth.

    Args:
        paths: Files and folders.
        embodiment: The robot that shall learn from them: its camera's size, its rate.
        options: How.

    Raises:
        DataError: If there is no video, or it is not clear for which camera.
        UnknownNameError: If the embodiment has no such camera.
    """

    notes: tuple[str, ...] = ()

    def __init__(
        self,
        paths: Sequence[Path | str],
        embodiment: Embodiment,
        options: VideosOptions | None = None,
    ) -> None:
        self._options = options or VideosOptions()
        self._videos = _find(paths)
        self._camera = self._options.camera or _only_camera(embodiment)
        if self._camera not in embodiment.cameras:
            raise UnknownNameError("camera", self._camera, embodiment.camera_names)
        self.embodiment = embodiment
        self._size = embodiment.cameras[self._camera].size
        self.layout = Layout(
            name=str(paths[0]),
            rate_hz=embodiment.rate_hz,
            cameras={self._camera: self._size},
            state={},
            action=(),
        )

    def episodes(self, wanted: Collection[str]) -> Iterator[SourceEpisode]:
        """One episode per video, in the order of their names."""
        for name, path in self._videos.items():
            record = EpisodeRecord(
                task=self._task(path), role="video", source=name, source_hash=_identity(path)
            )
            yield SourceEpisode(record, self._rows(path))

    def _task(self, path: Path) -> str:
        """The sentence beside the video, else what its name says."""
        try:
            if (file := path.with_suffix(".txt")).is_file():
                return " ".join(file.read_text(encoding="utf-8").split())
            if (file := path.with_suffix(".json")).is_file():
                return str(json.loads(file.read_text(encoding="utf-8")).get("task", ""))
        except (OSError, ValueError, AttributeError) as error:
            raise DataError(f"{file}: cannot be read: {one_line(error)}") from None
        name = {"none": "", "name": path.stem, "folder": path.parent.name}[self._options.task]
        return " ".join(name.replace("_", " ").replace("-", " ").split())

    def _rows(self, path: Path) -> Iterator[Row]:
        count = 0
        for image in resampled(read_video(path), self.layout.rate_hz):
            picture = cropped(image, self._size) if self._options.crop else image
            stamp_ns = grid_ns(count, self.layout.rate_hz)
            yield Row(stamp_ns=stamp_ns, images={self._camera: picture}, state={}, action=None)
            count += 1
        if count < MIN_STEPS:
            raise DataError(f"is shorter than {MIN_STEPS} steps at {self.layout.rate_hz:g} Hz")


def resampled(frames: Iterator[tuple[float, Image]], rate_hz: float) -> Iterator[Image]:
    """Pictures on a grid that begins with the first of them and ends with the last.

    Args:
        frames: Moments in seconds, rising, and pictures.
        rate_hz: Ticks per second.

    Yields:
        At every tick, the last picture at or before it.
    """
    shown: Image | None = None
    start_s, tick = 0.0, 0
    for moment_s, image in frames:
        if shown is None:
            start_s = moment_s
        else:
            while start_s + tick / rate_hz < moment_s - CLOCK_S:
                yield shown
                tick += 1
        last_s, shown = moment_s, image
    if shown is not None and start_s + tick / rate_hz <= last_s + CLOCK_S:
        yield shown


def cropped(image: Image, size: tuple[int, int]) -> Image:
    """The middle of a picture, of the same shape as ``size`` (H, W) and as large as can be."""
    height, width = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    h, w = round(size[0] * scale), round(size[1] * scale)
    top, left = (height - h) // 2, (width - w) // 2
    return image[top : top + h, left : left + w]


def _only_camera(embodiment: Embodiment) -> str:
    if len(embodiment.cameras) != 1:
        names = ", ".join(embodiment.camera_names)
        raise DataError(f"{embodiment.name} has the cameras {names}; say which (--camera front)")
    return embodiment.camera_names[0]


def _find(paths: Sequence[Path | str]) -> dict[str, Path]:
    """Videos by their name below the folder that was given."""
    found: dict[str, Path] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        inside = [p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file()]
        files = sorted(inside) if path.is_dir() else [path]
        found |= {file.relative_to(path.parent).as_posix(): file for file in files}
    if not found:
        raise DataError(f"{paths[0]}: holds no video ({', '.join(ENDINGS)})")
    return found


def _identity(path: Path) -> str:
    """Hash of a file's size, beginning and end: enough to know it again without reading it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        content = hashlib.sha256(str(size).encode() + file.read(SAMPLE_BYTES))
        file.seek(max(0, size - SAMPLE_BYTES), os.SEEK_SET)
        content.update(file.read())
    return content.hexdigest()
