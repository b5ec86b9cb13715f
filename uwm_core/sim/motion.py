# SPDX-License-Identifier: Apache-2.0
"""From "the hand should go there" to a joint target: what the expert and the play share.

A scripted motion knows what a teleoperator knows: the measured joints, the gripper, where the cube
is, and the time. It never sees the scene. The joint target is where the arm shall be ``lead_s``
from now, computed from where it is measured to be, so a disturbed arm is led back, not ahead.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uwm_core.sim import fr3, kinematics

# Box that the point between the finger tips may not leave, low and high x y z, metres.
WORKSPACE_M = ((0.28, -0.34, 0.016), (0.72, 0.34, 0.48))


@dataclass(frozen=True)
class Sense:
    """What a scripted motion is told.

    Attributes:
        time_s: Since the attempt began.
        joint_rad: Measured joints, (7,).
        gripper_m: Measured width between the finger pads.
        cube_pose: Cube in the base, (7,): x y z, then quaternion w x y z.
    """

    time_s: float
    joint_rad: np.ndarray
    gripper_m: float
    cube_pose: np.ndarray


@dataclass(frozen=True)
class Command:
    """Where the arm shall be shortly: (7,) rad, and the gripper's width in metres."""

    joint_rad: np.ndarray
    gripper_m: float


@dataclass(frozen=True)
class HandGoal:
    """A tool position (3,) in metres with the gripper pointing down, turned by ``yaw_rad``."""

    position_m: np.ndarray
    yaw_rad: float
    speed_m_s: float
    gripper_m: float


class Motion(Protocol):
    """A scripted motion; ``finished`` says that it has nothing more to do."""

    def act(self, sense: Sense) -> Command:
        """Answer with the next command; called in order of time."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the motion is over."""
        ...


@dataclass(frozen=True, kw_only=True)
class HandServoConfig:
    """How the hand is led to a goal.

    Attributes:
        lead_s: A command is the joint target this long ahead of the measurement.
        gain_hz: Speed towards the goal per distance to it.
        turn_rad_s: Fastest rotation of the hand.
        acceleration_m_s2: Fastest change of the hand's speed.
        turn_acceleration_rad_s2: Fastest change of the hand's rotation.
        velocity_scale: Share of the joints' velocity limits that may be used.
    """

    lead_s: float = 0.06
    gain_hz: float = 5.0
    turn_rad_s: float = 1.8
    acceleration_m_s2: float = 2.5
    turn_acceleration_rad_s2: float = 12.0
    velocity_scale: float = 0.8


class HandServo:
    """Leads the hand to a goal with bounded speed and acceleration, by damped least squares."""

    def __init__(self, config: HandServoConfig | None = None) -> None:
        self._config = config or HandServoConfig()
        self._twist = np.zeros(6)
        self._time_s: float | None = None
        self._limits = fr3.position_limits_rad()
        self._margin_rad = 0.02
        self._posture = np.array(fr3.HOME_RAD)

    def lead(self, goal: HandGoal, sense: Sense) -> Command:
        """The joint target that brings the hand on its way to the goal."""
        config = self._config
        tcp = kinematics.tcp_pose(sense.joint_rad)
        low, high = np.array(WORKSPACE_M)
        offset = np.clip(goal.position_m, low, high) - tcp[:3, 3]
        turn = kinematics.rotation_error(kinematics.downward(goal.yaw_rad), tcp[:3, :3])
        wanted = np.concatenate(
            [
                _shorten(offset * config.gain_hz, goal.speed_m_s),
                _shorten(turn * config.gain_hz, config.turn_rad_s),
            ]
        )
        dt_s = 0.0 if self._time_s is None else min(max(sense.time_s - self._time_s, 0.0), 0.1)
        self._time_s = sense.time_s
        change = wanted - self._twist
        self._twist = self._twist + np.concatenate(
            [
                _shorten(change[:3], config.acceleration_m_s2 * dt_s),
                _shorten(change[3:], config.turn_acceleration_rad_s2 * dt_s),
            ]
        )
        velocity = kinematics.joint_velocity(sense.joint_rad, self._twist, self._posture)
        most = config.velocity_scale * np.array(fr3.VELOCITY_LIMITS_RAD_S)
        velocity = velocity / max(1.0, float((np.abs(velocity) / most).max()))
        joint_rad = sense.joint_rad + velocity * config.lead_s
        inside = np.clip(
            joint_rad, self._limits[:, 0] + self._margin_rad, self._limits[:, 1] - self._margin_rad
        )
        return Command(inside, goal.gripper_m)


def yaw_of(quaternion: np.ndarray) -> float:
    """Rotation about the vertical, rad, of a quaternion (w, x, y, z)."""
    w, x, y, z = quaternion
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


def grasp_yaw(cube_yaw_rad: float) -> float:
    """The smallest yaw of the hand that fits a cube, whose faces repeat every quarter turn."""
    quarter = np.pi / 2
    return float(cube_yaw_rad - quarter * np.round(cube_yaw_rad / quarter))


def _shorten(vector: np.ndarray, longest: float) -> np.ndarray:
    """The vector, no longer than ``longest``."""
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
