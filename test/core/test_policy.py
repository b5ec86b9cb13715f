# SPDX-License-Identifier: Apache-2.0
"""Laws of the policy: units in and out, repeatable, and clear about what it cannot take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from uwm_core.checkpoint import Checkpoint, save_checkpoint
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.errors import CheckpointError, ShapeError, UnknownNameError
from uwm_core.policy import Policy
from uwm_core.records import ActionChunk, Observation

STAMP_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def policy(tiny_checkpoint: Checkpoint) -> Policy:
    return Policy(tiny_checkpoint, threads=1, sample_steps=3)


@pytest.fixture
def observation(policy: Policy) -> Observation:
    rng = np.random.default_rng(1)
    embodiment = policy.embodiment
    return Observation(
        stamp_ns=STAMP_NS,
        images={
            name: rng.integers(0, 256, (1, *camera.size, 3), dtype=np.uint8)
            for name, camera in embodiment.cameras.items()
        },
        state={
            key: rng.normal(size=(1, vector.size)).astype(np.float32)
            for key, vector in embodiment.state.items()
        },
    )


def test_a_seed_repeats_the_answer_and_another_changes_it(
    policy: Policy, observation: Observation
) -> None:
    first, again, other = (policy.act(observation, seed=seed).actions for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(policy.act(observation).actions, policy.act(observation).actions)


def test_chunk_is_stamped_named_and_sized(policy: Policy, observation: Observation) -> None:
    chunk = policy.act(observation, seed=0)
    assert chunk.stamp_ns == STAMP_NS
    assert chunk.period_ns == 100_000_000
    assert chunk.names == policy.embodiment.action_names
    assert chunk.actions.shape == (policy.window.chunk, 8)
    assert np.isfinite(chunk.actions).all()


def test_actions_come_out_in_the_robots_units(
    tiny_checkpoint: Checkpoint, observation: Observation
) -> None:
    """With every limit shifted and doubled, the same noise gives shifted and doubled actions."""
    unit = tiny_checkpoint.normalizer.action
    moved = Affine(unit.names, unit.low * 2 + 5, unit.high * 2 + 5)
    other = dataclasses.replace(
        tiny_checkpoint, normalizer=Normalizer(moved, tiny_checkpoint.normalizer.state)
    )
    first = Policy(tiny_checkpoint, sample_steps=2).act(observation, seed=4).actions
    second = Policy(other, sample_steps=2).act(observation, seed=4).actions
    np.testing.assert_allclose(second, first * 2 + 5, rtol=1e-4, atol=1e-4)


def test_imagined_images_are_stamped_with_their_moment(
    policy: Policy, observation: Observation
) -> None:
    future = policy.imagine(observation, policy.act(observation, seed=0), seed=0)
    assert future.stamps_ns.tolist() == [STAMP_NS + 12 * 100_000_000]
    for name, camera in policy.embodiment.cameras.items():
        assert future.images[name].shape == (1, *camera.size, 3)
        assert future.images[name].dtype == np.uint8


def test_imagination_depends_on_the_actions(policy: Policy, observation: Observation) -> None:
    chunk = policy.act(observation, seed=0)
    other = dataclasses.replace(chunk, actions=chunk.actions + 1)
    one, two = (policy.imagine(observation, c, seed=0).images["front"] for c in (chunk, other))
    assert (one != two).any()


def test_every_mode_answers(policy: Policy, observation: Observation) -> None:
    expected = policy.expect(observation, seed=0)
    chunk = policy.infer_actions(observation, expected.images, seed=0)
    assert chunk.actions.shape == (12, 8)
    policy.warm_up()


def test_order_of_keys_does_not_matter(policy: Policy, observation: Observation) -> None:
    turned = Observation(
        stamp_ns=observation.stamp_ns,
        images=dict(reversed(observation.images.items())),
        state=dict(reversed(observation.state.items())),
    )
    np.testing.assert_array_equal(
        policy.act(turned, seed=1).actions, policy.act(observation, seed=1).actions
    )


def test_an_answer_leaves_nothing_behind(policy: Policy, observation: Observation) -> None:
    before = policy.act(observation, seed=1).actions
    policy.imagine(observation, policy.act(observation, seed=9), seed=9)
    np.testing.assert_array_equal(policy.act(observation, seed=1).actions, before)


def test_wrong_observations_are_refused_by_name(policy: Policy, observation: Observation) -> None:
    def changed(**parts: object) -> Observation:
        return dataclasses.replace(observation, **parts)  # type: ignore[arg-type]

    images, state = dict(observation.images), dict(observation.state)
    with pytest.raises(ShapeError, match="no camera 'wrist'"):
        policy.act(changed(images={"front": images["front"]}))
    with pytest.raises(UnknownNameError, match="Did you mean 'front'"):
        policy.act(changed(images={**images, "frnt": images["front"]}))
    with pytest.raises(ShapeError, match="observation front must be"):
        policy.act(changed(images={**images, "front": np.zeros((1, 8, 8, 3), np.uint8)}))
    with pytest.raises(ShapeError, match="no state 'joint_pos'"):
        policy.act(changed(state={"gripper_width": state["gripper_width"]}))
    with pytest.raises(ShapeError, match="observation joint_pos must be"):
        policy.act(changed(state={**state, "joint_pos": np.zeros((1, 6), np.float32)}))
    with pytest.raises(ShapeError, match="joint_pos has a value that is not finite"):
        policy.act(changed(state={**state, "joint_pos": np.full((1, 7), np.nan, np.float32)}))


def test_a_chunk_of_other_actions_is_not_imagined(policy: Policy, observation: Observation) -> None:
    chunk = policy.act(observation, seed=0)
    names = ("elsewhere", *chunk.names[1:])
    with pytest.raises(ShapeError, match="elsewhere"):
        policy.imagine(observation, dataclasses.replace(chunk, names=names))
    short = ActionChunk(chunk.stamp_ns, chunk.period_ns, chunk.actions[:5], chunk.names)
    with pytest.raises(ShapeError, match=r"chunk\.actions must be"):
        policy.imagine(observation, short)


def test_another_embodiment_is_refused_and_the_difference_named(policy: Policy) -> None:
    policy.check_embodiment(policy.embodiment)
    faster = dataclasses.replace(policy.embodiment, rate_hz=20.0)
    with pytest.raises(CheckpointError, match="rate_hz: 10 in fr3_sim, 20 in fr3_sim"):
        policy.check_embodiment(faster)


def test_without_a_normaliser_nothing_drives(tiny_checkpoint: Checkpoint, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "ckpt", tiny_checkpoint)
    (folder / "normalizer.json").unlink()
    with pytest.raises(CheckpointError, match="cannot drive a robot"):
        Policy.load(folder)
