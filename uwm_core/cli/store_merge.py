# SPDX-License-Identifier: Apache-2.0
"""``uwm store merge STORES... -o STORE``: join stores into one.

Coded images are copied as they are. An episode that is there already is not written twice, so an
interrupted merge goes on with ``--append``.
"""

from __future__ import annotations

import argparse

from uwm_core.cli.store_select import told
from uwm_core.data.store import ImageCoding, Store
from uwm_core.data.store_edit import merge
from uwm_core.data.store_place import Mode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("stores", nargs="+", metavar="STORE", help="folders or URLs")
    parser.add_argument("-o", "--output", required=True, metavar="STORE", help="store to write")
    parser.add_argument(
        "--images",
        type=ImageCoding.parse,
        metavar="CODING",
        help="code images anew: lossless, jpeg:90 or jpegxl:90 (default: copy them)",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--append", action="store_true", help="add to a store that is there")
    group.add_argument("--overwrite", action="store_true", help="replace a store of this name")


def run(args: argparse.Namespace) -> int:
    """Merge and say what came of it."""
    sources = [Store.open(path) for path in args.stores]
    mode: Mode = "append" if args.append else "overwrite" if args.overwrite else "create"
    print(told(merge(sources, args.output, images=args.images, mode=mode)))
    return 0
