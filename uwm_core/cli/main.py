# SPDX-License-Identifier: Apache-2.0
"""``uwm <verb>``: the table of verbs, and what all of them share.

A verb's module is imported only when it is asked for, so that ``uwm convert`` needs no torch and
``uwm train`` no ROS. Each module has ``add_parser(subparsers)`` and ``run(args) -> int``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import NamedTuple

from uwm_core import __version__
from uwm_core.errors import UwmError


class Verb(NamedTuple):
    """Where a verb lives and its one-line help."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "convert": Verb("uwm_core.cli.convert", "turn recorded bags into a store"),
    "bag": Verb("uwm_core.cli.bag", "recover or verify recorded bags"),
    "import": Verb("uwm_core.cli.import_", "turn a data set of another format into a store"),
    "import-published": Verb(
        "uwm_core.cli.import_published", "turn a published UWM checkpoint into one of ours"
    ),
    "export": Verb("uwm_core.cli.export", "write a store in another format"),
    "inspect": Verb("uwm_core.cli.inspect", "print what a store holds, draw a contact sheet"),
    "store": Verb("uwm_core.cli.store", "merge, split, drop, relabel, verify, measure stores"),
    "calibrate-latency": Verb(
        "uwm_core.cli.calibrate_latency", "estimate how late the cameras are, from one bag"
    ),
    "train": Verb("uwm_core.cli.train", "train a world model from a store"),
    "evaluate": Verb("uwm_core.cli.evaluate", "evaluate a checkpoint in simulation, without ROS"),
    "bench": Verb("uwm_core.cli.bench", "measure latency and throughput"),
    "record": Verb("uwm_ros.cli.record", "record episodes by keys, see how the streams are"),
    "doctor": Verb("uwm_ros.cli.doctor", "check topics, clocks and disk before a recording"),
    "teleop": Verb("uwm_ros.cli.teleop", "drive the arm by the keys of a terminal"),
    "demo": Verb("uwm_ros.cli.demo", "drive the simulated arm through the ROS graph"),
    "make-checkpoint": Verb("uwm_ros.cli.make_checkpoint", "record, convert, train, from nothing"),
    "record-demos": Verb("uwm_ros.cli.record_demos", "record demonstrations through the ROS graph"),
}


def _add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser], verb: str) -> None:
    """Let the verb's own module describe its arguments.

    Raises:
        UwmError: If the module or something that it needs is not installed.
    """
    try:
        module = importlib.import_module(VERBS[verb].module)
    except ModuleNotFoundError as error:
        raise UwmError(f"uwm {verb} needs {error.name!r}, which is not installed") from None
    module.add_parser(subparsers)


def _parser(verb: str | None) -> argparse.ArgumentParser:
    """Parser of one verb in full, of the others by their help line only."""
    parser = argparse.ArgumentParser(
        prog="uwm", description="Unified world models: record, convert, train, drive and imagine."
    )
    parser.add_argument("--version", action="version", version=f"uwm {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, entry in VERBS.items():
        if name == verb:
            _add(subparsers, name)
        else:
            subparsers.add_parser(name, help=entry.help)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0 if it worked, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in argv if not word.startswith("-")), None)
    try:
        args = _parser(verb).parse_args(argv)
        module = importlib.import_module(VERBS[args.verb].module)
        return int(module.run(args) or 0)
    except UwmError as error:
        print(f"uwm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("uwm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`uwm inspect X | head`): nothing is wrong.
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
