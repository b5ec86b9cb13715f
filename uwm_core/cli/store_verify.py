# SPDX-License-Identifier: Apache-2.0
"""``uwm store verify STORE``: check every byte against its checksum; exit 1 if one is wrong."""

from __future__ import annotations

import argparse
import sys

from tqdm import tqdm

from uwm_core.data.store import Store
from uwm_core.data.store_verify import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder or URL")
    parser.add_argument("--decode", action="store_true", help="decode every image as well")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Verify and print the faults."""
    store = Store.open(args.store)
    with tqdm(
        total=store.size_bytes, unit="B", unit_scale=True, desc="verify", disable=args.quiet
    ) as bar:
        faults = verify(store, decode=args.decode, seen=bar.update)
    for fault in faults:
        print(f"{store.location}: {fault}")
    if faults:
        bad = sorted({number for fault in faults for number in fault.episodes})
        which = f"; damaged episodes: {', '.join(map(str, bad))}" if bad else ""
        print(f"uwm: {store.location}: {len(faults)} faults{which}", file=sys.stderr)
        return 1
    print(f"{store.location}: {len(store)} episodes, {store.steps} steps, every checksum is right")
    return 0
