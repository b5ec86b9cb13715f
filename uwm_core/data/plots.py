# SPDX-License-Identifier: Apache-2.0
"""Small pictures for a report page, as SVG text: curves over time, and one dot per episode.

A page that holds its plots as text needs no script, no network and no plotting library where bags
are converted. Colours come from the page's style sheet, so that a plot follows its theme.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.floating] | Sequence[float]

# More points than this do not show on a plot of a few hundred pixels.
MAX_POINTS = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 18, 16


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """One line of a plot; it is broken where a value is not finite.

    Attributes:
        x: (n,) positions.
        y: (n,) values.
        style: Class in the style sheet: ``state``, ``action``, ``plain`` or ``limit``.
    """

    x: Numbers
    y: Numbers
    style: str = "plain"


def curves(
    title: str, lines: Sequence[Curve], *, unit: str = "s", width: int = 300, height: int = 92
) -> str:
    """Lines over one axis, with the extremes written at the sides.

    Args:
        title: Above the plot.
        lines: What to draw; lines without a finite value are left out.
        unit: Of the horizontal axis.
        width: Pixels.
        height: Pixels.

    Returns:
        One ``<svg>``.
    """
    drawn = [(np.asarray(line.x, float), np.asarray(line.y, float), line.style) for line in lines]
    drawn = [entry for entry in drawn if np.isfinite(entry[1]).any()]
    frame = _Frame(drawn, width, height)
    body = [frame.labels(title, unit)]
    body += [f'<path class="{style}" d="{frame.path(*_thin(x, y))}"/>' for x, y, style in drawn]
    return _svg(width, height, body)


def dots(
    title: str, values: Numbers, *, expected: float | None = None, width: int = 300,
    height: int = 92,
) -> str:  # fmt: skip
    """One dot per episode, and a line where the embodiment says a value should be.

    Args:
        title: Above the plot.
        values: (E,) one value per episode; those not finite are left out.
        expected: Where the line is.
        width: Pixels.
        height: Pixels.

    Returns:
        One ``<svg>``.
    """
    y = np.asarray(values, float)
    x = np.arange(len(y), dtype=float)
    known = np.isfinite(y)
    drawn = [(x[known], y[known], "dot")] if known.any() else []
    if expected is not None and len(y):
        edge = np.array([0.0, max(len(y) - 1.0, 1.0)])
        drawn.append((edge, np.full(2, expected), "limit"))
    frame = _Frame(drawn, width, height)
    body = [frame.labels(title, "episode")]
    if expected is not None and len(y):
        body.append(f'<path class="limit" d="{frame.path(*drawn[-1][:2])}"/>')
    radius = 2.2 if known.sum() <= 300 else 1.2
    body += [
        f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius}"/>'
        for px, py in (frame.points(x[known], y[known]) if known.any() else ())
    ]
    return _svg(width, height, body)


def _svg(width: int, height: int, body: Sequence[str]) -> str:
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg class="plot" {box}>{"".join(body)}</svg>'


def _thin(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """At most ``MAX_POINTS`` points, the extremes of each stretch kept so that no spike is lost."""
    if len(x) <= MAX_POINTS:
        return x, y
    kept: set[int] = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), MAX_POINTS // 2):
        finite = part[np.isfinite(y[part])]
        if len(finite):
            kept |= {int(finite[y[finite].argmin()]), int(finite[y[finite].argmax()])}
        if len(finite) < len(part):
            kept.add(int(part[~np.isfinite(y[part])][0]))
    index = np.array(sorted(kept))
    return x[index], y[index]


class _Frame:
    """Where the values of some lines lie in the pixels of a plot."""

    def __init__(
        self,
        drawn: Sequence[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str]],
        width: int,
        height: int,
    ) -> None:
        self._width, self._height = width, height
        xs = np.concatenate([np.zeros(1), *(x for x, _, _ in drawn)])
        ys = np.concatenate([np.zeros(0), *(y[np.isfinite(y)] for _, y, _ in drawn)])
        self._x = (float(xs.min()), float(xs.max()))
        self._y = (float(ys.min()), float(ys.max())) if len(ys) else (0.0, 0.0)

    def points(self, x: Numbers, y: Numbers) -> list[tuple[float, float]]:
        """Pixels of values."""
        across = self._place(np.asarray(x, float), self._x, _LEFT, self._width - _RIGHT)
        down = self._place(np.asarray(y, float), self._y, self._height - _BOTTOM, _TOP)
        return list(zip(across.tolist(), down.tolist(), strict=True))

    def path(self, x: Numbers, y: Numbers) -> str:
        """The ``d`` of a line through the values, lifted where one is not finite."""
        words, pen = [], "M"
        for px, py in self.points(x, y):
            if np.isfinite(py):
                words.append(f"{pen}{px:.1f} {py:.1f}")
                pen = "L"
            else:
                pen = "M"
        return "".join(words)

    def labels(self, title: str, unit: str) -> str:
        """Title, extremes of both axes, the axes themselves."""
        low, high = self._y
        bottom, right = self._height - _BOTTOM, self._width - _RIGHT
        text = [
            (_LEFT, 12, "start", "title", title),
            (_LEFT - 5, _TOP + 6, "end", "tick", f"{high:.4g}"),
            (_LEFT, self._height - 4, "start", "tick", f"{self._x[0]:.4g}"),
            (right, self._height - 4, "end", "tick", f"{self._x[1]:.4g} {unit}"),
        ]
        if high > low:
            text.append((_LEFT - 5, bottom, "end", "tick", f"{low:.4g}"))
        written = "".join(
            f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}'
            "</text>"
            for x, y, anchor, kind, words in text
        )
        return f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>{written}'

    def _place(
        self, values: npt.NDArray[np.float64], span: tuple[float, float], start: int, stop: int
    ) -> npt.NDArray[np.float64]:
        low, high = span
        share = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
        return start + share * (stop - start)
