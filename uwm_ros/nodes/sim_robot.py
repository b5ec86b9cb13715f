# SPDX-License-Identifier: Apache-2.0
"""The simulated Franka on the ROS graph: what franka_ros2 and camera drivers would be.

Publishes the embodiment's states and cameras, takes its commands in whatever form it gives them,
resets on `sim/reset`. Every stamp is the moment of the physics state it describes. The parameter
`fault` breaks the robot in one of the ways of `logic.sim_faults`, "" mends it. Physics, drawing and
publishing share one thread: a step takes 30 us and a picture about 3 ms, so a thread of their own
would only fight for Python's lock. At most one camera is drawn between two rounds of physics, which
bounds what a joint state waits.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.sim import fr3
from uwm_core.sim.scene import STEP_NS, Scene
from uwm_core.sim.task import LiftTask
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.sim_commands import ArmCommands, HandCommands
from uwm_ros.bridge.sim_streams import CameraStream, state_streams
from uwm_ros.logic.pacing import Beat, Pacer
from uwm_ros.logic.sim_faults import FAULTS, Faults
from uwm_ros.msg import SimTask
from uwm_ros.srv import ResetSim

_TASK_RATE_HZ = 30.0
_LOOP_S = 0.005
_SAY_AGAIN_NS = 500_000_000
_MOST_STEPS = 40  # between two looks at what was commanded: less than a streamed command's time-out
_SLOW = 0.9  # share of real time below which the simulation is said to be slow


class SimRobot(Node):
    """The arm, its hand, its controllers and its cameras."""

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
        self._frame = _base_frame(self._embodiment)
        names = self._embodiment.camera_names
        self._scene = Scene((height, width), self._embodiment.home_rad, names)
        self._faults = Faults(names)
        self._task = LiftTask()
        self._pacer = Pacer(STEP_NS, now_ns(self))
        self._said: dict[str, int] = {}
        self._arm = ArmCommands(self, self._embodiment, self._refuse, lambda: self._pacer.moment_ns)
        self._hand = HandCommands(self, self._embodiment, self._scene, self._refuse)
        self._states = state_streams(self, self._embodiment, self._scene, self._faults, self._frame)
        self._cameras = deque(self._camera_streams())
        self._task_publisher = self.create_publisher(SimTask, "sim/task", reliable())
        self._task_beat = Beat(_TASK_RATE_HZ, self._pacer.moment_ns)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self.create_service(ResetSim, "sim/reset", self._reset)
        self._restart(seed)
        self._declare_fault()
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
        for _ in range(min(self._pacer.due(now_ns(self)), _MOST_STEPS)):
            self._step()
        for goals in (self._arm.goals, self._hand.goals):
            if goals is not None:
                goals.poll()
        moment_ns = self._pacer.moment_ns
        if self._task_beat.due(moment_ns):
            self._task_publisher.publish(self._task_message(moment_ns))
            self._report()
        for _ in range(len(self._cameras)):
            # In turn, so that on a slow machine the last one is not left out for the first.
            self._cameras.rotate(-1)
            if self._cameras[-1].step(moment_ns):
                break

    def _step(self) -> None:
        """One step of physics, and the states that are due then."""
        self._scene.set_joint_target(*self._arm.sample(self._pacer.moment_ns))
        self._scene.step()
        moment_ns = self._pacer.stepped()
        self._task.update(self._scene.time_ns, self._scene.cube_height_m)
        for state in self._states:
            state.step(moment_ns)

    def _restart(self, seed: int) -> None:
        self._scene.reset(seed)
        self._arm.controller.hold(self._scene.joint_pos)
        self._task = LiftTask()

    def _reset(self, request: Any, response: Any) -> Any:
        """Serve `sim/reset`: arm home, cube where the seed says, no plan."""
        self._restart(int(request.seed))
        # The moment before shows the scene before.
        self._step()
        x, y, z = self._scene.cube_pose[:3]
        response.success = True
        response.message = f"seed {request.seed}: cube at {x:.3f} {y:.3f} {z:.3f} m"
        return response

    def _declare_fault(self) -> None:
        """Let `fault` be set at any time."""
        self.add_on_set_parameters_callback(self._check_fault)
        self.add_post_set_parameters_callback(self._take_fault)
        listed = "; ".join(f"{name}: {what}" for name, what in FAULTS.items())
        try:
            self.declare_parameter("fault", "", ParameterDescriptor(description=listed))
        except Exception as error:  # rclpy raises several unrelated classes for a bad value
            raise UwmError(f"parameter 'fault': {error}") from error
        self._take_fault([self.get_parameter("fault")])

    def _check_fault(self, parameters: Sequence[Parameter[Any]]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "fault":
                try:
                    Faults(()).set(str(parameter.value))
                except UwmError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take_fault(self, parameters: Sequence[Parameter[Any]]) -> None:
        """Break what the fault breaks and mend the rest."""
        for parameter in parameters:
            if parameter.name != "fault" or parameter.value == self._faults.name:
                continue
            self._faults.set(str(parameter.value))
            self._scene.block(self._faults.blocks_arm)
            if self._faults.silences_controller:
                self._arm.leave(self._scene.joint_pos)
            else:
                self._arm.listen()
            self.get_logger().warning(f"fault: {self._faults.name or 'none'}")

    def _report(self) -> None:
        """Say on /diagnostics how the simulation is."""
        factor = self._pacer.realtime_factor
        level, text = Level.OK, "simulating"
        if self._faults.name:
            level, text = Level.WARN, f"fault on request: {self._faults.name}"
        elif factor < _SLOW:
            level, text = Level.WARN, "slower than real time"
        values = {"realtime factor": f"{factor:.2f}", "seed": self._scene.seed}
        self._diagnostics.update(level, text, values)

    def _refuse(self, text: str) -> None:
        """Say why a command was not taken: every reason at once, the same one twice a second."""
        reason = ":".join(text.split(":")[:2])  # without the figures that follow
        moment_ns = self._pacer.moment_ns
        if moment_ns - self._said.get(reason, 0) > _SAY_AGAIN_NS:
            self._said[reason] = moment_ns
            self.get_logger().warning(text)

    def _camera_streams(self) -> list[CameraStream]:
        """One publisher per camera, their beats spread so that pictures are drawn in turn."""
        cameras, streams = self._embodiment.cameras, []
        for i, name in enumerate(self._embodiment.camera_names):
            delay_ns = round(i / len(cameras) * 1e9 / cameras[name].rate_hz)
            start_ns = self._pacer.moment_ns + delay_ns
            streams.append(
                CameraStream(self, name, self._embodiment, self._scene, self._faults, start_ns)
            )
        return streams

    def _task_message(self, moment_ns: int) -> SimTask:
        message = SimTask(seed=self._scene.seed)
        message.header.stamp = to_stamp(moment_ns)
        message.header.frame_id = self._frame
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


def _base_frame(embodiment: Embodiment) -> str:
    """Name of the arm's base.

    Raises:
        UwmError: The arm has not as many joints as the simulated one.
    """
    joints = embodiment.arm_joints
    if len(joints) != len(fr3.ARM_JOINTS):
        raise UwmError(
            f"embodiment {embodiment.name!r} has {len(joints)} arm_joints; the simulated arm has "
            f"{len(fr3.ARM_JOINTS)}"
        )
    kinematics = embodiment.kinematics
    return "fr3_link0" if kinematics is None else kinematics.base_frame


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(SimRobot, argv)


if __name__ == "__main__":
    sys.exit(main())
