# SPDX-License-Identifier: Apache-2.0
"""Laws of embodiments: the bundled ones are sound, impossible ones are refused by name and line."""

import dataclasses
from pathlib import Path

import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.errors import SpecError, UnknownNameError
from uwm_core.resources import bundled

TEXT = bundled("embodiments", ".yaml")["fr3_sim"].read_text()


@pytest.mark.parametrize("name", ["fr3", "fr3_sim"])
def test_bundled_embodiments_load_and_write_themselves_back(name: str) -> None:
    embodiment = Embodiment.load(name)
    assert embodiment.name == name
    assert Embodiment.parse(embodiment.to_yaml()) == embodiment


def test_columns_are_named_and_counted(embodiment: Embodiment) -> None:
    arm = tuple(f"fr3_joint{i}" for i in range(1, 8))
    assert embodiment.action_names == (*arm, "gripper_width")
    assert embodiment.state_names == (*arm, "gripper_width")
    assert embodiment.action_size == embodiment.state_size == 8
    assert embodiment.period_ns == 100_000_000
    assert embodiment.camera_names == ("front", "wrist")


def test_views_are_sorted_whatever_the_file_says(embodiment: Embodiment) -> None:
    turned = dict(reversed(embodiment.cameras.items()))
    assert dataclasses.replace(embodiment, cameras=turned).camera_names == ("front", "wrist")


def test_both_robots_have_the_published_limits() -> None:
    real, simulated = Embodiment.load("fr3"), Embodiment.load("fr3_sim")
    assert real.limits == simulated.limits
    assert real.limits.velocity_rad_s == (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
    assert real.limits.position_rad[3] == (-3.0421, -0.1518)
    assert real.limits.acceleration_rad_s2 == (10.0,) * 7


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rate_hz: 10.0", "rate_hz: -10.0", "rate_hz must be above 0"),
        ("rate_hz: 10.0", "rat_hz: 10.0", "Did you mean 'rate_hz'?"),
        ("max_age_s: 0.15", "max_age_s: 0.03", "max_age_s 0.03 is below one period"),
        ("[0.5445, 4.5169]", "[4.5169, 0.5445]", "position_rad[5] must be (low, high)"),
        ("home_rad: [0.0", "home_rad: [2.8", "home_rad of fr3_joint1 is 2.8, outside"),
        ("arm_joints: [fr3_joint1, fr3_joint2", "arm_joints: [fr3_joint2, fr3_joint2", "unique"),
        ("size: [96, 96]", "size: [96, 0]", "size must be positive"),
        ("size: [96, 96]", "size: [96, 96, 3]", "must have 2 entries"),
        ("unit: rad\n", "unit: deg\n", "must be one of: rad, m, rad/s, m/s, unitless"),
        ("unit: rad\n", "unit: rad/s\n", "unit 'rad/s' does not fit position; use rad, m"),
        ("clock: receive", "clock: header", "clock must be 'receive'"),
        ("scale: 0.08", "scale: 0", "scale must be finite and not 0"),
        ("type: std_msgs/msg/Float32", "type: std_msgs/msg/Int8", "type 'std_msgs/msg/Int8'"),
        ("field: data", "field: position", "field 'position' is not in std_msgs/msg/Float32"),
        ("names: [gripper_width]", "names: [fr3_joint1]", "action names must be unique"),
        ("topic: front/color", "topic: front color", "is not a topic name"),
        ("  wrist:\n", "  Wrist:\n", "cameras key 'Wrist' must be lower-case"),
        ("  wrist:\n", "  joint_pos:\n", "cameras and state share the key 'joint_pos'"),
        ("max_width_m: 0.08", "max_width_m: 0", "max_width_m must be above 0"),
        ("velocity_scale: 0.8", "velocity_scale: 1.5", "velocity_scale must be at most 1"),
        ("limit_margin_rad: 0.02", "limit_margin_rad: -1", "limit_margin_rad must be 0 or more"),
        ("5.26, 4.18, 5.26]", "5.26, 4.18]", "velocity_rad_s has 6 entries"),
        ("10.0, 10.0]\n", "10.0, 0.0]\n", "acceleration_rad_s2[6] must be above 0"),
        ("trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float32", "takes one value, got 7"),
    ],
)
def test_impossible_embodiments_are_refused_with_the_line(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(SpecError) as caught:
        Embodiment.parse(TEXT.replace(old, new, 1), "robot.yaml")
    message = str(caught.value)
    assert message.startswith("robot.yaml:") and message.split(":")[1].isdigit()
    assert says in message
    assert "\n" not in message


def test_a_fault_in_a_stream_is_reported_on_its_own_line() -> None:
    broken = TEXT.replace("max_age_s: 0.15", "max_age_s: 0.03", 1)
    line = 1 + broken[: broken.index("max_age_s: 0.03")].count("\n")
    with pytest.raises(SpecError, match=rf"^robot\.yaml:{line}: cameras\.front: "):
        Embodiment.parse(broken, "robot.yaml")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'fr3_sim'\?"):
        Embodiment.load("fr3_sin")


def test_a_path_loads_too(tmp_path: Path, embodiment: Embodiment) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(embodiment.to_yaml())
    assert Embodiment.load(path) == embodiment


def test_keys_that_came_later_are_written_only_where_they_say_something() -> None:
    later = {"indices", "open_above", "at", "relative_to"}
    assert not {line.strip().split(":")[0] for line in _written("fr3_sim")} & later
    assert "    at: next_tick" in _written("fr3_states")
    assert "    relative_to: hand_pose" in _written("fr3_vr")


def _written(name: str) -> list[str]:
    return Embodiment.load(name).to_yaml().splitlines()


def test_the_droid_action_is_ten_numbers_at_fifteen_hertz() -> None:
    droid = Embodiment.load("droid")
    assert (droid.rate_hz, droid.action_size, len(droid.cameras)) == (15.0, 10, 3)
    assert {camera.size for camera in droid.cameras.values()} == {(180, 320)}


def test_an_embodiment_does_not_differ_from_itself(embodiment: Embodiment) -> None:
    assert embodiment.difference(Embodiment.parse(embodiment.to_yaml())) == []


def test_wiring_is_no_difference_but_meaning_is(embodiment: Embodiment) -> None:
    rewired = Embodiment.parse(TEXT.replace("topic: front/", "topic: left/front/"))
    assert embodiment.difference(rewired) == []
    slower = Embodiment.parse(TEXT.replace("rate_hz: 10.0", "rate_hz: 15.0"))
    assert embodiment.difference(slower) == ["rate_hz: 10 in fr3_sim, 15 in fr3_sim"]
    swapped = Embodiment.parse(
        TEXT.replace("names: [fr3_joint1, fr3_joint2", "names: [fr3_joint2, fr3_joint1", 1)
    )
    (sentence,) = embodiment.difference(swapped)
    assert sentence.startswith("state joint_pos: fr3_joint1, fr3_joint2")


def test_topics_are_relative_so_that_a_namespace_moves_them() -> None:
    for name in ("fr3", "fr3_sim"):
        embodiment = Embodiment.load(name)
        commands = [channel.command_topic for channel in embodiment.action.values()]
        assert not [t for t in (*embodiment.topics, *commands) if t.startswith("/")]
