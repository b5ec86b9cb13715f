# SPDX-License-Identifier: Apache-2.0
"""When the next inference begins: on a fresh picture, and early enough.

Inferences begin every `replan_s`, and earlier where the chunk in force would run out before the
next one is there: how long inference takes is measured. One that is due begins with the picture
that completes the next observation; where none comes within `wait_s` (about a camera's period) it
begins with what there is.

Two inferences in a row must fit into a chunk: the first one's answer plays while the second runs.
With an observation of age `a` that asks for `2 * inference + a + 2 * wait_s + MARGIN_S` or less;
a slower model misses deadlines, and they are counted. Time is an argument, ns of one clock.
"""

from __future__ import annotations

from uwm_ros.logic.latency import Latency

MARGIN_S = 0.05
"""What a chunk needs from its publication until it is in force: transport, verdict, splice."""

_KEPT = 50
_NS = 1_000_000_000


class Cadence:
    """Decides about one inference after the other.

    `start` may be called on one thread and `answered` or `dropped` on another: between a start and
    its end only the other thread writes.

    Attributes:
        missed: Chunks that came after the one before had run out.
        slack_s: By how much the newest one came before that; negative: too late; 0 for the first.
    """

    def __init__(self, *, replan_s: float, chunk_s: float, wait_s: float) -> None:
        """Begin with an inference due at once.

        Args:
            replan_s: s between two inferences.
            chunk_s: s from an observation's tick to the last action that answers it.
            wait_s: s that an inference which is due waits for a fresh picture.
        """
        self._replan_ns, self._chunk_ns, self._wait_ns = (
            round(value * _NS) for value in (replan_s, chunk_s, wait_s)
        )
        self._durations = Latency(_KEPT)
        self._planned_ns = self._tried_ns = self._newest_ns = 0
        self._begun_ns: int | None = None
        self._runs_out_ns: int | None = None
        self.missed = 0
        self.slack_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether an inference runs."""
        return self._begun_ns is not None

    @property
    def lead_s(self) -> float:
        """How long before a chunk is needed its inference must begin."""
        return self._durations.percentile_s(95) + MARGIN_S

    def running_s(self, now_ns: int) -> float:
        """How long the present inference has been running; 0 where none is."""
        begun_ns = self._begun_ns
        return 0.0 if begun_ns is None else (now_ns - begun_ns) / _NS

    def due(self, now_ns: int) -> bool:
        """Whether an inference is wanted now."""
        return not self.busy and now_ns >= self._due_ns

    def start(self, now_ns: int, *, fresh: bool) -> bool:
        """Begin an inference if it is time to; then `answered` or `dropped` must follow.

        Args:
            now_ns: The moment.
            fresh: Whether a picture has just completed an observation.
        """
        if self.busy:
            return False
        if now_ns < self._newest_ns:  # the clock was set back, e.g. a simulation began anew
            self._planned_ns = self._tried_ns = 0
            self._runs_out_ns = None
        self._newest_ns = now_ns
        due_ns = self._due_ns
        if now_ns < due_ns or not (fresh or now_ns >= max(due_ns, self._tried_ns) + self._wait_ns):
            return False
        following_ns = self._planned_ns + self._replan_ns
        # On the grid of the plan, so that waiting for pictures does not make the period longer.
        on_time = self._planned_ns <= now_ns < following_ns
        self._planned_ns = following_ns if on_time else now_ns + self._replan_ns
        self._begun_ns = now_ns
        return True

    def answered(self, now_ns: int, stamp_ns: int) -> None:
        """The chunk that answers the observation of `stamp_ns` has been published."""
        if self._begun_ns is not None:
            self._durations.add((now_ns - self._begun_ns) / _NS)
        if self._runs_out_ns is not None:
            self.slack_s = (self._runs_out_ns - now_ns) / _NS
            self.missed += self.slack_s < 0
        self._runs_out_ns = stamp_ns + self._chunk_ns
        self._begun_ns = None

    def dropped(self, now_ns: int) -> None:
        """Nothing came of it: try again with the next picture."""
        self._planned_ns = self._tried_ns = now_ns
        self._begun_ns = None

    @property
    def _due_ns(self) -> int:
        if self._runs_out_ns is None:
            return self._planned_ns
        last_ns = self._runs_out_ns - round(self.lead_s * _NS) - self._wait_ns
        return min(self._planned_ns, last_ns)
