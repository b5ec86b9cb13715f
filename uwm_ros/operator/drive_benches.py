# SPDX-License-Identifier: Apache-2.0
"""The measurements of ``uwm bench drive``: each starts the graphs it needs and yields figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from uwm_core.embodiment import Embodiment
from uwm_core.figures import Figure
from uwm_ros.bridge.clock import to_ns
from uwm_ros.logic.joins import JOINS
from uwm_ros.operator.drive_figures import (
    STAGES,
    jerk,
    jumps_rad,
    percentile,
    periods_s,
    stages_s,
)
from uwm_ros.operator.drive_session import (
    Say,
    Session,
    Variant,
    drive_session,
    slow_embodiment,
    streaming_embodiment,
)

LATENCIES_MS = (0, 100, 300)
SLOWNESS = (2, 4)
NOMINAL_S = 0.01


@dataclass(frozen=True, kw_only=True)
class DriveBench:
    """What is measured.

    Attributes:
        attempts: Per variant of the graph.
        first_seed: Of the scenes; the same for every variant.
        embodiment: Name or path.
        checkpoint: Name or folder.
        device: Torch device.
        folder: Of logs and of what is written on the way.
        say: Takes lines for people.
    """

    attempts: int
    first_seed: int
    embodiment: str
    checkpoint: str
    device: str
    folder: Path
    say: Say

    def variant(self, name: str, **options: object) -> Variant:
        """A variant of the graph on this checkpoint."""
        known = {"embodiment": self.embodiment, "checkpoint": self.checkpoint}
        return Variant(**{"name": name, "device": self.device, **known, **options})  # type: ignore[arg-type]

    def drive(self, variant: Variant) -> Session:
        """Start the variant, play the attempts, stop it; what was heard stays."""
        with drive_session(variant, self.folder, self.say) as session:
            session.run(self.attempts, self.first_seed, self.say)
        for violation in session.witness.violations():
            self.say(f"{variant.name}: {violation.kind}: {violation.text}")
        return session


def measure_latency(bench: DriveBench) -> Iterator[Figure]:
    """Success with latency added to every inference, compensated or not.

    Observations may be older by what is added, since it is not holding that is measured.
    """
    none, known = None, Embodiment.load(bench.embodiment)
    for compensated in (True, False):
        for added_ms in LATENCIES_MS[0 if compensated else 1 :]:
            word = "compensated" if compensated else "not_compensated"
            name = f"{added_ms}ms_{word}"
            parameters = {
                "policy": {"inference_delay_s": added_ms / 1e3},
                "executor": {"compensate_latency": compensated},
            }
            path = slow_embodiment(known, bench.folder, added_ms / 1e3)
            variant = bench.variant(name, embodiment=str(path), parameters=parameters)
            session = bench.drive(variant)
            none = session.success if none is None else none
            yield _versus(f"success_{name}", session.success, "unitless", ("no latency", none))
            yield from _common(name, session)


def measure_stream(bench: DriveBench) -> Iterator[Figure]:
    """The command stream at 100 Hz while policy and imagination run."""
    path = streaming_embodiment(Embodiment.load(bench.embodiment), bench.folder)
    variant = bench.variant("stream", embodiment=str(path), imagination=True)
    session = bench.drive(variant)
    log = session.witness.log
    for clock, moments in (
        ("sent", [sample.stamp_ns for sample in log.samples]),
        ("heard", [sample.received_ns for sample in log.samples]),
    ):
        periods = periods_s(np.array(moments, dtype=np.int64), session.spans_ns, NOMINAL_S)
        error_s = np.abs(periods - NOMINAL_S)
        yield _figure(f"stream_{clock}_periods", len(periods), "count")
        for share in (50, 99):
            name = f"stream_{clock}_period_error_p{share}"
            yield _figure(name, percentile(error_s, share), "s")
        yield _figure(f"stream_{clock}_gap_max", float(periods.max(initial=0.0)), "s")
        yield _figure(f"stream_{clock}_gaps_over_30ms", int((periods > 0.03).sum()), "count")
    yield _figure("stream_success", session.success, "unitless")
    yield from _common("stream", session)


def measure_joins(bench: DriveBench) -> Iterator[Figure]:
    """Boundary jump, jerk and success of every join at slow inference, against `replace`."""
    paused = synchronous_success(bench)
    yield _figure("success_synchronous", paused, "unitless")
    known = Embodiment.load(bench.embodiment)
    for periods in SLOWNESS:
        delay_s = periods * known.period_ns / 1e9
        slow = str(slow_embodiment(known, bench.folder, delay_s))
        plain: dict[str, float] = {}
        for join in JOINS:
            name = f"{join}_{periods}_periods"
            parameters = {
                "policy": {"inference_delay_s": delay_s, "join": join},
                "executor": {"join": join},
            }
            variant = bench.variant(name, embodiment=slow, parameters=parameters)
            session = bench.drive(variant)
            yield _versus(f"success_{name}", session.success, "unitless", ("synchronous", paused))
            for metric, value, unit in _smoothness(session):
                peer = plain.setdefault(metric, value)
                yield _versus(f"{metric}_{name}", value, unit, ("replace", peer))
            yield from _common(name, session)


def measure_stages(bench: DriveBench) -> Iterator[Figure]:
    """Where the time goes between a picture and the first command that answers it."""
    session = bench.drive(bench.variant("stages"))
    yield from stage_figures(session)
    yield _figure("stages_success", session.success, "unitless")
    yield from _common("stages", session)


def stage_figures(session: Session) -> Iterator[Figure]:
    """Percentiles of every stage of a chunk's way."""
    moments = {
        name: np.array([to_ns(getattr(t, name)) for t in session.witness.timings], dtype=np.int64)
        for name in STAGES
    }
    yield _figure("chunks_timed", len(session.witness.timings), "count")
    for name, values in stages_s(moments).items():
        for share in (50, 99):
            yield _figure(f"{name}_p{share}", percentile(values, share), "s")


