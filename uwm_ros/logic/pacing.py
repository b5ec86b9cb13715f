# SPDX-License-Identifier: Apache-2.0
"""How a simulation keeps to a clock: how many steps are due, and which streams.

Pure: the clock's reading comes in as an argument. A machine that stalls makes the simulation skip
what it missed, rather than race through it.
"""

from __future__ import annotations

from collections import deque

_WINDOW_NS = 1_000_000_000


class Pacer:
    """Ties simulated steps to a clock.

    Args:
        step_ns: Length of a step.
        now_ns: The clock now; the simulation's moment begins here.
        most_behind_ns: A larger backlog is dropped instead of caught up.
    """

    def __init__(self, step_ns: int, now_ns: int, most_behind_ns: int = 200_000_000) -> None:
        self._step_ns, self._most_behind_ns = step_ns, most_behind_ns
        self._moment_ns = now_ns
        self._simulated_ns = 0
        self._past: deque[tuple[int, int]] = deque([(now_ns, 0)])  # (clock, simulated)
        self._skipped_ns = 0

    @property
    def moment_ns(self) -> int:
        """The moment, by the clock, that the simulation's state belongs to."""
        return self._moment_ns

    @property
    def skipped_ns(self) -> int:
        """Time that was never simulated, in total."""
        return self._skipped_ns

    def due(self, now_ns: int) -> int:
        """Steps to take now; call `stepped` after each."""
        behind_ns = now_ns - self._moment_ns
        if behind_ns > self._most_behind_ns:
            self._skipped_ns += behind_ns - self._step_ns
            self._moment_ns = now_ns - self._step_ns
        elif behind_ns < -self._most_behind_ns:  # the clock was set back
            self._moment_ns = now_ns
            self._past = deque([(now_ns, self._simulated_ns)])
        self._past.append((now_ns, self._simulated_ns))
        while len(self._past) > 1 and now_ns - self._past[1][0] > _WINDOW_NS:
            self._past.popleft()
        return max(0, (now_ns - self._moment_ns) // self._step_ns)

    def stepped(self) -> int:
        """One step was taken; the moment that the state belongs to now."""
        self._moment_ns += self._step_ns
        self._simulated_ns += self._step_ns
        return self._moment_ns

    @property
    def realtime_factor(self) -> float:
        """Simulated time per time of the clock over the last second (unitless)."""
        (first_ns, before_ns), (last_ns, after_ns) = self._past[0], self._past[-1]
        return (after_ns - before_ns) / (last_ns - first_ns) if last_ns > first_ns else 1.0


class Beat:
    """Says when a stream of a given rate is due.

    Args:
        rate_hz: Its rate.
        start_ns: The first moment it is due.
    """

    def __init__(self, rate_hz: float, start_ns: int) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._next_ns = start_ns

    def due(self, moment_ns: int) -> bool:
        """Whether the stream is due at this moment; beats that were missed are not made up for."""
        missed, _ = divmod(moment_ns - self._next_ns, self._period_ns)
        if missed < -1:  # the clock was set back
            self._next_ns = moment_ns + self._period_ns
            return True
        if missed < 0:
            return False
        self._next_ns += (missed + 1) * self._period_ns
        return True
