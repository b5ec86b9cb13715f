# SPDX-License-Identifier: Apache-2.0
"""What the executor keeps an eye on between two chunks. Pure: moments come in as arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from uwm_ros.logic.limits import Floats
from uwm_ros.logic.plan import Plan

# How far a controller may lag behind its plan in time.
_LAG_S = 0.15
_LAGS_NS = np.linspace(0, _LAG_S * 1e9, 6).astype(np.int64)
_PERIODS = 500


def tracking_error(plan: Plan, measured_rad: Floats, now_ns: int) -> float:
    """How far the arm is from where its plan was at any moment a controller may lag by, rad.

    An arm that follows late is on the way; one that something holds is not. The largest joint's
    distance, at the lag that explains most.
    """
    positions, _, _ = plan.samples(now_ns - _LAGS_NS)
    return float(np.abs(positions - measured_rad).max(axis=1).min())


class Periods:
    """How regular a loop is."""

    def __init__(self, nominal_s: float) -> None:
        """Expect one call every `nominal_s`."""
        self._nominal_s = nominal_s
        self._last_s: float | None = None
        self._periods_s: deque[float] = deque(maxlen=_PERIODS)

    def tick(self, moment_s: float) -> float:
        """Count a call at a moment of a steady clock; the period that it ends (s), 0 the first."""
        before, self._last_s = self._last_s, moment_s
        if before is None:
            return 0.0
        self._periods_s.append(moment_s - before)
        return moment_s - before

    def forget(self) -> None:
        """Begin anew: a pause that was wanted is no late call."""
        self._last_s = None
        self._periods_s.clear()

    @property
    def error_p99_s(self) -> float:
        """99th percentile of what periods differ from the nominal one by; 0 before the first."""
        if not self._periods_s:
            return 0.0
        return float(np.percentile(np.abs(np.array(self._periods_s) - self._nominal_s), 99))

    @property
    def rate_hz(self) -> float:
        """Calls per second over what is remembered; 0 before the first."""
        total_s = sum(self._periods_s)
        return len(self._periods_s) / total_s if total_s > 0 else 0.0


class Deadman:
    """A button that must be held, and be heard to be held."""

    def __init__(self, button: int, timeout_s: float = 0.25) -> None:
        """Ask for a button.

        Args:
            button: Place among the buttons of a Joy; negative: none is asked for.
            timeout_s: A device that is silent for longer has been let go.
        """
        self._button, self._timeout_ns = button, round(timeout_s * 1e9)
        self._held_ns: int | None = None

    def take(self, buttons: Sequence[int], now_ns: int) -> None:
        """A Joy says how its buttons are."""
        held = 0 <= self._button < len(buttons) and bool(buttons[self._button])
        self._held_ns = now_ns if held else None

    def held(self, now_ns: int) -> bool:
        """Whether the arm may move."""
        if self._button < 0:
            return True
        return self._held_ns is not None and now_ns - self._held_ns <= self._timeout_ns


class Heartbeat:
    """Whether a node that has been heard is still there and well."""

    def __init__(self, timeout_s: float) -> None:
        """Expect a beat every now and then.

        Args:
            timeout_s: Longer silence means that the node is gone or hangs.
        """
        self._timeout_ns = round(timeout_s * 1e9)
        self._beat_ns: int | None = None
        self._reason = ""

    def beat(self, now_ns: int, reason: str = "") -> None:
        """A beat; `reason` says what the node itself is unhappy with."""
        self._beat_ns, self._reason = now_ns, reason

    def forget(self) -> None:
        """Expect nothing until it is heard again."""
        self._beat_ns = None

    def trouble(self, now_ns: int) -> str:
        """What is wrong, one sentence; empty where all is well or it was never heard."""
        if self._beat_ns is None:
            return ""
        silent_s = (now_ns - self._beat_ns) / 1e9
        if silent_s > self._timeout_ns / 1e9:
            return f"policy is silent for {silent_s:.2f} s"
        return self._reason
