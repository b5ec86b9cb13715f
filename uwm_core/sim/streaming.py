# SPDX-License-Identifier: Apache-2.0
"""Controllers that take one target after another, as pure code: time is an argument.

``PositionStream`` has the manners of an impedance controller on streamed joint targets (crisp's
``target_joint``, GELLO's): the arm is at a target one command period after it came, never faster
than it can, and without commands it stays. ``VelocityStream`` keeps to the last velocity until that
is too old, as MoveIt Servo does. ``PoseStream`` and ``TwistStream`` say the same about the hand.
Joint arrays are (7,), rad or rad/s, in the arm's order; poses and twists are of the point between
the finger tips, along the base's axes.
"""

import math

import numpy as np

from uwm_core.sim import fr3, kinematics
from uwm_core.sim.controller import Rejected

TARGET_TIMEOUT_NS = 500_000_000
"""GELLO's controller gives up when the last target is older."""
VELOCITY_TIMEOUT_NS = 100_000_000
"""MoveIt Servo's ``incoming_command_timeout``. A plain forward controller of ros2_control has none:
it would go on for ever."""

_SHORTEST_NS, _LONGEST_NS = 5_000_000, 100_000_000  # command periods that are believed
_RENEW_NS = 10_000_000  # a twist's joint velocities are worked out again after this
_POSTURE_PER_S = 0.5  # how fast the elbow goes home while the hand moves


class PositionStream:
    """Follows streamed joint targets.

    Args:
        position_rad: Where the arm is now: held until a target comes.
        timeout_ns: Without a target for this long the stream has ended.
    """

    def __init__(self, position_rad: np.ndarray, timeout_ns: int = TARGET_TIMEOUT_NS) -> None:
        self._top = np.array(fr3.VELOCITY_LIMITS_RAD_S)
        self._timeout_ns = timeout_ns
        self.hold(position_rad)

    def hold(self, position_rad: np.ndarray) -> None:
        """Drop the target and stay at a position."""
        self._start = np.array(position_rad, dtype=np.float64)
        self._rise, self._start_ns, self._length_ns = np.zeros(len(self._start)), 0, 1
        self._heard_ns: int | None = None

    def aim(self, target_rad: np.ndarray, now_ns: int) -> None:
        """Take a target."""
        position, _ = self.sample(now_ns)
        period_ns = _LONGEST_NS if self._heard_ns is None else now_ns - self._heard_ns
        period_ns = min(max(period_ns, _SHORTEST_NS), _LONGEST_NS)
        rise = np.asarray(target_rad, dtype=np.float64) - position
        needed_ns = math.ceil(float(np.max(np.abs(rise) / self._top)) * 1e9)
        self._start, self._rise = position, rise
        self._start_ns, self._length_ns = now_ns, max(period_ns, needed_ns)
        self._heard_ns = now_ns

    def sample(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Set point at ``now_ns``: position and velocity, both copies."""
        u = (now_ns - self._start_ns) / self._length_ns
        if u >= 1:
            return self._start + self._rise, np.zeros_like(self._rise)
        return self._start + u * self._rise, self._rise / (self._length_ns / 1e9)

    def ended(self, now_ns: int) -> bool:
        """Whether targets came and no longer do."""
        return self._heard_ns is not None and now_ns - self._heard_ns > self._timeout_ns


class VelocityStream:
    """Follows streamed joint velocities, with the arm's own acceleration.

    Args:
        position_rad: Where the arm is now.
        timeout_ns: A velocity that is older is 0.
    """

    def __init__(self, position_rad: np.ndarray, timeout_ns: int = VELOCITY_TIMEOUT_NS) -> None:
        self._top = np.array(fr3.VELOCITY_LIMITS_RAD_S)
        self._acceleration = np.array(fr3.ACCELERATION_LIMITS_RAD_S2)
        self._limits = fr3.position_limits_rad()
        self._timeout_ns = timeout_ns
        self.hold(position_rad)

    def hold(self, position_rad: np.ndarray) -> None:
        """Drop the velocity and stay at a position."""
        self._position = np.array(position_rad, dtype=np.float64)
        self._velocity = np.zeros_like(self._position)
        self._wanted = np.zeros_like(self._position)
        self._heard_ns: int | None = None
        self._sampled_ns: int | None = None

    @property
    def position_rad(self) -> np.ndarray:
        """Where the last sample was, a copy: (7,) rad."""
        return self._position.copy()

    def drive(self, velocity_rad_s: np.ndarray, now_ns: int) -> None:
        """Take a velocity; one that a joint cannot have is scaled down as a whole."""
        self.turn(velocity_rad_s)
        self._heard_ns = now_ns

    def turn(self, velocity_rad_s: np.ndarray) -> None:
        """Change the velocity without renewing it."""
        over = float(np.max(np.abs(velocity_rad_s) / self._top))
        self._wanted = np.asarray(velocity_rad_s, dtype=np.float64) / max(1.0, over)

    def sample(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Set point at ``now_ns``, which may not run backwards: position and velocity, copies."""
        elapsed_s = 0.0 if self._sampled_ns is None else max(0, now_ns - self._sampled_ns) / 1e9
        self._sampled_ns = now_ns
        wanted = self._wanted if self._fresh(now_ns) else np.zeros_like(self._wanted)
        most = self._acceleration * elapsed_s
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -most, most)
        moved = self._position + self._velocity * elapsed_s
        self._position = np.clip(moved, self._limits[:, 0], self._limits[:, 1])
        self._velocity = np.where(moved == self._position, self._velocity, 0.0)
        return self._position.copy(), self._velocity.copy()

    def ended(self, now_ns: int) -> bool:
        """Whether velocities came and no longer do."""
        return self._heard_ns is not None and not self._fresh(now_ns)

    def _fresh(self, now_ns: int) -> bool:
        return self._heard_ns is not None and now_ns - self._heard_ns <= self._timeout_ns


