# SPDX-License-Identifier: Apache-2.0
"""``uwm evaluate CHECKPOINT [--store STORE] [--sim N]``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from uwm_core.checkpoint import load_checkpoint
from uwm_core.data.mixture import Source
from uwm_core.data.store import Store
from uwm_core.errors import CheckpointError, UwmError
from uwm_core.figures import Figure
from uwm_core.policy import IMAGINE_STEPS, Policy


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure a checkpoint on held-out episodes and in the simulation, without ROS",
        description="Measure a checkpoint on a store's held-out episodes (--store), or by driving "
        "the simulated arm with time paused during inference (--sim), or both.",
    )
    parser.add_argument("checkpoint", help="folder, bundled name or hub id")
    parser.add_argument("--store", metavar="STORE", help="store with held-out episodes")
    parser.add_argument("--sim", type=int, metavar="N", help="attempts in the simulation")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw what was imagined")
    parser.add_argument("--windows", type=int, default=256, help="windows per role (default 256)")
    parser.add_argument("--first-seed", type=int, default=900_000, help="seed of attempt 1")
    parser.add_argument("--execute", type=int, default=6, help="actions executed per chunk")
    parser.add_argument("--sample-steps", type=int, metavar="K", help="network calls per chunk")
    parser.add_argument(
        "--imagine-steps",
        type=int,
        default=IMAGINE_STEPS,
        metavar="K",
        help=f"network calls per imagined image (default {IMAGINE_STEPS})",
    )
    parser.add_argument("--fast", default="exact", help="exact, fewer-steps, bf16, or several")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of torch")
    parser.add_argument("--json", action="store_true", help="one JSON object per figure")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    if args.store is None and args.sim is None:
        raise UwmError("nothing to measure: give --store STORE, --sim N, or both")
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.store is not None:
        _print(_on_store(args), as_json=args.json)
    if args.sim is not None:
        _print(_in_sim(args), as_json=args.json)
    return 0


def _on_store(args: argparse.Namespace) -> tuple[Figure, ...]:
    from uwm_core.training.evaluate import EvaluateConfig, evaluate
    from uwm_core.training.sheet import save_sheet

    checkpoint = load_checkpoint(args.checkpoint)
    store = Store.open(args.store)
    source = Source.of_store(store, views=checkpoint.embodiment.camera_names)
    if difference := checkpoint.embodiment.difference(source.embodiment):
        raise CheckpointError(
            f"{args.checkpoint} is of another embodiment than {args.store}: {difference[0]}"
        )
    config = EvaluateConfig(
        windows=args.windows,
        sample_steps=args.sample_steps,
        imagine_steps=args.imagine_steps,
        fast=args.fast,
    )
    found = evaluate(checkpoint, source.steps, config)
    if args.sheet:
        ahead_s = checkpoint.config.window.chunk / checkpoint.config.window.rate_hz
        title = (
            f"{checkpoint.name} {checkpoint.version}: {ahead_s:g} s imagined, held-out episodes "
            f"of {store.name}"
        )
        save_sheet(found.examples, title, Path(args.sheet))
    return found.figures


def _in_sim(args: argparse.Namespace) -> tuple[Figure, ...]:
    from uwm_core.sim.rollout import RolloutConfig, rollout
    from uwm_core.sim.scene import Scene

    policy = Policy.load(args.checkpoint, sample_steps=args.sample_steps, fast=args.fast)
    config = RolloutConfig(history=policy.window.history, execute=args.execute)
    scene = Scene()
    times_s = []
    try:
        for number in tqdm(range(args.sim), desc="attempts", disable=args.quiet):
            seed = args.first_seed + number
            act = partial(policy.act, seed=seed)
            result = rollout(act, scene, policy.embodiment, seed, config)
            if result.success:
                times_s.append(result.time_s)
    finally:
        scene.close()
    figures = [
        Figure(
            bench="evaluate_sim", metric="success", value=len(times_s) / args.sim, unit="unitless"
        ),
        Figure(bench="evaluate_sim", metric="attempts", value=args.sim, unit="count"),
    ]
    if times_s:
        mean_s = sum(times_s) / len(times_s)
        figures.append(Figure(bench="evaluate_sim", metric="mean_time", value=mean_s, unit="s"))
    return tuple(figures)


def _print(figures: Iterable[Figure], *, as_json: bool) -> None:
    for figure in figures:
        print(figure.to_json() if as_json else figure.to_text())
