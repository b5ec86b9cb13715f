# SPDX-License-Identifier: Apache-2.0
"""Laws of the joint trajectory controller; scipy's interpolators are the oracle."""

from types import SimpleNamespace

import numpy as np
import pytest

from uwm_core.sim.controller import JointTrajectoryController, Point, Rejected, Trajectory

scipy = pytest.importorskip("scipy.interpolate")

S = 1_000_000_000
NOW = 1_700_000_000 * S
JOINTS = ("a", "b", "c")


def controller(at=(0.0, 0.0, 0.0)):
    return JointTrajectoryController(JOINTS, np.array(at))


def trajectory(times_s, positions, velocities=None, stamp_ns=0, joints=JOINTS):
    points = tuple(
        Point(
            round(t * S),
            tuple(positions[i]),
            None if velocities is None else tuple(velocities[i]),
        )
        for i, t in enumerate(times_s)
    )
    return Trajectory(stamp_ns, joints, points)


@pytest.mark.parametrize("seed", range(5))
def test_points_with_accelerations_are_joined_by_quintics(seed):
    times, positions, velocities = random_plan(seed)
    accelerations = np.random.default_rng(seed + 50).normal(size=(len(times), 3))
    arm = controller()
    points = tuple(
        Point(round(t * S), tuple(positions[i]), tuple(velocities[i]), tuple(accelerations[i]))
        for i, t in enumerate(times)
    )
    arm.accept(Trajectory(0, JOINTS, points), NOW)
    knots = np.concatenate([[0], np.round(times * S) / S])
    zero = np.zeros(3)
    rows = np.stack(  # (K, 3 derivatives, J)
        [
            np.vstack([zero, positions]),
            np.vstack([zero, velocities]),
            np.vstack([zero, accelerations]),
        ],
        axis=1,
    )
    spline = scipy.BPoly.from_derivatives(knots, rows)
    for now in moments(times[-1]):
        u = min((now - NOW) / S, knots[-1])
        position, velocity = arm.sample(now)
        np.testing.assert_allclose(position, spline(u), atol=1e-6)
        if u < knots[-1]:
            np.testing.assert_allclose(velocity, spline(u, 1), atol=1e-5)


def random_plan(seed, count=5, still=True):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.05, 0.4, count))
    positions, velocities = rng.normal(size=(count, 3)), rng.normal(size=(count, 3))
    velocities[-1] = 0
    return times, positions, velocities if still else None


def moments(last_s, count=101):
    return [NOW + round(u * S) for u in np.linspace(0, last_s, count)]


