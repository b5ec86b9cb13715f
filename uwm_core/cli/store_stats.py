# SPDX-License-Identifier: Apache-2.0
"""``uwm store stats STORE``: bytes and absent rows of every array, the range of every column."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from uwm_core.data.store import Store
from uwm_core.data.store_stats import StoreStats, store_stats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder or URL")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    store = Store.open(args.store)
    stats = store_stats(store)
    if args.json:
        print(json.dumps(dataclasses.asdict(stats)))
    else:
        _print(store, stats)
    return 0


def _print(store: Store, stats: StoreStats) -> None:
    console = Console(highlight=False)
    console.print(
        f"{store.location}: {stats.episodes} episodes, {stats.steps} steps, "
        f"{stats.duration_s / 3600:.2f} h, {stats.size_bytes / 1e6:.1f} MB in {stats.files} files, "
        f"images {store.coding}",
        markup=False,
        soft_wrap=True,
    )
    arrays = Table(box=None, pad_edge=False)
    for title in ("array", "MB", "share of raw", "absent rows"):
        arrays.add_column(title, justify="left" if title == "array" else "right")
    for array in stats.arrays:
        share = f"{array.size_bytes / max(1, array.raw_bytes):.3f}"
        arrays.add_row(array.name, f"{array.size_bytes / 1e6:.2f}", share, str(array.absent))
    console.print(arrays)
    columns = Table(box=None, pad_edge=False)
    for title in ("column", "low", "high", "mean", "std"):
        columns.add_column(title, justify="left" if title == "column" else "right")
    for column in stats.columns:
        values = (column.low, column.high, column.mean, column.std)
        columns.add_row(f"{column.array} {column.name}", *(f"{value:.4f}" for value in values))
    console.print(columns)
