# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of what was imagined: one row per window, five pictures per view.

present, what came, what was imagined, and both errors (of imagining and of copying the present)
on one scale, so that a dark fourth picture beside a bright fifth is what one wants to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from uwm_core.training.evaluate import Examples

COLUMNS = ("present", "what came", "imagined", "error: imagined", "error: copied")

_CELL = 128  # px, side of one picture
_GAP = 6
_VIEW_GAP = 22
_MARGIN = 24
_HEADER = 64
_PAPER, _INK, _SOFT = (250, 250, 247), (34, 40, 49), (128, 134, 142)
_ROLE_INK = {"expert": (28, 110, 180), "play": (196, 110, 20), "video": (120, 80, 170)}
# Error of a channel value that is drawn as full heat, of 255.
_FULL_ERROR = 90.0

Picture = npt.NDArray[np.uint8]


def draw_sheet(examples: Sequence[Examples], title: str) -> Image.Image:
    """Draw the sheet.

    Args:
        examples: Windows of each role.
        title: One line above the pictures.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not examples:
        raise ValueError("a sheet needs at least one example")
    views = sorted(examples[0].present)
    rows = sum(len(part.present[views[0]]) for part in examples)
    view_width = len(COLUMNS) * (_CELL + _GAP) - _GAP
    width = 2 * _MARGIN + len(views) * view_width + (len(views) - 1) * _VIEW_GAP
    height = _HEADER + rows * (_CELL + _GAP) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 12), title, fill=_INK, font=ImageFont.load_default(17))
    for v, view in enumerate(views):
        left = _MARGIN + v * (view_width + _VIEW_GAP)
        _head(draw, view, left)
        top = _HEADER
        for part in examples:
            for n in range(len(part.present[view])):
                for column, picture in enumerate(_row(part, view, n)):
                    sheet.paste(_fit(picture), (left + column * (_CELL + _GAP), top))
                ink = _ROLE_INK.get(part.role, _INK)
                draw.rectangle((left - 5, top, left - 3, top + _CELL - 1), fill=ink)
                top += _CELL + _GAP
    _legend(draw, examples, width)
    return sheet


def save_sheet(examples: Sequence[Examples], title: str, path: Path) -> None:
    """Draw the sheet into a PNG file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(examples, title).save(path)


def heat(error: npt.NDArray[np.float64]) -> Picture:
    """Errors of channel values (H, W) of 255 as dark to bright: (H, W, 3) uint8."""
    level = np.clip(error / _FULL_ERROR, 0, 1)
    # Black, violet, orange, pale yellow: rising brightness, readable without colour vision.
    stops = np.array([[0, 0, 4], [120, 28, 109], [237, 105, 37], [252, 255, 164]], np.float64)
    place = np.linspace(0, 1, len(stops))
    channels = [np.interp(level, place, stops[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _row(part: Examples, view: str, n: int) -> tuple[Picture, ...]:
    present, truth, imagined = (
        np.asarray(images[view][n].numpy()) for images in (part.present, part.truth, part.imagined)
    )
    return (
        present,
        truth,
        imagined,
        heat(_difference(imagined, truth)),
        heat(_difference(present, truth)),
    )


def _difference(one: Picture, other: Picture) -> npt.NDArray[np.float64]:
    error: npt.NDArray[np.float64] = np.abs(one.astype(np.float64) - other).mean(axis=-1)
    return error


def _fit(picture: Picture) -> Image.Image:
    return Image.fromarray(picture).resize((_CELL, _CELL), Image.Resampling.LANCZOS)


def _head(draw: ImageDraw.ImageDraw, view: str, left: int) -> None:
    for column, text in enumerate(COLUMNS):
        name = f"{view}: {text}" if column == 0 else text
        at = (left + column * (_CELL + _GAP), _HEADER - 20)
        draw.text(at, name, fill=_SOFT, font=ImageFont.load_default(12))


def _legend(draw: ImageDraw.ImageDraw, examples: Sequence[Examples], width: int) -> None:
    right = width - _MARGIN
    font = ImageFont.load_default(13)
    for part in reversed(examples):
        right -= int(draw.textlength(part.role, font=font))
        draw.text((right, 14), part.role, fill=_ROLE_INK.get(part.role, _INK), font=font)
        right -= 16
