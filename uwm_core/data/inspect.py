# SPDX-License-Identifier: Apache-2.0
"""What a store holds, for people: a summary in numbers and a contact sheet in pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from uwm_core.data.messages import resize
from uwm_core.data.store import Episode, Store

_BACK, _INK, _FAINT = (20, 23, 28), (232, 234, 237), (138, 146, 158)
_ROLE_COLOURS = {"expert": (94, 201, 140), "play": (102, 163, 255), "video": (190, 140, 255)}
_FAILED = (240, 110, 100)
_LABEL_PX, _GAP_PX, _HEAD_PX = 190, 4, 44


@dataclasses.dataclass(frozen=True)
class ColumnRange:
    """Smallest and largest value of one column.

    Attributes:
        array: Array it is a column of.
        name: What the column is.
        low: Smallest value, in the embodiment's unit.
        high: Largest value, in the embodiment's unit.
    """

    array: str
    name: str
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """A store in numbers.

    Attributes:
        episodes: Number of episodes.
        steps: Number of steps.
        duration_s: Time on the grid.
        size_bytes: Bytes on disk.
        ranges: Per column of state and action; columns without a value are left out.
    """

    episodes: int
    steps: int
    duration_s: float
    size_bytes: int
    ranges: tuple[ColumnRange, ...]


def summarize(store: Store) -> Summary:
    """Count and measure what a store holds.

    Args:
        store: An open store.

    Returns:
        The summary.
    """
    embodiment = store.embodiment
    ranges = column_ranges("state", embodiment.state_names, store.state())
    ranges += column_ranges("action", embodiment.action_names, store.array("action")[:])
    return Summary(
        episodes=len(store),
        steps=store.steps,
        duration_s=store.steps / embodiment.rate_hz,
        size_bytes=store.size_bytes,
        ranges=tuple(ranges),
    )


def column_ranges(
    array: str, names: Sequence[str], values: npt.NDArray[np.float32]
) -> list[ColumnRange]:
    """Range of every column (N, n) that has a finite value."""
    found = []
    for name, column in zip(names, values.T, strict=True):
        real = column[np.isfinite(column)]
        if real.size:
            found.append(ColumnRange(array, name, float(real.min()), float(real.max())))
    return found


def pick_episodes(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` episode numbers, spread evenly from the first to the last."""
    return sorted({round(float(x)) for x in np.linspace(0, count - 1, min(count, wanted))})


def contact_sheet(
    store: Store, *, episodes: Sequence[int] | None = None, columns: int = 8, cell_px: int = 112
) -> npt.NDArray[np.uint8]:
    """Episodes downwards, time to the right, every camera in a strip of its own.

    Args:
        store: An open store.
        episodes: Which ones; by default twelve, spread evenly.
        columns: Moments per episode, from its first step to its last.
        cell_px: Height of one picture; the width follows the camera's shape.

    Returns:
        The sheet (H, W, 3) uint8.
    """
    shown = pick_episodes(len(store), 12) if episodes is None else list(episodes)
    cameras = store.embodiment.camera_names
    sizes = [store.embodiment.cameras[name].size for name in cameras]
    cell_w = max([round(cell_px * width / height) for height, width in sizes] or [cell_px])
    block_px = max(1, len(cameras)) * (cell_px + _GAP_PX) + 3 * _GAP_PX
    width = _LABEL_PX + columns * (cell_w + _GAP_PX) + 2 * _GAP_PX
    sheet = Image.new("RGB", (width, _HEAD_PX + len(shown) * block_px + _GAP_PX), _BACK)
    draw = ImageDraw.Draw(sheet)
    _head(draw, store, len(shown))
    for row, index in enumerate(shown):
        top = _HEAD_PX + row * block_px
        episode = store.episode(index)
        _label(draw, episode, index, top, store.embodiment.rate_hz)
        moments = np.linspace(0, len(episode.stamp_ns) - 1, columns).round().astype(int)
        for strip, name in enumerate(cameras):
            y = top + strip * (cell_px + _GAP_PX)
            for column, moment in enumerate(moments):
                x = _LABEL_PX + column * (cell_w + _GAP_PX)
                picture = resize(episode.images[name][moment], (cell_px, cell_w))
                sheet.paste(Image.fromarray(picture), (x, y))
                if strip == 0:
                    seconds = (episode.stamp_ns[moment] - episode.stamp_ns[0]) / 1e9
                    _tag(draw, (x + 4, y + 3), f"{seconds:.1f} s")
            draw.text((_LABEL_PX - 8, y + cell_px // 2), name, _FAINT, _font(11), anchor="rm")
    return np.asarray(sheet)


def save_sheet(store: Store, path: Path | str, **options: Any) -> Path:
    """Draw the contact sheet into a PNG file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(store, **options)).save(path, "PNG", optimize=True)
    return path


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _head(draw: ImageDraw.ImageDraw, store: Store, shown: int) -> None:
    embodiment = store.embodiment
    draw.text((12, 12), store.name, _INK, _font(17))
    about = f"{embodiment.name} at {embodiment.rate_hz:g} Hz, {shown} of {len(store)} episodes"
    draw.text((_LABEL_PX, 16), f"{about}, {store.steps} steps", _FAINT, _font(13))


def _label(
    draw: ImageDraw.ImageDraw, episode: Episode, index: int, top: int, rate_hz: float
) -> None:
    record = episode.record
    failed = record.outcome != "success"
    colour = _FAILED if failed else _ROLE_COLOURS[record.role]
    draw.rectangle((4, top, 7, top + 74), colour)
    seconds = len(episode.stamp_ns) / rate_hz
    draw.text((14, top), f"{index}", _INK, _font(17))
    draw.text((14, top + 22), f"{record.role}, {record.outcome}", colour, _font(12))
    draw.text((14, top + 40), f"{seconds:.1f} s, {record.steps} steps", _FAINT, _font(11))
    task = record.task if len(record.task) <= 24 else record.task[:23] + "…"
    draw.text((14, top + 57), task, _FAINT, _font(11))


def _tag(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """Small light text that stays readable on any picture."""
    draw.text(at, text, _INK, _font(10), stroke_width=2, stroke_fill=_BACK)
