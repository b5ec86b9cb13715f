# SPDX-License-Identifier: Apache-2.0
"""A recorded episode as a stream of chunks, and how well the arm followed it: pure decisions.

Action k is due at start + k periods, as it was when it was recorded. The first target is held for a
moment before, and the last one after: the arm stands at the start, and arrives at the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from uwm_core.data.actions import absolute
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.logic.judge import Rules, measured_by
from uwm_ros.logic.limits import Floats

_AHEAD_S = 1.2
_SETTLE_S = 0.5
LEAD_NS = 1_000_000_000
"""From the first chunk to the first action; an arm near the start goes there meanwhile."""


@dataclasses.dataclass(frozen=True)
class Tracking:
    """How far the arm was from the recorded path, over all ticks of a replay.

    Attributes:
        rms_rad: Over all joints and moments.
        worst_rad: The largest distance.
        worst_joint: Where it was.
        moments: How many were looked at.
    """

    rms_rad: float
    worst_rad: float
    worst_joint: str
    moments: int

    def __str__(self) -> str:
        """One sentence for people."""
        return (
            f"the arm was {self.rms_rad:.4f} rad (rms) from the recorded path, at most "
            f"{self.worst_rad:.4f} rad ({self.worst_joint}), over {self.moments} moments"
        )


class Replay:
    """One episode, ready to be driven.

    Attributes:
        targets: (N, D) absolute actions.
        path: (N, J) joints that were measured when it was recorded, rad.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        action: np.ndarray,
        state: Mapping[str, np.ndarray],
    ) -> None:
        """Turn the rows of an episode into targets.

        Args:
            embodiment: That of the arm.
            action: (N, D) float32 as stored.
            state: Per key (N, n) float32 as stored.

        Raises:
            UwmError: If an action or a joint is absent, or the actions cannot be driven.
        """
        self._embodiment = embodiment
        self._rules = Rules(embodiment)
        measured = measured_by(embodiment)
        key = next(key for key, spec in embodiment.state.items() if spec is measured)
        columns = [measured.names.index(name) for name in embodiment.arm_joints]
        self.path: Floats = state[key][:, columns].astype(np.float64)
        for name, rows in (("action", action), (f"state {key}", self.path)):
            absent = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(rows) == 0 or len(absent):
                where = f"at step {absent[0]}" if len(absent) else "at all"
                raise UwmError(f"the episode has no {name} {where}; it cannot be replayed")
        self.targets = np.concatenate(
            [
                absolute(embodiment, action[k : k + 1], {name: v[k] for name, v in state.items()})
                for k in range(len(action))
            ]
        )
        names = embodiment.action_names
        self._arm = [names.index(joint) for joint in self._rules.limits.names]
        period_s = embodiment.period_ns / 1e9
        self._settle = int(np.ceil(_SETTLE_S / period_s))
        # Past the settling too: the executor must not call a plan's end trouble before we are done.
        self._ahead = int(np.ceil(_AHEAD_S / period_s)) + self._settle
        self._errors: list[Floats] = []

    @property
    def steps(self) -> int:
        """Rows of the episode (N)."""
        return len(self.targets)

    def far(self, measured_rad: Floats) -> str:
        """Why the arm may not start from where it is; empty where it may."""
        distance = np.abs(self.targets[0, self._arm] - measured_rad)
        j = int(np.argmax(distance))
        allowed = self._embodiment.safety.start_tolerance_rad
        if distance[j] <= allowed:
            return ""
        name = self._rules.limits.names[j]
        return (
            f"{name} is {distance[j]:.3g} rad from the start of the episode, allowed are "
            f"{allowed:g} rad; it starts at {_listed(self.targets[0, self._arm])} rad"
        )

    def chunk(self, start_ns: int, now_ns: int) -> ActionChunk | None:
        """The actions from now on; None after the last one has been held for a moment."""
        period_ns = self._embodiment.period_ns
        k = (now_ns - start_ns) // period_ns
        if k >= self.steps + self._settle:
            return None
        rows = np.clip(np.arange(k, k + self._ahead), 0, self.steps - 1)
        return ActionChunk(
            start_ns + k * period_ns,
            period_ns,
            self.targets[rows].astype(np.float32),
            self._embodiment.action_names,
        )

    def compare(self, measured_rad: Floats, since_start_ns: int) -> None:
        """Note how far the arm (J,) is from the recorded path at a moment of the episode."""
        at = since_start_ns / self._embodiment.period_ns
        if 0 <= at <= self.steps - 1:
            k = min(int(at), max(self.steps - 2, 0))
            following = self.path[min(k + 1, self.steps - 1)]
            self._errors.append(
                measured_rad - (self.path[k] + (at - k) * (following - self.path[k]))
            )

    def forget(self) -> None:
        """Begin to compare anew."""
        self._errors.clear()

    def tracking(self) -> Tracking:
        """How well it went so far."""
        if not self._errors:
            return Tracking(0.0, 0.0, "none", 0)
        errors = np.abs(np.array(self._errors))
        worst = int(np.argmax(errors.max(axis=0)))
        return Tracking(
            rms_rad=float(np.sqrt(np.mean(errors**2))),
            worst_rad=float(errors.max()),
            worst_joint=self._embodiment.arm_joints[worst],
            moments=len(errors),
        )


def _listed(values: Sequence[float] | np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values) + "]"
