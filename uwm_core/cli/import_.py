# SPDX-License-Identifier: Apache-2.0
"""``uwm import FORMAT SRC... -o STORE``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

from uwm_core.data.interop.buffer import BufferSource
from uwm_core.data.interop.importing import ImportConfig, ImportReport, import_source
from uwm_core.data.interop.lerobot import LerobotSource
from uwm_core.data.interop.robomimic import RobomimicOptions, RobomimicSource
from uwm_core.data.interop.source import Source
from uwm_core.data.interop.videos import VideoFolder, VideosOptions
from uwm_core.data.store_format import ImageCoding
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError

_Formats: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Opener = Callable[[argparse.Namespace], Source]


def add_parser(subparsers: _Formats) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "import",
        help="turn a data set of another format into a store",
        description="Turn a data set of another format into a store, episode by episode.",
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    _robomimic(formats)
    _buffer(formats)
    _format(formats, "lerobot", "LeRobot data set, v3.0 or v2.1", lambda a: LerobotSource(_one(a)))
    _videos(formats)


def _format(
    formats: _Formats,
    name: str,
    text: str,
    opener: Opener,
) -> argparse.ArgumentParser:
    """One format: what all of them share."""
    parser = formats.add_parser(name, help=text, description=text)
    parser.set_defaults(opener=opener)
    parser.add_argument("sources", nargs="+", metavar="SRC", help="files or folders")
    parser.add_argument("-o", "--output", required=True, metavar="STORE", help="store to write")
    parser.add_argument(
        "-e",
        "--embodiment",
        metavar="NAME",
        help="robot by name or file (default: the data's own, else one derived from them)",
    )
    parser.add_argument(
        "--write-embodiment", metavar="FILE", help="write the store's embodiment as YAML, too"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="source key of a camera or state key, where the names do not agree",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="THEIRS", help="take no source key but these"
    )
    parser.add_argument("--task", default="", help="task sentence of episodes that have none")
    parser.add_argument("--role", choices=("expert", "play"), help="what the episodes may teach")
    parser.add_argument("--skip-bad", action="store_true", help="list bad episodes and go on")
    parser.add_argument(
        "--images", metavar="CODING", help="lossless (default), jpeg:QUALITY or jpegxl:QUALITY"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a store of this name, not go on"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return parser


def _robomimic(formats: _Formats) -> None:
    def opener(args: argparse.Namespace) -> Source:
        options = RobomimicOptions(rate_hz=args.rate, mask=args.mask, upside_down=args.upside_down)
        return RobomimicSource(args.sources, options)

    parser = _format(formats, "robomimic", "HDF5 of robomimic and of LIBERO", opener)
    parser.add_argument("--rate", type=float, metavar="HZ", help="rows per second")
    parser.add_argument("--mask", metavar="NAME", help="only the demos of this mask, as train")
    parser.add_argument(
        "--upside-down",
        action=argparse.BooleanOptionalAction,
        help="pictures lie bottom row first (default: yes for LIBERO)",
    )


def _buffer(formats: _Formats) -> None:
    def opener(args: argparse.Namespace) -> Source:
        return BufferSource(_one(args), args.rate)

    parser = _format(formats, "buffer", "Zarr v2 buffer of UWM, diffusion_policy or UMI", opener)
    parser.add_argument("--rate", type=float, metavar="HZ", help="rows per second")


def _videos(formats: _Formats) -> None:
    def opener(args: argparse.Namespace) -> Source:
        if not args.embodiment:
            raise UwmError("videos say nothing of a robot: name the one that shall learn (-e fr3)")
        options = VideosOptions(camera=args.camera, task=args.task_from, crop=args.crop)
        return VideoFolder(args.sources, Embodiment.load(args.embodiment), options)

    parser = _format(formats, "videos", "folders of videos, as episodes without actions", opener)
    parser.add_argument("--camera", metavar="NAME", help="camera whose pictures they are")
    parser.add_argument(
        "--task-from",
        choices=("none", "name", "folder"),
        default="none",
        help="task of videos without a .txt or .json beside them (default: none)",
    )
    parser.add_argument("--crop", action="store_true", help="cut to the camera's shape")


def _one(args: argparse.Namespace) -> str:
    if len(args.sources) > 1:
        raise UwmError(f"{args.format} takes one SRC, got {len(args.sources)}")
    return str(args.sources[0])


def run(args: argparse.Namespace) -> int:
    """Import and say what came of it."""
    config = ImportConfig(
        embodiment=Embodiment.load(args.embodiment) if args.embodiment else None,
        names=dict(_pair(text) for text in args.map),
        images=ImageCoding.parse(args.images) if args.images else None,
        only=tuple(args.only),
        overwrite=args.overwrite,
        skip_bad=args.skip_bad,
        task=args.task,
        role=args.role,
    )
    source: Source = args.opener(args)
    start_s = time.monotonic()
    with tqdm(unit=" steps", desc="import", disable=args.quiet, dynamic_ncols=True) as bar:

        def show(episodes: int, steps: int) -> None:
            bar.set_postfix_str(f"{episodes} episodes", refresh=False)
            bar.update(steps - bar.n)

        report = import_source(source, args.output, config, show)
    if args.write_embodiment:
        Path(args.write_embodiment).write_text(report.embodiment.to_yaml(), encoding="utf-8")
    _print(report, time.monotonic() - start_s)
    return 0


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not (ours and equals and theirs):
        raise UwmError(f"--map {text!r} must be OURS=THEIRS, as front=agentview_image")
    return ours, theirs


def _print(report: ImportReport, elapsed_s: float) -> None:
    for reason in report.skipped:
        print(f"skipped {reason}", file=sys.stderr)
    for note in report.notes:
        print(f"note    {note}", file=sys.stderr)
    known = f", {report.known} were there already" if report.known else ""
    print(
        f"{report.store}: {report.episodes} episodes, {report.steps} steps of "
        f"{report.embodiment.name} in {elapsed_s:.1f} s{known}"
    )
