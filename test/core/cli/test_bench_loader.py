# SPDX-License-Identifier: Apache-2.0
"""Laws of the loader's benchmark: everyone holds the same pictures and answers the same windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uwm_core.cli.camera_pictures import VIEWS, pictures
from uwm_core.cli.main import main
from uwm_core.cli.published_buffer import (
    LENGTH,
    BareDataset,
    PublishedDataset,
    batches,
    write_buffer,
)


def test_both_readers_of_the_published_buffer_slice_the_same_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shown = {view: rng.integers(0, 255, (50, 4, 6, 3), np.uint8) for view in VIEWS}
    action = rng.normal(size=(50, 10)).astype(np.float32)
    write_buffer(tmp_path / "b.zarr", shown, action, np.array([30, 50]))
    starts = [*range(30 - LENGTH + 1), *range(30, 50 - LENGTH + 1)]
    for data in (PublishedDataset(tmp_path / "b.zarr"), BareDataset(tmp_path / "b.zarr")):
        assert len(data) == len(starts)
        for number, start in enumerate(starts):
            window = data[number]
            for view, images in shown.items():
                np.testing.assert_array_equal(window["obs"][view], images[start : start + 2])
                after = images[start + 17 : start + 19]
                np.testing.assert_array_equal(window["next_obs"][view], after)
            np.testing.assert_array_equal(window["action"], action[start + 1 : start + 17])
    one = next(batches(PublishedDataset(tmp_path / "b.zarr"), 3, 0, seed=1))
    assert one["action"].shape == (3, 16, 10)


def test_pictures_follow_their_seed_and_carry_noise() -> None:
    first, second = (list(pictures(3, (16, 24), simulate=False, seed=2)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for view in VIEWS:
            np.testing.assert_array_equal(one[view], other[view])
            assert one[view].shape == (16, 24, 3)
    other = next(pictures(1, (16, 24), simulate=False, seed=3))
    assert (other["front"] != first[0]["front"]).any()


def test_it_prints_sizes_losses_and_speeds(capsys: pytest.CaptureFixture[str]) -> None:
    words = "bench loader --steps 24 --batch 3 --rounds 1 --seconds 0 --workers 0 1 --patterns"
    assert main([*words.split(), "--images", "lossless", "jpeg", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {(line["metric"], line["peer"]): line for line in lines}
    assert found["size_lossless", "published"]["ratio"] <= 1
    assert found["size_jpeg", "published"]["ratio"] <= 1 / 4
    assert found["psnr_jpeg", None]["value"] >= 40
    for workers in (0, 1):
        for peer in ("published", "published_bare"):
            assert found[f"windows_jpeg_workers{workers}", peer]["value"] > 0
