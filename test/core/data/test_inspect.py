# SPDX-License-Identifier: Apache-2.0
"""Laws of the contact sheet: the store's own pictures, at the place that time says."""

from pathlib import Path

import numpy as np
import pytest

from uwm_core.data.convert import convert
from uwm_core.data.inspect import contact_sheet, pick_episodes, summarize
from uwm_core.data.store import Store


@pytest.fixture(scope="module")
def store(good_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("stores") / "two.zarr"
    convert([good_bag, good_bag.with_name("good")], path)
    return Store.open(path)


def test_the_summary_counts_what_is_there(store: Store) -> None:
    summary = summarize(store)
    assert (summary.episodes, summary.steps, summary.duration_s) == (1, 20, 2.0)
    gripper = [r for r in summary.ranges if (r.array, r.name) == ("action", "gripper_width")]
    assert [(r.low, round(r.high, 6)) for r in gripper] == [(0.0, 0.08)]


def test_the_sheet_shows_first_and_last_step_of_every_camera(store: Store) -> None:
    sheet = contact_sheet(store, columns=4, cell_px=96)
    episode = store.episode(0)
    for camera in ("front", "wrist"):
        for moment in (0, -1):
            # Without its time tag a cell is the stored picture itself.
            bottom = episode.images[camera][moment][40:]
            found = np.lib.stride_tricks.sliding_window_view(sheet, bottom.shape)
            assert (found[..., 0, 0, 0, :] == bottom[0, 0]).all(-1).any()
            rows = np.argwhere((found[:, :, 0, 0, 0, :] == bottom[0, 0]).all(-1))
            assert any((sheet[r : r + 56, c : c + 96] == bottom).all() for r, c in rows)


@pytest.mark.parametrize(("count", "wanted"), [(1, 12), (12, 12), (300, 12), (5, 1)])
def test_shown_episodes_are_spread_from_first_to_last(count: int, wanted: int) -> None:
    picked = pick_episodes(count, wanted)
    assert len(picked) == min(count, wanted)
    assert picked[0] == 0
    assert wanted == 1 or picked[-1] == count - 1
