# SPDX-License-Identifier: Apache-2.0
"""Laws of the robot's own state: trouble by name, recovery on request alone."""

import threading

import pytest

from uwm_core.errors import UwmError


@pytest.fixture
def robot(graph, interfaces):
    """The watcher, and a function that reports as the robot does."""
    from franka_msgs.msg import FrankaRobotState

    from uwm_ros.bridge.robot_state import RobotState

    publisher = graph.node.create_publisher(
        FrankaRobotState, "franka_robot_state_broadcaster/robot_state", 1
    )
    state = RobotState(graph.node)
    graph.connected(publisher)

    def report(mode, *errors):
        message = FrankaRobotState(robot_mode=mode)
        for error in errors:
            setattr(message.current_errors, error, True)

        def heard():
            # The first may come before the subscription knows of its publisher.
            publisher.publish(message)
            return state.facts and state.facts.mode == mode

        graph.wait(heard, "the report")

    return state, report


def test_mode_and_errors_are_told_by_name(graph, robot):
    state, report = robot
    assert state.trouble() == "", "nobody has reported"
    report(2)
    # A machine that stands still makes a robot silent: it reports again.
    graph.wait(lambda: not state.trouble() or report(2), "a robot without trouble")
    report(4, "joint_reflex", "communication_constraints_violation")
    errors = "joint reflex, communication constraints violation"
    graph.wait(
        lambda: errors in state.trouble() or report(4, *errors.replace(" ", "_").split(",_")),
        "the errors' names",
    )
    report(5)
    graph.wait(lambda: "user" in state.trouble() or report(5), "the mode's name")


def test_a_robot_that_falls_silent_is_trouble(graph, robot):
    state, report = robot
    report(2)
    graph.wait(lambda: "silent" in state.trouble(), "the silence to be noticed")


def test_recovery_is_asked_only_on_request(graph, robot, serve):
    from franka_msgs.action import ErrorRecovery

    state, report = robot
    with pytest.raises(UwmError, match="nobody offers the action /action_server/error_recovery"):
        state.recover()
    asked = threading.Event()

    def run(handle):
        asked.set()
        handle.succeed()
        return ErrorRecovery.Result()

    serve(ErrorRecovery, "action_server/error_recovery", run)
    report(4)
    assert not asked.is_set()
    graph.wait(lambda: _recovers(state), "the action to be found")
    assert asked.wait(20)


def _recovers(state):
    try:
        state.recover()
    except UwmError:
        return False
    return True
