# SPDX-License-Identifier: Apache-2.0
"""Which part of a foreign row becomes which part of a step, and what a derived robot is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.data.interop.derive import derive
from uwm_core.data.interop.fit import Fit
from uwm_core.data.interop.source import Layout, Row, column_names, key_of, needs
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError, UwmError

LAYOUT = Layout(
    name="Their Robot",
    rate_hz=10.0,
    cameras={"front_rgb": (48, 64), "Side-View": (20, 20)},
    state={"observation": column_names("s", 8)},
    action=column_names("a", 8),
)


def row(layout=LAYOUT, seed=0):
    rng = np.random.default_rng(seed)
    return Row(
        stamp_ns=5,
        images={
            key: rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            for key, size in layout.cameras.items()
        },
        state={key: rng.normal(size=len(names)) for key, names in layout.state.items()},
        action=rng.normal(size=len(layout.action)),
    )


def test_a_derived_robot_takes_every_number_as_it_is():
    fit = Fit.of(LAYOUT, derive(LAYOUT), {})
    step, theirs = fit.step(row()), row()
    assert fit.absent == ()
    assert np.array_equal(step.images["side_view"], theirs.images["Side-View"])
    assert np.array_equal(step.state["observation"], theirs.state["observation"].astype("f4"))
    assert np.array_equal(step.action["action"], theirs.action.astype("f4"))


def test_a_derived_robot_is_one_that_its_own_yaml_describes():
    embodiment = derive(LAYOUT)
    assert Embodiment.parse(embodiment.to_yaml()) == embodiment
    assert embodiment.name == "their_robot"
    assert all(s.topic.startswith("unknown/") for s in embodiment.streams.values())


def test_keys_may_be_chosen_for_a_derived_robot():
    names = {"front": "front_rgb"}
    embodiment = derive(LAYOUT.only(["front_rgb"]), names)
    assert (list(embodiment.cameras), list(embodiment.state)) == (["front"], [])
    assert Fit.of(LAYOUT, embodiment, names).cameras == names
    with pytest.raises(UnknownNameError, match="Did you mean 'front_rgb'"):
        LAYOUT.only(["front_rbg"])


def test_two_names_that_become_one_key_are_refused():
    twice = dataclasses.replace(LAYOUT, cameras={"a b": (8, 8), "a-b": (8, 8)})
    with pytest.raises(DataError, match="a b and a-b both become 'a_b'"):
        derive(twice)
    assert list(derive(twice, {"c": "a-b"}).cameras) == ["a_b", "c"]


def test_a_robot_gets_its_sizes_its_order_and_its_absences(robot):
    fit, theirs = Fit.of(LAYOUT, robot, {}), row()
    step = fit.step(theirs)
    assert fit.absent == ("wrist",)
    taken = [note.split(":")[0] for note in fit.notes]
    assert taken == ["observation", "action"]  # by their number alone: that is said
    assert step.images["front"].shape == (24, 32, 3)
    joined = np.concatenate([step.state["joint_pos"], step.state["gripper_width"]])
    assert np.array_equal(joined, theirs.state["observation"].astype("f4"))


@given(st.permutations(range(8)))
def test_columns_that_bear_the_robots_names_come_in_its_order(order):
    robot = Embodiment.load("fr3_sim")
    shuffled = dataclasses.replace(
        LAYOUT,
        state={"observation": tuple(robot.state_names[i] for i in order)},
        action=tuple(robot.action_names[i] for i in order),
    )
    values = np.arange(8.0)[list(order)]
    fit = Fit.of(shuffled, robot, {})
    assert fit.notes == ()
    step = fit.step(Row(stamp_ns=0, images={}, state={"observation": values}, action=values))
    for parts in (step.state, step.action):
        assert np.concatenate(list(parts.values())).tolist() == list(range(8))


@pytest.mark.parametrize(
    ("change", "names", "says"),
    [
        ({"rate_hz": 30.0}, {}, "has 30 rows a second, fr3_sim 10"),
        ({"action": ("x", "y")}, {}, "actions have 2 columns"),
        ({"state": {"joint_pos": ("a", "b")}}, {}, "joint_pos has 2 columns"),
        ({"cameras": {"other": (8, 8)}, "state": {}}, {}, "has none of front, wrist"),
        ({}, {"frnt": "front_rgb"}, "Did you mean 'front'"),
        ({}, {"front": "frontrgb"}, "Did you mean 'front_rgb'"),
    ],
)
def test_what_does_not_fit_is_named(robot, change, names, says):
    with pytest.raises((DataError, UnknownNameError), match=says):
        Fit.of(dataclasses.replace(LAYOUT, **change), robot, names)


def test_a_missing_library_is_named_with_what_brings_it():
    with pytest.raises(UwmError, match=r"needs 'no_such_library'.*uwm_ros\[interop\]"):
        needs("no_such_library")


@given(st.text(min_size=1))
def test_any_name_becomes_a_key(name):
    key = key_of(name)
    assert key[0] in "abcdefghijklmnopqrstuvwxyz"
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
