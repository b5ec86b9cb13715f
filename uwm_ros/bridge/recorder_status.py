# SPDX-License-Identifier: Apache-2.0
"""What a recorder says about its streams: in `EpisodeStatus`, and in the labels of a bag."""

from __future__ import annotations

import math
from typing import Any

from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.streams import Streams
from uwm_ros.logic.recording import Take
from uwm_ros.msg import EpisodeStatus


def fill_streams(status: EpisodeStatus, streams: Streams, take: Take | None, now_ns: int) -> None:
    """Write what is known of every topic, and of the take that runs, into a status."""
    status.header.stamp = to_stamp(now_ns)
    topics = list(streams.taps)
    health = [streams.health[topic] for topic in topics]
    status.topics = topics
    status.rates_hz = [entry.rate_hz(now_ns) for entry in health]
    status.expected_hz = [float(entry.expected.rate_hz) for entry in health]
    silent_s = [entry.silent_s(now_ns) for entry in health]
    status.ages_s = [age if math.isfinite(age) else -1.0 for age in silent_s]
    status.gaps_s = [entry.gap_s if take else 0.0 for entry in health]
    status.qos = [streams.taps[topic].note for topic in topics]
    status.counts = status.drops = status.lost = [0] * len(topics)
    if take is None:
        return
    recording = take.recording
    status.episode, status.task, status.role = take.name, take.task, take.role
    status.notes = take.remarks
    status.elapsed_s = (now_ns - recording.started_ns) / 1e9
    status.counts = [recording.counts[topic] for topic in topics]
    status.drops = [recording.dropped[topic] for topic in topics]
    status.lost = [streams.lost(topic) for topic in topics]
    status.dropped = recording.dropped.total()
    status.queued_bytes = recording.waiting_bytes


def stream_figures(streams: Streams, take: Take, now_ns: int) -> dict[str, dict[str, Any]]:
    """How every topic was in a take, for the labels of its bag."""
    elapsed_s = max((now_ns - take.recording.started_ns) / 1e9, 1e-9)
    recording = take.recording
    return {
        topic: {
            "rate_hz": round((recording.counts[topic]) / elapsed_s, 3),
            "gap_s": round(health.gap_s, 4),
            "offset_s": None if health.offset_s is None else round(health.offset_s, 4),
            "dropped": recording.dropped[topic],
            "lost": streams.lost(topic),
        }
        for topic, health in streams.health.items()
    }
