# SPDX-License-Identifier: Apache-2.0
"""``uwm convert BAGS... -o STORE``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

from tqdm import tqdm

from uwm_core.data.convert import BagResult, ConvertConfig, Progress, Report, convert
from uwm_core.data.store_format import ImageCoding
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "convert",
        help="turn recorded bags into a store",
        description="Put recorded bags into a Zarr store, on the embodiment's grid. Given again, "
        "it passes over what is in the store and goes on where it was interrupted.",
    )
    parser.add_argument("bags", nargs="+", metavar="BAGS", help="bags, or folders of bags")
    parser.add_argument(
        "-o", "--output", required=True, metavar="STORE", help="store to write: a folder or a URL"
    )
    parser.add_argument(
        "-e", "--embodiment", metavar="NAME", help="embodiment by name or file (default: the bags')"
    )
    parser.add_argument("--namespace", metavar="NS", help="namespace of the topics, if several fit")
    parser.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="worker processes")
    parser.add_argument(
        "--images",
        metavar="CODING",
        help="lossless, jpeg:90 or jpegxl:90 (default: as the store has it, lossless in a new one)",
    )
    parser.add_argument(
        "--holes",
        choices=("refuse", "split", "mask"),
        default="refuse",
        help="what a stream that is silent too long does to its episode (default: refuse)",
    )
    parser.add_argument("--skip-bad", action="store_true", help="list bad bags and go on")
    parser.add_argument("--recover", action="store_true", help="take what a killed recorder left")
    parser.add_argument("--replace", action="store_true", help="take bags that have changed anew")
    parser.add_argument("--overwrite", action="store_true", help="begin the store anew")
    parser.add_argument(
        "--engine",
        choices=("local", "dask"),
        default="local",
        help="where the work is done: here, or on a dask cluster, a bag per task (default: local)",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of the cluster: tcp://host:8786")
    _add_episodes(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no line per bag")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (- for stdout)")


def _add_episodes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("episodes", "By default a bag's marks say where they are.")
    cut = group.add_mutually_exclusive_group()
    cut.add_argument("--episodes-by-topic", metavar="TOPIC", help="cut at each of its messages")
    cut.add_argument("--episodes-by-gaps", type=float, metavar="S", help="cut at pauses of S s")
    cut.add_argument("--whole", action="store_true", help="one episode per bag, marks or not")
    group.add_argument("--task", default="", help="task sentence of episodes that have none")
    group.add_argument(
        "--role",
        choices=("expert", "play", "video"),
        default="expert",
        help="role of episodes that have none (default: expert)",
    )
    group.add_argument(
        "--outcome",
        choices=("success", "failure", "discard"),
        default="success",
        help="outcome of episodes that have none (default: success)",
    )


def config_of(args: argparse.Namespace) -> ConvertConfig:
    """The configuration that arguments describe.

    Raises:
        UwmError: If they contradict one another.
    """
    if (args.engine == "dask") != (args.scheduler is not None):
        raise UwmError("--engine dask and --scheduler ADDRESS belong together")
    try:
        return ConvertConfig(
            embodiment=Embodiment.load(args.embodiment) if args.embodiment else None,
            namespace=args.namespace,
            holes=args.holes,
            skip_bad=args.skip_bad,
            overwrite=args.overwrite,
            replace=args.replace,
            recover=args.recover,
            workers=args.jobs,
            images=ImageCoding.parse(args.images) if args.images else None,
            by_topic=args.episodes_by_topic,
            by_gaps_s=args.episodes_by_gaps,
            whole=args.whole,
            task=args.task,
            role=args.role,
            outcome=args.outcome,
        )
    except ValueError as error:
        raise UwmError(str(error)) from None


def run(args: argparse.Namespace) -> int:
    """Convert and say what came of it."""
    config = config_of(args)
    begin_s = time.monotonic()
    with tqdm(
        unit="B", unit_scale=True, desc="convert", disable=args.quiet, dynamic_ncols=True
    ) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.bytes_total
            rate = progress.seconds_done / max(1e-3, time.monotonic() - begin_s)
            bar.set_postfix_str(f"{rate:.1f} x real time, {progress.bag.name}", refresh=False)
            bar.update(progress.bytes_done - bar.n)

        def finished(result: BagResult) -> None:
            if not args.quiet:
                bar.write(_line(result), file=sys.stderr)

        if args.engine == "dask":
            from uwm_core.data.convert_dask import convert_on_dask

            report = convert_on_dask(args.bags, args.output, config, args.scheduler, finished)
        else:
            report = convert(args.bags, args.output, config, show, finished)
    elapsed_s = time.monotonic() - begin_s
    if args.json:
        _write_json(report, elapsed_s, args.json)
    if args.quiet:
        for _, reason in report.skipped:
            print(f"skipped {reason}", file=sys.stderr)
    if args.json != "-":
        print(_sum(report, elapsed_s))
    return 0


def _line(result: BagResult) -> str:
    """What became of one bag, and each remark on a line of its own."""
    said = f"{result.state:9} {result.path}"
    if result.state == "converted":
        elapsed_s = max(result.elapsed_s, 1e-3)
        said += (
            f": {result.episodes} episodes, {result.steps} steps, "
            f"{result.bytes / 1e6 / elapsed_s:.0f} MB/s, "
            f"{result.duration_s / elapsed_s:.1f} x real time"
        )
    elif result.reason:
        said = f"{result.state:9} {result.reason}"
    return "\n".join([said, *(f"  note    {note}" for note in result.notes)])


def _sum(report: Report, elapsed_s: float) -> str:
    unchanged = f", {report.unchanged} unchanged" if report.unchanged else ""
    return (
        f"{report.store}: {report.episodes} episodes, {report.steps} steps from {report.bags} bags"
        f"{unchanged} in {elapsed_s:.1f} s ({report.bytes_read / 1e6 / elapsed_s:.0f} MB/s,"
        f" {report.duration_s / elapsed_s:.1f} times real time)"
    )


def _write_json(report: Report, elapsed_s: float, target: str) -> None:
    content = {
        "store": str(report.store),
        "episodes": report.episodes,
        "steps": report.steps,
        "elapsed_s": elapsed_s,
        "bags": [{**dataclasses.asdict(r), "path": str(r.path)} for r in report.results],
    }
    text = json.dumps(content, indent=2)
    if target == "-":
        print(text)
    else:
        Path(target).write_text(text + "\n", encoding="utf-8")
