# SPDX-License-Identifier: Apache-2.0
"""The arguments that choose episodes, shared by the actions of ``uwm store``."""

from __future__ import annotations

import argparse
from typing import get_args

from uwm_core.data.store_edit import Copied, Selection
from uwm_core.data.store_format import Outcome, Role
from uwm_core.errors import UwmError


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    group = parser.add_argument_group("which episodes (all that fit everything said)")
    group.add_argument("--episodes", metavar="0-3,7", help="numbers and ranges, ends included")
    group.add_argument("--with-outcome", choices=get_args(Outcome))
    group.add_argument("--with-role", choices=get_args(Role))
    group.add_argument("--with-task", metavar="TEXT", help="the whole task sentence")
    group.add_argument("--with-source", metavar="BAG", help="name of the bag they came from")


def selection_of(args: argparse.Namespace) -> Selection:
    """What was chosen.

    Raises:
        UwmError: If nothing was said, or a number is not one.
    """
    selection = Selection(
        episodes=None if args.episodes is None else parse_numbers(args.episodes),
        outcome=args.with_outcome,
        role=args.with_role,
        task=args.with_task,
        source=args.with_source,
    )
    if selection == Selection():
        raise UwmError("which episodes? Say --episodes 0-3,7 or one of the --with options")
    return selection


def parse_numbers(text: str) -> tuple[int, ...]:
    """``"0-3,7"`` as (0, 1, 2, 3, 7).

    Raises:
        UwmError: If it is not such a list.
    """
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            numbers += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise UwmError(f"episodes {text!r}: expected numbers and ranges, as in 0-3,7") from None
    return tuple(numbers)


def told(copied: Copied) -> str:
    """One line about what was written."""
    known = f", {copied.known} were there already" if copied.known else ""
    return f"{copied.store}: {copied.episodes} episodes, {copied.steps} steps written{known}"
