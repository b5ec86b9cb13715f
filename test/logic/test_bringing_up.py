# SPDX-License-Identifier: Apache-2.0
"""Laws of bringing up and down, played against nodes that do as they are told."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_ros.logic.bringing_up import Member, step_down, step_up

AFTER = {
    "configure": "inactive",
    "activate": "active",
    "deactivate": "inactive",
    "cleanup": "unconfigured",
}
STATES = ("unconfigured", "inactive", "active")


def fresh(*names):
    return [Member(name=name, present=True, seen=True, state="unconfigured") for name in names]


def play(members, choose):
    """Carry out steps until there is none; what was done, and how it ended."""
    done, checked = [], False
    for _ in range(20):
        step = choose(members, checked)
        if step.kind == "check":
            checked = True
        elif step.kind in AFTER:
            members = [
                dataclasses.replace(m, state=AFTER[step.kind]) if m.name == step.node else m
                for m in members
            ]
        else:
            return done, step, members
        done.append(f"{step.kind} {step.node}".strip())
    pytest.fail(f"no end: {done}")


def up(members):
    return play(members, lambda now, checked: step_up(now, checked=checked))


def down(members):
    return play(members, lambda now, _: step_down(now))


def test_all_are_configured_then_checked_then_activated_in_order():
    done, step, _ = up(fresh("policy", "imagination"))
    assert done == [
        "configure policy",
        "configure imagination",
        "check",
        "activate policy",
        "activate imagination",
    ]
    assert step.kind == "done"


def test_down_is_the_way_up_backwards():
    _, _, members = up(fresh("policy", "imagination"))
    done, step, _ = down(members)
    assert done == [
        "deactivate imagination",
        "deactivate policy",
        "cleanup imagination",
        "cleanup policy",
    ]
    assert step.kind == "done"


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=4))
def test_from_wherever_they_are_all_come_up_and_all_go_down(states):
    members = [
        Member(name=f"n{i}", present=True, seen=True, state=state) for i, state in enumerate(states)
    ]
    done, step, top = up(members)
    assert (step.kind, {m.state for m in top}) == ("done", {"active"})
    if not all(state == "active" for state in states):
        first = next(i for i, word in enumerate(done) if word.startswith("activate"))
        assert done[first - 1] == "check"
    _, step, bottom = down(members)
    assert (step.kind, {m.state for m in bottom}) == ("done", {"unconfigured"})


def test_nobody_is_activated_before_everybody_was_seen_once():
    policy, late = fresh("policy")[0], Member(name="imagination")
    done, step, _ = up([policy, late])
    assert done == ["configure policy"]
    assert (step.kind, step.node) == ("wait", "imagination")


def test_a_node_that_died_is_named_and_keeps_nobody_else_down():
    dead = Member(name="imagination", seen=True)
    done, step, members = up([*fresh("policy"), dead])
    assert done == ["configure policy", "check", "activate policy"]
    assert step.kind == "wait" and "imagination has left the graph" in step.reason
    back = dataclasses.replace(dead, present=True, state="unconfigured")
    done, step, _ = up([members[0], back])
    assert done == ["configure imagination", "check", "activate imagination"]
    assert step.kind == "done"


def test_a_refusal_is_told_and_not_tried_again():
    refusing = dataclasses.replace(fresh("policy")[0], refused="another embodiment")
    done, step, _ = up([refusing, *fresh("imagination")])
    assert done == ["configure imagination"]
    assert step.kind == "failed" and step.reason == "policy refused: another embodiment"


def test_a_mute_node_is_waited_for_on_the_way_up_and_passed_over_on_the_way_down():
    mute = Member(name="policy", present=True, seen=True)
    assert "does not answer" in step_up([mute], checked=False).reason
    assert step_down([mute]).kind == "done"
