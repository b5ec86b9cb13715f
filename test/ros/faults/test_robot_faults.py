# SPDX-License-Identifier: Apache-2.0
"""Laws of driving when the robot is wrong: its states, its clock, its controller, its joints."""

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("joint_states_stop", "joint state"),
        ("stamps_ahead", "joint state"),
        ("stamps_behind", "joint state"),
    ],
)
def test_joint_states_that_cannot_be_trusted_hold_and_heal(driving, fault, word):
    since_ns = driving.fault(fault)
    driving.expect_hold(since_ns, word, name=fault)
    driving.fault("")
    driving.goes_on_by_itself()


def test_joint_states_of_another_arm_hold(driving):
    since_ns = driving.fault("wrong_joint_names")
    driving.expect_hold(since_ns, "joint", name="wrong_joint_names")
    driving.fault("")


def test_joints_in_another_order_are_found_by_their_names(driving):
    driving.fault("wrong_joint_order")
    driving.pass_s(1.0)
    driving.never_held()


def test_a_controller_that_is_gone_holds_for_the_operator(driving):
    driving.witness.hear_commands(False)
    since_ns = driving.fault("controller_stops")
    driving.expect_hold(since_ns, "listens", name="controller_stops")
    assert "listens" in driving.refused("run")
    driving.fault("")
    driving.witness.hear_commands(True)
    driving.waits_for_the_operator()


def test_an_obstacle_holds_and_the_plan_gives_way(driving):
    since_ns = driving.fault("obstacle")
    # No time is asked for: a blocked arm is one that has fallen behind its plan.
    driving.wait(lambda: driving.witness.first(("holding",), since_ns, "blocked"), "a hold")
    driving.wait(driving.is_still, "an arm at rest")
    driving.no_limit_is_broken()
    # No wind-up: the command ends where the arm is, not beyond the obstacle.
    newest_ns = np.array([driving.witness.now_ns()])
    away = driving.witness.log.played(newest_ns)[0] - list(driving.witness.measured)[-1].position
    assert np.abs(away).max() < 0.1
    driving.fault("")


def test_a_second_publisher_holds_for_the_operator(driving):
    import rclpy
    from rclpy.context import Context
    from rclpy.node import Node
    from trajectory_msgs.msg import JointTrajectory

    from uwm_ros.operator.witness import arm_channel

    context = Context()
    rclpy.init(context=context, args=[])
    intruder = Node("intruder", context=context)
    try:
        topic = arm_channel(driving.witness.embodiment).command_topic
        # A process that has just come is found by the others one after the other.
        found = driving.witness.operator.node.get_node_names
        driving.wait(
            lambda: "intruder" in found() and "executor" in intruder.get_node_names(),
            "each other",
        )
        intruder.create_publisher(JointTrajectory, topic, 1)
        # From here on the middleware tells of it; before, nobody can know.
        driving.wait(lambda: driving.operator.node.count_publishers(topic) == 2, "discovery")
        since_ns = driving.witness.now_ns()
        driving.expect_hold(since_ns, "publishers", name="second publisher")
        assert "publishers" in driving.refused("run")
    finally:
        intruder.destroy_node()
        rclpy.shutdown(context=context)
    driving.waits_for_the_operator()


def test_stop_in_the_middle_of_a_chunk_is_latched(driving):
    since_ns = driving.witness.now_ns()
    driving.call("stop")
    driving.expect_hold(since_ns, "stopped", states=("stopped",), name="stop")
    assert "reset" in driving.refused("run")
    driving.retry("reset")
    driving.retry("run")
    driving.goes_on_by_itself()


def test_stop_by_topic_is_latched(driving):
    from std_msgs.msg import Empty

    node = driving.operator.node
    publisher = node.create_publisher(Empty, "executor/stop_now", 1)
    driving.wait(lambda: publisher.get_subscription_count() == 1, "the executor to listen")
    since_ns = driving.witness.now_ns()
    publisher.publish(Empty())
    driving.expect_hold(since_ns, "stopped", states=("stopped",), name="stop by topic")
    node.destroy_publisher(publisher)
