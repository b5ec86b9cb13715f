# SPDX-License-Identifier: Apache-2.0
"""What an embodiment allows, read once, and what turns its actions into joint targets."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Protocol

from uwm_core.embodiment import Embodiment, Vector
from uwm_core.errors import UwmError
from uwm_core.streams import JOINT_STATE
from uwm_ros.logic.limits import Floats, Limits
from uwm_ros.logic.trajectory import Moments


class Targets(Protocol):
    """Turns the arm's columns of a chunk into joint targets.

    Attributes:
        columns: Names of the columns that it takes, in this order.
    """

    columns: tuple[str, ...]

    def __call__(
        self, actions: Floats, stamp_ns: int, period_ns: int, start_ns: int, start_rad: Floats
    ) -> tuple[Moments, Floats]:
        """Joint targets (K, J) rad of actions (A, n) and their moments (K,), those after a start.

        Raises:
            UwmError: If the arm cannot get there.
        """
        ...


class Clearance(Protocol):
    """How much room there is: (N,) m, below 0 where a limit is broken; what the worst is near."""

    @property
    def distance_m(self) -> Floats:
        """Per configuration."""
        ...

    @property
    def what(self) -> str:
        """Like ``"fr3_hand and the table"``."""
        ...


class Guard(Protocol):
    """Says how much room configurations have."""

    def clearance(self, joints_rad: Floats) -> Clearance:
        """Room of configurations (N, J), rad."""
        ...


class Rules:
    """What an embodiment allows.

    Attributes:
        embodiment: Whose rules these are.
        limits: Of the arm's joints, which every command keeps.
        safety: What is enforced on top.
        smoothing_ns: Window that commands are averaged over.
        scalars: Name of the column by key of each channel that takes one value.
        arm: Whether the arm is commanded at all.
        max_state_age_s: Older joint states are no ground for a motion.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Read limits, ages and columns; what needs kinematics is made when first asked for.

        Raises:
            UwmError: If no state stream measures all joints of the arm, or an action is recorded
                only, since nobody can know its targets ahead.
        """
        arm = [c for c in embodiment.action.values() if embodiment.moves_arm(c)]
        for key, channel in embodiment.action.items():
            # A command's lead over the state is the arm's lag times its speed, not one period's
            # way: added up along a chunk it makes another speed (twice, if the arm lags by two).
            if channel.relative_to and channel.at == "tick":
                raise UwmError(
                    f"action {key} of embodiment {embodiment.name} is a command relative to "
                    f"{channel.relative_to}, whose targets depend on the arm's lag and cannot be "
                    "driven; driven: absolute commands, and at: next_tick"
                )
            if channel not in arm and channel.size != 1:
                raise UwmError(
                    f"action {key} of embodiment {embodiment.name} has {channel.size} values; "
                    "driven: the arm, and single values"
                )
        self.embodiment = embodiment
        self.limits = Limits.of(embodiment)
        self.safety = embodiment.safety
        self.smoothing_ns = _window_ns(embodiment)
        # Of the raw curve, so that what a controller makes of its average keeps the limits.
        self.curve_limits = self.limits.for_curve(self.smoothing_ns / 1e9)
        self.scalars = {
            key: channel.columns(key)[0]
            for key, channel in embodiment.action.items()
            if channel not in arm
        }
        self.arm = bool(arm)
        # Twice, since a chunk may be looked at right after a pause of the process.
        self.max_state_age_s = min(
            embodiment.safety.max_observation_age_s, 2 * measured_by(embodiment).max_age_s
        )

    def prepare(self) -> None:
        """Make now what would be made with the first chunk.

        Raises:
            UwmError: If the embodiment needs kinematics that it has not, or that is not installed.
        """
        if self.arm:
            _ = self.targets, self.guard

    @cached_property
    def targets(self) -> Targets:
        """What makes joint targets of the arm's columns."""
        from uwm_core.kinematics.targets import Targets as Made

        cartesian = any(channel.cartesian for channel in self.embodiment.action.values())
        made: Targets = Made(self.embodiment, self._model if cartesian else None)
        return made

    @cached_property
    def guard(self) -> Guard | None:
        """What watches workspace, table and self collision; None where safety asks for none."""
        if not self.safety.needs_kinematics:
            return None
        from uwm_core.kinematics.guard import Guard as Made

        made: Guard = Made(self._model, self.safety)
        return made

    @cached_property
    def _model(self) -> Any:
        from uwm_core.kinematics.model import ArmModel

        return ArmModel.of(self.embodiment)


def measured_by(embodiment: Embodiment) -> Vector:
    """The state stream that measures every joint of the arm.

    Raises:
        UwmError: If there is none: an arm that is not measured is not moved.
    """
    for spec in embodiment.state.values():
        measures = spec.type == JOINT_STATE and spec.field == "position" and spec.combine == "none"
        if measures and set(embodiment.arm_joints) <= set(spec.names):
            return spec
    raise UwmError(
        f"embodiment {embodiment.name} has no state with the positions of all arm_joints"
    )


def _window_ns(embodiment: Embodiment) -> int:
    """Even; long enough for the jerk limits, where there are any."""
    limits = embodiment.limits
    pairs = zip(limits.acceleration_rad_s2, limits.jerk_rad_s3, strict=False)
    wanted_s = max([embodiment.safety.smoothing_s, *(2 * a / jerk for a, jerk in pairs)])
    return 2 * math.ceil(wanted_s * 0.5e9)
