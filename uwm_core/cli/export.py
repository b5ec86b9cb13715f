# SPDX-License-Identifier: Apache-2.0
"""``uwm export FORMAT STORE -o DST``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

from uwm_core.data.interop.buffer import export_buffer
from uwm_core.data.interop.exporting import Progress, Selection
from uwm_core.data.interop.lerobot_export import LerobotOptions, export_lerobot
from uwm_core.data.interop.robomimic_export import export_robomimic
from uwm_core.data.interop.video import VideoCoding
from uwm_core.data.store import Store
from uwm_core.errors import UwmError

Writer = Callable[[argparse.Namespace, Selection, Progress], None]
_Formats: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_parser(subparsers: _Formats) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "export",
        help="write a store in another format",
        description="Write a store in another format; episodes that it cannot hold stay behind.",
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    _format(formats, "robomimic", "one HDF5 file for robomimic", _robomimic)
    buffer = _format(formats, "buffer", "a Zarr v2 buffer for UWM and diffusion_policy", _buffer)
    buffer.add_argument(
        "--plain-keys", action="store_true", help="front instead of obs.front (diffusion_policy)"
    )
    lerobot = _format(formats, "lerobot", "a LeRobot v3.0 data set", _lerobot)
    lerobot.add_argument(
        "--images",
        choices=("video", "image"),
        default="video",
        help="mp4 files, or PNG in the rows without loss (default: video)",
    )
    lerobot.add_argument("--codec", choices=("h264", "av1"), default="h264", help="of the video")
    lerobot.add_argument(
        "--crf", type=int, default=18, help="quality of the video: lower is better (default: 18)"
    )


def _format(formats: _Formats, name: str, text: str, writer: Writer) -> argparse.ArgumentParser:
    """One format: what all of them share."""
    parser = formats.add_parser(name, help=text, description=f"Write {text}.")
    parser.set_defaults(writer=writer)
    parser.add_argument("store", metavar="STORE", help="store to read")
    parser.add_argument("-o", "--output", required=True, metavar="DST", help="what to write")
    parser.add_argument(
        "--outcome",
        action="append",
        choices=("success", "failure", "discard"),
        help="outcome that is wanted, may be repeated (default: success and failure)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what has this name")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    return parser


def _robomimic(args: argparse.Namespace, selection: Selection, progress: Progress) -> None:
    export_robomimic(selection, Path(args.output), overwrite=args.overwrite, progress=progress)


def _buffer(args: argparse.Namespace, selection: Selection, progress: Progress) -> None:
    export_buffer(
        selection,
        Path(args.output),
        prefix="" if args.plain_keys else "obs.",
        overwrite=args.overwrite,
        progress=progress,
    )


def _lerobot(args: argparse.Namespace, selection: Selection, progress: Progress) -> None:
    try:
        video = VideoCoding(codec=args.codec, crf=args.crf)
    except ValueError as error:
        raise UwmError(str(error)) from None
    options = LerobotOptions(images=args.images, video=video)
    export_lerobot(
        selection, Path(args.output), options, overwrite=args.overwrite, progress=progress
    )


def run(args: argparse.Namespace) -> int:
    """Export and say what came of it."""
    selection = Selection.of(Store.open(args.store), args.outcome or ("success", "failure"))
    start_s = time.monotonic()
    with tqdm(
        total=selection.steps, unit=" steps", desc="export", disable=args.quiet, dynamic_ncols=True
    ) as bar:
        args.writer(args, selection, lambda _, steps: bar.update(steps - bar.n) and None)
    for reason in selection.left_out:
        print(f"note    {reason}", file=sys.stderr)
    print(
        f"{args.output}: {len(selection.index)} episodes, {selection.steps} steps in "
        f"{time.monotonic() - start_s:.1f} s"
    )
    return 0
