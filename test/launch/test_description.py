# SPDX-License-Identifier: Apache-2.0
"""Laws of what is started: one description, no ROS needed to read it."""

import dataclasses
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.description import (
    DDS_PROFILE_VARIABLES,
    STACKS,
    ArmsOptions,
    Element,
    Foreign,
    Include,
    PolicyOptions,
    RecordOptions,
    ReplayOptions,
    SimOptions,
    TeleopOptions,
    arms_stack,
    dds_profile_variable,
    environment,
    help_of,
    parse_options,
    policy_stack,
    record_stack,
    replay_stack,
    sim_stack,
    teleop_stack,
)


def nodes(elements: tuple[Element, ...]) -> list[str]:
    return [element.node for element in elements]


def named(elements: tuple[Element, ...], node: str):
    return next(element for element in elements if getattr(element, "node", "") == node)


def test_policy_stack_is_executor_policy_imagination_and_their_manager():
    assert nodes(policy_stack(PolicyOptions())) == ["executor", "policy", "imagination", "manager"]
    without = policy_stack(PolicyOptions(imagination=False))
    assert nodes(without) == ["executor", "policy", "manager"]
    assert nodes(policy_stack(PolicyOptions(sim=True)))[0] == "sim_robot"
    watched = nodes(policy_stack(PolicyOptions(preview=True, flight_recorder=True)))
    assert watched[:2] == ["preview", "flight_recorder"]


@pytest.mark.parametrize("imagination", [True, False])
def test_the_manager_brings_up_exactly_the_nodes_that_load_a_model(imagination):
    stack = policy_stack(PolicyOptions(imagination=imagination))
    loading = [process.node for process in stack if "checkpoint" in process.parameters]
    assert named(stack, "manager").parameters["nodes"] == loading


def test_the_executor_and_the_policy_join_chunks_the_same_way():
    stack = policy_stack(PolicyOptions(join="inpaint", blend_s=0.1, speed_scale=0.5))
    executor = named(stack, "executor").parameters
    assert (executor["join"], executor["blend_s"], executor["speed_scale"]) == ("inpaint", 0.1, 0.5)
    assert named(stack, "policy").parameters["join"] == "inpaint"


def test_only_nodes_that_can_be_brought_up_again_are_started_again():
    stack = policy_stack(PolicyOptions(respawn=True, sim=True))
    assert [p.node for p in stack if p.respawn] == ["policy", "imagination"]


def test_franka_ros2_comes_with_its_controller_before_everything_else():
    options = PolicyOptions(franka="controller", robot_ip="172.16.0.2", namespace="left")
    robot, spawner, *ours = policy_stack(options)
    assert isinstance(robot, Include) and robot.package == "franka_bringup"
    assert (robot.arguments["robot_ip"], robot.arguments["namespace"]) == ("172.16.0.2", "left")
    assert isinstance(spawner, Foreign) and spawner.arguments[0] == "fr3_arm_controller"
    assert spawner.namespace == "left"
    assert tuple(ours) == policy_stack(PolicyOptions(namespace="left"))
    plain, *rest = policy_stack(dataclasses.replace(options, franka="plain"))
    assert (plain.arguments, rest) == (robot.arguments, ours)


@pytest.mark.parametrize(("fake", "interface"), [(False, "effort"), (True, "position")])
def test_a_real_arm_is_commanded_by_torques_and_made_believe_hardware_by_positions(fake, interface):
    ip = "" if fake else "172.16.0.2"
    options = PolicyOptions(franka="controller", robot_ip=ip, use_fake_hardware=fake)
    robot, spawner, *_ = policy_stack(options)
    controllers = yaml.safe_load(Path(robot.arguments["controllers_yaml"]).read_text())["/**"]
    ours = controllers[spawner.arguments[0]]["ros__parameters"]
    fr3 = Embodiment.load("fr3")
    command = fr3.action["joint_target"].command_topic
    assert command == f"{spawner.arguments[0]}/joint_trajectory"
    assert ours["command_interfaces"] == [interface]
    assert tuple(ours["joints"]) == fr3.arm_joints
    assert (set(ours.get("gains", {})) == set(fr3.arm_joints)) is not fake


def test_two_arms_are_two_policy_stacks_in_namespaces_of_their_own():
    options = ArmsOptions(task="lift", right_embodiment="fr3", right_task="hold", namespace="cell")
    left, right = (
        PolicyOptions(task="lift", namespace="cell/left"),
        PolicyOptions(embodiment="fr3", task="hold", namespace="cell/right"),
    )
    assert arms_stack(options) == (*policy_stack(left), *policy_stack(right))


def test_two_arms_are_not_one_robot():
    two = ArmsOptions(franka="plain", left_robot_ip="172.16.0.2", right_robot_ip="172.16.1.2")
    assert [two.of(side).robot_ip for side in ("left", "right")] == ["172.16.0.2", "172.16.1.2"]
    with pytest.raises(ValueError, match="left_robot_ip and right_robot_ip"):
        ArmsOptions(franka="plain", robot_ip="172.16.0.2")


