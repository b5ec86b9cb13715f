# SPDX-License-Identifier: Apache-2.0
"""Laws of the walk from noise to clean, against answers that are known in closed form."""

import pytest
import torch

from uwm_core.config import DiffusionConfig
from uwm_core.diffusion.modes import MODES, Pair, Role, mode
from uwm_core.diffusion.quick import quick_schedule
from uwm_core.diffusion.sampler import Known, sample
from uwm_core.diffusion.schedule import make_schedule, velocity_towards
from uwm_core.errors import UnknownNameError

FLOW = DiffusionConfig(objective="flow")
EPSILON = DiffusionConfig(objective="epsilon", clip_sample=False)
POINT = Pair(torch.full((2, 3, 4), 0.7), torch.full((2, 5), -0.3))


def exact_answers(config: DiffusionConfig, point: torch.Tensor, steps: int):
    """The perfect network when all data is one point."""
    schedule = make_schedule(config)
    times = schedule.walk(steps)

    def answer(index: int, noisy: torch.Tensor) -> torch.Tensor:
        time = times[index].expand(len(noisy))
        # Noise that explains the value: noisy = a * point + b * noise.
        a_point = schedule.add_noise(point, torch.zeros_like(point), time)
        b = schedule.add_noise(torch.zeros_like(point), torch.ones_like(point), time)
        return schedule.target(point, (noisy - a_point) / b)

    return schedule, answer


