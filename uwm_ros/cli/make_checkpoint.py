# SPDX-License-Identifier: Apache-2.0
"""``uwm make-checkpoint``: the shipped checkpoint from nothing: record, convert, train, evaluate.

Every step is a verb of its own, run as a user would run it; what is already there is not done
again, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from uwm_core.errors import UwmError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("make-checkpoint", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("config/checkpoints/sim_lift"))
    parser.add_argument(
        "--work", type=Path, default=Path("out/checkpoint"), help="bags, store, run"
    )
    parser.add_argument("--config", type=Path, default=Path("config/train/sim_lift.yaml"))
    parser.add_argument("--expert", type=int, default=200, help="lift demonstrations")
    parser.add_argument("--play", type=int, default=100, help="play episodes")
    parser.add_argument("--keep-bags", action="store_true", help="keep the bags after conversion")


def run(args: argparse.Namespace) -> int:
    """Run every step that is not done yet."""
    bags, store, trained = args.work / "bags", args.work / "lift.zarr", args.work / "run"
    begin_s = time.monotonic()
    if not store.exists():
        counts = ["--expert", str(args.expert), "--play", str(args.play)]
        _verb("record-demos", "-o", str(bags), *counts)
        _verb("convert", str(bags), "-o", str(store))
        if not args.keep_bags:
            shutil.rmtree(bags)
    _verb("train", str(args.config), "--store", str(store), "-o", str(trained), "--resume")
    checkpoint = trained / "checkpoint"
    _verb(
        "evaluate", str(checkpoint), "--store", str(store), "--sheet", str(args.work / "sheet.png")
    )
    if args.output.exists():
        shutil.rmtree(args.output)
    shutil.copytree(checkpoint, args.output)
    minutes = (time.monotonic() - begin_s) / 60
    print(f"checkpoint: {args.output}, made in {minutes:.0f} minutes")
    return 0


def _verb(*words: str) -> None:
    print("\n$ uwm", *words, flush=True)
    code = subprocess.run(
        [sys.executable, "-m", "uwm_core.cli.main", *words], check=False
    ).returncode
    if code:
        raise UwmError(f"uwm {words[0]} ended with exit code {code}; mend that and run this again")
