# SPDX-License-Identifier: Apache-2.0
"""``uwm bench policy``: time of one action chunk and of one imagination, on a given checkpoint."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from uwm_core.figures import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--checkpoint", default="sim_lift", help="name or folder")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--runs", type=int, default=50, help="measured calls")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Measure and print; the content of the observation does not change the time."""
    from uwm_core.policy import Policy  # torch is slow to import, --help should not wait for it

    policy = Policy.load(args.checkpoint, device=args.device, threads=args.threads)
    policy.warm_up()
    observation = policy.blank_observation()
    chunk = policy.act(observation, seed=0)
    timings = {
        "act": _times_s(lambda: policy.act(observation, seed=0), args.runs),
        "imagine": _times_s(lambda: policy.imagine(observation, chunk, seed=0), args.runs),
    }
    for name, times_s in timings.items():
        for share in (50, 95):
            figure = Figure(
                bench="policy",
                metric=f"{name}_p{share}",
                value=float(np.percentile(times_s, share)),
                unit="s",
            )
            print(figure.to_json() if args.json else figure.to_text())
    return 0


def _times_s(call: Callable[[], object], runs: int) -> list[float]:
    times_s = []
    for _ in range(runs):
        begin_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - begin_s)
    return times_s