def test_record_stack_is_the_recorder_and_on_request_teleoperation_and_arm():
    assert nodes(record_stack(RecordOptions())) == ["recorder"]
    everything = record_stack(RecordOptions(teleop=True, sim=True))
    assert nodes(everything) == ["sim_robot", "recorder", "scripted_teleop"]


def test_a_person_and_a_replay_drive_through_the_executor():
    assert nodes(teleop_stack(TeleopOptions())) == ["teleop", "executor"]
    everything = teleop_stack(TeleopOptions(sim=True, record=True))
    assert nodes(everything) == ["sim_robot", "teleop", "executor", "recorder"]
    assert nodes(replay_stack(ReplayOptions(sim=True))) == ["sim_robot", "replay", "executor"]


def test_the_arm_does_not_move_by_itself_unless_told():
    executor = named(policy_stack(PolicyOptions(sim=True)), "executor")
    assert executor.parameters["autostart"] is False


@pytest.mark.parametrize("name", STACKS)
def test_every_process_gets_the_embodiment_the_namespace_and_the_remappings(name):
    texts = {"embodiment": "fr3", "namespace": "cell/left", "remap": "a:=b, c := d"}
    processes = STACKS[name].build(parse_options(name, texts))
    sides = ("/cell/left/left", "/cell/left/right") if name == "arms" else ("/cell/left",)
    for process in processes:
        assert process.parameters["embodiment"] == "fr3"
        assert process.full_name.removesuffix(f"/{process.node}") in sides
        assert process.remappings == (("a", "b"), ("c", "d"))


@pytest.mark.parametrize("name", STACKS)
def test_defaults_written_as_launch_texts_read_back_as_the_defaults(name):
    kind = STACKS[name].options
    texts = {entry.name: str(entry.default) for entry in fields(kind)}
    assert parse_options(name, texts) == kind() == parse_options(name, {})


@pytest.mark.parametrize("name", STACKS)
def test_every_launch_argument_says_what_it_is_for(name):
    assert all(help_of(entry) for entry in fields(STACKS[name].options))


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ({"sim": "yes please"}, "sim:='yes please' must be true or false"),
        ({"threads": "1.5"}, "threads:='1.5' must be a whole number"),
        ({"replan_s": "soon"}, "replan_s:='soon' must be a number"),
        ({"chekpoint": "x"}, "Did you mean 'checkpoint'"),
        ({"namespace": "/left"}, "namespace '/left' must look like"),
        ({"remap": "a=b"}, "remap 'a=b' must look like"),
        ({"franka": "yes"}, "franka 'yes' must be 'controller', 'plain' or empty"),
        ({"franka": "plain"}, "franka needs robot_ip:=ADDRESS, or use_fake_hardware:=true"),
        ({"robot_ip": "172.16.0.2"}, "robot_ip has no use without franka"),
        ({"use_fake_hardware": "true"}, "use_fake_hardware needs franka"),
        ({"franka": "plain", "sim": "true"}, "two arms on the same topics"),
    ],
)
def test_a_wrong_launch_argument_is_refused_by_name(texts, named):
    with pytest.raises(UwmError) as refusal:
        parse_options("policy", texts)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_simulated_arm_is_the_same_process_in_every_stack():
    alone = sim_stack(SimOptions(namespace="left"))[0]
    assert policy_stack(PolicyOptions(namespace="left", sim=True))[0] == alone
    assert record_stack(RecordOptions(namespace="left", sim=True))[0] == alone


def test_the_shipped_dds_profile_is_set_once():
    variables = set(environment({})) & set(DDS_PROFILE_VARIABLES)
    assert len(variables) == 1
    assert environment({})[variables.pop()].endswith("large_images.xml")


@pytest.mark.parametrize(
    ("rclpy_version", "variable"),
    [
        ("7.1.6", "FASTRTPS_DEFAULT_PROFILES_FILE"),  # Jazzy
        ("9.1.2", "FASTDDS_DEFAULT_PROFILES_FILE"),  # Kilted
        ("11.0.0", "FASTDDS_DEFAULT_PROFILES_FILE"),
        ("", "FASTDDS_DEFAULT_PROFILES_FILE"),
    ],
)
def test_the_dds_profile_has_the_name_that_this_ros_reads(rclpy_version, variable):
    assert dds_profile_variable(rclpy_version) == variable


@pytest.mark.parametrize("name", DDS_PROFILE_VARIABLES)
def test_a_dds_profile_of_the_user_is_left_alone(name):
    assert not set(environment({name: "/mine.xml"})) & set(DDS_PROFILE_VARIABLES)


def test_record_options_reach_the_recorder_as_the_parameters_that_it_reads():
    options = RecordOptions(buttons="0:toggle, 1:undo", store="lift.zarr", image_transport="both")
    parameters = record_stack(options)[0].parameters
    assert parameters["buttons"] == ["0:toggle", "1:undo"]
    assert (parameters["sinks"], parameters["store"]) == (["bag", "zarr"], "lift.zarr")
    assert parameters["image_transport"] == "both"
    assert {"buttons", "sinks", "store"}.isdisjoint(record_stack(RecordOptions())[0].parameters)
