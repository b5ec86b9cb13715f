# SPDX-License-Identifier: Apache-2.0
"""Laws of training configs: valid from birth, and the shipped ones can be read."""

from __future__ import annotations

import dataclasses

import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import SpecError, StoreError, UnknownNameError
from uwm_core.resources import bundled
from uwm_core.spec import dump_spec, parse_spec, read_spec
from uwm_core.training.config import Compute, TrainConfig, fit_preset


@pytest.mark.parametrize("name", sorted(bundled("train", ".yaml")))
def test_shipped_configs_are_valid_and_fit_the_simulated_arm(name: str) -> None:
    config = read_spec(bundled("train", ".yaml")[name], TrainConfig)
    assert parse_spec(dump_spec(config), TrainConfig) == config
    fit_preset(config.preset, Embodiment.load("fr3_sim"))


def test_how_it_is_computed_is_no_part_of_what_is_learned_but_for_its_rounding() -> None:
    plain = TrainConfig()
    elsewhere = Compute(device="cuda", parallel="fsdp", accumulate=2, checkpointing=True)
    moved = dataclasses.replace(plain, compute=elsewhere, workers=3, threads=1)
    assert moved.what_is_learned == plain.what_is_learned
    rounded = dataclasses.replace(plain, compute=Compute(precision="bfloat16"))
    assert rounded.what_is_learned != plain.what_is_learned
    # Runs that were begun before there was a choice can go on.
    assert "compute" not in dump_spec(plain)
    assert parse_spec(dump_spec(moved), TrainConfig) == moved


def test_a_typo_is_refused_with_its_line() -> None:
    with pytest.raises(SpecError, match=r":3: unknown key 'iteration' in model.*'iterations'"):
        parse_spec("seed: 1\nmodel:\n  iteration: 5\n", TrainConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("validation: 1.5", r"validation must be in \[0, 1\)"),
        ("preset: sim_smal", "Did you mean 'sim_small'"),
        ("shares: {exprt: 1}", "Did you mean 'expert'"),
        ("model: {ema_decay: 1.0}", "ema_decay must be in"),
        ("model: {iterations: 0}", "iterations must be above 0"),
        ("codec: {batch: 0}", "batch must be above 0"),
        ("weights: int8", "weights"),
        ("compute: {accumulate: 0}", "accumulate must be above 0"),
        ("compute: {accumulate: 3}", "model.batch 64 cannot be divided into accumulate 3"),
        ("compute: {precision: float16}", "precision"),
    ],
)
def test_impossible_values_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_spec(text, TrainConfig)


def test_preset_takes_views_sizes_and_rate_of_the_robot(tiny_embodiment: Embodiment) -> None:
    faster = dataclasses.replace(tiny_embodiment, rate_hz=20.0)
    config = fit_preset("sim_small", faster)
    assert config.views == ("front", "wrist")
    assert config.images.size == tiny_embodiment.cameras["front"].size
    assert (config.action_size, config.state_size) == (8, 8)
    assert config.window.rate_hz == 20.0


def test_cameras_that_do_not_fit_are_refused(tiny_embodiment: Embodiment) -> None:
    def resized(**sizes: tuple[int, int]) -> Embodiment:
        cameras = {
            name: dataclasses.replace(camera, size=sizes.get(name, camera.size))
            for name, camera in tiny_embodiment.cameras.items()
        }
        return dataclasses.replace(tiny_embodiment, cameras=cameras)

    with pytest.raises(StoreError, match="cameras of one size"):
        fit_preset("sim_small", resized(front=(96, 96)))
    with pytest.raises(StoreError, match="multiple of the codec's factor"):
        fit_preset("sim_small", resized(front=(50, 50), wrist=(50, 50)))
    with pytest.raises(UnknownNameError, match="preset"):
        fit_preset("huge", tiny_embodiment)
