# SPDX-License-Identifier: Apache-2.0
"""``uwm record-demos``: demonstrations of the scripted teleoperation, recorded through the graph.

Starts simulation, teleoperation and recorder as separate processes on a graph of their own and
records one bag per episode. Goes on where it stopped: episodes whose bags exist are not repeated.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.description import RecordOptions, record_stack
from uwm_ros.operator.demonstrate import Demonstration, record
from uwm_ros.operator.private_graph import private_graph

LIST = "demonstrations.jsonl"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("record-demos", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the bags")
    parser.add_argument("--expert", type=int, default=200, help="lift demonstrations")
    parser.add_argument("--play", type=int, default=100, help="play episodes")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first episode")
    parser.add_argument("--play-s", type=float, default=7.0, help="length of a play episode")
    parser.add_argument("--expert-s", type=float, default=12.0, help="longest lift demonstration")
    parser.add_argument("--embodiment", default="fr3_sim", help="name or YAML file")


def run(args: argparse.Namespace) -> int:
    """Record what is missing."""
    if min(args.expert, args.play, args.first_seed) < 0:
        raise UwmError(
            f"--expert {args.expert}, --play {args.play} and --first-seed {args.first_seed} "
            "must be 0 or more"
        )
    done = _done(args.output / LIST)
    wanted = [entry for entry in _plan(args) if (entry.role, entry.seed) not in done]
    if not wanted:
        print(f"all {len(done)} episodes are in {args.output}")
        return 0
    options = RecordOptions(
        embodiment=args.embodiment, directory=str(args.output.resolve()), teleop=True, sim=True
    )
    outcomes: Counter[str] = Counter()
    with (
        private_graph(record_stack(options), args.output / "log") as operator,
        (args.output / LIST).open("a", encoding="utf-8") as listing,
        tqdm(total=len(wanted), unit="episode", desc="recording") as progress,
    ):
        for recorded in record(operator, Embodiment.load(args.embodiment), iter(wanted)):
            demonstration = recorded.demonstration
            entry = {
                "role": demonstration.role,
                "seed": demonstration.seed,
                "outcome": recorded.outcome,
                "path": Path(recorded.path).name,
            }
            listing.write(json.dumps(entry) + "\n")
            listing.flush()
            outcomes[f"{demonstration.role} {recorded.outcome}"] += 1
            progress.set_postfix_str(", ".join(f"{k} {n}" for k, n in sorted(outcomes.items())))
            progress.update()
    return 0


def _plan(args: argparse.Namespace) -> Iterator[Demonstration]:
    """Expert and play interleaved, so that an interrupted run has some of both."""
    for number in range(max(args.expert, args.play)):
        seed = args.first_seed + number
        if number < args.expert:
            yield Demonstration(role="expert", seed=seed, limit_s=args.expert_s)
        if number < args.play:
            # Seeds of their own: play from the expert's scenes would leak into validation.
            yield Demonstration(role="play", seed=500_000 + seed, limit_s=args.play_s)


def _done(listing: Path) -> set[tuple[str, int]]:
    listing.parent.mkdir(parents=True, exist_ok=True)
    if not listing.exists():
        return set()
    entries = (json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines())
    return {(entry["role"], entry["seed"]) for entry in entries}
