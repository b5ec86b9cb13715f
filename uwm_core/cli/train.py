# SPDX-License-Identifier: Apache-2.0
"""``uwm train CONFIG --store STORE [--store STORE:SHARE ...] -o OUT``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from uwm_core.data.mixture import Source, mix
from uwm_core.data.store import Store
from uwm_core.data.windows import MEMORY_BYTES
from uwm_core.errors import StoreError
from uwm_core.resources import bundled
from uwm_core.spec import read_spec
from uwm_core.training.config import TrainConfig
from uwm_core.training.journal import read_journal
from uwm_core.training.loop import Data, train
from uwm_core.training.optimise import Interrupted

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "train",
        help="train a world model from a store",
        description="Train a world model from a store; OUT/checkpoint is ready to drive.",
    )
    parser.add_argument("config", help="a file like config/train/sim_lift.yaml, or its name")
    parser.add_argument(
        "--store",
        required=True,
        action="append",
        metavar="STORE[:SHARE]",
        help="store to learn from; several are mixed. SHARE of all draws, e.g. 0.3; stores without "
        "one divide the rest by their windows",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on where the run in OUT stopped")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")


def _sources(words: list[str], config: TrainConfig) -> list[Source]:
    """Open every ``PATH`` or ``PATH:SHARE``; they divide the memory among them."""
    # Without workers the reading process has the cores to itself.
    cores = 1 if config.workers else len(os.sched_getaffinity(0))
    found = []
    for word in words:
        path, _, number = word.rpartition(":")
        share = float(number) if path and _NUMBER.fullmatch(number) else None
        if share is not None and not 0 < share < 1:
            raise StoreError(
                f"{word}: the share of a store must be between 0 and 1, like {path}:0.3"
            )
        store = Store.open(word if share is None else path, threads=cores)
        room = MEMORY_BYTES // len(words)
        found.append(Source.of_store(store, views=config.views, share=share, memory_bytes=room))
    return found


def run(args: argparse.Namespace) -> int:
    """Train and say what came of it."""
    path = bundled("train", ".yaml").get(args.config, Path(args.config))
    config = read_spec(path, TrainConfig)
    data = Data.of_mixture(mix(_sources(args.store, config)), config)
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
