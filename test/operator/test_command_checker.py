# SPDX-License-Identifier: Apache-2.0
"""Laws of the checker of commands: a clean record has nothing, every planted fault is found."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from uwm_core.embodiment import Embodiment
from uwm_ros.operator.command_checker import Bounds, check, differences
from uwm_ros.operator.commanded import CommandLog, Piece, Sample

FR3 = Embodiment.load("fr3_sim")
BOUNDS = dataclasses.replace(Bounds.of(FR3), jerk=np.full(7, 500.0))
HOME = np.array(FR3.home_rad)
NS = 1_000_000_000
STEP_NS = 20_000_000
START_NS = 1_800_000_000 * NS
RATE = 2.0  # rad/s of the closed form's angle


def motion(t, amplitude=0.2):
    """A motion that begins and ends at rest: home plus (1 - cos)^2, over pi seconds at RATE."""
    angle = RATE * np.asarray(t)[:, None]
    rise = (1 - np.cos(angle)) ** 2 / 4
    speed = RATE * (1 - np.cos(angle)) * np.sin(angle) / 2
    return HOME + amplitude * rise, amplitude * np.repeat(speed, 7, axis=1)


def piece(begin_s=0.0, end_s=np.pi, amplitude=0.2, received_s=None):
    """The motion as a controller would be sent it, from a moment of it on."""
    t = np.append(np.arange(begin_s, end_s - 0.01, STEP_NS / NS), end_s)
    positions, velocities = motion(t, amplitude)
    velocities[-1] = 0.0
    times_ns = START_NS + np.round(t * NS).astype(np.int64)
    received = START_NS + round((begin_s if received_s is None else received_s) * NS)
    return Piece(received, times_ns, positions, velocities)


def log(*pieces, samples=()):
    return CommandLog(FR3.arm_joints, list(pieces), list(samples))


def stream(t, amplitude=0.2):
    positions, velocities = motion(t, amplitude)
    stamps = START_NS + np.round(np.asarray(t) * NS).astype(np.int64)
    rows = zip(stamps, positions, velocities, strict=True)
    return [Sample(int(ns), int(ns), position, velocity) for ns, position, velocity in rows]


def kinds(*pieces, samples=()):
    return {violation.kind for violation in check(log(*pieces, samples=samples), BOUNDS)}


def test_curve_is_the_cubic_hermite_spline_of_its_points():
    ours = piece()
    t = (ours.times_ns - START_NS) / NS
    moments = START_NS + np.random.default_rng(0).integers(0, round(3.1 * NS), 200)
    spline = CubicHermiteSpline(t, ours.positions, ours.velocities)
    for order, values in enumerate(ours.sample(moments)):
        np.testing.assert_allclose(values, spline((moments - START_NS) / NS, order), atol=1e-6)


def test_points_with_accelerations_are_played_as_quintics():
    t = np.array([0.0, 0.3, 0.8])
    factors = np.random.default_rng(1).normal(size=(6, 7))
    curve = [np.polynomial.Polynomial(column) for column in factors.T]

    def values(order, at):
        return np.stack([p.deriv(order)(at) if order else p(at) for p in curve], axis=1)

    times_ns = START_NS + np.round(t * NS).astype(np.int64)
    ours = Piece(START_NS, times_ns, values(0, t), values(1, t), values(2, t))
    at = np.linspace(0.0, 0.79, 50)
    found = ours.sample(START_NS + np.round(at * NS).astype(np.int64))
    for order in range(3):
        np.testing.assert_allclose(found[order], values(order, at), atol=1e-5)


def test_divided_differences_of_a_cubic_are_its_third_derivative():
    times_ns = START_NS + np.cumsum(np.random.default_rng(2).integers(1, 30, 20)) * 1_000_000
    t = ((times_ns - times_ns[0]) / NS)[:, None]
    values = 2 * t**3 - t**2 + np.zeros(7)
    np.testing.assert_allclose(differences(times_ns, values, 3), 12.0, rtol=1e-4)


def test_nothing_is_found_in_motion_within_the_limits():
    first, second = piece(), piece(1.0, received_s=0.95)
    assert check(log(first, second), BOUNDS) == []
    assert check(log(samples=stream(np.arange(0, np.pi, 0.01))), BOUNDS) == []


def test_jitter_of_stamps_is_no_violation():
    t = np.sort(np.random.default_rng(3).uniform(0, np.pi, 300))
    assert check(log(samples=stream(t[np.append(True, np.diff(t) > 1e-4)])), BOUNDS) == []


def changed(what, row, column, value):
    """The motion with one number of one point replaced."""
    clean = piece()
    values = getattr(clean, what).copy()
    values[row, column] = value
    return dataclasses.replace(clean, **{what: values})


def past(end, over=0.02):
    """The motion moved so that the highest position of joint 1 is a little over its limit."""
    clean = piece()
    shift = np.zeros(7)
    shift[0] = end[0] + over - clean.positions[:, 0].max()
    return dataclasses.replace(clean, positions=clean.positions + shift)


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (changed("positions", 5, 2, np.nan), "form"),
        (changed("velocities", -1, 3, 0.1), "form"),
        (dataclasses.replace(piece(), received_ns=START_NS + 3600 * NS), "form"),
        (past(BOUNDS.high), "position"),
        (piece(amplitude=2.5), "velocity"),
        (changed("velocities", 40, 1, -0.6), "acceleration"),
        (changed("positions", 30, 6, HOME[6] + 0.15), "jerk"),
    ],
    ids=["nan", "moving end", "an hour off", "position", "velocity", "acceleration", "jerk"],
)
def test_a_planted_fault_of_one_trajectory_is_found(planted, kind):
    assert kind in kinds(planted)


def test_an_overshoot_between_two_points_is_found():
    times_ns = START_NS + np.array([0, NS // 2, NS], dtype=np.int64)
    high = BOUNDS.high - 0.01
    positions = np.array([HOME, np.where(np.arange(7) == 4, high, HOME), HOME])
    positions[0] = positions[1]
    velocities = np.zeros((3, 7))
    velocities[0, 4] = 0.5
    assert "position" in kinds(Piece(START_NS, times_ns, positions, velocities))


def test_a_join_beside_the_plan_is_found():
    second = piece(1.0)
    aside = dataclasses.replace(second, positions=second.positions + 0.003)
    assert kinds(piece(), aside) == {"join"}
    slower = dataclasses.replace(
        second, velocities=second.velocities * np.r_[0.8, [1] * 107][:, None]
    )
    assert "join" in kinds(piece(), slower)


def test_a_start_from_rest_may_differ_by_the_lag_of_the_arm_and_no_more():
    later = piece()
    later = dataclasses.replace(
        later, received_ns=START_NS + 5 * NS, times_ns=later.times_ns + 5 * NS
    )
    lagging = dataclasses.replace(later, positions=later.positions - motion([0.0])[0] + HOME + 0.03)
    resting = piece(amplitude=0.0)
    assert kinds(resting, lagging) == set()
    assert kinds(resting, dataclasses.replace(later, positions=later.positions + 0.1)) == {"start"}


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda rows: rows[100].position.__setitem__(0, np.nan), "form"),
        (lambda rows: rows[100].position.__setitem__(0, 3.0), "position"),
        (lambda rows: rows[100].position.__setitem__(0, rows[100].position[0] + 0.05), "velocity"),
        (lambda rows: rows[100].position.__setitem__(0, rows[100].position[0] + 2e-3), "jerk"),
        (lambda rows: rows[100].velocity.__setitem__(0, 2.5), "velocity"),
        (lambda rows: rows.insert(50, rows[70]), "form"),
    ],
    ids=["nan", "position", "jump", "small jump", "said velocity", "order"],
)
def test_a_planted_fault_of_a_stream_is_found(plant, kind):
    rows = stream(np.arange(0, np.pi, 0.01))
    plant(rows)
    assert kind in kinds(samples=rows)


def test_a_stream_that_goes_on_elsewhere_after_a_pause_is_found():
    before, after = stream(np.arange(0, 1, 0.01)), stream(np.arange(1.5, 3, 0.01))
    assert kinds(samples=[*before, *after]) == {"start"}


def test_an_arm_that_was_put_elsewhere_may_begin_there_once():
    before, after = stream(np.arange(0, 1, 0.01)), stream(np.arange(1.5, 3, 0.01))
    later = piece()
    later = dataclasses.replace(
        later, received_ns=START_NS + 5 * NS, times_ns=later.times_ns + 5 * NS
    )
    elsewhere = dataclasses.replace(later, positions=later.positions + 0.1)
    for kind, old, new in (("pieces", [piece()], [elsewhere]), ("samples", before, after)):
        record = log()
        kept = getattr(record, kind)
        kept += [*old, *new]
        record.begun_ns.append(new[0].received_ns)
        assert check(record, BOUNDS) == []
        record.clear()
        kept += [*old, *new]
        assert {violation.kind for violation in check(record, BOUNDS)} == {"start"}


def test_unreadable_messages_are_violations():
    record = log()
    record.unreadable.append((START_NS, "names other joints"))
    assert [violation.kind for violation in check(record, BOUNDS)] == ["form"]


def test_played_is_what_the_newest_trajectory_says():
    record = log(piece(), piece(1.0, amplitude=0.2, received_s=1.1))
    moments = START_NS + np.round(np.array([-0.5, 0.5, 1.05, 2.0, 9.0]) * NS).astype(np.int64)
    found = record.played(moments)
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1:4], motion([0.5, 1.05, 2.0])[0], atol=1e-5)
    np.testing.assert_allclose(found[4], motion([np.pi])[0][0], atol=1e-6)
