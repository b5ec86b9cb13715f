# SPDX-License-Identifier: Apache-2.0
"""What the executor says about itself: status, safety, the timing of a chunk, diagnostics."""

from __future__ import annotations

import dataclasses
import math

from rclpy.node import Node

from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.judging import Case
from uwm_ros.bridge.qos import reliable
from uwm_ros.logic.judge import Cause, Verdict
from uwm_ros.logic.machine import Status
from uwm_ros.logic.pause import Pause
from uwm_ros.msg import ChunkTiming, ExecutorStatus, SafetyStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What the executor measures at a moment; negative or NaN where it does not know.

    Attributes:
        driver: Whose chunks are played.
        speed_scale: Share of the policy's speed.
        deadman: Whether the arm may move.
        state_age_s: Of the newest joint state.
        tracking_error_rad: Of the arm against its plan.
        rate_hz: Of the commands; 0 where whole trajectories are sent.
        period_error_p99_s: Of the loop.
        pause: When the arm was last not driven.
    """

    driver: str
    speed_scale: float
    deadman: bool
    state_age_s: float
    tracking_error_rad: float
    rate_hz: float
    period_error_p99_s: float
    pause: Pause


class Reports:
    """Publishers of the executor's own topics."""

    def __init__(self, node: Node, embodiment_name: str) -> None:
        """Publish for `node`."""
        self._status = node.create_publisher(ExecutorStatus, "executor/status", reliable())
        self._safety = node.create_publisher(SafetyStatus, "executor/safety", reliable())
        self._timing = node.create_publisher(ChunkTiming, "executor/chunk_timing", reliable())
        self._diagnostics = Diagnostics(node, embodiment_name)
        self._playing: tuple[Case, Verdict] | None = None

    def played(self, case: Case, verdict: Verdict) -> None:
        """A chunk is in force now."""
        self._playing = (case, verdict)

    def timing(self, judged_ns: int, commanded_ns: int) -> None:
        """The first command of the chunk in force was sent."""
        if self._playing is None:
            return
        case, verdict = self._playing
        message = case.message
        timing = ChunkTiming(
            sequence=message.sequence,
            captured=message.header.stamp,
            received=message.received,
            assembled=message.assembled,
            inferred=message.inferred,
            arrived=to_stamp(case.arrived_ns),
            judged=to_stamp(judged_ns),
            commanded=to_stamp(commanded_ns),
            verdict=verdict.kind,
            boundary_jump_rad=_known(verdict.jump_rad),
            commanded_jump_rad=_known(verdict.commanded_jump_rad),
            dropped=verdict.dropped,
        )
        timing.header.stamp = to_stamp(commanded_ns)
        self._timing.publish(timing)

    def publish(self, at: Status, now_ns: int, seen: Seen) -> None:
        """Say how things are."""
        case, verdict = self._playing or (None, None)
        age_s = (now_ns - case.chunk.stamp_ns) / 1e9 if case else -1.0
        status = ExecutorStatus(
            state=at.state,
            reason=at.reason,
            chunk_sequence=case.message.sequence if case else 0,
            chunk_age_s=age_s,
            observation_age_s=_known(seen.state_age_s),
            holds=at.holds,
            clipped=at.clipped,
        )
        safety = SafetyStatus(
            state=at.state,
            cause=at.cause.value,
            reason=at.reason,
            driver=seen.driver,
            verdict=verdict.kind if verdict else "",
            verdict_cause=(verdict.cause if verdict else Cause.NONE).value,
            speed_scale=seen.speed_scale,
            deadman=seen.deadman,
            state_age_s=_known(seen.state_age_s),
            observation_age_s=age_s,
            tracking_error_rad=_known(seen.tracking_error_rad),
            limit_share=verdict.limit_share if verdict else 0.0,
            clearance_m=verdict.clearance_m if verdict else math.nan,
            command_rate_hz=seen.rate_hz,
            period_error_p99_s=seen.period_error_p99_s,
            boundary_jump_rad=_known(verdict.jump_rad) if verdict else -1.0,
            holds=at.holds,
            clipped=at.clipped,
            paused=to_stamp(seen.pause.began_ns),
            resumed=to_stamp(seen.pause.ended_ns),
        )
        status.header.stamp = safety.header.stamp = to_stamp(now_ns)
        self._status.publish(status)
        self._safety.publish(safety)
        self._say(at, seen)

    def _say(self, at: Status, seen: Seen) -> None:
        trouble = at.state == "holding" and at.cause is not Cause.OPERATOR
        level = Level.ERROR if trouble else Level.WARN if at.reason else Level.OK
        values = {
            "state": at.state,
            "cause": at.cause.value,
            "driver": seen.driver,
            "holds": at.holds,
            "clipped": at.clipped,
            "tracking error rad": f"{seen.tracking_error_rad:.3f}",
            "loop period error p99 ms": f"{seen.period_error_p99_s * 1e3:.2f}",
        }
        self._diagnostics.update(level, at.reason or at.state, values)


def _known(value: float) -> float:
    """A number for a message: what is not known is -1."""
    return value if math.isfinite(value) else -1.0
