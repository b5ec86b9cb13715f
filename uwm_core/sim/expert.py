# SPDX-License-Identifier: Apache-2.0
"""The scripted expert: reaches for the cube, grasps, lifts, holds; tries again when it slips.

What it does next follows from what it measures (where the hand is to the cube, how wide the fingers
are), with only the moment at which it closed remembered: a policy that sees pictures and joints can
learn it, and a disturbed arm is corrected instead of followed.
"""

import numpy as np

from uwm_core.sim import fr3, kinematics, mjcf
from uwm_core.sim.motion import (
    Command,
    HandGoal,
    HandServo,
    HandServoConfig,
    Sense,
    grasp_yaw,
    yaw_of,
)

HOVER_M = 0.10  # height above the cube's middle at which the hand is brought into line
LIFT_TO_M = 0.20  # height of the hand while it holds the cube
_GRASP_BELOW_M = 0.004  # the pads meet the cube a little below its middle
_CLOSE_S = 0.30  # from the command to close until the lift
_EMPTY_M = 0.02  # fingers closer than this hold nothing


class LiftExpert:
    """Lifts the cube from wherever the hand is.

    Args:
        seed: Varies speed and hover height a little from attempt to attempt.
        servo: How the hand is led.
    """

    def __init__(self, seed: int = 0, servo: HandServoConfig | None = None) -> None:
        rng = np.random.default_rng((seed, 1))
        self._servo = HandServo(servo)
        self._speed_m_s = float(rng.uniform(0.40, 0.50))
        self._hover_m = HOVER_M * float(rng.uniform(0.85, 1.15))
        self._closed_since_s: float | None = None

    @property
    def finished(self) -> bool:
        """Never: the expert holds the cube until it is stopped."""
        return False

    def act(self, sense: Sense) -> Command:
        """The next command."""
        return self._servo.lead(self._goal(sense), sense)

    def _goal(self, sense: Sense) -> HandGoal:
        cube = sense.cube_pose[:3]
        tcp = kinematics.tcp_pose(sense.joint_rad)
        hand = tcp[:3, 3]
        yaw = grasp_yaw(yaw_of(sense.cube_pose[3:]))
        turned = kinematics.rotation_error(kinematics.downward(yaw), tcp[:3, :3])
        aside_m = float(np.linalg.norm(hand[:2] - cube[:2]))
        depth_m = float(hand[2] - cube[2])
        if self._closed_since_s is not None:
            slipped = aside_m > 0.03 or abs(depth_m) > 0.03
            return self._grasped(sense, self._closed_since_s, yaw, slipped=slipped)
        at_cube = aside_m < 0.006 and abs(turned[2]) < 0.06 and depth_m < 0.004 - _GRASP_BELOW_M
        if at_cube:
            self._closed_since_s = sense.time_s
            return self._grasped(sense, sense.time_s, yaw, slipped=False)
        # A funnel: the better the hand is in line, the deeper it may go.
        off_m = max(aside_m - 0.006, 0.0) + 0.04 * max(abs(float(turned[2])) - 0.06, 0.0)
        above_m = float(np.clip((off_m * 3.0), 0.0, 1.0) * self._hover_m / 0.06)
        above_m = min(above_m, self._hover_m)
        low_m = max(cube[2] - _GRASP_BELOW_M - 0.004, mjcf.CUBE_HALF_M - 0.008)
        goal = np.array([cube[0], cube[1], low_m + above_m])
        speed = self._speed_m_s * (0.6 if depth_m < 0.05 else 1.0)
        return HandGoal(goal, yaw, speed, fr3.GRIPPER_WIDTH_M)

    def _grasped(self, sense: Sense, since_s: float, yaw: float, *, slipped: bool) -> HandGoal:
        """Closing, then lifting; back to reaching when the fingers hold nothing."""
        hand = kinematics.tcp_pose(sense.joint_rad)[:3, 3]
        if sense.time_s - since_s <= _CLOSE_S:
            return HandGoal(hand, yaw, self._speed_m_s, 0.0)
        if slipped or sense.gripper_m < _EMPTY_M:
            self._closed_since_s = None
            above = hand + np.array([0, 0, 0.05])
            return HandGoal(above, yaw, self._speed_m_s, fr3.GRIPPER_WIDTH_M)
        return HandGoal(np.array([hand[0], hand[1], LIFT_TO_M]), yaw, self._speed_m_s, 0.0)
