# SPDX-License-Identifier: Apache-2.0
"""``uwm store ACTION``: what may be done to a finished store.

Each action is a module of its own with ``add_arguments(parser)`` and ``run(args) -> int``; it is
imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
from typing import NamedTuple

from uwm_core.errors import UwmError


class Action(NamedTuple):
    """Where an action lives and its one-line help."""

    module: str
    help: str


ACTIONS: dict[str, Action] = {
    "merge": Action("uwm_core.cli.store_merge", "join stores into one"),
    "split": Action("uwm_core.cli.store_split", "copy chosen episodes into a new store"),
    "drop": Action("uwm_core.cli.store_drop", "move chosen episodes to the store's trash"),
    "relabel": Action("uwm_core.cli.store_relabel", "change task, outcome or role of episodes"),
    "verify": Action("uwm_core.cli.store_verify", "check every byte against its checksum"),
    "play": Action("uwm_ros.cli.store_play", "publish an episode on the ROS graph"),
    "stats": Action("uwm_core.cli.store_stats", "print sizes and the range of every column"),
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments; what follows the action belongs to it."""
    actions = "".join(f"\n  {name:10}{action.help}" for name, action in ACTIONS.items())
    parser = subparsers.add_parser(
        "store",
        description=f"What may be done to a finished store.\n\nactions:{actions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see uwm store ACTION --help")


def run(args: argparse.Namespace) -> int:
    """Run one action.

    Raises:
        UwmError: If something that it needs is not installed.
    """
    action = ACTIONS[args.action]
    try:
        module = importlib.import_module(action.module)
    except ModuleNotFoundError as error:
        raise UwmError(
            f"uwm store {args.action} needs {error.name!r}, which is not installed"
        ) from None
    parser = argparse.ArgumentParser(prog=f"uwm store {args.action}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(args.arguments)))
