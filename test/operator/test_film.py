# SPDX-License-Identifier: Apache-2.0
"""Laws of the demo's film: side by side means the same moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uwm_ros.operator.film import FPS, GAP, HEAD, TILE, FilmWriter, Reel, Track

MS = 1_000_000


def flat(value: int) -> np.ndarray:
    return np.full((8, 8, 3), value, np.uint8)


@pytest.mark.parametrize("moment_ms", [0, 40, 99, 151, 199, 250])
def test_nearest_agrees_with_a_search_of_all(moment_ms: int) -> None:
    stamps = [0, 100, 200]
    track = Track()
    for stamp in stamps:
        track.add(stamp * MS, flat(stamp))
    best = min(stamps, key=lambda stamp: abs(stamp - moment_ms))
    found = track.nearest(moment_ms * MS, within_ns=60 * MS)
    assert found is not None
    assert found[0, 0, 0] == best


def test_an_image_too_far_in_time_is_not_shown() -> None:
    track = Track()
    track.add(0, flat(1))
    assert track.nearest(61 * MS, within_ns=60 * MS) is None


def test_a_late_arrival_of_an_older_moment_is_dropped() -> None:
    track = Track()
    track.add(200 * MS, flat(2))
    track.add(100 * MS, flat(1))
    assert track.stamps_ns == [200 * MS]


def test_the_imagined_stands_beside_the_moment_that_it_predicts() -> None:
    reel = Reel(cameras=("front",), imagined_within_ns=30 * MS)
    for number in range(30):
        reel.seen["front"].add(number * 33 * MS, flat(number * 8))
    predicted = 600 * MS
    reel.imagined["front"].add(predicted, flat(255))
    lit = [
        index
        for index, frame in enumerate(reel.frames("attempt 1"))
        if frame[HEAD + TILE // 2 + 40, 2 * GAP + TILE + TILE // 2].min() == 255
    ]
    assert lit
    assert all(abs(index * 1000 / FPS - 600) <= 31 for index in lit)


def test_the_film_holds_as_many_frames_as_were_written(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    with FilmWriter(path) as film:
        for number in range(12):
            film.write(np.full((64, 96, 3), number * 20, np.uint8))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 12
    assert abs(float(frames[6].mean()) - 120) < 8
