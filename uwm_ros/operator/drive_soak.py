# SPDX-License-Identifier: Apache-2.0
"""``uwm bench drive soak``: does anything grow or slow down while an arm is driven for hours?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from uwm_core.figures import Figure
from uwm_ros.operator.client import GraphError
from uwm_ros.operator.drive_benches import DriveBench
from uwm_ros.operator.drive_figures import drift, percentile
from uwm_ros.operator.drive_session import Session, drive_session
from uwm_ros.operator.usage import cpu_s, memory_mb, node_pids


@dataclass
class _Samples:
    """One row per look: seconds since the start, and numbers by name."""

    moments_s: list[float] = field(default_factory=list)
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, moment_s: float, **numbers: float) -> None:
        self.moments_s.append(moment_s)
        for name, value in numbers.items():
            self.rows.setdefault(name, []).append(value)


def measure_soak(bench: DriveBench, seconds: float) -> Iterator[Figure]:
    """Attempt after attempt for some time; memory and rates at its beginning and its end."""
    samples, lost = _Samples(), 0
    variant = bench.variant("soak", imagination=True)
    with drive_session(variant, bench.folder, bench.say) as session:
        pids = node_pids()
        begin_s = time.monotonic()
        cpu = {node: cpu_s(pid) for node, pid in pids.items()}
        while (now_s := time.monotonic() - begin_s) < seconds:
            try:
                session.run(1, bench.first_seed + len(session.attempts))
            except GraphError as error:
                # Two hours are not thrown away for one service that was late; it is counted.
                bench.say(f"soak: {error}")
                lost += 1
                continue
            samples.add(now_s, **_numbers(session, pids))
            _forget(session)
        took_s = time.monotonic() - begin_s
        cores = {node: (cpu_s(pid) - cpu[node]) / took_s for node, pid in pids.items()}
    yield _figure("seconds", took_s, "s")
    yield _figure("attempts", len(session.attempts), "count")
    yield _figure("attempts_lost", lost, "count")
    yield _figure("success", session.success, "unitless")
    yield from _growth(samples)
    for node, value in cores.items():
        yield _figure(f"cpu_{node}", value, "cores")


def _numbers(session: Session, pids: dict[str, int]) -> dict[str, float]:
    """What is looked at after each attempt: memory by node, and rates while it ran."""
    numbers = {f"memory_{node}": memory_mb(pid) for node, pid in pids.items()}
    measured = list(session.witness.measured)
    if len(measured) > 1:
        span_s = (measured[-1].stamp_ns - measured[0].stamp_ns) / 1e9
        numbers["joint_state_rate"] = (len(measured) - 1) / span_s
    running_s = sum(end - begin for begin, end in session.spans_ns) / 1e9
    attempt = session.attempts[-1]
    numbers["chunk_rate"] = len(session.witness.timings) / running_s if running_s else np.nan
    numbers["command_rate"] = len(session.witness.log.pieces) / running_s if running_s else np.nan
    numbers["inference"] = float(np.median(attempt.inference_s)) if attempt.inference_s else np.nan
    numbers["realtime_factor"] = attempt.realtime_factor
    numbers["limits_broken"] = len(session.witness.violations())
    return numbers


def _forget(session: Session) -> None:
    """Keep nothing that grows in this process."""
    session.witness.clear()
    session.chunks.clear()
    session.spans_ns.clear()


def _growth(samples: _Samples) -> Iterator[Figure]:
    """First and last tenth of every row, and the drift per hour."""
    units = {"memory": "MB", "inference": "s", "realtime": "unitless", "limits": "count"}
    for name, values in samples.rows.items():
        unit = units.get(name.split("_")[0], "Hz")
        if name == "limits_broken":
            yield _figure(name, sum(values), unit)
            continue
        tenth = max(1, len(values) // 10)
        begin, end = percentile(values[:tenth], 50), percentile(values[-tenth:], 50)
        yield Figure(
            bench="drive",
            metric=f"soak_{name}",
            value=end,
            unit=unit,
            peer="first tenth",
            peer_value=begin,
        )
        moments = samples.moments_s[: len(values)]
        yield _figure(f"{name}_drift", drift(moments, values), f"{unit}/h")


def _figure(metric: str, value: float, unit: str) -> Figure:
    return Figure(bench="drive", metric=f"soak_{metric}", value=float(value), unit=unit)
