# SPDX-License-Identifier: Apache-2.0
"""Laws of a pedal: one press is one command."""

import pytest

from uwm_core.errors import UwmError
from uwm_ros.logic.recording_buttons import Buttons, parse_buttons

MS = 1_000_000


def commands(states, step_ns=500 * MS):
    buttons = Buttons({0: "toggle", 2: "undo"})
    return [buttons.update(state, i * step_ns) for i, state in enumerate(states)]


def test_press_counts_once_however_long_it_is_held():
    assert commands([[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]]) == [
        [],
        ["toggle"],
        [],
        [],
        ["toggle"],
    ]


def test_bouncing_contact_is_one_press():
    states = [[0], [1], [0], [1], [0], [1], [1]]
    assert sum(len(found) for found in commands(states, 10 * MS)) == 1


def test_pedal_that_is_down_at_first_was_not_pressed_for_us():
    assert commands([[1], [1], [0], [1]]) == [[], [], [], ["toggle"]]


def test_buttons_without_a_command_and_short_messages_do_nothing():
    assert commands([[0, 0, 0], [0, 1, 0], [], [0, 0, 1]]) == [[], [], [], ["undo"]]


def test_button_map_is_read_and_mistakes_are_named():
    assert parse_buttons(["0:toggle", " 3 : undo "]) == {0: "toggle", 3: "undo"}
    with pytest.raises(UwmError, match="must look like"):
        parse_buttons(["toggle"])
    with pytest.raises(UwmError, match="Did you mean 'success'"):
        parse_buttons(["0:succes"])
