# SPDX-License-Identifier: Apache-2.0
"""``uwm bag recover|verify BAGS...``: what a killed recorder left, and what disks may have done."""

from __future__ import annotations

import argparse

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_recover import recover_bag


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "bag",
        help="recover or verify recorded bags",
        description="recover: write <name>_recovered beside each broken bag; the remains stay as "
        "they are. verify: read bags as a whole and try every checksum.",
    )
    parser.add_argument("action", choices=("recover", "verify"))
    parser.add_argument("bags", nargs="+", metavar="BAGS", help="<name>.part, folders or files")


def run(args: argparse.Namespace) -> int:
    """Take one bag after another; the first that is beyond it ends the work."""
    for bag in args.bags:
        if args.action == "recover":
            print(recover_bag(bag))
            continue
        with BagReader(bag) as reader:
            reader.verify()
            messages = sum(info.messages for info in reader.topics.values())
        print(f"{bag}: whole, {messages} messages")
    return 0
