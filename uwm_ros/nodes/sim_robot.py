# SPDX-License-Identifier: Apache-2.0
"""The simulated Franka on the ROS graph: what franka_ros2 and two camera drivers would be.

Publishes joint states, gripper state and images on the embodiment's topics, takes joint
trajectories and gripper commands on its command topics, resets on `sim/reset`. Every stamp is the
moment of the physics state it describes. Physics, drawing and publishing share one thread: a step
takes 30 us and a picture about 3 ms, so a thread of their own would only fight for Python's lock.
At most one camera is drawn between two rounds of physics, which bounds what a joint state waits.
"""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32
from trajectory_msgs.msg import JointTrajectory

from uwm_core.embodiment import ActionChannel, Embodiment, Vector
from uwm_core.errors import UwmError
from uwm_core.sim import fr3, mjcf
from uwm_core.sim.controller import JointTrajectoryController, Rejected, Trajectory
from uwm_core.sim.scene import STEP_NS, Scene
from uwm_core.sim.task import LiftTask
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.images import to_image
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.pacing import Beat, Pacer
from uwm_ros.msg import SimTask
from uwm_ros.srv import ResetSim

_BASE_FRAME = "fr3_link0"
_TASK_RATE_HZ = 30.0
_LOOP_S = 0.005
_IMAGE_DEPTH = 2
_SAY_AGAIN_NS = 500_000_000
_REPORT_S = 1.0
_SLOW = 0.9
_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
_PERCENT = "std_msgs/msg/Float32"


