# SPDX-License-Identifier: Apache-2.0
"""``uwm record``: a recorder's keys and its status in a terminal.

Keys: s starts, and keeps as a success; f keeps as a failure, d discards; u takes the last decision
back (and once more: takes that back), n writes a note, c checks, q leaves. Drives the services of a
recorder that runs, or starts one with ``--directory``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger

from uwm_core.errors import UwmError
from uwm_ros.bringup import Bringup
from uwm_ros.description import RecordOptions, environment, record_stack
from uwm_ros.msg import EpisodeStatus
from uwm_ros.operator.client import Operator, operator_on_graph
from uwm_ros.operator.keyboard import keys
from uwm_ros.srv import CheckStreams, NoteEpisode, StartEpisode, StopEpisode

KEYS = "s start, then success  f failure  d discard  u undo  n note  c check  q quit"
_LOOK_S = 0.2
# Writing what waits may take as long as a slow disk needs for a full queue.
_STOP_S = 120.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("record", description=__doc__)
    parser.add_argument("task", nargs="?", default="", help="task sentence of the episodes")
    parser.add_argument("--role", choices=("expert", "play", "video"), default="expert")
    parser.add_argument("--namespace", default="", help="of the recorder, e.g. left")
    parser.add_argument("-o", "--directory", type=Path, help="start a recorder that writes here")
    parser.add_argument("-e", "--embodiment", default="fr3_sim", help="of a recorder started here")


def run(args: argparse.Namespace) -> int:
    """Read keys until q."""
    with (
        keys("uwm record", _LOOK_S, "call recorder/start") as read,
        _recorder(args) as check,
        operator_on_graph(check) as operator,
    ):
        desk = Desk(operator, args)
        print(KEYS)
        while (key := read()) != "q":
            if key:
                print(f"\r\x1b[K{desk.press(key, read)}")
            print(f"\r\x1b[K{desk.line()}", end="", flush=True)
        print()
    return 0


class Desk:
    """What the keys do."""

    def __init__(self, operator: Operator, args: argparse.Namespace) -> None:
        """Steer the recorder of `args.namespace`."""
        self._operator, self._args = operator, args
        space = args.namespace.strip("/")
        self._prefix = f"/{space}/recorder" if space else "/recorder"
        operator.watch(f"{self._prefix}/status", EpisodeStatus)

    def press(self, key: str, read: Callable[[], str]) -> str:
        """Do what a key stands for; what came of it, in one line."""
        try:
            if key == "s" and self._state() == "idle":
                request = StartEpisode.Request(task=self._args.task, role=self._args.role)
                return f"recording {self._call('start', StartEpisode, request).episode}"
            if key in "sf":
                outcome = "success" if key == "s" else "failure"
                request = StopEpisode.Request(outcome=outcome)
                return f"{outcome}: {self._call('stop', StopEpisode, request).path}"
            if key == "d":
                return f"discarded: {self._call('discard', Trigger).message}"
            if key == "u":
                return f"undone: {self._call('undo', Trigger).message}"
            if key == "n":
                request = NoteEpisode.Request(text=_line("note: ", read))
                return f"noted with {self._call('note', NoteEpisode, request).noted}"
            if key == "c":
                self._call("check", CheckStreams)
                return "check: nothing fails"
        except UwmError as error:
            return str(error)
        return KEYS

    def line(self) -> str:
        """How the recorder is, in one line."""
        status = self._operator.newest.get(f"{self._prefix}/status")
        if status is None:
            return f"waiting for {self._prefix}/status"
        parts = [status.state, f"kept {status.kept}"]
        if status.state == "recording":
            parts = [f"REC {status.elapsed_s:.1f} s", f"{sum(status.counts)} messages"]
        parts.append(f"{status.disk_free_bytes / 2**30:.0f} GiB free")
        if status.alarms:
            more = f" (+{len(status.alarms) - 1})" if len(status.alarms) > 1 else ""
            parts.append(f"ALARM {status.alarms[0]}{more}")
        return " | ".join(parts)[: _width()]

    def _state(self) -> str:
        status = self._operator.newest.get(f"{self._prefix}/status")
        return status.state if status is not None else "idle"

    def _call(self, name: str, kind: Any, request: Any = None) -> Any:
        return self._operator.call(f"{self._prefix}/{name}", kind, request, timeout_s=_STOP_S)


def _line(prompt: str, read: Callable[[], str]) -> str:
    """Read a line key by key, since the terminal gives us keys."""
    text = ""
    while (key := read()) not in ("\n", "\r"):
        text = text[:-1] if key in ("\x7f", "\b") else text + key
        print(f"\r\x1b[K{prompt}{text}", end="", flush=True)
    return text


def _width() -> int:
    return os.get_terminal_size().columns - 1 if sys.stdout.isatty() else 200


@contextlib.contextmanager
def _recorder(args: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """The recorder that was asked for, for the length of a block; gives a check that it lives."""
    os.environ.update(environment())
    if args.directory is None:
        yield lambda: None
        return
    options = RecordOptions(
        embodiment=args.embodiment,
        namespace=args.namespace.strip("/"),
        directory=str(args.directory.resolve()),
        task=args.task,
    )
    with Bringup(record_stack(options), args.directory / "log") as graph:
        yield graph.check
