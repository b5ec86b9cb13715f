# SPDX-License-Identifier: Apache-2.0
"""``uwm store drop STORE``: move chosen episodes to ``STORE.trash``, a store beside it.

Nothing is deleted: merge the trash back to undo it, remove its folder to be rid of it. With ``-o``
the others are written to a new store instead, and STORE stays as it is. To keep episodes but not
train on them, relabel them as ``discard``: that costs nothing.
"""

from __future__ import annotations

import argparse

from uwm_core.cli.store_select import add_selection, selection_of, told
from uwm_core.data.store import Store
from uwm_core.data.store_edit import drop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder, or a URL with -o")
    parser.add_argument("-o", "--output", metavar="STORE", help="write the others here instead")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Drop and say what came of it."""
    for copied in drop(Store.open(args.store), selection_of(args), args.output):
        print(told(copied))
    return 0
