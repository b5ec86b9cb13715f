# SPDX-License-Identifier: Apache-2.0
"""Single values (a gripper's width) at their due times, sent when they say something new."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Value = float | npt.NDArray[np.float64]
"""One number, or (n,) that belong together."""


class Schedule:
    """The value that is in force at a moment: that of the newest action that is due."""

    def __init__(self) -> None:
        """Start empty."""
        self._times_ns = np.zeros(0, dtype=np.int64)
        self._values = np.zeros(0)

    def replace(self, stamp_ns: int, period_ns: int, values: npt.NDArray[np.float64]) -> None:
        """Forget the old values; value k is in force from `stamp_ns + k * period_ns` on.

        Args:
            stamp_ns: When the first is due.
            period_ns: Time between two.
            values: (A,), or (A, n) for n that belong together.
        """
        self._times_ns = stamp_ns + period_ns * np.arange(len(values), dtype=np.int64)
        self._values = np.array(values, dtype=np.float64)

    def clear(self) -> None:
        """Forget all values: nothing is in force."""
        self._times_ns, self._values = self._times_ns[:0], self._values[:0]

    def value_at(self, now_ns: int) -> Value | None:
        """The value in force, or None before the first and without any."""
        k = int(np.searchsorted(self._times_ns, now_ns, side="right")) - 1
        if k < 0:
            return None
        return self._values[k] if self._values.ndim > 1 else float(self._values[k])


class Gate:
    """Lets a command through when it differs from the last, and now and then to be sure.

    A gripper that takes each command as a new goal must not be given the same one at every tick;
    one that lost a message must hear it again.
    """

    def __init__(self, dead_band: float, resend_s: float) -> None:
        """Create.

        Args:
            dead_band: Differences up to this are none, in the unit of the values.
            resend_s: An unchanged value is let through after this time.
        """
        self._dead_band = dead_band
        self._resend_ns = round(resend_s * 1e9)
        self._value: Value | None = None
        self._sent_ns = 0

    def let_through(self, value: Value, now_ns: int) -> bool:
        """Whether to send `value` now; if so it counts as sent."""
        if (
            self._value is not None
            and np.max(np.abs(value - self._value)) <= self._dead_band
            and 0 <= now_ns - self._sent_ns < self._resend_ns
        ):
            return False
        self._value, self._sent_ns = value, now_ns
        return True

    def forget(self) -> None:
        """The next command goes through, whatever it is."""
        self._value = None
