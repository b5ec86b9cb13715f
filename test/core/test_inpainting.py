# SPDX-License-Identifier: Apache-2.0
"""Laws of actions that are known before the policy answers, in the units of the robot."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
import torch

from uwm_core.checkpoint import Checkpoint
from uwm_core.config import DiffusionConfig
from uwm_core.data.actions import absolute, relative
from uwm_core.diffusion.sampler import Known
from uwm_core.errors import ShapeError, UnknownNameError
from uwm_core.policy import Policy
from uwm_core.records import KnownActions, Observation

MODES = ("policy", "joint")


@pytest.fixture(scope="module", params=["flow", "epsilon"])
def policy(request: pytest.FixtureRequest, tiny_checkpoint: Checkpoint) -> Policy:
    diffusion = DiffusionConfig(objective=request.param)
    config = dataclasses.replace(tiny_checkpoint.config, diffusion=diffusion)
    return Policy(dataclasses.replace(tiny_checkpoint, config=config), threads=1, sample_steps=3)


@pytest.fixture
def observation(policy: Policy) -> Observation:
    rng = np.random.default_rng(1)
    blank = policy.blank_observation()
    state = {key: rng.normal(size=value.shape) for key, value in blank.state.items()}
    return dataclasses.replace(
        blank, state={key: value.astype(np.float32) for key, value in state.items()}
    )


def weight_of(policy: Policy, *first: float) -> npt.NDArray[np.float32]:
    weight = np.zeros(policy.window.chunk, np.float32)
    weight[: len(first)] = first
    return weight


def some_actions(policy: Policy, seed: int = 0) -> npt.NDArray[np.float32]:
    affine = policy.checkpoint.normalizer.action
    share = np.random.default_rng(seed).uniform(size=(policy.window.chunk, affine.size))
    return (affine.low + share * (affine.high - affine.low)).astype(np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_certain_comes_back_exactly_and_the_rest_answers_to_it(
    policy: Policy, observation: Observation, mode: str
) -> None:
    known = KnownActions(some_actions(policy), weight_of(policy, 1, 1, 1, 0.5))
    free = policy.act(observation, seed=3, mode=mode)
    chunk = policy.act(observation, seed=3, known=known, mode=mode)
    np.testing.assert_array_equal(chunk.actions[:3], known.actions[:3])
    assert (chunk.actions[3:] != free.actions[3:]).any(axis=1).all()
    assert np.isfinite(chunk.actions).all()


@pytest.mark.parametrize("mode", MODES)
def test_without_weight_every_bit_is_as_without_known_actions(
    policy: Policy, observation: Observation, mode: str
) -> None:
    known = KnownActions(some_actions(policy), weight_of(policy))
    np.testing.assert_array_equal(
        policy.act(observation, seed=3, known=known, mode=mode).actions,
        policy.act(observation, seed=3, mode=mode).actions,
    )


def test_more_weight_is_nearer_to_what_is_known(policy: Policy, observation: Observation) -> None:
    actions = policy.act(observation, seed=9).actions
    scale = np.maximum(policy.checkpoint.normalizer.action.half_range, 1e-9)
    far = []
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        known = KnownActions(actions, np.full(len(actions), share, np.float32))
        answer = policy.act(observation, seed=3, known=known).actions
        far.append(float(np.abs((answer - actions) / scale).mean()))
    assert far == sorted(far, reverse=True)
    assert far[-1] == 0 < far[-2] < 0.5 * far[0]


def test_both_modes_of_acting_answer_and_no_other(policy: Policy, observation: Observation) -> None:
    joint = policy.act(observation, seed=3, mode="joint").actions
    assert joint.shape == (policy.window.chunk, 8)
    assert (joint != policy.act(observation, seed=3).actions).any()
    with pytest.raises(UnknownNameError, match="mode to act in 'video'"):
        policy.act(observation, mode="video")


def test_known_actions_that_fit_nothing_are_refused(
    policy: Policy, observation: Observation
) -> None:
    actions, weight = some_actions(policy), weight_of(policy, 1)
    with pytest.raises(ShapeError, match=r"known\.actions must be"):
        policy.act(observation, known=KnownActions(actions[:5], weight[:5]))
    with pytest.raises(ShapeError, match="weight of known actions"):
        KnownActions(actions, weight[:5])
    with pytest.raises(ValueError, match="finite"):
        KnownActions(np.full_like(actions, np.nan), weight)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        KnownActions(actions, weight * 2)
    value = torch.zeros(1, *actions.shape)
    condition = torch.zeros(1, 1)
    with pytest.raises(ShapeError, match="takes no known actions"):
        model = policy.checkpoint.build("cpu")
        model.sample_from(condition, "video", known=Known(value, torch.zeros(len(actions))))


def test_prefix_counts_the_actions_that_are_certain_from_the_first_on() -> None:
    actions = np.zeros((4, 2), np.float32)
    for weight, prefix in (([1, 1, 0.9, 0], 2), ([0, 1, 1, 1], 0), ([1, 1, 1, 1], 4)):
        assert KnownActions(actions, np.array(weight, np.float32)).prefix == prefix


def test_targets_are_known_also_to_a_policy_that_learned_differences(
    tiny_checkpoint: Checkpoint,
) -> None:
    """The certain targets come back, and the next ones go on from the last of them."""
    embodiment = tiny_checkpoint.embodiment
    channels = dict(embodiment.action)
    channels["joint_target"] = dataclasses.replace(
        channels["joint_target"], at="next_tick", relative_to="joint_pos"
    )
    other = dataclasses.replace(embodiment, action=channels)
    policy = Policy(dataclasses.replace(tiny_checkpoint, embodiment=other), sample_steps=3)
    blank = policy.blank_observation()
    base = np.linspace(-0.5, 0.5, 7, dtype=np.float32)[None]
    observation = dataclasses.replace(blank, state={**blank.state, "joint_pos": base})
    state = {key: value[-1] for key, value in observation.state.items()}
    targets = absolute(other, some_actions(policy), state)
    known = KnownActions(targets, weight_of(policy, 1, 1, 1))
    chunk = policy.act(observation, seed=3, known=known).actions
    np.testing.assert_array_equal(chunk[:3], targets[:3])
    # What the model said of the free actions is the step from each target to the next.
    affine = policy.checkpoint.normalizer.action
    steps = affine.apply(relative(other, chunk, state))
    given = torch.from_numpy(affine.apply(relative(other, targets, state)))[None]
    model = policy.checkpoint.build("cpu")
    sample = model.sample(
        {name: torch.from_numpy(image)[None] for name, image in observation.images.items()},
        torch.from_numpy(
            policy.checkpoint.normalizer.state.apply(np.concatenate([*state.values()]))
        ).reshape(1, 1, -1),
        "policy",
        steps=3,
        generator=torch.Generator().manual_seed(3),
        known=Known(given, torch.from_numpy(known.weight)),
    )
    np.testing.assert_allclose(steps, sample.action[0].numpy(), atol=1e-4)
