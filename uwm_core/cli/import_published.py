# SPDX-License-Identifier: Apache-2.0
"""``uwm import-published FILE -o CKPT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from uwm_core.checkpoint import save_checkpoint
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError
from uwm_core.published_import import import_published
from uwm_core.published_sizes import Asked


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "import-published",
        help="turn a published UWM checkpoint into one of ours",
        description="Turn a checkpoint file of the published Unified World Model (models.pt) into "
        "a checkpoint folder, normalisers included. Nothing in the file is executed. Sizes come "
        "from its tensors; what it does not say is asked for.",
    )
    parser.add_argument("file", help="published checkpoint, e.g. models.pt")
    parser.add_argument("-o", "--output", required=True, metavar="CKPT", help="folder to write")
    parser.add_argument(
        "--preset", metavar="NAME", help="published_libero or published_droid: says all else"
    )
    parser.add_argument(
        "-e", "--embodiment", metavar="NAME", help="robot by name or file: cameras, state, rate"
    )
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads per block")
    parser.add_argument("--rate", type=float, metavar="HZ", help="step rate")
    parser.add_argument(
        "--view", action="append", default=[], metavar="NAME", help="a camera, may be repeated"
    )
    for name, text in (
        ("size", "pixels of the stored images"),
        ("resize", "pixels that they are resized to"),
        ("crop", "pixels that are kept in the centre"),
    ):
        parser.add_argument(f"--{name}", type=int, nargs=2, metavar=("H", "W"), help=text)
    parser.add_argument("--history", type=int, metavar="T", help="steps of observation (2)")
    parser.add_argument(
        "--state-order",
        choices=("step", "stream"),
        help="how several streams of state follow each other in the condition",
    )
    parser.add_argument(
        "--vae", type=Path, metavar="FOLDER", help="write the file's VAE there, for diffusers"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what has this name")


def run(args: argparse.Namespace) -> int:
    """Import and say what came of it."""
    output = Path(args.output)
    for path in filter(None, (output, args.vae)):
        if path.exists() and not args.overwrite:
            raise CheckpointError(f"{path} exists; --overwrite replaces it")
    asked = Asked(
        preset=args.preset,
        embodiment=Embodiment.load(args.embodiment) if args.embodiment else None,
        heads=args.heads,
        rate_hz=args.rate,
        views=tuple(args.view),
        size=_pair(args.size),
        resize=_pair(args.resize),
        crop=_pair(args.crop),
        history=args.history,
        state_order=args.state_order,
    )
    imported = import_published(args.file, asked, args.vae)
    save_checkpoint(output, imported.checkpoint)
    for note in imported.notes:
        print(f"note    {note}", file=sys.stderr)
    config, robot = imported.checkpoint.config, imported.checkpoint.embodiment
    numbers = sum(value.numel() for value in imported.checkpoint.weights.values())
    print(
        f"{output}: {numbers / 1e6:.1f} M parameters, {config.depth} blocks of width "
        f"{config.width}, chunks of {config.window.chunk} actions of {config.action_size} numbers "
        f"at {config.window.rate_hz:g} Hz, cameras {', '.join(config.views)}, robot {robot.name}"
    )
    return 0


def _pair(values: list[int] | None) -> tuple[int, int] | None:
    return (values[0], values[1]) if values else None
