# SPDX-License-Identifier: Apache-2.0
"""``uwm store play STORE``: an episode on the ROS graph: pictures, states and actions.

Everything is published below a namespace of its own (``/play``), at the rate of the store and with
stamps of now, so that rviz, Foxglove or another node can look at it. Nothing moves: to drive an arm
with an episode there is replay.launch.py.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator

import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.node import Node

from uwm_core.data.store import Episode, Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.playing import Player

# Listeners and a new publisher take a moment to find each other.
_DISCOVERY_S = 0.5
# A listener that was killed never acknowledges.
_FAREWELL_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the action's arguments."""
    parser.add_argument("store", metavar="STORE", help="folder or URL")
    parser.add_argument("--episode", type=int, default=0, help="number, counted from 0")
    parser.add_argument("--rate", type=float, default=1.0, help="times real time")
    parser.add_argument("--loop", action="store_true", help="again and again, until Ctrl-C")
    parser.add_argument("--namespace", default="play", help="goes before every topic")


def run(args: argparse.Namespace) -> int:
    """Play and say what was played."""
    if not args.rate > 0:
        raise UwmError(f"--rate must be above 0, got {args.rate:g}")
    store = Store.open(args.store)
    episode = store.episode(args.episode)
    with _node() as node:
        player = Player(node, store.embodiment, args.namespace)
        for reason in player.left_out:
            print(f"not played: {reason}")
        print(
            f"episode {args.episode} of {store.location}: {len(episode.stamp_ns)} steps at "
            f"{args.rate * store.embodiment.rate_hz:g} Hz under /{args.namespace.strip('/')}"
        )
        time.sleep(_DISCOVERY_S)
        play(player, episode, store.embodiment, lambda: now_ns(node), args.rate)
        while args.loop:
            play(player, episode, store.embodiment, lambda: now_ns(node), args.rate)
        for publisher in player.publishers:
            publisher.wait_for_all_acked(Duration(seconds=_FAREWELL_S))
    return 0


def play(
    player: Player,
    episode: Episode,
    embodiment: Embodiment,
    now: Callable[[], int],
    rate: float = 1.0,
) -> None:
    """Publish every row at its time.

    Args:
        player: Where to.
        episode: What.
        embodiment: Says how far apart rows are.
        now: Moment to stamp a row with, ns.
        rate: Times real time.
    """
    start_s = time.monotonic()
    for row in range(len(episode.stamp_ns)):
        due_s = start_s + row * embodiment.period_ns / 1e9 / rate
        time.sleep(max(0.0, due_s - time.monotonic()))
        player.publish(episode, row, now())


@contextlib.contextmanager
def _node() -> Iterator[Node]:
    """A node on the graph that the environment names; nothing needs to be spun."""
    context = Context()
    rclpy.init(context=context, args=[])
    node = Node("store_play", context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()
