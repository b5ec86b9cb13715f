# SPDX-License-Identifier: Apache-2.0
"""Where a chunk leads: poses of the hand at the moments to come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_core.sim import fr3, kinematics

Floats = npt.NDArray[np.float64]
# A straight line in joints is a curve of the hand; so many pieces of it look smooth.
_PIECES = 4
_FR3_BASE = "fr3_link0"


@dataclass(frozen=True, eq=False)
class Foresight:
    """Where the hand will be.

    Attributes:
        dues_ns: (K,) int64, moments of the actions to come.
        poses: (K, 4, 4) of the tcp in the base frame then.
        line_m: (M, 3) points of the tcp's way, from where the arm is; M = 0 where K is.
        shares: (M,) of the time from now to the last action, 0 to 1.
        openings: (M,) of the gripper, 0 closed to 1 open; NaN where the chunk does not say.
    """

    dues_ns: npt.NDArray[np.int64]
    poses: Floats
    line_m: Floats
    shares: Floats
    openings: Floats


NOWHERE = Foresight(
    np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
)
"""Of a chunk that is over."""


class _Targets(Protocol):
    """Joint targets of a chunk; see `uwm_core.kinematics`."""

    columns: tuple[str, ...]

    def __call__(
        self, actions: Floats, stamp_ns: int, period_ns: int, start_ns: int, start_rad: Floats
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        """Dues (K,) after `start_ns` and positions (K, J) rad then."""
        ...


class Foreseer:
    """Turns chunks of one embodiment into foresights.

    Attributes:
        base_frame: Frame that every position is in.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Build the arm.

        Raises:
            UwmError: If the embodiment has no kinematics and is no FR3 moved by its joints.
        """
        self._embodiment = embodiment
        self.base_frame, self._targets, self._tcp_path = _arm(embodiment)
        scalars = {
            channel.columns(key)[0]: channel.unit
            for key, channel in embodiment.action.items()
            if channel.size == 1 and not embodiment.moves_arm(channel)
        }
        self._grippers = {
            name: embodiment.gripper.max_width_m if unit == "m" else 1.0
            for name, unit in scalars.items()
        }

    def __call__(self, chunk: ActionChunk, now_ns: int, measured_rad: Floats) -> Foresight:
        """Look ahead.

        Args:
            chunk: What the arm is to do.
            now_ns: What was due before is left out.
            measured_rad: (J,) where the arm is now.

        Raises:
            UwmError: If the chunk has other columns, or a pose in it cannot be reached.
        """
        actions = chunk.actions.astype(np.float64)
        if not np.isfinite(actions).all():
            raise UwmError("the chunk has numbers that are not finite")
        at = {name: column for column, name in enumerate(chunk.names)}
        if missing := [name for name in self._targets.columns if name not in at]:
            raise UwmError(f"the chunk has no column {missing[0]!r}")
        arm = actions[:, [at[name] for name in self._targets.columns]]
        dues_ns, joints_rad = self._targets(
            arm, chunk.stamp_ns, chunk.period_ns, now_ns, measured_rad
        )
        if not len(dues_ns):
            return NOWHERE
        way = np.concatenate([measured_rad[None], joints_rad])
        moments = np.concatenate([[now_ns], dues_ns]) - now_ns
        knots = np.arange(len(way))
        fine = np.linspace(0, len(way) - 1, _PIECES * (len(way) - 1) + 1)
        joints = np.stack([np.interp(fine, knots, joint) for joint in way.T], axis=1)
        poses = self._tcp_path(joints)
        when_ns = np.interp(fine, knots, moments)
        openings = self._openings(actions, at, when_ns + now_ns - chunk.stamp_ns, chunk.period_ns)
        return Foresight(
            dues_ns=dues_ns,
            poses=poses[_PIECES::_PIECES],
            line_m=poses[:, :3, 3],
            shares=when_ns / max(when_ns[-1], 1.0),
            openings=openings,
        )

    def _openings(
        self, actions: Floats, at: dict[str, int], since_ns: Floats, period_ns: int
    ) -> Floats:
        """(M,) opening in force at so many ns after the chunk's stamp."""
        row = np.clip((since_ns // period_ns).astype(int), 0, len(actions) - 1)
        for name, widest in self._grippers.items():
            if name in at:
                openings: Floats = np.clip(actions[row, at[name]] / widest, 0.0, 1.0)
                return openings
        return np.full(len(since_ns), np.nan)


class _JointTargets:
    """What `uwm_core.kinematics.Targets` does where every column is a joint's position."""

    def __init__(self, embodiment: Embodiment) -> None:
        named = {name for channel in embodiment.action.values() for name in channel.names}
        if not set(fr3.ARM_JOINTS) == set(embodiment.arm_joints) <= named:
            raise UwmError(
                f"embodiment {embodiment.name} has no kinematics, and is no FR3 that is commanded "
                "by its joints; give it urdf, base_frame and tcp_frame"
            )
        self.columns = fr3.ARM_JOINTS

    def __call__(
        self, actions: Floats, stamp_ns: int, period_ns: int, start_ns: int, start_rad: Floats
    ) -> tuple[npt.NDArray[np.int64], Floats]:
        dues_ns = stamp_ns + np.arange(len(actions)) * period_ns
        return dues_ns[dues_ns > start_ns], actions[dues_ns > start_ns]


def _arm(embodiment: Embodiment) -> tuple[str, _Targets, Callable[[Floats], Floats]]:
    """Base frame, targets of a chunk, poses (N, 4, 4) of positions (N, J)."""
    if embodiment.kinematics is None:
        return _FR3_BASE, _JointTargets(embodiment), _fr3_path
    # pinocchio is heavy, and not everywhere.
    from uwm_core.kinematics.model import ArmModel
    from uwm_core.kinematics.targets import Targets

    model = ArmModel.of(embodiment)
    return embodiment.kinematics.base_frame, Targets(embodiment, model), model.tcp_path


def _fr3_path(joints_rad: Floats) -> Floats:
    return np.stack([kinematics.tcp_pose(joint_rad) for joint_rad in joints_rad])
