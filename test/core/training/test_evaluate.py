# SPDX-License-Identifier: Apache-2.0
"""Laws of evaluation: unseen episodes only, the same figures again, each beside its peer."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uwm_core.checkpoint import Checkpoint
from uwm_core.data.windows import EpisodeSpan, Steps
from uwm_core.errors import StoreError
from uwm_core.training.evaluate import (
    EvaluateConfig,
    Evaluation,
    Examples,
    evaluate,
    held_out,
)
from uwm_core.training.loop import Data
from uwm_core.training.sheet import draw_sheet, heat, save_sheet

FEW = EvaluateConfig(windows=5, batch=3, sample_steps=2)


def trained_on(checkpoint: Checkpoint, data: Data) -> Checkpoint:
    training = {"data": data.describe(), "held_out": list(data.split.validation)}
    return dataclasses.replace(checkpoint, training=training)


@pytest.fixture(scope="module")
def found(tiny_checkpoint: Checkpoint, tiny_data: Data) -> Evaluation:
    return evaluate(trained_on(tiny_checkpoint, tiny_data), tiny_data.steps, FEW)


def test_its_own_store_is_measured_on_validation_episodes_alone(
    tiny_checkpoint: Checkpoint, tiny_data: Data, found: Evaluation
) -> None:
    assert found.episodes == tiny_data.split.validation
    nothing = dataclasses.replace(
        tiny_checkpoint, training={"data": tiny_data.describe(), "held_out": []}
    )
    with pytest.raises(StoreError, match="no episode of the store is held out"):
        evaluate(nothing, tiny_data.steps, FEW)


def test_another_store_is_wholly_held_out(tiny_checkpoint: Checkpoint, tiny_data: Data) -> None:
    steps = tiny_data.steps
    other = dataclasses.replace(steps, action=steps.action + 0.1)
    checkpoint = trained_on(tiny_checkpoint, tiny_data)
    assert held_out(checkpoint, other) == tuple(range(len(steps.episodes)))


def test_every_target_has_its_figure_and_peer(found: Evaluation) -> None:
    have = {(figure.bench, figure.metric, figure.peer) for figure in found.figures}
    for role in ("expert", "play"):
        bench = f"evaluate_{role}"
        assert (bench, "forward_latent_error", "copying") in have
        assert (bench, "forward_pixel_error", "copying") in have
        assert (bench, "forward_latent_error", "shuffled_actions") in have
        assert (bench, "inverse_action_error", "policy") in have
        assert (bench, "video_latent_error", "copying") in have
    line = json.loads(found.figures[0].to_json())
    assert set(line) == {
        "bench",
        "metric",
        "value",
        "unit",
        "peer",
        "peer_value",
        "ratio",
        "machine",
    }


def test_figures_are_the_same_again(
    tiny_checkpoint: Checkpoint, tiny_data: Data, found: Evaluation
) -> None:
    again = evaluate(trained_on(tiny_checkpoint, tiny_data), tiny_data.steps, FEW)
    assert again.figures == found.figures


def test_copying_is_perfect_where_nothing_moves(
    tiny_checkpoint: Checkpoint, tiny_data: Data
) -> None:
    steps = tiny_data.steps
    still = {name: np.repeat(image[:1], len(image), axis=0) for name, image in steps.images.items()}
    figures = evaluate(tiny_checkpoint, dataclasses.replace(steps, images=still), FEW).figures
    copied = [figure.peer_value for figure in figures if figure.peer == "copying"]
    assert copied == [0.0] * len(copied)


def test_video_episodes_need_no_actions(tiny_checkpoint: Checkpoint, tiny_data: Data) -> None:
    steps = tiny_data.steps
    silent = Steps(
        images=steps.images,
        state=steps.state,
        action=np.full_like(steps.action, np.nan),
        episodes=(EpisodeSpan(start=0, stop=30, role="video"),),
    )
    found = evaluate(tiny_checkpoint, silent, FEW)
    assert {figure.metric for figure in found.figures} == {
        "video_latent_error",
        "video_pixel_error",
    }
    assert all(np.isfinite(figure.value) for figure in found.figures)


def test_too_short_episodes_are_refused(tiny_checkpoint: Checkpoint, tiny_data: Data) -> None:
    steps = dataclasses.replace(tiny_data.steps, episodes=(EpisodeSpan(start=0, stop=5),))
    with pytest.raises(StoreError, match="long enough"):
        evaluate(tiny_checkpoint, steps, FEW)


def test_sheet_shows_every_example_of_every_view(found: Evaluation, tmp_path: Path) -> None:
    save_sheet(found.examples, "tiny", tmp_path / "deep" / "sheet.png")
    with Image.open(tmp_path / "deep" / "sheet.png") as sheet:
        one = draw_sheet(found.examples[:1], "tiny")
        assert sheet.size[0] == one.size[0]
        assert sheet.size[1] > one.size[1]


def test_no_error_is_black_and_more_error_is_brighter() -> None:
    levels = heat(np.linspace(0, 90, 10)[None])[0].astype(int).sum(axis=-1)
    assert levels[0] <= 4
    assert (np.diff(levels) > 0).all()


def test_a_perfect_imagination_has_a_dark_fourth_column() -> None:
    truth = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    part = Examples(
        role="play",
        present={"front": 255 - truth},
        truth={"front": truth},
        imagined={"front": truth},
    )
    pixels = np.asarray(draw_sheet([part], "t"))
    cells = pixels[64 : 64 + 128]
    imagined = cells[:, 24 + 3 * 134 : 24 + 3 * 134 + 128]
    copied = cells[:, 24 + 4 * 134 : 24 + 4 * 134 + 128]
    assert imagined.max() <= 4
    assert copied.max() > 200
