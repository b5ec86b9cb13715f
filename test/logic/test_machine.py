# SPDX-License-Identifier: Apache-2.0
"""Laws of the executor's states."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_ros.logic.judge import Cause
from uwm_ros.logic.machine import RefusedError, Status

TRANSIENT = [cause for cause in Cause if cause.transient]
LASTING = [cause for cause in Cause if not cause.transient and cause is not Cause.NONE]

EVENTS = {
    "run": lambda s: s.run(),
    "hold": lambda s: s.hold(),
    "stop": lambda s: s.stop(),
    "reset": lambda s: s.reset(),
    "good chunk": lambda s: s.played() if s.wants_chunks else s,
    "stale": lambda s: s.trouble(Cause.STALE_STATE, "stale"),
    "nan": lambda s: s.trouble(Cause.NOT_FINITE, "nan"),
}


def after(*events):
    status = Status()
    for event in events:
        with contextlib.suppress(RefusedError):
            status = EVENTS[event](status)
    return status


@given(st.lists(st.sampled_from(list(EVENTS)), max_size=30))
def test_nothing_but_reset_leaves_stopped(events):
    stopped = after("run", "good chunk", "stop")
    for event in events:
        if event != "reset":
            try:
                stopped = EVENTS[event](stopped)
            except RefusedError as error:
                assert "reset" in str(error)
            assert stopped.state == "stopped"


@given(st.lists(st.sampled_from([e for e in EVENTS if e != "run"]), max_size=30))
def test_nothing_runs_before_run(events):
    assert after(*events).state in ("idle", "stopped")


@given(st.lists(st.sampled_from(list(EVENTS)), max_size=30))
def test_chunks_are_played_only_where_they_are_wanted(events):
    status = after(*events)
    if status.wants_chunks:
        assert status.played().state == "running"
    else:
        with pytest.raises(RefusedError):
            status.played()


@pytest.mark.parametrize("cause", TRANSIENT)
def test_transient_hold_ends_with_a_good_chunk(cause):
    held = after("run", "good chunk").trouble(cause, "why")
    assert (held.state, held.reason, held.holds) == ("holding", "why", 1)
    healed = held.played()
    assert (healed.state, healed.reason, healed.holds) == ("running", "", 1)


@pytest.mark.parametrize("cause", LASTING)
def test_lasting_hold_needs_the_operator(cause):
    held = after("run", "good chunk").trouble(cause, "why")
    assert held.state == "holding"
    assert not held.wants_chunks
    assert held.run().state == "armed"


def test_lasting_cause_replaces_a_transient_one_and_not_the_other_way():
    assert after("run", "good chunk", "stale", "nan").cause is Cause.NOT_FINITE
    assert after("run", "good chunk", "nan", "stale").cause is Cause.NOT_FINITE


def test_run_counts_anew_and_does_not_disturb_a_running_arm():
    held = after("run", "good chunk", "stale", "good chunk", "stale")
    assert held.holds == 2
    assert held.run().holds == 0
    running = after("run", "good chunk")
    assert running.run() is running


def test_reset_is_refused_while_running():
    with pytest.raises(RefusedError, match="hold"):
        after("run", "good chunk").reset()
    assert after("run", "good chunk", "stop", "reset") == Status()


@pytest.mark.parametrize("cause", list(Cause))
def test_an_armed_executor_says_what_is_wrong_until_it_is_well(cause):
    waiting = after("run").trouble(cause, "why")
    assert (waiting.state, waiting.reason) == ("armed", "why")
    watched = cause in (Cause.STALE_STATE, Cause.HEARTBEAT, Cause.DEADMAN, Cause.ROBOT)
    assert (waiting.well().reason == "") == watched
    assert after("run", "good chunk").trouble(cause, "why").well().state == "holding"
