# SPDX-License-Identifier: Apache-2.0
"""Laws of the scripted teleoperator's decisions."""

import numpy as np
import pytest

from uwm_core.errors import UnknownNameError
from uwm_core.sim import fr3, kinematics
from uwm_ros.logic.teleoperation import JointReading, Pilot, PilotConfig

S = 1_000_000_000
START = 1_700_000_000 * S
CUBE = np.array([0.5, 0.1, 0.02, 1.0, 0, 0, 0])


def orders(config, count=100):
    """Orders for an arm that follows them exactly."""
    pilot, q, qd, found = Pilot(config, START), np.array(fr3.HOME_RAD), np.zeros(7), []
    for i in range(count):
        now = START + i * S // 50
        order = pilot.order(now, JointReading(now, q, qd), 0.08, CUBE)
        found.append((q, order))
        q = q + (order.executed_rad - q) * 0.02 / config.lead_s
    return found


def test_labels_lead_to_the_cube_even_when_the_execution_is_noisy():
    final, _ = orders(PilotConfig(noise_m=0.015, seed=3), count=150)[-1]
    hand = kinematics.tcp_pose(final)[:3, 3]
    assert np.linalg.norm(hand[:2] - CUBE[:2]) < 0.03 and hand[2] < 0.1


def test_labels_are_the_same_function_of_what_is_measured_with_and_without_noise():
    quiet = PilotConfig(noise_m=0.0, seed=3)
    pilot, other = Pilot(quiet, START), Pilot(PilotConfig(noise_m=0.03, seed=3), START)
    for i in range(60):
        reading = JointReading(START + i * S // 50, np.array(fr3.HOME_RAD), np.zeros(7))
        one = pilot.order(reading.stamp_ns, reading, 0.08, CUBE)
        two = other.order(reading.stamp_ns, reading, 0.08, CUBE)
        np.testing.assert_array_equal(one.label_rad, two.label_rad)
        np.testing.assert_array_equal(one.label_rad, one.executed_rad)


def test_label_is_where_a_steady_arm_is_one_lead_later():
    config = PilotConfig(noise_m=0.0, seed=1)
    path = orders(config, count=30)
    ahead = round(config.lead_s * 50)
    # On the straight part the speed is constant, so the label must be met when it is due.
    q_then, _ = path[15 + ahead]
    _, order = path[15]
    moved = np.abs(q_then - path[15][0]).max()
    assert np.abs(order.label_rad - q_then).max() < 0.25 * moved


def test_old_reading_is_carried_forward_by_its_velocity():
    reading = JointReading(START, np.zeros(7), np.ones(7))
    np.testing.assert_allclose(reading.at(START + S // 100), 0.01)
    np.testing.assert_allclose(reading.at(START + 10 * S), 0.05)
    np.testing.assert_allclose(reading.at(START - S), 0.0)


def test_unknown_mode_is_refused_with_a_hint():
    with pytest.raises(UnknownNameError, match="Did you mean 'play'"):
        PilotConfig(mode="plya")
