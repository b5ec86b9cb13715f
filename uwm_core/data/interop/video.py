# SPDX-License-Identifier: Apache-2.0
"""Pictures to a video file and back, through PyAV.

Written without B-frames and with a key frame at least every second picture: what is shown when is
plain in the file, and a loader that jumps to a picture decodes at most two.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from uwm_core.data.interop.source import needs, one_line
from uwm_core.errors import DataError, UnknownNameError

Codec = Literal["h264", "av1"]
Image = npt.NDArray[np.uint8]

KEY_FRAME_EVERY = 2
# What a whole video may end before it says: its last picture's time, and sound that goes on.
SLACK_S = 1.0
_ENCODERS = {
    "h264": ("libx264", {"preset": "medium", "bf": "0"}),
    "av1": ("libsvtav1", {"preset": "8"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoCoding:
    """How pictures become video.

    Attributes:
        codec: ``h264``, which everything plays, or ``av1``, which is smaller and slower.
        crf: Constant rate factor: lower is better and larger; 0 to 51 for h264, to 63 for av1.

    Raises:
        UnknownNameError: If the codec is none of these.
        ValueError: If the factor is out of range.
    """

    codec: Codec = "h264"
    crf: int = 18

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise UnknownNameError("video codec", self.codec, get_args(Codec))
        highest = 51 if self.codec == "h264" else 63
        if not 0 <= self.crf <= highest:
            raise ValueError(f"crf of {self.codec} must be 0 to {highest}, got {self.crf}")


class VideoWriter:
    """Writes one mp4 file, picture by picture; picture ``k`` is shown at ``k / rate_hz``.

    Args:
        path: The file.
        size: (H, W) of the pictures.
        rate_hz: Whole pictures per second.
        coding: How they are coded.

    Attributes:
        frames: Pictures so far.
        size_bytes: Size of what the encoder gave of them.

    Raises:
        DataError: If the size is odd: colour is stored for every second pixel.
    """

    def __init__(
        self, path: Path, size: tuple[int, int], rate_hz: int, coding: VideoCoding
    ) -> None:
        if size[0] % 2 or size[1] % 2:
            raise DataError(
                f"pictures of {size[0]}x{size[1]} cannot become video, whose sides must be even; "
                "write them as images"
            )
        self._av: Any = needs("av")
        encoder, options = _ENCODERS[coding.codec]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.frames = self.size_bytes = 0
        # Without this the AV1 encoder writes a page about itself to the terminal.
        os.environ.setdefault("SVT_LOG", "1")
        self._container = self._av.open(str(path), "w")
        self._stream = self._container.add_stream(
            encoder,
            rate=rate_hz,
            options={"crf": str(coding.crf), "g": str(KEY_FRAME_EVERY), **options},
        )
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"
        self._tick = Fraction(1, rate_hz)

    def add(self, image: Image) -> None:
        """Append a picture."""
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = self.frames
        frame.time_base = self._tick
        packets = self._stream.encode(frame)
        self._container.mux(packets)
        self.frames += 1
        self.size_bytes += sum(packet.size for packet in packets)

    def close(self) -> None:
        """Write what waits in the encoder, and the index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


def read_video(path: Path, start_s: float = 0.0) -> Iterator[tuple[float, Image]]:
    """Pictures of a video in the order in which they are shown, upright.

    Args:
        path: The file.
        start_s: Moment that is wanted; pictures begin at the key frame before it.

    Yields:
        Seconds, by the file's own clock, and the picture (H, W, 3) uint8.

    Raises:
        DataError: If the file is no readable video, or breaks off.
    """
    av = needs("av")
    if not path.is_file():
        raise DataError(f"{path}: there is no such video")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path}: has no pictures")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if start_s > 0:
                container.seek(int(start_s / stream.time_base), stream=stream)
            moment_s = end_s = -math.inf
            if stream.duration is not None:
                end_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
            for frame in container.decode(stream):
                if frame.pts is not None:
                    moment_s = float(frame.pts * stream.time_base)
                    yield moment_s, _upright(frame)
            if moment_s < end_s - SLACK_S:
                raise DataError(f"{path}: breaks off at {moment_s:.1f} of {end_s:.1f} s")
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{path}: is not a readable video: {one_line(error)}") from None


def pictures_at(path: Path, start_s: float, count: int, rate_hz: float) -> Iterator[Image]:
    """Pictures of a stretch of a video, the nearest to every moment of a grid.

    Args:
        path: The file.
        start_s: First moment.
        count: Number of moments.
        rate_hz: Moments per second.

    Raises:
        DataError: If there is no picture within half a period of a moment, or the file is bad.
    """
    period_s = 1 / rate_hz
    frames = read_video(path, start_s - period_s)
    shown, ahead = None, next(frames, None)
    for k in range(count):
        due_s = start_s + k * period_s
        while ahead is not None and ahead[0] <= due_s + period_s / 2:
            shown, ahead = ahead, next(frames, None)
        if shown is None or shown[0] < due_s - period_s / 2:
            raise DataError(f"{path}: has no picture at {due_s:.3f} s")
        yield shown[1]


def _upright(frame: Any) -> Image:
    """The picture as a player shows it: cameras held sideways say so beside the pixels."""
    pixels: Image = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
