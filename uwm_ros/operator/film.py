# SPDX-License-Identifier: Apache-2.0
"""The film of an attempt: each camera beside what the model had imagined for that moment.

An imagined image carries the moment that it predicts as its stamp, so putting the two side by side
is a look-up by time and nothing else. No ROS import: images come in as arrays.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FPS = 15
TILE = 224
GAP = 8
HEAD = 30
PAPER = (250, 250, 248)
INK = (40, 44, 52)
FAINT = (205, 207, 210)


@dataclass
class Track:
    """Images of one source with the moment each one shows, ns, in order of arrival."""

    stamps_ns: list[int] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)

    def add(self, stamp_ns: int, image: np.ndarray) -> None:
        """Take ``image`` (H, W, 3) uint8; one older than the newest is dropped."""
        if not self.stamps_ns or stamp_ns > self.stamps_ns[-1]:
            self.stamps_ns.append(stamp_ns)
            self.images.append(image)

    def nearest(self, moment_ns: int, within_ns: int) -> np.ndarray | None:
        """The image closest to ``moment_ns``, or None when none lies ``within_ns`` of it."""
        at = bisect.bisect_left(self.stamps_ns, moment_ns)
        candidates = [i for i in (at - 1, at) if 0 <= i < len(self.stamps_ns)]
        if not candidates:
            return None
        best = min(candidates, key=lambda i: abs(self.stamps_ns[i] - moment_ns))
        return self.images[best] if abs(self.stamps_ns[best] - moment_ns) <= within_ns else None


@dataclass
class Reel:
    """Everything that was seen and imagined during one attempt.

    Attributes:
        cameras: Order of the rows.
        imagined_within_ns: How far an imagined image may lie from the moment it stands beside.
    """

    cameras: Sequence[str]
    imagined_within_ns: int = 400_000_000
    seen: dict[str, Track] = field(default_factory=dict)
    imagined: dict[str, Track] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make one track per camera."""
        self.clear()

    def clear(self) -> None:
        """Begin a new attempt."""
        self.seen = {camera: Track() for camera in self.cameras}
        self.imagined = {camera: Track() for camera in self.cameras}

    def frames(self, title: str) -> Iterator[np.ndarray]:
        """Film frames (H, W, 3) uint8 at :data:`FPS`, from the first camera image to the last."""
        lead = self.seen[self.cameras[0]].stamps_ns
        if not lead:
            return
        begin_ns, end_ns = lead[0], lead[-1]
        for moment_ns in range(begin_ns, end_ns, 1_000_000_000 // FPS):
            text = f"{title}   {(moment_ns - begin_ns) * 1e-9:4.1f} s"
            yield self._compose(moment_ns, text)

    def _compose(self, moment_ns: int, text: str) -> np.ndarray:
        width = 2 * TILE + 3 * GAP
        height = HEAD + len(self.cameras) * (TILE + GAP) + GAP
        page = Image.new("RGB", (width, height), PAPER)
        draw = ImageDraw.Draw(page)
        draw.text((GAP, 8), text, INK, font=_font(13))
        for row, camera in enumerate(self.cameras):
            top = HEAD + row * (TILE + GAP)
            seen = self.seen[camera].nearest(moment_ns, 500_000_000)
            imagined = self.imagined[camera].nearest(moment_ns, self.imagined_within_ns)
            _tile(page, (GAP, top), seen, f"{camera}: camera")
            _tile(page, (2 * GAP + TILE, top), imagined, f"{camera}: imagined before")
        return np.asarray(page)


def _tile(page: Image.Image, corner: tuple[int, int], image: np.ndarray | None, label: str) -> None:
    x, y = corner
    draw = ImageDraw.Draw(page)
    if image is None:
        draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), fill=FAINT)
        draw.text((x + 60, y + TILE // 2 - 8), "nothing imagined yet", INK, font=_font(11))
    else:
        picture = Image.fromarray(image).resize((TILE, TILE), Image.Resampling.BICUBIC)
        page.paste(picture, corner)
    font = _font(11)
    draw.rectangle((x, y, x + 8 + draw.textlength(label, font=font), y + 17), fill=PAPER)
    draw.text((x + 4, y + 2), label, INK, font=font)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class FilmWriter:
    """Writes frames into an H.264 MP4 as they come; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; its folder is made."""
        import av  # heavy, and only a film needs it

        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._container = av.open(str(path), "w")
        self._stream = None
        self._frame = av.VideoFrame

    def __enter__(self) -> FilmWriter:
        """Return itself."""
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame (H, W, 3) uint8; H and W even, the same for all frames."""
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=FPS)
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "20"}
        for packet in self._stream.encode(self._frame.from_ndarray(frame, format="rgb24")):
            self._container.mux(packet)

    def __exit__(self, *_: object) -> None:
        """Flush and close."""
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
        self._container.close()
