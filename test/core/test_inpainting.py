# SPDX-License-Identifier: Apache-2.0
"""Laws of actions that are known before the policy answers, in the units of the robot."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import numpy.typing as npt
import pytest
import torch

from uwm_core.checkpoint import Checkpoint
from uwm_core.config import DiffusionConfig
from uwm_core.data.actions import absolute, relative
from uwm_core.diffusion.sampler import Known
from uwm_core.errors import ShapeError, UnknownNameError
from uwm_core.inpainting import known_from
from uwm_core.policy import Policy
from uwm_core.records import ActionChunk, KnownActions, Observation

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


PERIOD_NS = 100_000_000


@pytest.fixture
def playing(tiny_checkpoint: Checkpoint) -> ActionChunk:
    """Every column a line in time: column d is at (d + 1) * k in row k."""
    names = tiny_checkpoint.embodiment.action_names
    rows = np.arange(12)[:, None] * np.arange(1, len(names) + 1)[None]
    return ActionChunk(5 * PERIOD_NS, PERIOD_NS, rows.astype(np.float32), names)


@pytest.mark.parametrize("speed_scale", [1.0, 0.5])
@pytest.mark.parametrize("later", [0.0, 2.0, 3.25, 10.5])
def test_the_chunk_that_plays_says_where_the_arm_will_be(
    playing: ActionChunk, tiny_checkpoint: Checkpoint, later: float, speed_scale: float
) -> None:
    embodiment = tiny_checkpoint.embodiment
    stamp_ns = playing.stamp_ns + round(later * PERIOD_NS / speed_scale)
    certain_ns = stamp_ns + round(2.5 * PERIOD_NS / speed_scale)
    known = known_from(playing, embodiment, stamp_ns, certain_ns, speed_scale)
    assert known is not None
    row = later + np.arange(12)
    arm = np.outer(np.minimum(row, 11), np.arange(1, 8))
    np.testing.assert_allclose(known.actions[:, :7], arm, atol=1e-4)
    # The gripper's column holds between two actions, as its stream does.
    np.testing.assert_allclose(known.actions[:, 7], 8 * np.floor(np.minimum(row, 11)))
    inside = row <= 11
    assert (known.weight[~inside] == 0).all()
    assert known.prefix == min(3, inside.sum())
    fading = known.weight[inside][known.prefix :]
    assert (np.diff(fading) < 0).all()
    assert (fading < 1).all()


def test_a_chunk_that_has_ended_or_not_begun_says_nothing(
    playing: ActionChunk, tiny_checkpoint: Checkpoint
) -> None:
    for periods in (-1, 11, 50):
        stamp_ns = playing.stamp_ns + periods * PERIOD_NS
        assert known_from(playing, tiny_checkpoint.embodiment, stamp_ns, stamp_ns) is None


@pytest.fixture(scope="module")
def seen() -> tuple[Policy, list[Observation]]:
    """The shipped policy, and what it sees of one attempt in simulation, tick by tick."""
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("needs mujoco")
    from uwm_core.sim.rollout import RolloutConfig, rollout
    from uwm_core.sim.scene import Scene

    policy = Policy.load("sim_lift", threads=1)
    observations: list[Observation] = []

    def act(observation: Observation) -> ActionChunk:
        observations.append(observation)
        return policy.act(observation, seed=len(observations))

    scene = Scene()
    try:
        rollout(act, scene, policy.embodiment, 2, RolloutConfig(execute=2))
    finally:
        scene.close()
    return policy, observations


def test_the_shipped_policy_contradicts_itself_far_less(
    seen: tuple[Policy, list[Observation]],
) -> None:
    """Two chunks 0.4 s apart, of which 0.2 s play while the second is inferred."""
    policy, observations = seen
    gap, certain = 4, 2
    jumps: dict[str, list[float]] = {"alone": [], "inpainted": []}
    apart: dict[str, list[float]] = {"alone": [], "inpainted": []}
    for number in range(0, len(observations) - 2, 2):
        before, after = observations[number], observations[number + 2]
        old = policy.act(before, seed=100 + number)
        known = known_from(
            old, policy.embodiment, after.stamp_ns, after.stamp_ns + (certain - 1) * PERIOD_NS
        )
        assert known is not None
        assert known.prefix == certain
        overlap = slice(certain, policy.window.chunk - gap)
        for name, given in (("alone", None), ("inpainted", known)):
            new = policy.act(after, seed=900 + number, known=given)
            # The arm's columns; what it has already agreed upon does not count.
            off = np.abs(new.actions[overlap, :7] - old.actions[overlap.start + gap :, :7])
            jumps[name].append(off[0].max())
            apart[name].append(off.max(axis=1).mean())
    assert len(jumps["alone"]) >= 4
    assert np.mean(jumps["inpainted"]) < 0.25 * np.mean(jumps["alone"])
    assert np.mean(apart["inpainted"]) < 0.6 * np.mean(apart["alone"])