class PoseStream(PositionStream):
    """Follows streamed poses of the hand."""

    def reach(self, pose: np.ndarray, now_ns: int) -> None:
        """Take a pose (4, 4).

        Raises:
            Rejected: The arm cannot reach it from where it is; the last target stays.
        """
        joint_rad = kinematics.inverse(pose, self.sample(now_ns)[0], tolerance=1e-4)
        if joint_rad is None:
            x, y, z = pose[:3, 3]
            raise Rejected(f"no joint angles reach the pose at {x:.3f} {y:.3f} {z:.3f} m")
        self.aim(joint_rad, now_ns)


class TwistStream(VelocityStream):
    """Follows streamed velocities of the hand; the elbow drifts home.

    Args:
        position_rad: Where the arm is now.
        home_rad: Where the elbow drifts to.
        timeout_ns: A twist that is older is 0.
    """

    def __init__(
        self,
        position_rad: np.ndarray,
        home_rad: np.ndarray,
        timeout_ns: int = VELOCITY_TIMEOUT_NS,
    ) -> None:
        self._home = np.array(home_rad, dtype=np.float64)
        super().__init__(position_rad, timeout_ns)

    def hold(self, position_rad: np.ndarray) -> None:
        """Drop the twist and stay at a position."""
        super().hold(position_rad)
        self._twist, self._renewed_ns = np.zeros(6), 0

    def move(self, twist: np.ndarray, now_ns: int) -> None:
        """Take a twist (6,): m/s, then rad/s."""
        self._twist = np.array(twist, dtype=np.float64)
        self._renewed_ns = now_ns
        self.drive(self._joints(), now_ns)

    def sample(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """As a ``VelocityStream``; the way is the hand's, not a straight line of joints."""
        if self._twist.any() and now_ns - self._renewed_ns >= _RENEW_NS:
            self._renewed_ns = now_ns
            self.turn(self._joints())
        return super().sample(now_ns)

    def _joints(self) -> np.ndarray:
        if not self._twist.any():
            return np.zeros_like(self._position)
        drift = _POSTURE_PER_S * (self._home - self._position)
        return kinematics.joint_velocity(self._position, self._twist, self._position + drift)
