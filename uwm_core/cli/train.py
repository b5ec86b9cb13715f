# SPDX-License-Identifier: Apache-2.0
"""``uwm train CONFIG --store STORE -o OUT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uwm_core.data.store import Store
from uwm_core.data.windows import Steps
from uwm_core.resources import bundled
from uwm_core.spec import read_spec
from uwm_core.training.config import TrainConfig
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.optimise import Interrupted


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "train",
        help="train a world model from a store",
        description="Train a world model from a store; OUT/checkpoint is ready to drive.",
    )
    parser.add_argument("config", help="a file like config/train/sim_lift.yaml, or its name")
    parser.add_argument("--store", required=True, metavar="STORE", help="store to learn from")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on where the run in OUT stopped")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Train and say what came of it."""
    path = bundled("train", ".yaml").get(args.config, Path(args.config))
    config = read_spec(path, TrainConfig)
    store = Store.open(args.store)
    data = Data.prepare(Steps.of_store(store), store.embodiment, config, store.name)
    out = Path(args.output)
    try:
        checkpoint = train(
            config, data, out, resume=args.resume, quiet=args.quiet, threads=args.threads
        )
    except Interrupted as stop:
        print(f"uwm train: {stop}", file=sys.stderr)
        return 130
    held = [entry for entry in read_journal(out) if entry["phase"] == "model_validation"]
    figures = (
        ", ".join(
            f"{key} {value:.4f}" for key, value in held[-1].items() if key not in ("phase", "step")
        )
        if held
        else "no held-out episodes"
    )
    print(f"{checkpoint}: held-out {figures}")
    return 0
