# SPDX-License-Identifier: Apache-2.0
"""Percentiles of the most recent durations."""

from __future__ import annotations

from collections import deque

import numpy as np


class Latency:
    """Keeps the last durations."""

    def __init__(self, window: int = 200) -> None:
        """Keep the last `window` values."""
        self._values: deque[float] = deque(maxlen=window)

    def add(self, duration_s: float) -> None:
        """Add one."""
        self._values.append(duration_s)

    @property
    def last_s(self) -> float:
        """The newest; 0 before the first."""
        return self._values[-1] if self._values else 0.0

    def percentile_s(self, percent: float) -> float:
        """A percentile of what is kept; 0 before the first."""
        return float(np.percentile(self._values, percent)) if self._values else 0.0
