# SPDX-License-Identifier: Apache-2.0
"""``uwm store split STORE -o PICKED``: copy chosen episodes into a new store, the rest if asked."""

from __future__ import annotations

import argparse

from uwm_core.cli.store_select import add_selection, selection_of, told
from uwm_core.data.store import Store
from uwm_core.data.store_edit import split


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder or URL; stays as it is")
    parser.add_argument("-o", "--output", required=True, metavar="STORE", help="the chosen ones")
    parser.add_argument("--rest", metavar="STORE", help="the other ones")
    add_selection(parser)


def run(args: argparse.Namespace) -> int:
    """Split and say what came of it."""
    for copied in split(Store.open(args.store), selection_of(args), args.output, args.rest):
        print(told(copied))
    return 0
