# SPDX-License-Identifier: Apache-2.0
"""A person's wishes as a leader arm that exists only here: pure decisions.

`Wishes` keeps what the devices said and answers with the hand velocity that is wanted now; a device
that fell silent, or a released deadman, wants none. `Leader` is the arm that a hand would hold: it
moves as wished within a share of the joints' limits, so that what follows it need not be clipped,
and says where it will be: straight on for a moment, then at rest, should nobody say more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UnknownNameError, UwmError
from uwm_core.sim import fr3
from uwm_core.sim.kinematics import joint_velocity, tcp_pose
from uwm_ros.logic.limits import Floats, Limits
from uwm_ros.logic.rules import Guard

Frame = Literal["base", "hand"]
FRAMES: tuple[str, ...] = get_args(Frame)
# Shares of the executor's limits: a curve through points of the leader needs more than the leader.
_VELOCITY_SHARE = 0.5
_ACCELERATION_SHARE = 0.2
# Kept free within the executor's own margin: the curve swings past a point that it stops at.
_MARGIN_RAD = 0.02
_POSTURE_PER_S = 0.3
_STEP_S = 0.02
# A tick that comes later than this is a stall, and moves no further.
_LONGEST_S = 0.1
# How long the leader goes on as it is when nobody says more, before it brakes; less near a wall.
_ONWARD_S = 0.25
_ONWARDS_S = (_ONWARD_S, 0.1, 0.0)
# Kept free before everything that the guard watches, which lets the arm come as near as nothing.
_ROOM_M = 0.02
# Shares of the time of braking at which its way is looked at.
_BRAKING = np.linspace(0.0, 1.0, 5)[:, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """How wishes become motion.

    Attributes:
        speed_m_s: Speed of the hand at full deflection.
        turn_rad_s: Turning speed of the hand at full deflection.
        dead_zone: Deflections up to this are none; of 0 to 1.
        timeout_s: A device that is silent for longer wants nothing.
        frame: Whether deflections are along the axes of the base or of the hand.
        deadman_button: Must be held for any motion; -1: none.
        gripper_button: Opens and closes by turns; -1: none.
        joy_axes: Axis of the Joy for x y z roll pitch yaw; -1: none.

    Raises:
        UwmError: If the frame or the number of axes is not usable.
    """

    speed_m_s: float = 0.15
    turn_rad_s: float = 0.6
    dead_zone: float = 0.05
    timeout_s: float = 0.25
    frame: str = "base"
    deadman_button: int = -1
    gripper_button: int = 0
    joy_axes: tuple[int, ...] = (-1,) * 6

    def __post_init__(self) -> None:
        if self.frame not in FRAMES:
            raise UnknownNameError("frame", self.frame, FRAMES)
        if len(self.joy_axes) != 6:
            raise UwmError(
                f"joy_axes must be 6 axes (x y z roll pitch yaw, -1: none), got {self.joy_axes}"
            )


def parse_axes(text: str) -> tuple[int, ...]:
    """Read `"1 0 4 - - 3"`: the Joy axis of x y z roll pitch yaw, `-` for none; "" for none at all.

    Raises:
        UwmError: If an entry is neither a number from 0 on nor `-`.
    """
    entries = text.replace(",", " ").split()
    if not all(entry == "-" or entry.isdecimal() for entry in entries):
        raise UwmError(f"joy_axes {text!r} must look like '1 0 4 - - 3'")
    return tuple(-1 if entry == "-" else int(entry) for entry in entries) or (-1,) * 6


class Wishes:
    """The newest word of each device."""

    def __init__(self, config: DriveConfig) -> None:
        """Hear nothing yet."""
        self._config = config
        self._timeout_ns = round(config.timeout_s * 1e9)
        self._twist: tuple[int, Floats] | None = None
        self._joy: tuple[int, Floats, tuple[int, ...]] | None = None

    def take_twist(self, twist: Floats, now_ns: int) -> None:
        """A device wants the hand to move: (6,) deflections of -1 to 1, linear then angular."""
        self._twist = (now_ns, np.asarray(twist, np.float64))

    def take_joy(self, axes: Sequence[float], buttons: Sequence[int], now_ns: int) -> bool:
        """A Joy says how its axes and buttons are; whether the gripper is to change now."""
        before = self._joy[2] if self._joy is not None else tuple(buttons)
        wanted = np.array([axes[i] if 0 <= i < len(axes) else 0.0 for i in self._config.joy_axes])
        self._joy = (now_ns, wanted, tuple(buttons))
        button = self._config.gripper_button
        return _held(buttons, button) and not _held(before, button)

    def allowed(self, now_ns: int) -> bool:
        """Whether the deadman is held, or none is asked for; one not heard of is released."""
        if self._config.deadman_button < 0:
            return True
        fresh = self._joy is not None and now_ns - self._joy[0] <= self._timeout_ns
        return fresh and self._joy is not None and _held(self._joy[2], self._config.deadman_button)

    def velocity(self, now_ns: int) -> Floats:
        """Hand velocity that is wanted now: (6,) m/s, then rad/s, along the axes of the frame."""
        if not self.allowed(now_ns):
            return np.zeros(6)
        heard = [word[:2] for word in (self._twist, self._joy) if word is not None]
        share = np.zeros(6)
        for moment_ns, deflection in heard:
            if now_ns - moment_ns <= self._timeout_ns and np.isfinite(deflection).all():
                share += deflection
        return np.concatenate(
            [
                self._config.speed_m_s * self._without_dead_zone(share[:3]),
                self._config.turn_rad_s * self._without_dead_zone(share[3:]),
            ]
        )

    def _without_dead_zone(self, share: Floats) -> Floats:
        """A deflection (3,) of length up to 1, growing from 0 at the edge of the dead zone."""
        size = float(np.linalg.norm(share))
        zone = self._config.dead_zone
        if size <= zone:
            return np.zeros(3)
        return share / size * (min(size, 1.0) - zone) / (1.0 - zone)


def _held(buttons: Sequence[int], button: int) -> bool:
    return 0 <= button < len(buttons) and bool(buttons[button])


class Leader:
    """The arm that is followed.

    Attributes:
        position: (J,) rad.
        velocity: (J,) rad/s.

    Raises:
        UwmError: If the embodiment's arm is not an FR3, the only one whose hand is known here.
    """

    def __init__(
        self, embodiment: Embodiment, frame: str = "base", guard: Guard | None = None
    ) -> None:
        """Stand at home.

        Args:
            embodiment: Whose arm it is.
            frame: Whether the hand moves along the axes of the base or of the hand.
            guard: What it keeps away from; None: nothing.
        """
        joints = embodiment.arm_joints
        known = len(joints) == len(fr3.ARM_JOINTS) and all(
            name.endswith(ours) for name, ours in zip(joints, fr3.ARM_JOINTS, strict=True)
        )
        if not known:
            raise UwmError(
                f"embodiment {embodiment.name!r} has the arm_joints {', '.join(joints)}; the hand "
                f"of an arm is known for {', '.join(fr3.ARM_JOINTS)} (a prefix is fine)"
            )
        limits = Limits.of(embodiment)
        self._low, self._high = limits.low + _MARGIN_RAD, limits.high - _MARGIN_RAD
        self._top = _VELOCITY_SHARE * limits.velocity
        self._acceleration = _ACCELERATION_SHARE * limits.acceleration
        self._home = np.array(embodiment.home_rad, np.float64)
        self._frame, self._guard = frame, guard
        self._wanted = np.zeros(len(joints))
        self.place(self._home)

    def place(self, position: Floats) -> None:
        """Stand still at (J,) rad."""
        self.position = np.array(position, np.float64)
        self.velocity = np.zeros_like(self.position)
        self._wanted = np.zeros_like(self.position)

    def move(self, twist: Floats, elapsed_s: float) -> None:
        """Move for a time as wished.

        Args:
            twist: Hand velocity (6,), m/s and rad/s, along the axes of the frame.
            elapsed_s: Since the last move.
        """
        left_s = min(max(elapsed_s, 0.0), _LONGEST_S)
        while left_s > 1e-6:
            step_s = min(left_s, _STEP_S)
            self._wanted = self._joints_for(twist)
            moved = self._step(self.position, self.velocity, self._wanted, step_s)
            if not self._may_be(self._way_to_rest(*moved)):
                # From here it can still stop, since the step before had to leave room for that.
                self._wanted = np.zeros_like(self._wanted)
                moved = self._step(self.position, self.velocity, self._wanted, step_s)
            self.position, self.velocity = moved
            left_s -= step_s

    def ahead(self, period_s: float) -> Floats:
        """Where it will be: (A, J) rad, row k after k periods; straight on, then at rest."""
        for onward_s in _ONWARDS_S:
            rows = self._rows(period_s, onward_s)
            if self._may_be(rows):
                break
        return rows

    def _rows(self, period_s: float, onward_s: float) -> Floats:
        """The same, going on as it is for a time."""
        position, velocity = self.position, self.velocity
        rows, time_s = [position], 0.0
        per_row = math.ceil(period_s / _STEP_S)
        step_s = period_s / per_row
        while len(rows) < 3 or time_s < _ONWARD_S or velocity.any():
            for _ in range(per_row):
                wanted = self._wanted if time_s < onward_s else np.zeros_like(velocity)
                position, velocity = self._step(position, velocity, wanted, step_s)
                time_s += step_s
            rows.append(position)
        return np.array([*rows, position])

    def _way_to_rest(self, position: Floats, velocity: Floats) -> Floats:
        """Positions (5, J) on the way of braking; all joints slow down alike, so it is straight."""
        time_s = float(np.max(np.abs(velocity) / self._acceleration))
        return np.asarray(position + velocity * time_s * (_BRAKING - _BRAKING**2 / 2))

    def _may_be(self, positions: Floats) -> bool:
        """Whether there is room at positions (N, J), or at least as much as here."""
        if self._guard is None or not (positions != self.position).any():
            return True
        room_m = self._guard.clearance(np.vstack([self.position, positions])).distance_m
        return bool(room_m[1:].min() >= min(_ROOM_M, float(room_m[0])))

    def _joints_for(self, twist: Floats) -> Floats:
        """Joint velocity (J,) for a hand velocity, within the share of the limits."""
        if not twist.any():
            return np.zeros_like(self.position)
        if self._frame == "hand":
            turn = tcp_pose(self.position)[:3, :3]
            twist = np.concatenate([turn @ twist[:3], turn @ twist[3:]])
        # The elbow drifts home while the hand moves, and never by itself.
        drift = _POSTURE_PER_S * (self._home - self.position)
        wanted = joint_velocity(self.position, twist, self.position + drift)
        return wanted / max(1.0, float(np.max(np.abs(wanted) / self._top)))

    def _step(
        self, position: Floats, velocity: Floats, wanted: Floats, step_s: float
    ) -> tuple[Floats, Floats]:
        """Position and velocity after a step; the hand's direction is kept where a joint ends."""
        a = self._acceleration
        room = np.where(wanted > 0, self._high - position, position - self._low)
        # Half the acceleration leaves the other half for rounding and for a curve through points.
        most = np.sqrt(np.maximum(a * (room - np.abs(velocity) * step_s), 0.0))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(np.abs(wanted) > most, most / np.abs(wanted), 1.0)
        change = wanted * share.min() - velocity
        change = change / max(1.0, float(np.max(np.abs(change) / (a * step_s))))
        after = velocity + change
        moved = position + (velocity + after) * (step_s / 2)
        low = np.minimum(self._low, position)
        high = np.maximum(self._high, position)
        kept = np.clip(moved, low, high)
        return kept, np.where(kept == moved, after, 0.0)
