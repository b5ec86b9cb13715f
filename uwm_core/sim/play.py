# SPDX-License-Identifier: Apache-2.0
"""Play: random but sensible motions that show what actions do to the scene.

One episode strings together small skills near the cube: pushes, grasps that fail and some that do
not, drops, closing on nothing, wandering. A dynamics model learns from it what the expert never
shows; a policy must not learn from it (role ``play``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from uwm_core.sim import fr3, kinematics, mjcf, scene
from uwm_core.sim.motion import (
    Command,
    HandGoal,
    HandServo,
    HandServoConfig,
    Sense,
    grasp_yaw,
    yaw_of,
)

_NEAR_M = 0.012  # a goal this close is reached
_NEAR_RAD = 0.12
_OPEN_M = fr3.GRIPPER_WIDTH_M
_LOW_M = mjcf.CUBE_HALF_M  # height of the fingers when they push or grasp
_HIGH_M = 0.12


@dataclass(frozen=True)
class _Leg:
    """One goal, left when it is reached and ``dwell_s`` has passed, or after ``limit_s``."""

    goal: HandGoal
    dwell_s: float = 0.0
    limit_s: float = 1.4


class PlayMotion:
    """Plays for 6 to 10 seconds, as the seed says.

    Args:
        seed: Decides every choice.
        servo: How the hand is led.
    """

    def __init__(self, seed: int, servo: HandServoConfig | None = None) -> None:
        self._rng = np.random.default_rng((seed, 3))
        self._servo = HandServo(servo)
        self._length_s = float(self._rng.uniform(6.0, 10.0))
        self._legs: list[_Leg] = []
        self._leg_since_s = 0.0
        self._reached_s: float | None = None
        self._time_s = 0.0

    @property
    def finished(self) -> bool:
        """Whether the episode's time is up."""
        return self._time_s >= self._length_s

    def act(self, sense: Sense) -> Command:
        """The next command."""
        self._time_s = sense.time_s
        if self._legs and self._left(self._legs[0], sense):
            self._legs.pop(0)
            self._start_leg(sense)
        if not self._legs:
            self._legs = self._choose(sense)(sense)
            self._start_leg(sense)
        return self._servo.lead(self._legs[0].goal, sense)

    def _start_leg(self, sense: Sense) -> None:
        self._leg_since_s, self._reached_s = sense.time_s, None

    def _left(self, leg: _Leg, sense: Sense) -> bool:
        """Whether a leg is over."""
        tcp = kinematics.tcp_pose(sense.joint_rad)
        turn = kinematics.rotation_error(kinematics.downward(leg.goal.yaw_rad), tcp[:3, :3])
        near = float(np.linalg.norm(tcp[:3, 3] - leg.goal.position_m)) < _NEAR_M
        if self._reached_s is None and near and abs(float(turn[2])) < _NEAR_RAD:
            self._reached_s = sense.time_s
        if self._reached_s is not None:
            return sense.time_s - self._reached_s >= leg.dwell_s
        return sense.time_s - self._leg_since_s > leg.limit_s

    def _choose(self, sense: Sense) -> Callable[[Sense], list[_Leg]]:
        """Pick a skill; those with the cube only while it is within reach."""
        x, y = sense.cube_pose[:2]
        reachable = 0.30 < x < 0.70 and abs(y) < 0.30 and sense.cube_pose[2] < 0.05
        if not reachable:
            return self._wander
        skills = (self._wander, self._hover, self._push, self._miss, self._carry)
        return skills[int(self._rng.choice(len(skills), p=(0.10, 0.12, 0.30, 0.18, 0.30)))]

    def _speed(self) -> float:
        return float(self._rng.uniform(0.30, 0.55))

    def _point(self, low_m: float, high_m: float) -> np.ndarray:
        """Somewhere over the cube's area, between two heights."""
        x, y, _ = self._rng.uniform(scene.CUBE_LOW, scene.CUBE_HIGH)
        return np.array([x, y, self._rng.uniform(low_m, high_m)])

    def _wander(self, sense: Sense) -> list[_Leg]:
        """One or two points in the air, the fingers opening and closing on nothing."""
        legs = []
        for _ in range(int(self._rng.integers(1, 3))):
            width = float(self._rng.choice([0.0, _OPEN_M]))
            yaw = float(self._rng.uniform(-0.7, 0.7))
            legs.append(_Leg(HandGoal(self._point(0.08, 0.32), yaw, self._speed(), width), 0.1))
        return legs

    def _hover(self, sense: Sense) -> list[_Leg]:
        """A point close to the cube, often closing there."""
        offset = self._rng.normal(0, 0.045, size=2)
        position = np.array([*(sense.cube_pose[:2] + offset), self._rng.uniform(0.05, 0.14)])
        goal = HandGoal(position, float(self._rng.uniform(-0.6, 0.6)), self._speed(), _OPEN_M)
        shut = replace(goal, gripper_m=float(self._rng.choice([0.0, 0.03, _OPEN_M])))
        return [_Leg(goal), _Leg(shut, 0.4)]

    def _push(self, sense: Sense) -> list[_Leg]:
        """Down beside the cube, then through it, towards somewhere on the table."""
        cube = sense.cube_pose[:2]
        way = self._point(0, 0)[:2] - cube
        way = way / max(float(np.linalg.norm(way)), 1e-3)
        width = float(self._rng.choice([0.0, 0.0, 0.03, _OPEN_M]))
        # Fingers across the way push with their flat side, which keeps the cube before them.
        yaw = grasp_yaw(float(np.arctan2(way[1], way[0])))
        aside = cube - way * (0.055 + 0.5 * width) + self._rng.normal(0, 0.006, 2)
        end = cube + way * self._rng.uniform(0.03, 0.14)
        speed = self._speed()
        push = HandGoal(np.array([*end, _LOW_M]), yaw, float(self._rng.uniform(0.15, 0.35)), width)
        return [
            _Leg(HandGoal(np.array([*aside, _HIGH_M]), yaw, speed, width)),
            _Leg(HandGoal(np.array([*aside, _LOW_M]), yaw, speed, width)),
            _Leg(push, 0.1),
            _Leg(HandGoal(np.array([*end, _HIGH_M]), yaw, speed, width)),
        ]

    def _miss(self, sense: Sense) -> list[_Leg]:
        """A grasp beside or above the cube, which fails."""
        yaw = grasp_yaw(yaw_of(sense.cube_pose[3:])) + float(self._rng.normal(0, 0.3))
        offset = self._rng.normal(0, 0.03, size=2)
        spot = sense.cube_pose[:2] + offset
        low = _LOW_M if self._rng.random() < 0.6 else float(self._rng.uniform(0.05, 0.09))
        return self._descend_and_close(spot, low, yaw)

    def _carry(self, sense: Sense) -> list[_Leg]:
        """A grasp as it should be, then a ride and a drop (or a soft landing)."""
        yaw = grasp_yaw(yaw_of(sense.cube_pose[3:]))
        legs = self._descend_and_close(sense.cube_pose[:2], _LOW_M, yaw)
        drop = self._point(0.03, 0.16)
        over = HandGoal(drop, float(self._rng.uniform(-0.6, 0.6)), self._speed(), 0.0)
        if self._rng.random() < 0.7:
            legs.append(_Leg(over, 0.1))
        legs.append(_Leg(replace(legs[-1].goal, gripper_m=_OPEN_M), 0.4))
        return legs

    def _descend_and_close(self, spot_m: np.ndarray, low_m: float, yaw_rad: float) -> list[_Leg]:
        """Over a spot, down, closed, up again."""
        speed = self._speed()
        over = HandGoal(np.array([*spot_m, _HIGH_M]), yaw_rad, speed, _OPEN_M)
        down = replace(over, position_m=np.array([*spot_m, low_m]))
        up_m = float(self._rng.uniform(0.10, 0.25))
        up = HandGoal(np.array([*spot_m, up_m]), yaw_rad, speed, 0.0)
        return [_Leg(over), _Leg(down), _Leg(replace(down, gripper_m=0.0), 0.4), _Leg(up, 0.1)]
