# SPDX-License-Identifier: Apache-2.0
"""Laws of the arm's outputs: what is on the wire is the plan, whatever the command type."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.embodiment import Embodiment
from uwm_core.streams import (
    ARRAY,
    FOLLOW_JOINT_TRAJECTORY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE_STAMPED,
    TWIST,
    TWIST_STAMPED,
)
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.trajectory import from_seconds

START_NS = 1_700_000_000_000_000_000
FR3 = Embodiment.load("fr3_sim")
HOME = np.array(FR3.home_rad)


def plan_from(start_ns):
    """Half a second to 0.1 rad off home and to rest there."""
    positions = np.stack([HOME, HOME + 0.05, HOME + 0.1])
    velocities = np.stack([np.zeros(7), np.full(7, 0.3), np.zeros(7)])
    curve = from_seconds(start_ns, np.array([0.0, 0.25, 0.5]), positions, velocities)
    return Plan(curve, 40_000_000)


def commanded(command_type, **changes):
    channel = FR3.action["joint_target"]
    channel = dataclasses.replace(channel, command_type=command_type, command_topic="go", **changes)
    return dataclasses.replace(FR3, action={**FR3.action, "joint_target": channel})


def sent(graph, embodiment, kind, moments_ns):
    """What `tick` sends at some moments of the plan, in order."""
    from uwm_ros.bridge.outputs import make_arm_output

    heard = graph.listen(kind, "go")
    output = make_arm_output(graph.node, embodiment)
    graph.wait(lambda: output.check() == "", "a listener")
    assert not output.tick(START_NS), "nothing before the first plan"
    output.plan(plan_from(START_NS), START_NS)
    for k, moment_ns in enumerate(moments_ns):
        assert output.tick(moment_ns)
        graph.wait(lambda k=k: len(heard) > k, "a message")
    output.release()
    assert not output.tick(moments_ns[-1])
    return heard


MOMENTS_NS = [START_NS + ms * 1_000_000 for ms in (0, 100, 250, 400, 900)]
PLAN = plan_from(START_NS)
PERIOD_NS = 10_000_000


def step_of(moment_ns):
    """Mean velocity of the period that begins, and the position in its middle."""
    here, there = (PLAN.sample(moment)[0] for moment in (moment_ns, moment_ns + PERIOD_NS))
    return (there - here) / (PERIOD_NS / 1e9), (here + there) / 2


def test_joint_states_are_samples_freshly_stamped(graph):
    from sensor_msgs.msg import JointState

    from uwm_ros.bridge.clock import to_ns

    heard = sent(graph, commanded(JOINT_STATE), JointState, MOMENTS_NS)
    for message, moment_ns in zip(heard, MOMENTS_NS, strict=True):
        position, velocity, _ = PLAN.sample(moment_ns)
        assert tuple(message.name) == FR3.arm_joints
        assert to_ns(message.header.stamp) == moment_ns
        np.testing.assert_array_equal(message.position, position)
        np.testing.assert_array_equal(message.velocity, velocity)


@pytest.mark.parametrize("field", ["position", "velocity"])
def test_arrays_carry_positions_or_mean_velocities(graph, field):
    from std_msgs.msg import Float64MultiArray

    heard = sent(graph, commanded(ARRAY, command_field=field), Float64MultiArray, MOMENTS_NS)
    for message, moment_ns in zip(heard, MOMENTS_NS, strict=True):
        expected = PLAN.sample(moment_ns)[0] if field == "position" else step_of(moment_ns)[0]
        np.testing.assert_allclose(message.data, expected, atol=1e-12)


def test_poses_are_where_the_joints_bring_the_hand(graph):
    from geometry_msgs.msg import PoseStamped

    from uwm_core.data.rotations import matrix_of_quaternion
    from uwm_core.kinematics.model import ArmModel

    heard = sent(graph, commanded(POSE_STAMPED), PoseStamped, MOMENTS_NS)
    model, before = ArmModel.of(FR3), None
    for message, moment_ns in zip(heard, MOMENTS_NS, strict=True):
        tcp = model.tcp(PLAN.sample(moment_ns)[0])
        place, turn = message.pose.position, message.pose.orientation
        quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
        assert message.header.frame_id == FR3.kinematics.base_frame
        np.testing.assert_allclose([place.x, place.y, place.z], tcp[:3, 3])
        np.testing.assert_allclose(matrix_of_quaternion(quaternion), tcp[:3, :3], atol=1e-9)
        assert before is None or before @ quaternion > 0
        before = quaternion


@pytest.mark.parametrize("command_type", [TWIST, TWIST_STAMPED])
def test_twists_integrate_to_the_plan_and_are_zero_at_rest(graph, command_type):
    from geometry_msgs.msg import Twist, TwistStamped

    from uwm_core.kinematics.model import ArmModel

    stamped = command_type == TWIST_STAMPED
    kind = TwistStamped if stamped else Twist
    heard = sent(graph, commanded(command_type), kind, MOMENTS_NS)
    model = ArmModel.of(FR3)
    for message, moment_ns in zip(heard, MOMENTS_NS, strict=True):
        twist = message.twist if stamped else message
        linear = np.array([twist.linear.x, twist.linear.y, twist.linear.z])
        ends = [model.tcp(PLAN.sample(m)[0])[:3, 3] for m in (moment_ns, moment_ns + PERIOD_NS)]
        np.testing.assert_allclose(linear * PERIOD_NS / 1e9, ends[1] - ends[0], atol=2e-7)
    assert twist.linear.x == twist.angular.z == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(-50, 700))
def test_a_controller_gets_points_that_begin_in_the_past_and_end_in_the_future(ms):
    from uwm_ros.bridge.outputs.trajectories import points_of

    now_ns = START_NS + ms * 1_000_000 + 1234
    points = points_of(PLAN, now_ns)
    assert now_ns - 20_000_000 < points.start_ns <= now_ns
    assert points.end_ns >= now_ns + 100_000_000
    assert not points.velocities[-1].any()
    np.testing.assert_allclose(points.positions, PLAN.samples(points.times_ns)[0], atol=1e-12)
    middle_ns = (points.times_ns[:-1] + points.times_ns[1:]) // 2
    between = np.array([points.sample(int(moment))[0] for moment in middle_ns])
    np.testing.assert_allclose(between, PLAN.samples(middle_ns)[0], atol=1e-4)


def test_the_topic_of_a_controller_gets_each_plan_once_and_names_strangers(graph, stranger):
    from trajectory_msgs.msg import JointTrajectory

    from uwm_ros.bridge.outputs import make_arm_output

    output = make_arm_output(graph.node, commanded(JOINT_TRAJECTORY))
    assert output.check() == "no controller listens on /go"
    heard = graph.listen(JointTrajectory, "go")
    graph.wait(lambda: output.check() == "", "the controller")
    output.plan(PLAN, START_NS)
    assert not output.tick(START_NS)
    graph.wait(lambda: heard, "the plan")
    assert len(heard) == 1
    stranger.node.create_publisher(JointTrajectory, "go", 1)
    graph.wait(lambda: "several publishers" in output.check(), "the stranger")
    assert output.topics == ("/go",)


@pytest.mark.parametrize("ending", ["succeeds", "rejects", "aborts"])
def test_the_action_of_a_controller_tells_how_it_went(graph, serve, ending):
    from control_msgs.action import FollowJointTrajectory
    from rclpy.action import CancelResponse, GoalResponse
    from rclpy.task import Future

    from uwm_ros.bridge.clock import to_ns
    from uwm_ros.bridge.outputs import make_arm_output

    now_ns = graph.node.get_clock().now().nanoseconds
    later_ns = now_ns + 100_000_000
    second, ended = Future(executor=graph.executor), []

    async def run(handle):
        result = FollowJointTrajectory.Result()
        # The first goal is superseded: a controller aborts it, which means nothing.
        superseded = to_ns(handle.request.trajectory.header.stamp) <= now_ns
        if superseded:
            await second
        else:
            second.set_result(None)
        if ending == "aborts" or superseded:
            result.error_code = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
            handle.abort()
        else:
            handle.succeed()
        ended.append(ending)
        return result

    answer = GoalResponse.REJECT if ending == "rejects" else GoalResponse.ACCEPT
    serve(
        FollowJointTrajectory, "arm/follow_joint_trajectory", run,
        goal_callback=lambda _: answer, cancel_callback=lambda _: CancelResponse.ACCEPT,
    )  # fmt: skip
    embodiment = commanded(FOLLOW_JOINT_TRAJECTORY)
    channel = dataclasses.replace(
        embodiment.action["joint_target"], command_topic="arm/follow_joint_trajectory"
    )
    embodiment = dataclasses.replace(embodiment, action={"joint_target": channel})
    output = make_arm_output(graph.node, embodiment)
    graph.wait(lambda: output.check() == "", "the controller")
    output.plan(plan_from(now_ns), now_ns)
    output.plan(plan_from(later_ns), later_ns)
    if ending == "succeeds":
        graph.wait(lambda: len(ended) == 2, "two ends")
        assert output.check() == ""
    else:
        said = []
        graph.wait(lambda: said.append(output.check()) or said[-1], "the trouble")
        assert {"rejects": "rejected", "aborts": "left the path"}[ending] in said[-1]
    assert output.check() == ""