def synchronous_success(bench: DriveBench) -> float:
    """Share of the same seeds that succeed where the world waits for the policy."""
    from uwm_core.policy import Policy  # torch: only this measurement needs it here
    from uwm_core.sim.rollout import RolloutConfig, rollout
    from uwm_core.sim.scene import Scene

    policy = Policy.load(bench.checkpoint, device=bench.device, threads=1)
    config = RolloutConfig(history=policy.window.history)
    scene = Scene()
    try:
        seeds = range(bench.first_seed, bench.first_seed + bench.attempts)
        done = [
            rollout(partial(policy.act, seed=seed), scene, policy.embodiment, seed, config)
            for seed in seeds
        ]
    finally:
        scene.close()
    bench.say(f"synchronous: {sum(one.success for one in done)} of {len(done)}")
    return sum(one.success for one in done) / len(done)


def _smoothness(session: Session) -> Iterator[tuple[str, float, str]]:
    """Jumps and jerk of one variant as metric, value, unit."""
    timings = session.witness.timings
    joined = [t for t in timings if t.boundary_jump_rad >= 0]
    for kind in ("boundary", "commanded"):
        said = np.array([getattr(t, f"{kind}_jump_rad") for t in joined])
        yield f"{kind}_jump_rms", _rms(said), "rad"
        yield f"{kind}_jump_p99", percentile(said, 99), "rad"
    targets = _target_jumps(session)
    yield "target_jump_rms", _rms(targets), "rad"
    yield "target_jump_p99", percentile(targets, 99), "rad"
    values = jerk(session.witness.log, session.spans_ns)
    yield "jerk_rms", _rms(values), "rad/s^3"
    worst = np.abs(values).max(axis=1) if len(values) else np.zeros(0)
    yield "jerk_p99", percentile(worst, 99), "rad/s^3"


def _target_jumps(session: Session) -> np.ndarray:
    """Steps between the chunks themselves, within each attempt's running."""
    chunks, joints = session.chunks, session.witness.log.joints
    if not chunks:
        return np.zeros(0)
    columns = [list(chunks[0].names).index(name) for name in joints if name in chunks[0].names]
    first = {int(t.sequence): to_ns(t.commanded) for t in session.witness.timings}
    found = []
    for begin, end in session.spans_ns:
        mine = [c for c in chunks if begin <= first.get(int(c.sequence), 0) <= end]
        actions = [
            np.asarray(c.actions, dtype=np.float64).reshape(c.length, -1)[:, columns] for c in mine
        ]
        commanded = {i: first[int(c.sequence)] for i, c in enumerate(mine)}
        stamps = [to_ns(c.header.stamp) for c in mine]
        period_ns = to_ns(mine[0].period) if mine else 1
        found.append(jumps_rad(stamps, period_ns, actions, commanded))
    return np.concatenate(found) if found else np.zeros(0)


def _common(name: str, session: Session) -> Iterator[Figure]:
    """What every variant says: attempts, holds, times, and limits that were broken."""
    attempts = session.attempts
    yield _figure(f"attempts_{name}", len(attempts), "count")
    yield _figure(f"holds_{name}", sum(a.holds for a in attempts), "count")
    good = [a.time_s for a in attempts if a.success]
    yield _figure(f"time_to_success_p50_{name}", percentile(good, 50), "s")
    inference_s = list(chain.from_iterable(a.inference_s for a in attempts))
    yield _figure(f"inference_p95_{name}", percentile(inference_s, 95), "s")
    log = session.witness.log
    yield _figure(f"commands_{name}", len(log.pieces) + len(log.samples), "count")
    yield _figure(f"limits_broken_{name}", len(session.witness.violations()), "count")
    slowest = min((a.realtime_factor for a in attempts), default=float("nan"))
    yield _figure(f"realtime_factor_min_{name}", slowest, "unitless")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else float("nan")


def _figure(metric: str, value: float, unit: str) -> Figure:
    return Figure(bench="drive", metric=metric, value=float(value), unit=unit)


def _versus(metric: str, value: float, unit: str, peer: tuple[str, float]) -> Figure:
    return dataclasses.replace(
        _figure(metric, value, unit), peer=peer[0], peer_value=float(peer[1])
    )