@pytest.mark.parametrize("seed", range(5))
def test_points_with_velocities_are_joined_by_cubics(seed):
    times, positions, velocities = random_plan(seed)
    arm = controller()
    arm.accept(trajectory(times, positions, velocities), NOW)
    knots = np.concatenate([[0], np.round(times * S) / S])
    spline = scipy.CubicHermiteSpline(
        knots, np.vstack([np.zeros(3), positions]), np.vstack([np.zeros(3), velocities])
    )
    for now in moments(times[-1]):
        position, velocity = arm.sample(now)
        u = min((now - NOW) / S, knots[-1])
        np.testing.assert_allclose(position, spline(u), atol=1e-6)
        if u < knots[-1]:
            np.testing.assert_allclose(velocity, spline(u, 1), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_points_without_velocities_are_joined_by_lines(seed):
    times, positions, _ = random_plan(seed)
    arm = controller()
    arm.accept(trajectory(times, positions), NOW)
    knots = np.concatenate([[0], times])
    for now in moments(times[-1]):
        position, _ = arm.sample(now)
        for j in range(3):
            wanted = np.interp((now - NOW) / S, knots, np.concatenate([[0], positions[:, j]]))
            assert position[j] == pytest.approx(wanted, abs=1e-6)


def test_after_the_last_point_the_arm_stays_there():
    arm = controller()
    arm.accept(trajectory([0.1], [[1, 2, 3]]), NOW)
    position, velocity = arm.sample(NOW + 5 * S)
    assert position.tolist() == [1, 2, 3] and velocity.tolist() == [0, 0, 0]


@pytest.mark.parametrize("ahead_s", [0.0, 0.3, 2.0])
def test_stamp_ahead_is_honoured(ahead_s):
    arm = controller()
    arm.accept(trajectory([0.5], [[1, 1, 1]], stamp_ns=NOW + round(ahead_s * S)), NOW)
    assert arm.sample(NOW + round((0.5 + ahead_s) * S) - 1)[0][0] < 1
    assert arm.sample(NOW + round((0.5 + ahead_s) * S))[0][0] == 1
    assert arm.sample(NOW + round((0.5 + ahead_s) * S / 2))[0][0] == pytest.approx(0.5)


def test_stamp_zero_means_now():
    stamped, unstamped = controller(), controller()
    stamped.accept(trajectory([0.5], [[1, 1, 1]], stamp_ns=NOW), NOW)
    unstamped.accept(trajectory([0.5], [[1, 1, 1]]), NOW)
    for now in moments(0.6):
        np.testing.assert_array_equal(stamped.sample(now)[0], unstamped.sample(now)[0])


@pytest.mark.parametrize("seed", range(5))
def test_new_plan_begins_on_the_old_one_without_a_jump(seed):
    arm = controller()
    arm.accept(trajectory(*random_plan(seed)), NOW)
    splice = NOW + S // 3
    before = arm.sample(splice)
    arm.accept(trajectory(*random_plan(seed + 100)), splice)
    after = arm.sample(splice)
    np.testing.assert_allclose(after[0], before[0], atol=1e-12)
    np.testing.assert_allclose(after[1], before[1], atol=1e-9)


def test_plan_resent_from_its_own_middle_changes_nothing():
    times, positions, velocities = random_plan(3)
    times = np.round(times, 3)
    arm, twin = controller(), controller()
    plan = trajectory(times, positions, velocities, stamp_ns=NOW)
    arm.accept(plan, NOW)
    twin.accept(plan, NOW)
    splice = NOW + round((times[0] + times[1]) / 2 * S)
    twin.accept(plan, splice)
    for now in (now for now in moments(times[-1]) if now >= splice):
        np.testing.assert_allclose(twin.sample(now)[0], arm.sample(now)[0], atol=1e-9)


def test_past_points_are_dropped_and_the_rest_is_played():
    times = [0.1, 0.2, 0.3, 0.4]
    positions = [[9, 9, 9], [8, 8, 8], [1, 1, 1], [2, 2, 2]]
    late, short = controller(), controller()
    late.accept(trajectory(times, positions, stamp_ns=NOW), NOW + round(0.25 * S))
    short.accept(trajectory(times[2:], positions[2:], stamp_ns=NOW), NOW + round(0.25 * S))
    for u in np.linspace(0.25, 0.5, 50):
        now = NOW + round(u * S)
        np.testing.assert_array_equal(late.sample(now)[0], short.sample(now)[0])


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_joints_follow_names_not_message_order(order):
    times, positions, velocities = random_plan(7)
    plain, permuted = controller(), controller()
    plain.accept(trajectory(times, positions, velocities), NOW)
    names = tuple(JOINTS[i] for i in order)
    columns = list(order)
    permuted.accept(
        trajectory(times, positions[:, columns], velocities[:, columns], joints=names), NOW
    )
    for now in moments(times[-1]):
        np.testing.assert_array_equal(plain.sample(now)[0], permuted.sample(now)[0])


BROKEN = {
    "past": (trajectory([0.1, 0.2], np.zeros((2, 3)), stamp_ns=NOW - S), "past: .* 900 ms ago"),
    "unknown": (trajectory([1], [[0, 0, 0]], joints=("a", "b", "d")), "unknown joint 'd'"),
    "partial": (trajectory([1], [[0, 0]], joints=("a", "b")), "'c' is not in the trajectory"),
    "duplicate": (trajectory([1], [[0] * 4], joints=("a", "b", "c", "a")), "'a' is named more"),
    "nameless": (trajectory([1], [[]], joints=()), "names no joints"),
    "pointless": (trajectory([], []), "no points"),
    "backwards": (trajectory([0.2, 0.1], np.zeros((2, 3))), "point 1 .* not after point 0"),
    "twice": (trajectory([0.2, 0.2], np.zeros((2, 3))), "point 1 .* not after point 0"),
    "negative": (trajectory([-0.2, 0.2], np.zeros((2, 3))), "point 0 .* not after 0"),
    "short": (trajectory([1], [[0, 0]]), "2 positions for 3 joints"),
    "nan": (trajectory([1], [[0, np.nan, 0]]), "not finite"),
    "velocities": (trajectory([1], [[0, 0, 0]], [[0, 0]]), "2 velocities for 3 joints"),
    "running": (trajectory([1], [[0, 0, 0]], [[0, 0.5, 0]]), "velocity must be 0, .* 0.5"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rejected_trajectory_says_why_and_leaves_the_plan_as_it_was(name):
    broken, reason = BROKEN[name]
    arm, twin = controller(), controller()
    times, positions, velocities = random_plan(5)
    for each in (arm, twin):
        each.accept(trajectory(times, positions, velocities), NOW)
    with pytest.raises(Rejected, match=reason):
        arm.accept(broken, NOW + S // 10)
    for now in moments(times[-1]):
        np.testing.assert_array_equal(arm.sample(now)[0], twin.sample(now)[0])


def test_hold_drops_the_plan():
    arm = controller()
    arm.accept(trajectory([1.0], [[1, 1, 1]]), NOW)
    arm.hold(np.array([0.2, 0.2, 0.2]))
    assert arm.sample(NOW + 2 * S)[0].tolist() == [0.2, 0.2, 0.2]


def test_message_is_read_by_its_fields():
    time = SimpleNamespace(sec=1, nanosec=500)
    point = SimpleNamespace(
        positions=[1.0, 2.0], velocities=[], accelerations=[], time_from_start=time
    )
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=7))
    msg = SimpleNamespace(header=header, joint_names=["x", "y"], points=[point])
    assert Trajectory.from_message(msg) == Trajectory(
        3 * S + 7, ("x", "y"), (Point(S + 500, (1.0, 2.0), None),)
    )
