# SPDX-License-Identifier: Apache-2.0
"""``uwm inspect STORE``: what a store holds, in the terminal and as a contact sheet."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uwm_core.data.inspect import Summary, pick_episodes, save_sheet, summarize
from uwm_core.data.store import Store


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "inspect",
        help="print what a store holds, draw a contact sheet",
        description="Print what a store holds and draw a contact sheet.",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("--sheet", metavar="FILE.png", help="contact sheet (default: STORE.png)")
    parser.add_argument("--no-sheet", action="store_true", help="draw none")
    parser.add_argument("--rows", type=int, default=12, help="episodes shown (default: 12)")


def run(args: argparse.Namespace) -> int:
    """Open, print, draw."""
    store = Store.open(args.store)
    console = Console(highlight=False)
    shown = pick_episodes(len(store), max(1, args.rows))
    _print_head(console, store, summarize(store))
    console.print(_episode_table(store, shown))
    if not args.no_sheet:
        default = store.path.with_name(f"{store.path.name.removesuffix('.zarr')}.png")
        path = save_sheet(store, args.sheet or default, episodes=shown)
        console.print(f"contact sheet: {Path(path)}", soft_wrap=True)
    return 0


def _print_head(console: Console, store: Store, summary: Summary) -> None:
    embodiment = store.embodiment
    console.print(
        f"[bold]{store.location}[/bold]: {summary.episodes} episodes, {summary.steps} steps, "
        f"{summary.duration_s:.0f} s at {embodiment.rate_hz:g} Hz, "
        f"{summary.size_bytes / 1e6:.1f} MB",
        soft_wrap=True,
    )
    console.print(f"embodiment: {embodiment.name}. {embodiment.description}", soft_wrap=True)
    for key in store.keys:
        array = store.array(key)
        console.print(f"  {key:22} {array.shape!s:22} {array.dtype}", markup=False)
    for (role, outcome), count in sorted(summary.roles.items()):
        console.print(f"  {count} x {role}, {outcome}", markup=False)
    for task, count in sorted(summary.tasks.items(), key=lambda item: -item[1])[:10]:
        console.print(f"  {count} x {task or '(no task sentence)'!r}", markup=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    table.add_column("low", justify="right")
    table.add_column("high", justify="right")
    for column in summary.ranges:
        table.add_row(f"{column.array} {column.name}", f"{column.low:.4f}", f"{column.high:.4f}")
    console.print(table)


def _episode_table(store: Store, shown: list[int]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("episode", "steps", "seconds", "role", "outcome", "task", "source", "notes"):
        table.add_column(title)
    for index in shown:
        record = store.episodes[index]
        seconds = f"{record.steps / store.embodiment.rate_hz:.1f}"
        table.add_row(
            str(index), str(record.steps), seconds, record.role, record.outcome, record.task,
            record.source, str(len(record.notes) or ""),
        )  # fmt: skip
    return table
