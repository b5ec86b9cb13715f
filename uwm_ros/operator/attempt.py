# SPDX-License-Identifier: Apache-2.0
"""Attempts of the policy at the simulated task, through the ROS graph and in real time.

One attempt: reset the scene to a seed, let the executor run, wait for success or for the time to
run out, hold. The judge is the simulation's own task; the policy never sees it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from std_srvs.srv import Trigger

from uwm_core.figures import Figure
from uwm_ros.bridge.clock import now_ns, to_ns
from uwm_ros.msg import ActionChunk, ExecutorStatus, SimTask
from uwm_ros.operator.client import GraphError, Operator
from uwm_ros.srv import ResetSim

TIME_LIMIT_S = 12.0
REST_LIMIT_S = 5.0
# An arm that jumps home leaves pictures and joint states of two scenes in the policy's buffers for
# a moment; a chunk that answers such a mixture means nothing.
SETTLE_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What one attempt gave.

    Attributes:
        number: Counted from 1.
        seed: Of the scene.
        success: Lifted and held within the time limit.
        time_s: From the run command to success, or to giving up.
        inference_s: Time of each model call during the attempt.
        arrival_s: Age of each chunk's observation when the chunk arrived.
        holds: Times the executor held while it was told to run.
        hold_reason: Of the last hold, or empty.
        realtime_factor: Lowest seen; 1 means that the simulation kept real time.
    """

    number: int
    seed: int
    success: bool
    time_s: float
    inference_s: tuple[float, ...]
    arrival_s: tuple[float, ...]
    holds: int
    hold_reason: str
    realtime_factor: float


@dataclass
class AttemptRunner:
    """Runs attempts with a given operator.

    Attributes:
        operator: On the graph where simulation, policy and executor live.
        on_start: Called when the scene is reset and the policy has seen it, right before the run.
    """

    operator: Operator
    on_start: Callable[[], None] = lambda: None
    _inference_s: list[float] = field(default_factory=list)
    _arrival_s: list[float] = field(default_factory=list)
    _hold_reasons: list[str] = field(default_factory=list)
    _factors: list[float] = field(default_factory=list)
    _listening: bool = False

    def __post_init__(self) -> None:
        """Watch the topics that an attempt is judged by."""
        self.operator.watch("sim/task", SimTask, self._on_task)
        self.operator.watch("executor/status", ExecutorStatus, self._on_status)
        self.operator.watch("policy/action_chunk", ActionChunk, self._on_chunk)

    def wait_until_ready(self, timeout_s: float = 90.0) -> None:
        """Wait for the simulation, the executor and the policy's first chunk.

        Raises:
            GraphError: one of them did not appear.
        """
        for topic in ("sim/task", "executor/status", "policy/action_chunk"):
            if not self.operator.wait(lambda topic=topic: topic in self.operator.newest, timeout_s):
                raise GraphError(f"nothing arrived on {topic!r} within {timeout_s:.0f} s")

    def run(self, number: int, seed: int) -> Attempt:
        """Run one attempt.

        Raises:
            GraphError: a node refused or did not answer.
        """
        operator = self.operator
        self._release()
        operator.call("sim/reset", ResetSim, ResetSim.Request(seed=seed))
        operator.forget("policy/action_chunk")
        if not operator.wait(lambda: self._task_is(seed) and self._chunk_is_newer(), 10.0):
            raise GraphError(f"no fresh action chunk within 10 s of the reset to seed {seed}")
        for kept in (self._inference_s, self._arrival_s, self._hold_reasons, self._factors):
            kept.clear()
        self._listening = False
        self.on_start()
        begin_s = time.monotonic()
        try:
            operator.call("executor/run", Trigger)
        except GraphError as refusal:
            # The executor's own judgement, e.g. a first action far from the arm: a failed attempt.
            self._hold_reasons.append(str(refusal))
        else:
            operator.forget("executor/status")
            operator.wait(lambda: self._success(seed), TIME_LIMIT_S)
            operator.wait(lambda: "executor/status" in operator.newest, 2.0)
        time_s = time.monotonic() - begin_s
        status = operator.newest.get("executor/status")
        attempt = Attempt(
            number=number,
            seed=seed,
            success=self._success(seed),
            time_s=time_s,
            inference_s=tuple(self._inference_s),
            arrival_s=tuple(self._arrival_s),
            holds=int(status.holds) if status is not None else 0,
            hold_reason=self._hold_reasons[-1] if self._hold_reasons else "",
            realtime_factor=min(self._factors, default=float("nan")),
        )
        operator.call("executor/hold", Trigger)
        return attempt

    def _release(self) -> None:
        """Come to rest and command nothing: an arm that is put home is not to be led back.

        Raises:
            GraphError: the executor did not come to rest.
        """
        self.operator.call("executor/hold", Trigger)
        end_s = time.monotonic() + REST_LIMIT_S
        while True:
            try:
                self.operator.call("executor/reset", Trigger)
                return
            except GraphError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)

    def _task_is(self, seed: int) -> bool:
        task = self.operator.newest.get("sim/task")
        return task is not None and task.seed == seed

    def _chunk_is_newer(self) -> bool:
        chunk = self.operator.newest.get("policy/action_chunk")
        task = self.operator.newest["sim/task"]
        if chunk is None:
            return False
        age_s = (to_ns(task.header.stamp) - to_ns(chunk.header.stamp)) / 1e9
        return bool(age_s < task.elapsed_s - SETTLE_S)

    def _success(self, seed: int) -> bool:
        task = self.operator.newest.get("sim/task")
        return task is not None and task.seed == seed and bool(task.success)

    def _on_task(self, msg: Any) -> None:
        self._factors.append(float(msg.realtime_factor))

    def _on_status(self, msg: Any) -> None:
        # A hold from before this run may still be on its way here.
        self._listening = self._listening or msg.state in ("armed", "running")
        if self._listening and msg.state == "holding":
            self._hold_reasons.append(str(msg.reason))

    def _on_chunk(self, msg: Any) -> None:
        self._inference_s.append(float(msg.inference_s))
        self._arrival_s.append((now_ns(self.operator.node) - to_ns(msg.header.stamp)) / 1e9)


