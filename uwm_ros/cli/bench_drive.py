# SPDX-License-Identifier: Apache-2.0
"""``uwm bench drive [WHAT]``: how the simulated arm is driven, through the ROS graph in real time.

WHAT is one of
  attempts  success, latency and holds (the demo without its film)
  latency   success at 0, 100 and 300 ms of added latency, compensated and not
  stream    the command stream at 100 Hz while policy and imagination run
  joins     jump, jerk and success of replace, blend and inpaint at slow inference
  stages    where the time goes between a picture and the first command that answers it
  soak      memory and rates over --seconds
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from uwm_core.figures import Figure
from uwm_ros.cli import demo
from uwm_ros.operator.drive_benches import (
    DriveBench,
    measure_joins,
    measure_latency,
    measure_stages,
    measure_stream,
)

_MEASURES = {
    "latency": (measure_latency, 20),
    "stream": (measure_stream, 10),
    "joins": (measure_joins, 20),
    "stages": (measure_stages, 20),
}
_ATTEMPTS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The demo's arguments, and what to measure."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = ("attempts", *_MEASURES, "soak")
    parser.add_argument("what", nargs="?", choices=what, default="attempts")
    demo.add_arguments(parser, attempts=0)
    parser.add_argument("--seconds", type=float, default=7200.0, help="of soak; default 2 h")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 0 when something was lifted and no command broke a limit."""
    if args.what == "attempts":
        args.attempts = args.attempts or _ATTEMPTS
        return demo.run(args)
    broken, lifted = 0.0, 0.0
    for figure in _figures(args):
        print(figure.to_json() if args.json else figure.to_text(), flush=True)
        broken += figure.value if "limits_broken" in figure.metric else 0
        lifted += figure.value if "success" in figure.metric else 0
    if broken:
        print(f"{broken:.0f} commands broke a limit", file=sys.stderr)
    return int(broken > 0 or lifted == 0)


def _figures(args: argparse.Namespace) -> Iterator[Figure]:
    """The figures that are asked for, each as soon as it is known."""
    measure, attempts = _MEASURES.get(args.what, (None, 1))
    bench = DriveBench(
        attempts=args.attempts or attempts,
        first_seed=args.first_seed,
        embodiment=args.embodiment,
        checkpoint=args.checkpoint,
        device=args.device,
        folder=args.output,
        say=(lambda line: None) if args.json else print,
    )
    if measure is not None:
        yield from measure(bench)
        return
    from uwm_ros.operator.drive_soak import measure_soak

    yield from measure_soak(bench, args.seconds)
