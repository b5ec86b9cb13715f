# SPDX-License-Identifier: Apache-2.0
"""``uwm inspect PATH``: what a store or a bag holds, in the terminal, as a page, as JSON."""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uwm_core.data.inspect import contact_sheet, pick_episodes, save_sheet
from uwm_core.data.report import Report, report_bag, report_store
from uwm_core.data.report_page import page, save_page
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what a store or a bag holds and how well its streams kept time",
        description="Show what a store or a bag holds and how well its streams kept time.",
    )
    parser.add_argument("path", metavar="STORE|BAG", help="a store, or a bag that is measured now")
    parser.add_argument("-e", "--embodiment", metavar="NAME", help="of a bag that names none")
    parser.add_argument("--html", metavar="FILE", help="write one self-contained page")
    parser.add_argument("--json", metavar="FILE", help="write the report; - prints it instead")
    parser.add_argument("--sheet", metavar="FILE.png", help="write the contact sheet of a store")
    parser.add_argument("--rows", type=int, default=12, help="episodes shown (default: 12)")


def run(args: argparse.Namespace) -> int:
    """Open, measure, print, write."""
    store = Store.open(args.path) if _is_store(args.path) else None
    if store is not None:
        report = report_store(store)
    else:
        embodiment = Embodiment.load(args.embodiment) if args.embodiment else None
        report = report_bag(args.path, embodiment)
    if args.json == "-":
        print(json.dumps(report.to_json()))
        return 0
    console = Console(highlight=False)
    shown = pick_episodes(len(report.episodes), max(1, args.rows))
    _print(console, report, store, shown)
    if args.json:
        Path(args.json).write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
        console.print(f"report: {args.json}", soft_wrap=True)
    if args.sheet and store is not None:
        path = save_sheet(store, args.sheet, episodes=shown)
        console.print(f"contact sheet: {path}", soft_wrap=True)
    if args.html:
        sheet = contact_sheet(store, episodes=shown) if store is not None else None
        text = page(report, store.episode if store is not None else None, sheet)
        console.print(f"page: {save_page(args.html, text)}", soft_wrap=True)
    return 0


def _is_store(path: str) -> bool:
    """Whether this is to be read as a store; what is neither gets the store's clear error."""
    local = Path(path)
    bag = local.suffix in (".mcap", ".db3") or (local / "metadata.yaml").exists()
    return not bag and not any(local.glob("*.mcap")) and not any(local.glob("*.db3"))


def _print(console: Console, report: Report, store: Store | None, shown: list[int]) -> None:
    embodiment = report.embodiment
    console.print(
        f"[bold]{report.source}[/bold]: {len(report.episodes)} episodes, {report.steps} steps, "
        f"{report.steps / embodiment.rate_hz:.0f} s at {embodiment.rate_hz:g} Hz, "
        f"{report.size_bytes / 1e6:.1f} MB",
        soft_wrap=True,
    )
    console.print(f"embodiment: {embodiment.name}. {embodiment.description}", soft_wrap=True)
    if store is not None:
        for key in store.keys:
            array = store.array(key)
            console.print(f"  {key:22} {array.shape!s:22} {array.dtype}", markup=False)
    for line in _told(report):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    console.print(_stream_table(report))
    console.print(_range_table(report))
    console.print(_episode_table(report, shown))
    _print_warnings(console, report)


def _told(report: Report) -> list[str]:
    """How many episodes there are of each kind, and of each task."""
    records = [entry.record for entry in report.episodes]
    kinds = collections.Counter(f"{record.role}, {record.outcome}" for record in records)
    tasks = collections.Counter(record.task or "(no task sentence)" for record in records)
    counted = [*sorted(kinds.items()), *((repr(task), n) for task, n in tasks.most_common(10))]
    return [f"{count} x {what}" for what, count in counted]


def _stream_table(report: Report) -> Table:
    """Every stream: what was wanted, and the worst that any episode had."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stream")
    for title in ("Hz wanted", "slowest Hz", "gap ms", "oldest ms", "offset ms", "drift ms"):
        table.add_column(title, justify="right")
    for key, spec in report.embodiment.streams.items():
        found = [entry.streams[key] for entry in report.episodes if key in entry.streams]
        if not found:
            continue
        numbers = (
            min(sync.rate_hz for sync in found),
            max(sync.gap_max_s for sync in found) * 1e3,
            max(sync.age_max_s for sync in found) * 1e3,
            max((sync.offset_s for sync in found), key=abs) * 1e3,
            max((sync.offset_drift_s for sync in found), key=abs) * 1e3,
        )
        table.add_row(key, f"{spec.rate_hz:g}", *(f"{number:.1f}" for number in numbers))
    return table


def _range_table(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    table.add_column("low", justify="right")
    table.add_column("high", justify="right")
    for column in report.ranges:
        table.add_row(f"{column.array} {column.name}", f"{column.low:.4f}", f"{column.high:.4f}")
    return table


def _episode_table(report: Report, shown: list[int]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("episode", "steps", "seconds", "role", "outcome", "task", "source", "warnings"):
        table.add_column(title)
    for number in shown:
        entry = report.episodes[number]
        record, warned = entry.record, len(entry.warnings(report.embodiment))
        table.add_row(
            str(entry.index), str(record.steps), f"{entry.duration_s:.1f}", record.role,
            record.outcome, record.task, record.source, str(warned or ""),
        )  # fmt: skip
    return table


def _print_warnings(console: Console, report: Report) -> None:
    told = [
        f"episode {entry.index}: {sentence}"
        for entry in report.episodes
        for sentence in entry.warnings(report.embodiment)
    ]
    for sentence in told[:10]:
        console.print(f"[yellow]warning[/yellow] {sentence}", soft_wrap=True)
    if len(told) > 10:
        console.print(f"... and {len(told) - 10} more warnings: --json or --html shows all")
