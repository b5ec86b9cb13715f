# SPDX-License-Identifier: Apache-2.0
"""Laws of normalisation: there and back, constants, and whose numbers count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.windows import EpisodeSpan, Steps
from uwm_core.errors import CheckpointError, StoreError

VALUES = arrays(np.float32, (7, 3), elements=st.floats(-50, 50, width=32))


def affine_of(values: np.ndarray) -> Affine:
    low, high = values.min(axis=0).astype(float), values.max(axis=0).astype(float)
    return Affine(("a", "b", "c"), low, high)


def steps_of(action: np.ndarray) -> Steps:
    half = len(action) // 2
    return Steps(
        images={},
        state=action[:, :1],
        action=action,
        episodes=(
            EpisodeSpan(start=0, stop=half),
            EpisodeSpan(start=half, stop=len(action)),
        ),
    )


@given(VALUES)
def test_values_come_back_and_lie_within_one(values: np.ndarray) -> None:
    affine = affine_of(values)
    scaled = affine.apply(values)
    assert np.abs(scaled).max() <= 1 + 1e-6
    np.testing.assert_allclose(affine.invert(scaled), values, atol=1.2e-4)


def test_constant_column_maps_to_zero_and_always_back_to_its_constant() -> None:
    values = np.array([[0.3, 1.0], [0.3, 2.0]], np.float32)
    affine = Affine(("held", "moved"), values.min(0).astype(float), values.max(0).astype(float))
    np.testing.assert_array_equal(affine.apply(values)[:, 0], [0, 0])
    noisy = np.array([[0.7, 1.0]], np.float32)
    np.testing.assert_allclose(affine.invert(noisy), [[0.3, 2.0]], rtol=1e-6)


def test_statistics_never_see_validation_episodes() -> None:
    action = np.concatenate([np.linspace(0, 1, 20), np.full(20, 99.0)])[:, None].astype(np.float32)
    fitted = Normalizer.fit(steps_of(action), [0], action_names=["x"], state_names=["s"])
    assert fitted.action.high[0] == 1.0
    assert fitted.state is not None
    assert fitted.state.high[0] == 1.0


def test_missing_actions_of_video_episodes_spoil_no_statistics() -> None:
    action = np.concatenate([np.linspace(0, 1, 20), np.full(20, np.nan)])[:, None]
    steps = Steps(
        images={},
        state=np.zeros((40, 1), np.float32),
        action=action.astype(np.float32),
        episodes=(
            EpisodeSpan(start=0, stop=20),
            EpisodeSpan(start=20, stop=40, role="video"),
        ),
    )
    fitted = Normalizer.fit(steps, [0, 1], action_names=["x"], state_names=[])
    assert fitted.action.high[0] == 1.0


def test_json_keeps_every_digit() -> None:
    rng = np.random.default_rng(0)
    fitted = Normalizer.fit(
        steps_of(rng.normal(size=(20, 2)).astype(np.float32)),
        [0, 1],
        action_names=["x", "y"],
        state_names=[],
    )
    back = Normalizer.loads(fitted.dumps())
    np.testing.assert_array_equal(back.action.low, fitted.action.low)
    np.testing.assert_array_equal(back.action.high, fitted.action.high)
    assert back.action.names == ("x", "y")
    assert back.state is None


def test_neither_empty_nor_broken_data_is_normalised() -> None:
    with pytest.raises(StoreError, match="no episode"):
        Normalizer.fit(steps_of(np.zeros((4, 1), np.float32)), [], action_names="x", state_names="")
    broken = np.zeros((4, 1), np.float32)
    broken[1] = np.nan
    with pytest.raises(StoreError, match="action has a value that is not finite in column 0"):
        Normalizer.fit(steps_of(broken), [0], action_names="x", state_names="")


@pytest.mark.parametrize("text", ["", "{}", '{"format": "uwm.normalizer", "version": 9}', "[1]"])
def test_other_json_is_refused_by_name(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"n\.json is not a normaliser"):
        Normalizer.loads(text, "n.json")


def test_wrong_width_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match="a, b, c"):
        affine_of(np.zeros((2, 3))).apply(np.zeros((5, 2), np.float32))
