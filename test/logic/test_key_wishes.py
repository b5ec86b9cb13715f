# SPDX-License-Identifier: Apache-2.0
"""Laws of keys as a device: held for a moment and never for longer."""

import numpy as np
import pytest

from uwm_ros.logic.key_wishes import MOTION, KeyWishes

NOW_NS = 1_000_000_000


@pytest.mark.parametrize("key", MOTION)
def test_a_key_moves_one_axis_for_a_moment(key):
    wishes, (column, way) = KeyWishes(), MOTION[key]
    wishes.press(key, NOW_NS)
    wanted = np.zeros(6)
    wanted[column] = 0.5 * way
    assert (wishes.twist(NOW_NS) == wanted).all()
    assert (wishes.twist(NOW_NS + 150_000_000) == wanted).all()
    assert not wishes.twist(NOW_NS + 150_000_001).any()


def test_every_axis_has_a_key_each_way():
    assert len(set(MOTION.values())) == 12


def test_opposite_keys_undo_each_other_and_two_axes_add_up():
    wishes = KeyWishes()
    for key in "wsd":
        wishes.press(key, NOW_NS)
    assert (wishes.twist(NOW_NS) == [0, -0.5, 0, 0, 0, 0]).all()
    wishes.release()
    assert not wishes.twist(NOW_NS).any()


def test_speed_stays_between_a_tenth_and_full():
    wishes = KeyWishes()
    for key, share in (("+", 1.0), ("-", 0.1)):
        for _ in range(10):
            wishes.press(key, NOW_NS)
        assert wishes.share == share


def test_space_presses_the_gripper_and_any_key_the_deadman():
    wishes = KeyWishes()
    numbers = {"gripper_button": 0, "deadman_button": 4}
    assert not wishes.buttons(NOW_NS, **numbers).any()
    wishes.press("w", NOW_NS)
    assert wishes.buttons(NOW_NS, **numbers).tolist() == [0, 0, 0, 0, 1]
    wishes.press(" ", NOW_NS)
    assert wishes.buttons(NOW_NS, **numbers).tolist() == [1, 0, 0, 0, 1]
    assert not wishes.buttons(NOW_NS + 200_000_000, **numbers).any()
    assert not wishes.buttons(NOW_NS, gripper_button=-1, deadman_button=-1).any()
