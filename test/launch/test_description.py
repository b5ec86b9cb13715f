# SPDX-License-Identifier: Apache-2.0
"""Laws of what is started: one description, no ROS needed to read it."""

from dataclasses import fields

import pytest

from uwm_core.errors import UwmError
from uwm_ros.description import (
    DDS_PROFILE_VARIABLES,
    STACKS,
    PolicyOptions,
    Process,
    RecordOptions,
    ReplayOptions,
    SimOptions,
    TeleopOptions,
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


def nodes(processes: tuple[Process, ...]) -> list[str]:
    return [process.node for process in processes]


def test_policy_stack_is_policy_executor_imagination_and_on_request_the_simulated_arm():
    assert nodes(policy_stack(PolicyOptions())) == ["policy", "executor", "imagination"]
    assert nodes(policy_stack(PolicyOptions(imagination=False))) == ["policy", "executor"]
    assert nodes(policy_stack(PolicyOptions(sim=True)))[0] == "sim_robot"


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
    executor = next(p for p in policy_stack(PolicyOptions(sim=True)) if p.node == "executor")
    assert executor.parameters["autostart"] is False


@pytest.mark.parametrize("name", STACKS)
def test_every_process_gets_the_embodiment_the_namespace_and_the_remappings(name):
    texts = {"embodiment": "fr3", "namespace": "cell/left", "remap": "a:=b, c := d"}
    processes = STACKS[name].build(parse_options(name, texts))
    for process in processes:
        assert process.parameters["embodiment"] == "fr3"
        assert process.full_name == f"/cell/left/{process.node}"
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
