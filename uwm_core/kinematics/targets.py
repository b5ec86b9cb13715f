# SPDX-License-Identifier: Apache-2.0
"""The joints that a chunk asks for: of joints, joint velocities, poses or twists.

Targets and poses say where to be at each action's due moment. Velocities say what to do from there
until the next: they are added up from where the arm is on its plan when the chunk takes over, so
that what was past before is no loss and no jump.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from uwm_core.action_channel import ActionChannel
from uwm_core.data.rotations import euler_of_matrix, matrix_of_6d
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.kinematics.inverse import inverse, joint_velocity
from uwm_core.kinematics.model import ArmModel, Floats

Moments = npt.NDArray[np.int64]

_NS = 1e9
# A twist is followed in steps of this length at most: the Jacobian changes on the way.
_STEP_S = 0.034


class ReachError(UwmError):
    """The arm cannot get where a chunk asks it to be."""


class Targets:
    """Turns the arm's columns of a chunk into joint targets.

    Attributes:
        columns: Names of the columns that it takes, in this order.

    Raises:
        UwmError: If the channels that move the arm are not all of it and once, or a unitless twist
            says no speeds.
    """

    def __init__(self, embodiment: Embodiment, model: ArmModel | None) -> None:
        channels = {k: c for k, c in embodiment.action.items() if embodiment.moves_arm(c)}
        self._model = model
        self.columns: tuple[str, ...] = tuple(
            name for key, channel in channels.items() for name in channel.columns(key)
        )
        self._channel = _one_kind(embodiment, channels)
        if self._channel.cartesian:
            if model is None:
                raise UwmError(f"actions of embodiment {embodiment.name} need its kinematics")
            _check_speeds(embodiment, self._channel)
        else:
            found = {name: i for i, name in enumerate(self.columns)}
            if set(found) != set(embodiment.arm_joints):
                lacking = sorted(set(embodiment.arm_joints) - set(found))
                raise UwmError(
                    f"actions of embodiment {embodiment.name} do not move {', '.join(lacking)}: "
                    "all arm_joints are commanded or none"
                )
            self._order = [found[name] for name in embodiment.arm_joints]

    def __call__(
        self, actions: Floats, stamp_ns: int, period_ns: int, start_ns: int, start_rad: Floats
    ) -> tuple[Moments, Floats]:
        """Joint targets of a chunk from a moment on.

        Args:
            actions: (A, n) the columns, in the embodiment's units.
            stamp_ns: The first action is due then.
            period_ns: Between actions.
            start_ns: Only what is due after it counts.
            start_rad: (J,) where the arm is on its plan then.

        Returns:
            Moments (K,) int64 after the start, and joints (K, J) rad at them.

        Raises:
            ReachError: If a pose has no joints near the way there.
        """
        dues_ns = stamp_ns + period_ns * np.arange(len(actions) + 1, dtype=np.int64)
        if self._channel.unit in ("rad/s", "m/s", "unitless"):
            return self._along(actions, dues_ns, start_ns, start_rad)
        dues_ns = dues_ns[:-1]
        ahead = dues_ns > start_ns
        if self._channel.field != "pose":
            return dues_ns[ahead], actions[ahead][:, self._order]
        return dues_ns[ahead], self._reached(actions[ahead], start_rad)

    def _reached(self, actions: Floats, start_rad: Floats) -> Floats:
        """Joints (K, J) of poses (K, 9), each sought from the one before."""
        assert self._model is not None
        joints, q = np.empty((len(actions), len(start_rad))), start_rad
        poses = np.zeros((len(actions), 4, 4))
        poses[:, :3, 3], poses[:, :3, :3] = actions[:, :3], matrix_of_6d(actions[:, 3:])
        for k, pose in enumerate(poses):
            found = inverse(self._model, pose, q)
            if found is None:
                x, y, z = pose[:3, 3]
                raise ReachError(f"pose {k} at {x:.3f} {y:.3f} {z:.3f} m is out of the arm's reach")
            joints[k] = q = found
        return joints

    def _along(
        self, actions: Floats, dues_ns: Moments, start_ns: int, start_rad: Floats
    ) -> tuple[Moments, Floats]:
        """Velocities (A, n) added up: row k is in force from due k to due k + 1."""
        ends_ns = dues_ns[1:]
        ahead = ends_ns > start_ns
        # Before the first action nothing is asked for.
        times_s = (ends_ns[ahead] - np.maximum(dues_ns[:-1][ahead], start_ns)) / _NS
        if not self._channel.cartesian:
            changes = actions[ahead][:, self._order] * times_s[:, None]
            return ends_ns[ahead], start_rad + np.cumsum(changes, axis=0)
        joints, q = np.empty((len(times_s), len(start_rad))), np.array(start_rad, dtype=np.float64)
        for row, twist in enumerate(_twists(actions[ahead], self._channel)):
            joints[row] = q = self._moved(q, twist, float(times_s[row]))
        return ends_ns[ahead], joints

    def _moved(self, q: Floats, twist: Floats, time_s: float) -> Floats:
        """Joints after a twist (6,) has been in force for a time: midpoint steps, to the limits."""
        assert self._model is not None
        # One that stands beyond a limit may come back, and goes no further.
        low, high = np.minimum(self._model.low, q), np.maximum(self._model.high, q)
        steps = max(1, math.ceil(time_s / _STEP_S))
        step_s = time_s / steps
        for _ in range(steps):
            middle = q + joint_velocity(self._model, q, twist) * (step_s / 2)
            moved = q + joint_velocity(self._model, middle, twist) * step_s
            q = np.minimum(np.maximum(moved, low), high)
        return q


def _twists(actions: Floats, channel: ActionChannel) -> Floats:
    """Twists (A, 6) in m/s and rad/s along the axes of the base frame, of actions (A, n)."""
    linear, angular = actions[:, :3], actions[:, 3:]
    if channel.field == "twist_6d":
        angular = euler_of_matrix(matrix_of_6d(angular))
    if channel.unit != "unitless":
        return np.concatenate([linear, angular], axis=1)
    # A share of the highest speed is a share, also along a diagonal.
    linear, angular = (
        part / np.maximum(1.0, np.linalg.norm(part, axis=1, keepdims=True))
        for part in (linear, angular)
    )
    return np.concatenate(
        [channel.max_linear_m_s * linear, channel.max_angular_rad_s * angular], axis=1
    )


def _one_kind(embodiment: Embodiment, channels: dict[str, ActionChannel]) -> ActionChannel:
    """The channel that says what the arm's numbers are."""
    if not channels:
        raise UwmError(f"embodiment {embodiment.name} has no action that moves the arm")
    kinds = {(channel.field, channel.unit) for channel in channels.values()}
    cartesian = [key for key, channel in channels.items() if channel.cartesian]
    if len(kinds) > 1 or (cartesian and len(channels) > 1):
        raise UwmError(
            f"actions {', '.join(channels)} of embodiment {embodiment.name} all move the arm; "
            "one pose, one twist, or joints of one kind can"
        )
    return next(iter(channels.values()))


def _check_speeds(embodiment: Embodiment, channel: ActionChannel) -> None:
    if channel.unit == "unitless" and not (channel.max_linear_m_s and channel.max_angular_rad_s):
        raise UwmError(
            f"the twist of embodiment {embodiment.name} is unitless: give max_linear_m_s and "
            "max_angular_rad_s, the speeds that 1 stands for"
        )
