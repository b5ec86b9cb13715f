# SPDX-License-Identifier: Apache-2.0
"""``uwm convert BAGS... -o STORE``."""

from __future__ import annotations

import argparse
import sys
import time

from tqdm import tqdm

from uwm_core.data.convert import ConvertConfig, Progress, Report, convert
from uwm_core.embodiment import Embodiment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "convert",
        help="turn recorded bags into a store",
        description="Turn recorded bags into a Zarr store on the embodiment's grid.",
    )
    parser.add_argument("bags", nargs="+", metavar="BAGS", help="bags, or folders of bags")
    parser.add_argument("-o", "--output", required=True, metavar="STORE", help="store to write")
    parser.add_argument(
        "-e", "--embodiment", metavar="NAME", help="embodiment by name or file (default: the bags')"
    )
    parser.add_argument("--namespace", metavar="NS", help="namespace of the topics, if several fit")
    parser.add_argument(
        "--holes",
        choices=("refuse", "split"),
        default="refuse",
        help="what a stream that is silent too long does to its bag (default: refuse)",
    )
    parser.add_argument("--skip-bad", action="store_true", help="list bad bags and go on")
    parser.add_argument("--overwrite", action="store_true", help="replace a store of this name")
    parser.add_argument("--task", default="", help="task sentence of bags that have none")
    parser.add_argument(
        "--role",
        choices=("expert", "play", "video"),
        default="expert",
        help="role of bags that have none (default: expert)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Convert and say what came of it."""
    config = ConvertConfig(
        embodiment=Embodiment.load(args.embodiment) if args.embodiment else None,
        namespace=args.namespace,
        holes=args.holes,
        skip_bad=args.skip_bad,
        overwrite=args.overwrite,
        task=args.task,
        role=args.role,
    )
    start_s = time.monotonic()
    with tqdm(
        unit="B", unit_scale=True, desc="convert", disable=args.quiet, dynamic_ncols=True
    ) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.bytes_total
            bar.set_postfix_str(f"{progress.steps} steps, {progress.bag.name}", refresh=False)
            bar.update(progress.bytes_done - bar.n)

        report = convert(args.bags, args.output, config, show)
    _print(report, time.monotonic() - start_s)
    return 0


def _print(report: Report, elapsed_s: float) -> None:
    for _, reason in report.skipped:
        print(f"skipped {reason}", file=sys.stderr)
    for path, note in report.notes:
        print(f"note    {path}: {note}", file=sys.stderr)
    print(
        f"{report.store}: {report.episodes} episodes, {report.steps} steps from {report.bags} bags"
        f" in {elapsed_s:.1f} s ({report.bytes_read / 1e6 / elapsed_s:.0f} MB/s,"
        f" {report.duration_s / elapsed_s:.1f} times real time)"
    )
