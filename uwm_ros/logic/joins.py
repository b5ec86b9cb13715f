# SPDX-License-Identifier: Apache-2.0
"""How a new chunk takes over from the plan being executed.

`replace` goes for the new targets at once; `blend` passes over to them in a stated time; `inpaint`
says that the sampler was told what will be executed, so that hardly a difference is left: what is
left is blended away quickly.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, get_args

import numpy as np

from uwm_core.errors import UnknownNameError, UwmError
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.trajectory import Moments

JoinKind = Literal["replace", "blend", "inpaint"]
JOINS: tuple[str, ...] = get_args(JoinKind)
_RESIDUAL_S = 0.1
_LONGEST_S = 2.0


@dataclasses.dataclass(frozen=True)
class Join:
    """How chunks are joined.

    Attributes:
        kind: One of `JOINS`.
        blend_s: Time in which `blend` passes from the old plan to the new targets.

    Raises:
        UwmError: If the kind is unknown or the time is not within 0 and 2 s.
    """

    kind: JoinKind = "replace"
    blend_s: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in JOINS:
            raise UnknownNameError("join", self.kind, JOINS)
        if not 0 <= self.blend_s <= _LONGEST_S:
            raise UwmError(f"blend_s must be within 0 and {_LONGEST_S:g}, got {self.blend_s:g}")

    @property
    def passing_s(self) -> float:
        """Time in which the new targets take over; 0: at once."""
        if self.kind == "replace":
            return 0.0
        return self.blend_s if self.kind == "blend" else min(self.blend_s, _RESIDUAL_S)


REPLACE = Join()


class Joined(NamedTuple):
    """Targets after joining.

    Attributes:
        targets: (K, J) rad.
        jump_rad: Largest distance of a joint between the new target and the old plan at the
            first due moment.
        commanded_jump_rad: The same for what is left of it after blending.
    """

    targets: Floats
    jump_rad: float
    commanded_jump_rad: float


def joined(join: Join, plan: Plan, dues_ns: Moments, targets: Floats) -> Joined:
    """Lead over from a plan to new targets.

    Args:
        join: How.
        plan: What is being executed.
        dues_ns: (K,) int64 moments of the targets, the splice before them: (K + 1,) in all.
        targets: (K, J) rad.
    """
    old, _, _ = plan.raw.samples(dues_ns[1:])
    passed_s = (dues_ns[1:] - dues_ns[0]).astype(np.float64)[:, None] / 1e9
    share = np.ones_like(passed_s)
    if join.passing_s > 0:
        u = np.minimum(passed_s / join.passing_s, 1.0)
        share = u * u * (3 - 2 * u)
    mixed = old + share * (targets - old)
    jump, commanded = (float(np.abs(new[0] - old[0]).max()) for new in (targets, mixed))
    return Joined(mixed, jump, commanded)
