# SPDX-License-Identifier: Apache-2.0
"""The scripted teleoperator on the ROS graph: what a person with a leader arm would publish.

Reads `sim/task` (where the cube is), joint and gripper states; publishes at 50 Hz the label on the
embodiment's action topics and the command on its command topics, so that a recorder cannot tell it
from a person. `scripted_teleop/start` begins an attempt with the `mode` and `seed` that are set at
that moment; `scripted_teleop/stop` ends it. It publishes nothing in between, and stops when the arm
falls silent.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float32
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from uwm_core.data.messages import header_ns, vector
from uwm_core.embodiment import ActionChannel, Embodiment, Vector
from uwm_core.errors import UwmError
from uwm_core.sim import fr3
from uwm_ros.bridge.clock import now_ns, to_duration, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import MatchedSubscription, reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.teleoperation import MODES, JointReading, Order, Pilot, PilotConfig
from uwm_ros.msg import SimTask

_FRAME = "fr3_link0"
_STALE_NS = 200_000_000  # older joint states are not acted on
_SILENT_NS = 1_000_000_000  # a busy machine stalls for some hundred ms; a dead arm for good


class ScriptedTeleop(Node):
    """Publishes labels and commands while an attempt runs."""

    def __init__(self, **options: Any) -> None:
        """Read parameters and wait for `scripted_teleop/start`.

        Args:
            **options: Passed on to `rclpy.node.Node`.

        Raises:
            UwmError: A parameter or the embodiment does not fit.
        """
        super().__init__("scripted_teleop", **options)
        parameters = Parameters(self)
        name = parameters.text("embodiment", "fr3_sim", "name or path of the embodiment")
        self._noise_m = parameters.number("noise_m", 0.015, "size of a gust at the hand", 0.0, 0.1)
        self._lead_s = parameters.number("lead_s", 0.06, "command's lead over now", 0.02, 0.5)
        rate_hz = parameters.number("rate_hz", 50.0, "rate of labels and commands", 5.0, 200.0)
        # These two may change between attempts.
        self.declare_parameter(
            "mode", "expert", ParameterDescriptor(description=f"one of {', '.join(MODES)}")
        )
        self.declare_parameter("seed", 0, ParameterDescriptor(description="of the motion"))
        self._check(self.get_parameters(["mode", "seed"]), fail=True)
        self.add_on_set_parameters_callback(lambda changed: self._check(changed, fail=False))
        self._embodiment = Embodiment.load(name)
        self._pilot: Pilot | None = None
        self._trouble = ""
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._lead = to_duration(round(self._lead_s * 1e9))
        self._arm, self._hand = self._action_channels()
        self._joints: JointReading | None = None
        self._stale_since_ns: int | None = None
        self._gripper_m: float | None = None
        self._task: SimTask | None = None
        self._subscribe()
        self._label = self.create_publisher(JointState, self._arm.topic, reliable())
        self._command = self.create_publisher(JointTrajectory, self._arm.command_topic, reliable())
        topics = dict.fromkeys((self._hand.topic, self._hand.command_topic))
        self._grippers = [self.create_publisher(Float32, topic, reliable()) for topic in topics]
        self.create_service(Trigger, "scripted_teleop/start", self._start)
        self.create_service(Trigger, "scripted_teleop/stop", self._stop)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / rate_hz, self._act, clock=steady)

    def _act(self) -> None:
        self._steer()
        state = "steering" if self._pilot else "waiting for scripted_teleop/start"
        level = Level.ERROR if self._trouble else Level.OK
        self._diagnostics.update(level, self._trouble or state, {"state": state})

    def _steer(self) -> None:
        """Publish one label and one command, if an attempt runs."""
        if self._pilot is None or self._task is None or self._joints is None:
            return
        now = now_ns(self)
        if now - self._joints.stamp_ns > _STALE_NS:
            self._wait_for_arm(now)
            return
        self._stale_since_ns = None
        gripper_m = 0.0 if self._gripper_m is None else self._gripper_m
        order = self._pilot.order(now, self._joints, gripper_m, _cube_pose(self._task))
        self._publish(order, now)

    def _wait_for_arm(self, moment_ns: int) -> None:
        """Publish nothing on an old joint state; give up after a second.

        The second counts from when it is noticed: after a stall of this very process the newest
        state may still wait in the queue.
        """
        if self._stale_since_ns is None:
            self._stale_since_ns = moment_ns
        elif moment_ns - self._stale_since_ns > _SILENT_NS:
            self._pilot = None
            self._trouble = "stopped: no joint states for 1 s; call scripted_teleop/start again"
            self.get_logger().error(self._trouble)

    def _publish(self, order: Order, moment_ns: int) -> None:
        label = JointState(name=list(fr3.ARM_JOINTS), position=order.label_rad.tolist())
        label.header.stamp = to_stamp(moment_ns)
        label.header.frame_id = _FRAME
        point = JointTrajectoryPoint(
            positions=order.executed_rad.tolist(), time_from_start=self._lead
        )
        command = JointTrajectory(joint_names=list(fr3.ARM_JOINTS), points=[point])
        command.header.stamp = label.header.stamp
        self._command.publish(command)
        self._label.publish(label)
        for publisher in self._grippers:
            publisher.publish(Float32(data=order.gripper_m / self._hand.scale))

    def _start(self, request: Any, response: Any) -> Any:
        """Serve `scripted_teleop/start`."""
        missing = [
            topic
            for topic, seen in (
                ("sim/task", self._task),
                (_stream(self._embodiment, fr3.ARM_JOINTS[0]).topic, self._joints),
                (_stream(self._embodiment, fr3.FINGER_JOINTS[0]).topic, self._gripper_m),
            )
            if seen is None
        ]
        now = now_ns(self)
        response.success = not missing
        if missing:
            response.message = f"cannot start: nothing received on {', '.join(missing)}"
            return response
        config = PilotConfig(
            mode=str(self.get_parameter("mode").value),
            seed=int(self.get_parameter("seed").value or 0),
            noise_m=self._noise_m,
            lead_s=self._lead_s,
        )
        self._pilot, self._stale_since_ns = Pilot(config, now), None
        self._trouble = ""
        response.message = f"{config.mode}, seed {config.seed}"
        self.get_logger().info(f"started: {response.message}")
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        """Serve `scripted_teleop/stop`; the arm stays at its last command."""
        response.success = True
        response.message = "stopped" if self._pilot else "was not running"
        self._pilot = None
        return response

    def _check(self, changed: Sequence[Parameter[Any]], *, fail: bool) -> SetParametersResult:
        """Refuse a mode that there is not, or a seed that is no whole number from 0 on."""
        reason = ""
        try:
            for parameter in changed:
                if parameter.name == "mode":
                    PilotConfig(mode=str(parameter.value))
                elif parameter.name == "seed":
                    PilotConfig(seed=int(parameter.value))
        except (UwmError, ValueError, TypeError) as error:
            reason = str(error)
        if reason and fail:
            raise UwmError(reason)
        return SetParametersResult(successful=not reason, reason=reason)

    def _subscribe(self) -> None:
        arm = _stream(self._embodiment, fr3.ARM_JOINTS[0])
        hand = _stream(self._embodiment, fr3.FINGER_JOINTS[0])
        position = Vector(topic=arm.topic, rate_hz=arm.rate_hz, names=fr3.ARM_JOINTS, unit="rad",
                          max_age_s=arm.max_age_s)  # fmt: skip
        velocity = Vector(topic=arm.topic, rate_hz=arm.rate_hz, names=fr3.ARM_JOINTS, unit="rad/s",
                          field="velocity", max_age_s=arm.max_age_s)  # fmt: skip

        def take_joints(message: Any, _: int) -> None:
            self._joints = JointReading(
                header_ns(message),
                vector(message, position).astype(np.float64),
                vector(message, velocity).astype(np.float64),
            )

        def take_gripper(message: Any, _: int) -> None:
            self._gripper_m = float(vector(message, hand).sum())

        def take_task(message: SimTask) -> None:
            self._task = message

        MatchedSubscription(self, arm.type, arm.topic, take_joints, depth=1)
        MatchedSubscription(self, hand.type, hand.topic, take_gripper, depth=1)
        self.create_subscription(SimTask, "sim/task", take_task, reliable(1))

    def _action_channels(self) -> tuple[ActionChannel, ActionChannel]:
        """The arm's and the gripper's action channel of the embodiment."""
        by_type = {channel.command_type: channel for channel in self._embodiment.action.values()}
        try:
            arm = by_type["trajectory_msgs/msg/JointTrajectory"]
            return arm, by_type["std_msgs/msg/Float32"]
        except KeyError as error:
            raise UwmError(
                f"embodiment {self._embodiment.name!r} has no action sent as {error.args[0]}; "
                "the scripted teleoperation needs one"
            ) from None


def _stream(embodiment: Embodiment, joint: str) -> Vector:
    """The state stream that tells of a joint."""
    for spec in embodiment.state.values():
        if joint in spec.names:
            return spec
    raise UwmError(f"embodiment {embodiment.name!r} has no state with the joint {joint!r}")


def _cube_pose(task: SimTask) -> np.ndarray:
    """Cube in the base: (7,) x y z, then quaternion w x y z."""
    at, turn = task.cube_pose.position, task.cube_pose.orientation
    return np.array([at.x, at.y, at.z, turn.w, turn.x, turn.y, turn.z])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(ScriptedTeleop, argv)


if __name__ == "__main__":
    sys.exit(main())
