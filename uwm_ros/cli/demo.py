# SPDX-License-Identifier: Apache-2.0
"""``uwm demo``: the simulated arm, driven by the shipped world model through the ROS graph.

Starts simulation, policy, executor and imagination as separate processes on a graph of their own,
plays attempts at the task on fresh seeds, prints a table and writes a film.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uwm_core.embodiment import Embodiment
from uwm_ros.description import PolicyOptions, policy_stack
from uwm_ros.operator.attempt import (
    TABLE_HEADER,
    Attempt,
    AttemptRunner,
    figures,
    summary,
    table_row,
)
from uwm_ros.operator.film import FilmWriter, Reel
from uwm_ros.operator.private_graph import private_graph
from uwm_ros.operator.reel_feed import feed

# Recordings use seeds from 0 upward; a demo must not play what was trained on.
FIRST_SEED = 1_000_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("demo", description=__doc__)
    add_arguments(parser, attempts=10)
    parser.add_argument("--no-film", action="store_true", help="write no film")


def add_arguments(parser: argparse.ArgumentParser, attempts: int) -> None:
    """Arguments that ``uwm demo`` and ``uwm bench drive`` share."""
    parser.add_argument("--attempts", type=int, default=attempts, help="default %(default)s")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="default %(default)s")
    parser.add_argument("--checkpoint", default="sim_lift", help="name or folder")
    parser.add_argument("--embodiment", default="fr3_sim", help="name or YAML file")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--no-imagination", action="store_true", help="do not imagine")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/demo"), help="film and logs")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Play the attempts; 0 when every process lived to the end and at least one succeeded."""
    say: Callable[[str], None] = (lambda line: None) if args.json else print
    with _film(args, say) as film:
        attempts = play(args, film, say)
    say("\n" + summary(attempts))
    if args.json:
        print("\n".join(figure.to_json() for figure in figures(attempts)))
    return 0 if any(attempt.success for attempt in attempts) else 1


def play(
    args: argparse.Namespace, film: FilmWriter | None, say: Callable[[str], None]
) -> list[Attempt]:
    """Bring the graph up, play the attempts, bring it down.

    Raises:
        UwmError: a process died or a node refused; the message is the node's own.
    """
    embodiment = Embodiment.load(args.embodiment)
    options = PolicyOptions(
        embodiment=args.embodiment,
        checkpoint=args.checkpoint,
        device=args.device,
        imagination=not args.no_imagination,
        sim=True,
    )
    attempts: list[Attempt] = []
    with private_graph(policy_stack(options), args.output / "log") as operator:
        reel = Reel(cameras=embodiment.camera_names)
        if film is not None:
            feed(reel, operator, embodiment)
        runner = AttemptRunner(operator, on_start=reel.clear)
        say("starting simulation, policy, executor and imagination ...")
        runner.wait_until_ready()
        say(TABLE_HEADER)
        for number in range(1, args.attempts + 1):
            attempt = runner.run(number, args.first_seed + number - 1)
            attempts.append(attempt)
            say(table_row(attempt))
            sys.stdout.flush()
            if film is not None:
                outcome = "lifted" if attempt.success else "not lifted"
                for frame in reel.frames(f"attempt {number} of {args.attempts}: {outcome}"):
                    film.write(frame)
    return attempts


@contextlib.contextmanager
def _film(args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[Any]:
    if getattr(args, "no_film", True):
        yield None
        return
    path = args.output / "film.mp4"
    with FilmWriter(path) as film:
        yield film
    say(f"film: {path}")
