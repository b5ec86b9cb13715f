# SPDX-License-Identifier: Apache-2.0
"""``uwm calibrate-latency BAG``: how late cameras are, how early commands, with a confidence."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uwm_core.data.latency import Estimate, calibrate, write_latencies
from uwm_core.embodiment import Embodiment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("calibrate-latency", description=__doc__)
    parser.add_argument("bag", metavar="BAG", help="a recording in which the arm moves and stops")
    parser.add_argument("-e", "--embodiment", metavar="NAME", help="default: the bag's own")
    parser.add_argument("--namespace", metavar="NS", help="namespace of the topics, if several fit")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="set latency_s in this YAML file"
    )
    parser.add_argument("--json", action="store_true", help="print the estimates as JSON")


def run(args: argparse.Namespace) -> int:
    """Estimate, print, write; 1 if there was not one sure answer."""
    named = Embodiment.load(args.embodiment) if args.embodiment else None
    _, found = calibrate(args.bag, named, namespace=args.namespace)
    if args.json:
        print(json.dumps([estimate.to_json() for estimate in found]))
    else:
        _print(found)
    if args.write:
        written = write_latencies(args.write, found)
        Console(stderr=True).print(f"{args.write}: set {', '.join(written) or 'nothing'}")
    return 0 if any(estimate.confidence > 0 and estimate.proposes for estimate in found) else 1


def _print(found: tuple[Estimate, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("stream")
    for title in ("lag ms", "confidence", "now in file ms", "messages"):
        table.add_column(title, justify="right")
    table.add_column("")
    for estimate in found:
        table.add_row(
            estimate.key, f"{estimate.lag_s * 1e3:.1f}", f"{estimate.confidence:.2f}",
            f"{estimate.present_s * 1e3:.1f}", str(estimate.samples), estimate.reason,
        )  # fmt: skip
    Console(highlight=False).print(table)