class SimRobot(Node):
    """The arm, its hand, its controllers and two cameras."""

    def __init__(self, **options: Any) -> None:
        """Read parameters and start.

        Args:
            **options: Passed on to `rclpy.node.Node`.

        Raises:
            UwmError: A parameter or the embodiment does not fit this arm.
        """
        super().__init__("sim_robot", **options)
        parameters = Parameters(self)
        name = parameters.text("embodiment", "fr3_sim", "name or path of the embodiment")
        height = parameters.integer("image_height", 224, "pixels", 16, 960)
        width = parameters.integer("image_width", 224, "pixels", 16, 1280)
        seed = parameters.integer("seed", 0, "seed of the first scene", 0)
        self._embodiment = Embodiment.load(name)
        self._scene = Scene((height, width), self._embodiment.home_rad)
        self._controller = JointTrajectoryController(fr3.ARM_JOINTS, self._scene.joint_pos)
        self._task = LiftTask()
        self._pacer = Pacer(STEP_NS, now_ns(self))
        self._publish_arm, self._publish_hand = self._joint_streams()
        self._cameras = self._camera_streams((height, width))
        self._task_publisher = self.create_publisher(SimTask, "sim/task", reliable())
        self._task_beat = Beat(_TASK_RATE_HZ, self._pacer.moment_ns)
        self._said: dict[str, int] = {}
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self.create_timer(_REPORT_S, self._report)
        self._listen()
        self.create_service(ResetSim, "sim/reset", self._reset)
        self._restart(seed)
        self._warm = False
        self.create_timer(_LOOP_S, self._loop, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(
            f"simulated arm of {self._embodiment.name!r}: {len(self._cameras)} cameras at "
            f"{width}x{height}, seed {seed}"
        )

    def close(self) -> None:
        """Free the renderer."""
        self._scene.close()

    def _loop(self) -> None:
        """Catch up with the clock, publish what is due, draw at most one picture."""
        if not self._warm:
            # The first pictures are slow, and the thread that draws them owns the OpenGL context.
            for camera in self._cameras:
                self._scene.render(camera.name)
            self._warm = True
        for _ in range(self._pacer.due(now_ns(self))):
            moment_ns = self._pacer.moment_ns
            self._scene.set_joint_target(*self._controller.sample(moment_ns))
            self._scene.step()
            moment_ns = self._pacer.stepped()
            self._task.update(self._scene.time_ns, self._scene.cube_height_m)
            self._publish_arm.step(moment_ns)
            self._publish_hand.step(moment_ns)
        moment_ns = self._pacer.moment_ns
        if self._task_beat.due(moment_ns):
            self._task_publisher.publish(self._task_message(moment_ns))
        for camera in self._cameras:
            if camera.step(moment_ns):
                break

    def _restart(self, seed: int) -> None:
        self._scene.reset(seed)
        self._controller.hold(self._scene.joint_pos)
        self._task = LiftTask()

    def _reset(self, request: Any, response: Any) -> Any:
        """Serve `sim/reset`: arm home, cube where the seed says, no plan."""
        self._restart(int(request.seed))
        x, y, z = self._scene.cube_pose[:3]
        response.success = True
        response.message = f"seed {request.seed}: cube at {x:.3f} {y:.3f} {z:.3f} m"
        return response

    def _listen(self) -> None:
        """Subscribe to the command topics of the embodiment."""
        for channel in self._embodiment.action.values():
            topic = channel.command_topic
            if channel.command_type == _TRAJECTORY:
                self.create_subscription(JointTrajectory, topic, self._take_trajectory, reliable())
            elif channel.command_type == _PERCENT:
                self._listen_gripper(channel)
            else:
                raise UwmError(
                    f"{topic}: the simulated arm takes {_TRAJECTORY} and {_PERCENT}, "
                    f"not {channel.command_type}"
                )

    def _take_trajectory(self, message: JointTrajectory) -> None:
        try:
            self._controller.accept(Trajectory.from_message(message), self._pacer.moment_ns)
        except Rejected as error:
            self._refuse(f"trajectory rejected: {error}")

    def _refuse(self, text: str) -> None:
        """Say why a command was not taken: every reason at once, the same one twice a second."""
        reason = ":".join(text.split(":")[:2])  # without the figures that follow
        moment_ns = self._pacer.moment_ns
        if moment_ns - self._said.get(reason, 0) > _SAY_AGAIN_NS:
            self._said[reason] = moment_ns
            self.get_logger().warning(text)

    def _listen_gripper(self, channel: ActionChannel) -> None:
        def take(message: Float32) -> None:
            width_m = float(message.data) * channel.scale
            if math.isfinite(width_m):
                self._scene.set_gripper_target(width_m)
            else:
                self._refuse(f"gripper command rejected: {message.data} is not finite")

        self.create_subscription(Float32, channel.command_topic, take, reliable())

    def _joint_streams(self) -> tuple[_JointStream, _JointStream]:
        """The two joint state publishers; their topics and rates are the embodiment's."""
        arm = _stream_of(self._embodiment, fr3.ARM_JOINTS)
        hand = _stream_of(self._embodiment, fr3.FINGER_JOINTS)
        return (
            _ArmStream(self, arm, fr3.ARM_JOINTS, self._scene),
            _HandStream(self, hand, fr3.FINGER_JOINTS, self._scene),
        )

    def _camera_streams(self, size: tuple[int, int]) -> list[_CameraStream]:
        """One publisher per camera, their beats spread so that pictures are drawn in turn."""
        cameras = self._embodiment.cameras
        if unknown := sorted(set(cameras) - set(mjcf.CAMERAS)):
            raise UwmError(
                f"embodiment {self._embodiment.name!r} has the camera {unknown[0]!r}; "
                f"the simulated arm has {', '.join(mjcf.CAMERAS)}"
            )
        streams = []
        for i, name in enumerate(self._embodiment.camera_names):
            delay_ns = round(i / len(cameras) * 1e9 / cameras[name].rate_hz)
            start_ns = self._pacer.moment_ns + delay_ns
            beat = Beat(cameras[name].rate_hz, start_ns)
            streams.append(_CameraStream(self, name, cameras[name].topic, beat, self._scene, size))
        return streams

    def _report(self) -> None:
        factor = self._pacer.realtime_factor
        slow = 0 < factor < _SLOW
        text = f"{factor:.0%} of real time: this computer is too busy" if slow else "ok"
        level = Level.WARN if slow else Level.OK
        self._diagnostics.update(level, text, {"real time factor": f"{factor:.2f}"})

    def _task_message(self, moment_ns: int) -> SimTask:
        message = SimTask(seed=self._scene.seed)
        message.header.stamp = to_stamp(moment_ns)
        message.header.frame_id = _BASE_FRAME
        x, y, z, qw, qx, qy, qz = (float(value) for value in self._scene.cube_pose)
        pose = message.cube_pose
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        turn = pose.orientation
        turn.w, turn.x, turn.y, turn.z = qw, qx, qy, qz
        message.elapsed_s = self._task.elapsed_ns / 1e9
        message.lifted_m = self._task.lifted_m
        message.held_s = self._task.held_ns / 1e9
        message.success = self._task.success
        message.realtime_factor = self._pacer.realtime_factor
        return message


class _JointStream:
    """Publishes one JointState topic at its rate."""

    def __init__(self, node: Node, spec: Vector, joints: Sequence[str], scene: Scene) -> None:
        self._scene = scene
        self._publisher = node.create_publisher(JointState, spec.topic, reliable())
        self._beat = Beat(spec.rate_hz, now_ns(node))
        self._message = JointState(name=list(joints))
        self._message.header.frame_id = _BASE_FRAME

    def step(self, moment_ns: int) -> None:
        """Publish if it is due."""
        if self._beat.due(moment_ns):
            self._fill(self._message)
            self._message.header.stamp = to_stamp(moment_ns)
            self._publisher.publish(self._message)

    def _fill(self, message: JointState) -> None:
        raise NotImplementedError


class _ArmStream(_JointStream):
    """Positions, velocities and efforts of the arm."""

    def _fill(self, message: JointState) -> None:
        message.position = _doubles(self._scene.joint_pos)
        message.velocity = _doubles(self._scene.joint_vel)
        message.effort = _doubles(self._scene.joint_effort)


class _HandStream(_JointStream):
    """Each finger reports half of the width, and nothing else, as franka_gripper does."""

    def _fill(self, message: JointState) -> None:
        half_m = self._scene.gripper_width / 2
        message.position = array.array("d", [half_m, half_m])
        message.velocity = array.array("d", [0.0, 0.0])
        message.effort = array.array("d", [0.0, 0.0])


class _CameraStream:
    """Draws one camera and publishes the picture and its calibration."""

    def __init__(
        self, node: Node, name: str, topic: str, beat: Beat, scene: Scene, size: tuple[int, int]
    ) -> None:
        self.name = name
        self._scene, self._beat = scene, beat
        self._frame = f"{name}_color_optical_frame"
        self._publisher = node.create_publisher(Image, topic, reliable(_IMAGE_DEPTH))
        folder, _, _ = topic.rpartition("/")
        info_topic = f"{folder}/camera_info" if folder else "camera_info"
        self._info_publisher = node.create_publisher(CameraInfo, info_topic, reliable(_IMAGE_DEPTH))
        self._info = _camera_info(size, scene.focal_px(name), self._frame)

    def step(self, moment_ns: int) -> bool:
        """Draw and publish if it is due; whether it was."""
        if not self._beat.due(moment_ns):
            return False
        picture = self._scene.render(self.name)
        self._publisher.publish(to_image(picture, moment_ns, self._frame))
        self._info.header.stamp = to_stamp(moment_ns)
        self._info_publisher.publish(self._info)
        return True


def _camera_info(size: tuple[int, int], focal_px: float, frame: str) -> CameraInfo:
    """Calibration of a camera without distortion."""
    height, width = size
    cx, cy = width / 2, height / 2
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = frame
    info.k = [focal_px, 0.0, cx, 0.0, focal_px, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal_px, 0.0, cx, 0.0, 0.0, focal_px, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def _stream_of(embodiment: Embodiment, joints: Sequence[str]) -> Vector:
    """The state stream that these joints are read from."""
    for spec in embodiment.state.values():
        if set(joints) & set(spec.names):
            return spec
    raise UwmError(
        f"embodiment {embodiment.name!r} has no state with the joints {', '.join(joints)}"
    )


def _doubles(values: np.ndarray) -> array.array[float]:
    """What a float64[] field takes without looking at every element."""
    return array.array("d", values.tobytes())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(SimRobot, argv)


if __name__ == "__main__":
    sys.exit(main())
