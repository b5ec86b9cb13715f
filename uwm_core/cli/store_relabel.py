# SPDX-License-Identifier: Apache-2.0
"""``uwm store relabel STORE``: change task, outcome or role of chosen episodes, in place."""

from __future__ import annotations

import argparse
from typing import get_args

from uwm_core.cli.store_select import add_selection, selection_of
from uwm_core.data.store import Store
from uwm_core.data.store_edit import relabel
from uwm_core.data.store_format import Outcome, Role
from uwm_core.errors import UwmError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder or URL")
    add_selection(parser)
    group = parser.add_argument_group("what they become")
    group.add_argument("--task", metavar="TEXT", help="task sentence")
    group.add_argument("--outcome", choices=get_args(Outcome))
    group.add_argument("--role", choices=get_args(Role))


def run(args: argparse.Namespace) -> int:
    """Relabel and print the episodes as they are now."""
    changes = {
        name: value
        for name in ("task", "outcome", "role")
        if (value := getattr(args, name)) is not None
    }
    if not changes:
        raise UwmError("what shall they become? Say --task, --outcome or --role")
    for record in relabel(Store.open(args.store), selection_of(args), **changes):
        print(f"{record.source}: {record.role}, {record.outcome}, {record.task!r}")
    return 0
