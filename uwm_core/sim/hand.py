# SPDX-License-Identifier: Apache-2.0
"""The simulated hand: its width in whatever unit an embodiment speaks, and how a motion ends.

A value in metres is the width. A value without a unit is a Robotiq's, 0 open to 1 closed, or with
``open_above`` a switch, 1 open and 0 closed; joints of such a switch still report metres.
"""

from __future__ import annotations

from dataclasses import dataclass

from uwm_core.errors import UwmError
from uwm_core.sim import fr3
from uwm_core.streams import JOINT_STATE, Vector

FULL_M = fr3.GRIPPER_WIDTH_M
_ARRIVED_M = 0.002
_STILL_M = 1e-4  # a change of the width below this within a look is none
_STILL_LOOKS = 20


def check(key: str, spec: Vector) -> None:
    """Refuse a gripper whose unit is not known here.

    Raises:
        UwmError: The unit is neither metres nor none.
    """
    if spec.unit not in ("m", "unitless"):
        raise UwmError(
            f"{key} is in {spec.unit}; the simulated hand knows m, and unitless from 0 (open) to "
            "1 (closed)"
        )


def width_of(value: float, spec: Vector) -> float:
    """Width in metres that a value, in the unit of ``spec``, asks for."""
    if spec.open_above is not None:
        return FULL_M if value > spec.open_above else 0.0
    return value if spec.unit == "m" else (1.0 - value) * FULL_M


def value_of(width_m: float, spec: Vector) -> float:
    """What a width is in the unit of ``spec``."""
    if spec.unit == "m" or (spec.open_above is not None and spec.type == JOINT_STATE):
        return width_m
    if spec.open_above is not None:
        return float(width_m > FULL_M / 2)
    return 1.0 - width_m / FULL_M


@dataclass
class HandMotion:
    """One motion of the hand that somebody waits for the end of.

    Attributes:
        goal_m: The width that was asked for.
        epsilon_m: How far below and above it a grasp may end; without it, it is a move.
    """

    goal_m: float
    epsilon_m: tuple[float, float] | None = None
    _last_m: float = -1.0
    _still: int = 0

    def look(self, width_m: float) -> bool | None:
        """How it ended, None while it goes on; call it at each look with the width then.

        As on the Franka hand: a move ends at its width and fails where something is between the
        fingers; a grasp succeeds where they come to rest within epsilon of its width.
        """
        self._still = self._still + 1 if abs(width_m - self._last_m) < _STILL_M else 0
        self._last_m = width_m
        if self.epsilon_m is None and abs(width_m - self.goal_m) < _ARRIVED_M:
            return True
        if self._still < _STILL_LOOKS:
            return None
        if self.epsilon_m is None:
            return False
        inner_m, outer_m = self.epsilon_m
        return -inner_m <= width_m - self.goal_m <= outer_m