@pytest.mark.parametrize("config", [FLOW, EPSILON], ids=["flow", "epsilon"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_sampler_lands_on_the_only_data_point(config, steps):
    start = Pair(torch.randn(2, 3, 4), torch.randn(2, 5))
    schedule, _ = exact_answers(config, POINT.action, steps)
    answers = Pair(*(exact_answers(config, point, steps)[1] for point in POINT))
    end = sample(
        schedule,
        MODES["joint"],
        start,
        lambda k, now: Pair(answers.action(k, now.action), answers.next_obs(k, now.next_obs)),
        steps,
    )
    for value, point in zip(end, POINT, strict=True):
        torch.testing.assert_close(value, point, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODES)
def test_only_solved_modalities_move_and_nothing_is_changed_in_place(name):
    start = Pair(torch.randn(2, 3), torch.randn(2, 3))
    before = Pair(*(x.clone() for x in start))
    end = sample(make_schedule(FLOW), MODES[name], start, lambda k, now: Pair(*now), 3)
    for role, first, kept, last in zip(MODES[name].roles, start, before, end, strict=True):
        assert torch.equal(first, kept)
        assert torch.equal(last, first) is (role is not Role.SOLVE)


def test_flow_noise_at_the_ends_is_nothing_and_all():
    schedule = make_schedule(FLOW)
    clean, noise = torch.randn(2, 6), torch.randn(2, 6)
    mixed = schedule.add_noise(clean, noise, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(mixed, torch.stack([clean[0], noise[1]]))


def test_flow_target_is_the_derivative_of_the_noisy_value():
    schedule = make_schedule(FLOW)
    clean, noise = torch.randn(1, 6), torch.randn(1, 6)
    before, after = (schedule.add_noise(clean, noise, torch.tensor([t])) for t in (0.4, 0.41))
    torch.testing.assert_close(
        (after - before) / 0.01, schedule.target(clean, noise), atol=1e-4, rtol=0
    )


def test_a_clean_answer_means_the_velocity_of_the_line_through_it():
    schedule = make_schedule(FLOW)
    clean, noise = torch.randn(3, 6), torch.randn(3, 6)
    for time in (0.125, 0.5, 1.0):
        noisy = schedule.add_noise(clean, noise, torch.full((3,), time))
        torch.testing.assert_close(
            velocity_towards(clean, noisy, time), schedule.target(clean, noise), atol=1e-5, rtol=0
        )


def test_flow_times_spend_what_was_asked_on_both_ends():
    schedule = make_schedule(FLOW)
    allowed = torch.ones(20000, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    times = schedule.draw_times(20000, allow_given=allowed, generator=generator)
    assert (times == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert (times == 1).float().mean().item() == pytest.approx(0.2, abs=0.02)
    inner = times[(times > 0) & (times < 1)]
    assert inner.mean().item() == pytest.approx(0.5, abs=0.02)
    times = schedule.draw_times(20000, allow_given=~allowed, generator=generator)
    assert (times > 0).all()


def test_published_walk_is_leading_and_marginalises_at_its_first_time():
    schedule = make_schedule(DiffusionConfig(objective="epsilon", sample_steps=10))
    walk = schedule.walk(10)
    assert walk.tolist() == [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]
    assert set(schedule.times(Role.NOISE, walk).tolist()) == {90}
    assert set(schedule.times(Role.GIVEN, walk).tolist()) == {0}
    assert schedule.last_time == 99


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("clip", [False, True])
def test_published_schedule_agrees_with_diffusers(steps, clip):
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=clip,
        timestep_spacing="leading",
    )
    theirs.set_timesteps(steps)
    ours = make_schedule(DiffusionConfig(objective="epsilon", clip_sample=clip))
    walk = ours.walk(steps)
    assert walk.tolist() == theirs.timesteps.tolist()
    value, answer = torch.randn(3, 8), torch.randn(3, 8)
    for index, time in enumerate(theirs.timesteps):
        expected = theirs.step(answer, time, value).prev_sample
        torch.testing.assert_close(ours.step(value, answer, walk, index), expected)
    noisy = theirs.add_noise(value, answer, torch.tensor([0, 50, 99]))
    torch.testing.assert_close(
        ours.add_noise(value, answer, torch.tensor([0.0, 50.0, 99.0])), noisy
    )


def test_unknown_mode_is_named_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'policy'"):
        mode("polcy")


WEIGHT = torch.tensor([1.0, 0.6, 0.0])
OBJECTIVES = pytest.mark.parametrize("config", [FLOW, EPSILON], ids=["flow", "epsilon"])


def known_walk(config, known, mode_name="policy", steps=4, seen=None):
    """A walk of a made-up network, in which actions and next observation depend on each other."""
    generator = torch.Generator().manual_seed(3)
    start = Pair(*(torch.randn(2, 3, 4, generator=generator) for _ in range(2)))

    def ask(index, now):
        if seen is not None:
            seen.append(now.action)
        mixed = torch.sin(now.action + 0.3 * now.next_obs + now.action.mean(1, keepdim=True))
        return Pair(mixed, mixed.flip(1))

    return start, sample(make_schedule(config), MODES[mode_name], start, ask, steps, known)


@OBJECTIVES
@pytest.mark.parametrize("name", ["policy", "joint"])
def test_known_actions_come_back_exactly_and_where_nothing_is_known_no_bit_changes(config, name):
    value = torch.randn(2, 3, 4)
    _, free = known_walk(config, None, name)
    _, nothing = known_walk(config, Known(value, torch.zeros(3)), name)
    assert all(torch.equal(one, two) for one, two in zip(free, nothing, strict=True))
    _, end = known_walk(config, Known(value, WEIGHT), name)
    assert torch.equal(end.action[:, 0], value[:, 0])
    assert not torch.equal(end.action[:, 2], free.action[:, 2])  # the rest answers to it


@OBJECTIVES
def test_a_known_action_walks_at_the_noise_of_its_step(config):
    value, seen = torch.randn(2, 3, 4), []
    start, _ = known_walk(config, Known(value, WEIGHT), steps=4, seen=seen)
    schedule = make_schedule(config)
    for time, action in zip(schedule.walk(4), seen, strict=True):
        expected = schedule.add_noise(value, start.action, time.expand(2))
        assert torch.equal(action[:, 0], expected[:, 0])


@OBJECTIVES
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_soft_weight_lies_between_the_answer_and_what_is_known(config, steps):
    """The perfect network of one data point answers with it whatever the others are."""
    schedule, answer = exact_answers(config, POINT.action, steps)
    start = Pair(torch.randn(2, 3, 4), torch.randn(2, 5))
    known = Known(torch.randn(2, 3, 4), WEIGHT)
    end = sample(
        schedule,
        MODES["policy"],
        start,
        lambda k, now: Pair(answer(k, now.action), None),
        steps,
        known,
    )
    weight = WEIGHT[:, None]
    expected = weight * known.value + (1 - weight) * POINT.action
    torch.testing.assert_close(end.action, expected, atol=1e-5, rtol=0)


def test_what_is_free_joins_what_is_known():
    """Data whose actions are all one number of N(0, 1): the perfect network in closed form."""
    rows, steps = 6, 20
    schedule = make_schedule(FLOW)
    times = schedule.walk(steps)
    same = torch.ones(rows, rows)

    def ask(index, now):
        t = float(times[index])
        spread = (1 - t) ** 2 * same + t**2 * torch.eye(rows)
        clean = (1 - t) * same @ torch.linalg.solve(spread, now.action)
        return Pair(velocity_towards(clean, now.action, t), None)

    start = Pair(torch.randn(500, rows, 1), torch.zeros(1))
    value = torch.full((500, rows, 1), 1.5)
    weight = torch.tensor([1.0, 1, 1, 0, 0, 0])
    free = sample(schedule, MODES["policy"], start, ask, steps)
    end = sample(schedule, MODES["policy"], start, ask, steps, Known(value, weight))
    assert abs(free.action.mean()) < 0.2
    rest = end.action[:, 3:]
    assert rest.mean() == pytest.approx(1.5, abs=0.25)
    assert rest.std() < 0.3 * free.action.std()


@pytest.mark.parametrize("steps", [2, 3, 4, 6])
@pytest.mark.parametrize("clip", [False, True])
def test_quick_schedule_agrees_with_diffusers_solver(steps, clip):
    """Where it clips, diffusers' solver has another rule: only answers that clip nothing."""
    diffusers = pytest.importorskip("diffusers")
    ours = quick_schedule(make_schedule(DiffusionConfig(objective="epsilon", clip_sample=clip)))
    walk = ours.walk(steps)
    assert walk[0] == 90
    theirs = diffusers.DPMSolverMultistepScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
        lower_order_final=True,
    )
    theirs.set_timesteps(timesteps=walk.long().tolist())
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, 8, generator=generator)
    mine = other = ours.add_noise(torch.full((3, 8), 0.3), noise, walk[:1].expand(3))
    step = ours.stepper(walk)
    for index, time in enumerate(theirs.timesteps):
        answer = noise if clip else torch.randn(3, 8, generator=generator)
        mine = step(mine, answer, index)
        other = theirs.step(answer, time, other).prev_sample
        torch.testing.assert_close(mine, other, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.6])
def test_four_quick_steps_are_nearer_to_the_exact_answer_than_ten_published_ones(spread):
    """Data of a normal distribution: the best noise guess and the walk's end in closed form."""
    mean = 0.3
    schedule = make_schedule(DiffusionConfig(objective="epsilon", clip_sample=False))
    start = torch.linspace(-2, 2, 41, dtype=torch.float64)

    def end_of(walked, walk):
        value, step = start, walked.stepper(walk)
        for index, time in enumerate(walk):
            kept = schedule.kept[int(time)].double()
            noise = (value - kept.sqrt() * mean) * (1 - kept).sqrt()
            value = step(value, noise / (kept * spread**2 + 1 - kept), index)
        return value

    def exact(walk):
        kept = schedule.kept[int(walk[0])].double()
        return mean + spread * (start - kept.sqrt() * mean) / (kept * spread**2 + 1 - kept).sqrt()

    errors = []
    for walked, steps in ((schedule, 10), (quick_schedule(schedule), 4)):
        walk = walked.walk(steps)
        errors.append((end_of(walked, walk) - exact(walk)).abs().max().item())
    assert errors[1] < errors[0]


def test_flow_matching_is_quick_by_itself():
    schedule = make_schedule(FLOW)
    assert quick_schedule(schedule) is schedule


@pytest.mark.parametrize("steps", [1, 2, 4, 10, 40, 91])
def test_quick_walk_falls_at_every_step_and_begins_as_published(steps):
    walk = quick_schedule(make_schedule(DiffusionConfig(objective="epsilon"))).walk(steps)
    assert len(walk) == steps
    assert (walk.diff() < 0).all()
    assert walk[0] == 90
    assert walk[-1] >= 0
