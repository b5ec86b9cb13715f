# SPDX-License-Identifier: Apache-2.0
"""A joint trajectory controller with the manners of ros2_control's, as pure code.

Time is an argument everywhere: the simulator runs it in its own time, the node in the system's. As
there: header stamp 0 starts now, a stamp ahead is honoured, points that are past when they arrive
are skipped, and a trajectory that lies wholly in the past, names other joints than the arm's, or
runs backwards in time is rejected and changes nothing. The way to the first point starts on the
plan being executed (``interpolate_from_desired_state``), with its velocity and acceleration.
Segments are quintic where both ends have velocities and accelerations, cubic where both have
velocities, else linear. After the last point the arm stays there, which is why a last velocity
other than 0 is rejected (``allow_nonzero_velocity_at_trajectory_end: false``, Jazzy's default).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uwm_core.errors import UwmError

_STILL_RAD_S = 1e-6  # an end velocity below this is 0


class Rejected(UwmError):
    """A trajectory that the controller does not take; the plan being executed goes on."""


@dataclass(frozen=True)
class Point:
    """One stamped set point: due ``time_ns`` after the trajectory's start."""

    time_ns: int
    position_rad: tuple[float, ...]
    velocity_rad_s: tuple[float, ...] | None = None
    acceleration_rad_s2: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Trajectory:
    """What ``trajectory_msgs/JointTrajectory`` says; ``stamp_ns`` 0 means "from now on"."""

    stamp_ns: int
    joints: tuple[str, ...]
    points: tuple[Point, ...]

    @classmethod
    def from_message(cls, msg: Any) -> "Trajectory":
        """Read a JointTrajectory or anything shaped like one."""
        points = tuple(
            Point(
                time_ns=_nanoseconds(point.time_from_start),
                position_rad=tuple(point.positions),
                velocity_rad_s=tuple(point.velocities) or None,
                acceleration_rad_s2=tuple(point.accelerations) or None,
            )
            for point in msg.points
        )
        stamp = msg.header.stamp
        return cls(_nanoseconds(stamp), tuple(msg.joint_names), points)


@dataclass(frozen=True)
class _Knot:
    """One set point on the plan, in the controller's joint order and absolute time."""

    due_ns: int
    position: np.ndarray
    velocity: np.ndarray | None
    acceleration: np.ndarray | None


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


