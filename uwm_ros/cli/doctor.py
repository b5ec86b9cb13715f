# SPDX-License-Identifier: Apache-2.0
"""``uwm doctor``: would a recording be good? Topics, disk, middleware and clock are looked at.

Listens for a few seconds, changes nothing, and says what is wrong and what to do. Exit code 1 where
something fails; warnings do not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.machine import machine_facts
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.streams import TRANSPORTS, Streams
from uwm_ros.description import environment
from uwm_ros.logic.doctor import Line, check_machine, failures

# A subscription made anew, to match an offer, needs another moment to be heard.
_LOOK_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser("doctor", description=__doc__)
    parser.add_argument("-e", "--embodiment", default="fr3_sim", help="name or YAML file")
    parser.add_argument("--namespace", default="", help="of all relative topics, e.g. left")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long to listen")
    parser.add_argument("--directory", type=Path, default=Path("episodes"), help="of the bags")
    parser.add_argument("--role", choices=("expert", "video"), default="expert")
    parser.add_argument("--transport", choices=TRANSPORTS, default="raw", help="of raw cameras")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Listen, judge, print."""
    embodiment = Embodiment.load(args.embodiment)
    # Judged is the environment that the user has: nothing is set for it but what finds messages.
    os.environ.setdefault("AMENT_PREFIX_PATH", environment().get("AMENT_PREFIX_PATH", ""))
    with _node(args.namespace) as node:
        lines = examine(node, embodiment, args)
    for line in lines:
        print(json.dumps(line._asdict()) if args.json else line.to_text())
    failed, warned = len(failures(lines)), sum(line.level == "warn" for line in lines)
    if not args.json:
        print(f"{failed} failed, {warned} warned, {len(lines) - failed - warned} ok")
    return int(failed > 0)


def examine(node: Node, embodiment: Embodiment, args: argparse.Namespace) -> list[Line]:
    """Listen for `args.seconds` and judge what was heard."""
    streams = Streams(node, embodiment, SideLog(node), transport=args.transport)
    try:
        end_s = time.monotonic() + args.seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(_LOOK_S, left_s))
            streams.refresh()
        now = now_ns(node)
        lines = streams.check(now, actions=args.role != "video")
        facts = machine_facts(node, args.directory, streams.facts(now), probe=True)
        return [*lines, *check_machine(facts)]
    finally:
        streams.close()


@contextlib.contextmanager
def _node(namespace: str) -> Iterator[Node]:
    """A node in a context of its own; nothing spins it, since taps are polled."""
    context = Context()
    rclpy.init(context=context, args=[])
    node = Node("doctor", context=context, namespace=namespace)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()
