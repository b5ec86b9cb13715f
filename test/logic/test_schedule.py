# SPDX-License-Identifier: Apache-2.0
"""Laws of single values at their due times."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uwm_ros.logic.schedule import Gate, Schedule


@given(st.integers(-5, 30), st.integers(1, 12))
def test_value_in_force_is_that_of_the_newest_due_action(tenths, length):
    schedule = Schedule()
    schedule.replace(1000, 100, np.arange(length, dtype=float))
    now_ns = 1000 + 10 * tenths
    due = [k for k in range(length) if 1000 + 100 * k <= now_ns]
    assert schedule.value_at(now_ns) == (float(due[-1]) if due else None)


def test_cleared_schedule_has_no_value():
    schedule = Schedule()
    schedule.replace(0, 1, np.ones(3))
    schedule.clear()
    assert schedule.value_at(10) is None


def test_same_command_is_sent_once_and_now_and_then_again():
    gate = Gate(dead_band=0.001, resend_s=1.0)
    sent = [t for t in range(0, 3000, 20) if gate.let_through(0.04 + 1e-5 * (t % 3), t * 10**6)]
    assert sent == [0, 1000, 2000]


def test_new_command_is_sent_at_once():
    gate = Gate(dead_band=0.001, resend_s=1.0)
    assert gate.let_through(0.04, 0)
    assert gate.let_through(0.038, 1)
    assert not gate.let_through(0.0385, 2)
    gate.forget()
    assert gate.let_through(0.0385, 3)