class JointTrajectoryController:
    """Follows the last trajectory accepted, from the plan it was following before.

    Args:
        joints: Names of the joints commanded, in the order of the arrays.
        position_rad: Where the arm is now, (len(joints),): held until a trajectory comes.
    """

    def __init__(self, joints: Sequence[str], position_rad: np.ndarray) -> None:
        self._joints = tuple(joints)
        self._plan: list[_Knot] = []
        self._due: list[int] = []
        self.hold(position_rad)

    def hold(self, position_rad: np.ndarray) -> None:
        """Drop the plan and stay at a position, (len(joints),) rad."""
        still = np.zeros(len(self._joints))
        self._follow([_Knot(0, np.array(position_rad, dtype=np.float64), still, still)])

    def accept(self, trajectory: Trajectory, now_ns: int) -> None:
        """Take a trajectory, spliced onto the plan at ``now_ns``.

        Raises:
            Rejected: It is malformed or wholly past; the plan is unchanged.
        """
        order = self._order(trajectory.joints)
        self._check_points(trajectory.points)
        start_ns = trajectory.stamp_ns or now_ns
        ahead = [point for point in trajectory.points if start_ns + point.time_ns >= now_ns]
        if not ahead:
            late_ms = (now_ns - start_ns - trajectory.points[-1].time_ns) / 1e6
            raise Rejected(
                f"the whole trajectory is past: its last point was due {late_ms:.0f} ms ago"
            )
        knots = [_Knot(now_ns, *self._desired(now_ns))]
        for point in ahead:
            knot = _Knot(
                start_ns + point.time_ns,
                np.array(point.position_rad, dtype=np.float64)[order],
                _ordered(point.velocity_rad_s, order),
                _ordered(point.acceleration_rad_s2, order),
            )
            if knot.due_ns == now_ns:  # due at this very moment: it is where the plan is now
                knots = []
            knots.append(knot)
        self._follow(knots)

    def sample(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Set point at ``now_ns``: positions (n,) rad and velocities (n,) rad/s, both copies."""
        position, velocity, _ = self._desired(now_ns)
        return position, velocity

    def _desired(self, now_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, velocity and acceleration of the plan at ``now_ns``: copies, (n,) each."""
        i = bisect_right(self._due, now_ns)
        if 0 < i < len(self._plan):
            return _between(self._plan[i - 1], self._plan[i], now_ns)
        knot = self._plan[0 if i == 0 else -1]
        return knot.position.copy(), np.zeros(len(self._joints)), np.zeros(len(self._joints))

    def moving(self, now_ns: int) -> bool:
        """Whether a point of the plan is still ahead."""
        return now_ns < self._due[-1]

    def _follow(self, knots: list[_Knot]) -> None:
        self._plan = knots
        self._due = [knot.due_ns for knot in knots]

    def _order(self, names: tuple[str, ...]) -> list[int]:
        """Where each of our joints stands in the message."""
        if not names:
            raise Rejected("the trajectory names no joints")
        if unknown := [name for name in names if name not in self._joints]:
            raise Rejected(f"unknown joint {unknown[0]!r}; this arm has {', '.join(self._joints)}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise Rejected(f"joint {twice!r} is named more than once")
        if missing := [name for name in self._joints if name not in names]:
            raise Rejected(f"joint {missing[0]!r} is not in the trajectory; all joints are needed")
        return [names.index(name) for name in self._joints]

    def _check_points(self, points: tuple[Point, ...]) -> None:
        """Refuse points that cannot be followed."""
        if not points:
            raise Rejected("the trajectory has no points")
        before_ns = -1
        for i, point in enumerate(points):
            if point.time_ns <= before_ns:
                raise Rejected(
                    f"time_from_start of point {i} ({point.time_ns / 1e9:g} s) is not after "
                    + (f"point {i - 1}'s ({before_ns / 1e9:g} s)" if i else "0")
                )
            before_ns = point.time_ns
            self._check_values(f"point {i}", "positions", point.position_rad)
            if point.velocity_rad_s is not None:
                self._check_values(f"point {i}", "velocities", point.velocity_rad_s)
            if point.acceleration_rad_s2 is not None:
                self._check_values(f"point {i}", "accelerations", point.acceleration_rad_s2)
        last = points[-1].velocity_rad_s
        if last is not None and float(np.abs(last).max()) > _STILL_RAD_S:
            fastest = np.abs(last).max()
            raise Rejected(
                f"the last point's velocity must be 0, its largest is {fastest:.3g} rad/s"
            )

    def _check_values(self, where: str, what: str, values: tuple[float, ...]) -> None:
        """Refuse positions or their derivatives that are too few, too many or not finite."""
        count = len(self._joints)
        if len(values) != count:
            raise Rejected(f"{where} has {len(values)} {what} for {count} joints")
        if not np.isfinite(values).all():
            raise Rejected(f"{where} has {what} that are not finite")


def _ordered(values: tuple[float, ...] | None, order: list[int]) -> np.ndarray | None:
    return None if values is None else np.array(values, dtype=np.float64)[order]


def _between(a: _Knot, b: _Knot, now_ns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position, velocity and acceleration between two knots, by as much as both of them have."""
    length_s = (b.due_ns - a.due_ns) / 1e9
    u = (now_ns - a.due_ns) / (b.due_ns - a.due_ns)  # 0..1
    rise = b.position - a.position
    if a.velocity is None or b.velocity is None:
        return a.position + u * rise, rise / length_s, np.zeros_like(rise)
    # p(u) = a + v0 u + c2 u^2 + ... over the unit interval, with velocities scaled to it.
    v0, v1 = a.velocity * length_s, b.velocity * length_s
    if a.acceleration is None or b.acceleration is None:
        c2, c3 = 3 * rise - 2 * v0 - v1, v0 + v1 - 2 * rise
        c4 = c5 = np.zeros_like(rise)
    else:
        a0, a1 = a.acceleration * length_s**2, b.acceleration * length_s**2
        c2, c3 = a0 / 2, 10 * rise - 6 * v0 - 4 * v1 - 1.5 * a0 + a1 / 2
        c4 = -15 * rise + 8 * v0 + 7 * v1 + 1.5 * a0 - a1
        c5 = 6 * rise - 3 * (v0 + v1) - (a0 - a1) / 2
    position = a.position + u * (v0 + u * (c2 + u * (c3 + u * (c4 + u * c5))))
    velocity = (v0 + u * (2 * c2 + u * (3 * c3 + u * (4 * c4 + u * 5 * c5)))) / length_s
    acceleration = (2 * c2 + u * (6 * c3 + u * (12 * c4 + u * 20 * c5))) / length_s**2
    return position, velocity, acceleration
