# SPDX-License-Identifier: Apache-2.0
"""``uwm bench NAME``: the commands behind every figure that this project publishes.

Each benchmark is a module of its own with the same two functions as a verb; it is imported only
when it is asked for. With ``--json`` each prints one object per line.
"""

from __future__ import annotations

import argparse
import importlib

# Name -> module. `drive` and `recorder` need ROS, `policy` needs torch, `convert` neither.
BENCHES = {
    "drive": "uwm_ros.cli.bench_drive",
    "recorder": "uwm_ros.cli.bench_recorder",
    "policy": "uwm_core.cli.bench_policy",
    "train": "uwm_core.cli.bench_train",
    "convert": "uwm_core.cli.bench_convert",
    "judge": "uwm_ros.cli.bench_judge",
    "kills": "uwm_core.cli.bench_kills",
    "loader": "uwm_core.cli.bench_loader",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments; what follows the name belongs to the benchmark."""
    parser = subparsers.add_parser("bench", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHES))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see uwm bench NAME --help")


def run(args: argparse.Namespace) -> int:
    """Run one benchmark."""
    module = importlib.import_module(BENCHES[args.name])
    parser = argparse.ArgumentParser(prog=f"uwm bench {args.name}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(args.arguments)))
