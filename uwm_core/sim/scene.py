# SPDX-License-Identifier: Apache-2.0
"""The simulated Franka, table, cube and cameras: physics and pictures, and no clock but its own.

``Scene`` moves only when ``step`` is called; whoever calls decides whether that is real time (the
``sim_robot`` node) or as fast as it goes (``rollout``). What the task counts as success is in
``task``, what commands the arm is in ``controller``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uwm_core.errors import UnknownNameError
from uwm_core.sim import fr3, gl, kinematics, mjcf

STEP_NS = round(mjcf.TIMESTEP_S * 1e9)
# Where a reset may put the cube: low and high of x (m), y (m), yaw (rad).
CUBE_LOW = (0.36, -0.20, -0.5)
CUBE_HIGH = (0.62, 0.20, 0.5)
HOME_JITTER_RAD = 0.04
_HIDDEN_GROUP = 3  # the geoms that collide; others are drawn
_STUCK_NMS_RAD = 1e6  # damping of a joint that something blocks: full torque moves it 0.1 mrad/s


class Scene:
    """One simulated set-up.

    Args:
        render_size: Height and width of the pictures, pixels.
        home_rad: Joint angles (7,) about which a reset puts the arm.
        cameras: Views that can be drawn; names other than ``mjcf.CAMERAS`` get a look each.

    Raises:
        UwmError: More cameras are asked for than there are looks.
    """

    def __init__(
        self,
        render_size: tuple[int, int] = (224, 224),
        home_rad: tuple[float, ...] = fr3.HOME_RAD,
        cameras: Sequence[str] = mjcf.CAMERAS,
    ) -> None:
        mujoco = gl.load()
        self._mujoco: Any = mujoco
        self._model: Any = mujoco.MjModel.from_xml_string(mjcf.scene_xml(cameras))
        self._data: Any = mujoco.MjData(self._model)
        self._cameras = tuple(cameras)
        self._size = render_size
        self._home = np.array(home_rad, dtype=np.float64)
        self._limits = fr3.position_limits_rad()
        self._renderer: Any = None  # made when first asked: physics alone needs no OpenGL
        self._option: Any = mujoco.MjvOption()
        self._option.geomgroup[_HIDDEN_GROUP] = 0
        self._steps = 0
        self._seed = 0
        self._free_damping = np.array(self._model.dof_damping[:7])
        self._cube = self._model.joint("cube").qposadr[0]
        self._tcp = self._model.site("tcp").id
        self._gripper_goal = self._gripper_now = fr3.GRIPPER_WIDTH_M
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Put the arm home (slightly off, by the seed), open, and the cube where the seed says."""
        rng = np.random.default_rng(seed)
        self._mujoco.mj_resetData(self._model, self._data)
        self._steps, self._seed = 0, seed
        x, y, yaw = rng.uniform(CUBE_LOW, CUBE_HIGH)
        joints = self._home + rng.uniform(-HOME_JITTER_RAD, HOME_JITTER_RAD, 7)
        joints = np.clip(joints, self._limits[:, 0], self._limits[:, 1])
        qpos = self._data.qpos
        qpos[:7] = joints
        qpos[7:9] = fr3.GRIPPER_WIDTH_M / 2
        qpos[self._cube : self._cube + 7] = [
            x, y, mjcf.CUBE_HALF_M, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2),
        ]  # fmt: skip
        self._gripper_goal = self._gripper_now = fr3.GRIPPER_WIDTH_M
        self._data.ctrl[7:9] = fr3.GRIPPER_WIDTH_M / 2
        self.set_joint_target(joints, np.zeros(7))
        self._mujoco.mj_forward(self._model, self._data)

    @property
    def render_size(self) -> tuple[int, int]:
        """Height and width of the pictures, pixels."""
        return self._size

    @property
    def seed(self) -> int:
        """Seed of the last reset."""
        return self._seed

    @property
    def time_ns(self) -> int:
        """Simulated time since the reset."""
        return self._steps * STEP_NS

    @property
    def joint_pos(self) -> np.ndarray:
        """Arm joints, a copy: (7,) float64, rad."""
        return np.array(self._data.qpos[:7])

    @property
    def joint_vel(self) -> np.ndarray:
        """Arm joint velocities, a copy: (7,) float64, rad/s."""
        return np.array(self._data.qvel[:7])

    @property
    def joint_effort(self) -> np.ndarray:
        """Torque of the arm's servos, a copy: (7,) float64, N m (gravity is compensated apart)."""
        return np.array(self._data.actuator_force[:7])

    @property
    def gripper_width(self) -> float:
        """Distance between the finger pads, m."""
        return float(self._data.qpos[7] + self._data.qpos[8])

    @property
    def cube_pose(self) -> np.ndarray:
        """Cube in the base: (7,) x y z (m), then quaternion w x y z."""
        return np.array(self._data.qpos[self._cube : self._cube + 7])

    @property
    def cube_height_m(self) -> float:
        """Height of the cube's middle above the table, m."""
        return float(self._data.qpos[self._cube + 2])

    @property
    def ee_pose(self) -> np.ndarray:
        """The point between the finger tips, in the base: (4, 4)."""
        pose = np.eye(4)
        pose[:3, :3] = self._data.site_xmat[self._tcp].reshape(3, 3)
        pose[:3, 3] = self._data.site_xpos[self._tcp]
        return pose

    def set_joint_target(self, joint_rad: np.ndarray, joint_rad_s: np.ndarray) -> None:
        """Give the servos a set point: (7,) rad, clipped to the joint limits, and (7,) rad/s."""
        target = np.clip(joint_rad, self._limits[:, 0], self._limits[:, 1])
        self._data.ctrl[:7] = target + mjcf.SERVO_KV_PER_KP * np.asarray(joint_rad_s)

    def set_gripper_target(self, width_m: float) -> None:
        """Give the hand a width, 0 to 0.08 m; it goes there at the Franka hand's speed."""
        self._gripper_goal = float(np.clip(width_m, 0.0, fr3.GRIPPER_WIDTH_M))

    def block(self, stuck: bool) -> None:
        """Put something in the arm's way that it cannot push, or take it away."""
        self._model.dof_damping[:7] = _STUCK_NMS_RAD if stuck else self._free_damping

    def step(self) -> None:
        """Advance the physics by one step of 2 ms."""
        if self._gripper_now != self._gripper_goal:
            most = fr3.GRIPPER_SPEED_M_S * mjcf.TIMESTEP_S
            change = min(max(self._gripper_goal - self._gripper_now, -most), most)
            self._gripper_now += change
            self._data.ctrl[7:9] = self._gripper_now / 2
        self._mujoco.mj_step(self._model, self._data)
        self._steps += 1

    def render(self, camera: str) -> np.ndarray:
        """Picture of one camera: (H, W, 3) uint8, RGB.

        Raises:
            UnknownNameError: There is no such camera.
        """
        if camera not in self._cameras:
            raise UnknownNameError("camera", camera, self._cameras)
        if self._renderer is None:
            self._renderer = gl.renderer(self._model, self._size)
        self._place_shades()
        # Positions only: all that a picture of the state after the last step needs.
        self._mujoco.mj_kinematics(self._model, self._data)
        self._mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, camera=camera, scene_option=self._option)
        picture: np.ndarray = self._renderer.render()
        return picture

    def focal_px(self, camera: str) -> float:
        """Focal length of a camera in pixels; the principal point is the picture's middle."""
        fovy_rad = np.deg2rad(float(self._model.camera(camera).fovy[0]))
        return float(self._size[0] / 2 / np.tan(fovy_rad / 2))

    def close(self) -> None:
        """Free the OpenGL context; the scene can still be stepped."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _place_shades(self) -> None:
        """Move the soft discs that stand in for shadows below cube and hand."""
        hand = kinematics.tcp_pose(self._data.qpos[:7])
        self._data.mocap_pos[0][:2] = self._data.qpos[self._cube : self._cube + 2]
        self._data.mocap_pos[1][:2] = hand[:2, 3]
        yaw = np.arctan2(hand[1, 0], hand[0, 0])
        self._data.mocap_quat[1] = np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)