def table_row(attempt: Attempt) -> str:
    """One line for people; the header is :data:`TABLE_HEADER`."""
    p50, p95 = _percentiles(attempt.inference_s)
    outcome = "yes" if attempt.success else "NO"
    return (
        f"{attempt.number:7d}  {attempt.seed:6d}  {outcome:>7}  {attempt.time_s:6.2f}  "
        f"{p50 * 1e3:7.0f}  {p95 * 1e3:7.0f}  {attempt.holds:5d}  {attempt.hold_reason}"
    ).rstrip()


TABLE_HEADER = "attempt    seed  success  time_s  p50_ms   p95_ms   holds  reason of the last hold"


def summary(attempts: Sequence[Attempt]) -> str:
    """The line under the table."""
    good = [attempt for attempt in attempts if attempt.success]
    p50, p95 = _percentiles([s for attempt in attempts for s in attempt.inference_s])
    median_s = statistics.median(a.time_s for a in good) if good else float("nan")
    return (
        f"{len(good)} of {len(attempts)} succeeded (median {median_s:.2f} s); policy latency "
        f"p50 {p50 * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms; holds {sum(a.holds for a in attempts)}"
    )


def figures(attempts: Sequence[Attempt]) -> list[Figure]:
    """The same as figures of the benchmark ``drive``."""
    inference_s = [s for attempt in attempts for s in attempt.inference_s]
    arrival_s = [s for attempt in attempts for s in attempt.arrival_s]
    measured = [
        ("success_rate", sum(a.success for a in attempts) / len(attempts), "unitless"),
        ("attempts", len(attempts), "count"),
        ("holds", sum(a.holds for a in attempts), "count"),
        ("inference_p50", _percentiles(inference_s)[0], "s"),
        ("inference_p95", _percentiles(inference_s)[1], "s"),
        ("observation_to_chunk_p50", _percentiles(arrival_s)[0], "s"),
        ("observation_to_chunk_p95", _percentiles(arrival_s)[1], "s"),
        ("realtime_factor_min", min(a.realtime_factor for a in attempts), "unitless"),
    ]
    return [
        Figure(bench="drive", metric=metric, value=float(value), unit=unit)
        for metric, value, unit in measured
    ]


def _percentiles(values_s: Sequence[float]) -> tuple[float, float]:
    if not values_s:
        return float("nan"), float("nan")
    p50, p95 = np.percentile(np.asarray(values_s), [50, 95])
    return float(p50), float(p95)
