# SPDX-License-Identifier: Apache-2.0
"""Judges chunks on a thread of its own, which hands the verdicts over.

A judgement takes milliseconds, which a 100 Hz loop has not. The plan goes on meanwhile, so a new
one begins a little ahead: by as long as judging has been seen to take.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rclpy.node import Node

from uwm_core.records import ActionChunk
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.realtime import take_precedence
from uwm_ros.logic.judge import Rules, Situation, Verdict, judge
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.worker import LatestWorker
from uwm_ros.msg import ActionChunk as ActionChunkMessage

_LEAST_LEAD_S, _MOST_LEAD_S = 0.004, 0.08
_MARGIN = 1.5
_PRIORITY = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A chunk before the judge.

    Attributes:
        chunk: What the policy wants.
        message: As it came.
        arrived_ns: When.
        situation: What is measured and executed.
        version: Of the plan in the situation.
    """

    chunk: ActionChunk
    message: ActionChunkMessage
    arrived_ns: int
    situation: Situation
    version: int


class Judging:
    """One judge; of several waiting cases only the newest is heard."""

    def __init__(
        self,
        node: Node,
        rules: Rules,
        done: Callable[[Case, Verdict], None],
        failed: Callable[[Exception], None],
        *,
        realtime: bool,
    ) -> None:
        """Start the thread.

        Args:
            node: For its clock.
            rules: What the embodiment allows.
            done: Gets the verdicts, on this judge's thread: to wake another one costs a
                millisecond or two, and the arm waits.
            failed: Gets what `done` raises; `judge` itself never does.
            realtime: Ask the machine for precedence.
        """
        self._node, self._rules, self._done = node, rules, done
        self._precedence = realtime
        self._took = Latency(50)
        self._worker: LatestWorker[Case] = LatestWorker(self._judge, failed, name="judge")

    @property
    def lead_ns(self) -> int:
        """How far ahead of now a new plan has to begin."""
        lead_s = _MARGIN * self._took.percentile_s(95) + _LEAST_LEAD_S
        return round(min(lead_s, _MOST_LEAD_S) * 1e9)

    def submit(self, case: Case) -> None:
        """Hear a case; one that still waits gives way."""
        self._worker.submit(case)

    def close(self) -> None:
        """Hear no more."""
        self._worker.close()

    def _judge(self, case: Case) -> None:
        if self._precedence:
            take_precedence(_PRIORITY)
            self._precedence = False
        begin_ns = now_ns(self._node)
        verdict = judge(case.chunk, case.situation, self._rules)
        self._took.add((now_ns(self._node) - begin_ns) / 1e9)
        self._done(case, verdict)
