# SPDX-License-Identifier: Apache-2.0
"""``uwm recover BAGS...``: whole bags of what killed recorders left."""

from __future__ import annotations

import argparse

from uwm_core.data.bag_recover import recover_bag


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "recover",
        help="make whole bags of what a killed recorder left",
        description="Write <name>_recovered beside each broken bag; the remains stay as they are.",
    )
    parser.add_argument("bags", nargs="+", metavar="BAGS", help="<name>.part, folders or files")


def run(args: argparse.Namespace) -> int:
    """Recover one after another and name what was made."""
    for bag in args.bags:
        print(recover_bag(bag))
    return 0
