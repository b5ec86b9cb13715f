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

    def report(mode, *errors, told=()):
        """Report until it is heard, and until the trouble says all that is to be told of it.

        The first may come before the subscription knows of its publisher, and a machine that
        stands still makes the robot silent.
        """
        message = FrankaRobotState(robot_mode=mode)
        for error in errors:
            setattr(message.current_errors, error, True)

        def heard():
            publisher.publish(message)
            trouble, facts = state.trouble(), state.facts
            as_told = all(words in trouble for words in told) and bool(trouble) == bool(told)
            return facts and facts.mode == mode and as_told

        graph.wait(heard, f"a report of mode {mode} that tells {told}")

    return state, report


def test_mode_and_errors_are_told_by_name(robot):
    state, report = robot
    assert state.trouble() == "", "nobody has reported"
    report(2)
    names = "joint reflex, communication constraints violation"
    errors = ("joint_reflex", "communication_constraints_violation")
    report(4, *errors, told=("reflex", names))
    report(5, told=("user",))


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
    report(4, told=("reflex",))
    assert not asked.is_set()
    graph.wait(lambda: _recovers(state), "the action to be found")
    assert asked.wait(20)


def _recovers(state):
    try:
        state.recover()
    except UwmError:
        return False
    return True
