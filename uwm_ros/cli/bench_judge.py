# SPDX-License-Identifier: Apache-2.0
"""``uwm bench judge``: a long fuzz of the judge, and how long judging takes.

Random robots get random chunks, in and out of every range, joined in every way, with stops and
pauses in between; every 100 Hz command and every curve is held against the embodiment's limits by a
checker of its own. A violation is printed with the seed that shows it again; the exit code is 1 if
there was one, or an exception.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from tqdm import tqdm

from uwm_core.embodiment import Embodiment
from uwm_core.figures import Figure
from uwm_core.records import ActionChunk
from uwm_ros.cli.judge_fuzz import Run
from uwm_ros.logic.judge import Rules, Situation, judge

_PER_ROBOT = 50
_PER_TASK = 2
_NOW_NS = 1_700_000_000_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--chunks", type=int, default=10_000, help="to judge (default 10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first robot (default 0)")
    parser.add_argument("--processes", type=int, default=2, help="at work at once (default 2)")
    parser.add_argument("--rounds", type=int, default=300, help="of the timing (default 300)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Fuzz, measure, print."""
    tasks = max(1, args.chunks // (_PER_ROBOT * _PER_TASK))
    begin_s, counts = time.perf_counter(), Counter[str]()
    # Niced: beside whatever else this machine does.
    with ProcessPoolExecutor(args.processes, initializer=os.nice, initargs=(5,)) as pool:
        seeds = [args.seed + task * _PER_TASK for task in range(tasks)]
        for found, broken in tqdm(pool.map(_lives, seeds), "fuzz", tasks, disable=None):
            counts += found
            for line in broken:
                print(line, file=sys.stderr, flush=True)
    took_s = time.perf_counter() - begin_s
    for figure in [*_figures(counts, took_s), *_speed(args.rounds)]:
        print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return int(counts["violations"] + counts["exceptions"] > 0)


def _lives(seed: int) -> tuple[Counter[str], list[str]]:
    """Several robots' lives."""
    counts, broken = Counter[str](), []
    for own in range(seed, seed + _PER_TASK):
        life = Run(own)
        life.go(_PER_ROBOT)
        counts += life.counts
        broken += life.broken
    return counts, broken


def _figures(counts: Counter[str], took_s: float) -> Iterator[Figure]:
    yield _figure("chunks_per_s", counts["chunks"] / took_s, "1/s")
    verdicts = ("pass", "clip", "hold", "unkept")
    sent = ("commands", "messages", "stops", "places_watched")
    for name in ("chunks", *verdicts, *sent, "violations", "exceptions"):
        yield _figure(name, counts[name], "count")


def _speed(rounds: int) -> Iterator[Figure]:
    """How long one verdict takes on an FR3: as it is, and where it must be clipped."""
    robot = Embodiment.load("fr3_sim")
    rules, home = Rules(robot), np.array(robot.home_rad)
    rules.prepare()
    for kind, rate_rad_s in (("pass", 0.0), ("clip", 1.0)):
        arm = home + rate_rad_s * robot.period_ns / 1e9 * np.arange(12)[:, None]
        actions = np.column_stack([arm, np.full(12, 0.04)]).astype(np.float32)
        chunk = ActionChunk(_NOW_NS, robot.period_ns, actions, robot.action_names)
        case = Situation(now_ns=_NOW_NS, measured_rad=home, measured_age_s=0.0, plan=None)
        times_ms = []
        for _ in range(rounds):
            begin_s = time.process_time()
            verdict = judge(chunk, case, rules)
            times_ms.append((time.process_time() - begin_s) * 1e3)
        assert verdict.kind == kind, verdict.reason
        for share in (50, 99):
            yield _figure(f"{kind}_p{share}", float(np.percentile(times_ms, share)), "ms")


def _figure(metric: str, value: float, unit: str) -> Figure:
    return Figure(bench="judge", metric=metric, value=value, unit=unit)
