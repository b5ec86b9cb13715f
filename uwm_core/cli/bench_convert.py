# SPDX-License-Identifier: Apache-2.0
"""``uwm bench convert``: speed of the conversion of given bags into a store that is thrown away."""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from uwm_core.data.convert import convert
from uwm_core.figures import Figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("bags", nargs="+", help="bags, or folders of bags")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Convert, measure, print."""
    with tempfile.TemporaryDirectory() as folder:
        begin_s = time.perf_counter()
        report = convert(args.bags, Path(folder) / "store.zarr")
        took_s = time.perf_counter() - begin_s
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for metric, value, unit in (
        ("throughput", report.bytes_read / 1e6 / took_s, "MB/s"),
        ("times_real_time", report.duration_s / took_s, "unitless"),
        ("steps", float(report.steps), "count"),
        ("peak_memory", peak_bytes / 1e6, "MB"),
    ):
        figure = Figure(bench="convert", metric=metric, value=value, unit=unit)
        print(figure.to_json() if args.json else figure.to_text())
    return 0
