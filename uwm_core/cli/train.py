# SPDX-License-Identifier: Apache-2.0
"""``uwm train CONFIG --store STORE [--store STORE:SHARE ...] -o OUT``."""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import replace
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
from uwm_core.training.team import Together, local_size, team

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "train",
        help="train a world model from a store",
        description="Train a world model from a store; OUT/checkpoint is ready to drive. Processes "
        "that torchrun starts share the run, and the result is that of one process.",
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
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch, per process")
    parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], help="instead of the config's compute.device"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bars")


def _sources(words: list[str], config: TrainConfig) -> list[Source]:
    """Open every ``PATH`` or ``PATH:SHARE``; they divide the memory among them."""
    # Without workers the processes that read have the cores to themselves.
    cores = 1 if config.workers else max(len(os.sched_getaffinity(0)) // local_size(), 1)
    found = []
    for word in words:
        path, _, number = word.rpartition(":")
        share = float(number) if path and _NUMBER.fullmatch(number) else None
        if share is not None and not 0 < share < 1:
            raise StoreError(
                f"{word}: the share of a store must be between 0 and 1, like {path}:0.3"
            )
        store = Store.open(word if share is None else path, threads=cores)
        room = MEMORY_BYTES // len(words) // local_size()
        found.append(Source.of_store(store, views=config.views, share=share, memory_bytes=room))
    return found


def _asked(args: argparse.Namespace) -> TrainConfig:
    """The config, with what the command line says instead."""
    path = bundled("train", ".yaml").get(args.config, Path(args.config))
    config = read_spec(path, TrainConfig)
    if args.threads:
        config = replace(config, threads=args.threads)
    if args.device:
        config = replace(config, compute=replace(config.compute, device=args.device))
    return config


def run(args: argparse.Namespace) -> int:
    """Train and say what came of it."""
    config, out = _asked(args), Path(args.output)
    with team(config.compute.device) as ranks:
        try:
            data = Data.of_mixture(mix(_sources(args.store, config)), config)
            train(config, data, out, resume=args.resume, quiet=args.quiet, team=ranks)
        except Together as stop:
            if ranks.first:
                print(f"uwm train: {stop}", file=sys.stderr, flush=True)
            ranks.wait()  # the first process to fail has torchrun end the others
            return 130 if isinstance(stop, Interrupted) else 2
        if ranks.first:
            print(_summary(out))
    return 0


def _summary(out: Path) -> str:
    """One line: what was written, how good it is, and whether the data came fast enough."""
    entries = read_journal(out)
    held = [entry for entry in entries if entry["phase"] == "model_validation"]
    figures = (
        ", ".join(
            f"{key} {value:.4f}" for key, value in held[-1].items() if key not in ("phase", "step")
        )
        if held
        else "no held-out episodes"
    )
    steps = [entry for entry in entries if entry["phase"] == "model" and "step_s" in entry]
    took = sum(entry["step_s"] for entry in steps)
    waited = sum(entry["step_s"] * entry["wait_share"] for entry in steps)
    pace = (
        f"; {took / len(steps):.3g} s a step, {waited / took:.1%} of it waiting for data"
        if steps
        else ""
    )
    return f"{out / 'checkpoint'}: held-out {figures}{pace}"
