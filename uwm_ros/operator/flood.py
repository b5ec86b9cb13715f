# SPDX-License-Identifier: Apache-2.0
"""One publisher process of `uwm bench recorder`: numbered messages at an exact rate.

Speaks with the bench over its standard streams: on `count` its messages are numbered from 0, on
`end` it says how many those were, on end of input it leaves. A message is serialized once; then
only stamp and number are written into its bytes, so that publishing costs next to nothing.
"""

from __future__ import annotations

import argparse
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

# frame_id of a message: the number that it has, of this many digits, or as many blanks.
NUMBER = 12
_STAMP_AT, _NUMBER_AT = 4, 16
_NS = 1_000_000_000


@dataclass
class Channel:
    """One topic: its publisher, its bytes and its rate."""

    publisher: Any
    data: bytearray
    period_ns: int
    due_ns: int
    number: int = -1
    counted: int = 0


class Flood:
    """Publishes until its input ends."""

    def __init__(self, node: Node, topics: Sequence[str], size: tuple[int, int]) -> None:
        """Publish `topics`.

        Args:
            node: The node.
            topics: `name@rate` of joint states, or `name@rate@image`.
            size: (H, W) of images.
        """
        now = time.time_ns()
        self.channels: dict[str, Channel] = {}
        for entry in topics:
            name, rate, *kind = entry.split("@")
            message = _image(size) if kind else _joints(name)
            depth = 10 if kind else 1000
            publisher = node.create_publisher(type(message), name, QoSProfile(depth=depth))
            data = bytearray(serialize_message(message))
            self.channels[name] = Channel(publisher, data, round(_NS / float(rate)), now)
        self._command = ""
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self) -> None:
        """Publish what is due, obey what is said."""
        channels = list(self.channels.values())
        while self._command != "leave":
            now = time.time_ns()
            due_ns = min(channel.due_ns for channel in channels)
            if due_ns > now:
                time.sleep((due_ns - now) / _NS)
            if self._command:
                self._obey()
            now = time.time_ns()
            for channel in channels:
                if channel.due_ns <= now:
                    _send(channel, now)

    def _listen(self) -> None:
        for line in sys.stdin:
            self._command = line.strip()
        self._command = "leave"

    def _obey(self) -> None:
        command = self._command
        if command == "leave":
            return
        self._command = ""
        for name, channel in self.channels.items():
            channel.number = 0 if command == "count" else -1
            if command == "end":
                _say(f"{name} {channel.counted}")
        _say("done")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _send(channel: Channel, now: int) -> None:
    text = b" " * NUMBER
    if channel.number >= 0:
        text = b"%012d" % channel.number
        channel.number += 1
        channel.counted = channel.number
    struct.pack_into("<iI", channel.data, _STAMP_AT, now // _NS, now % _NS)
    channel.data[_NUMBER_AT : _NUMBER_AT + NUMBER] = text
    channel.publisher.publish(bytes(channel.data))
    channel.due_ns += channel.period_ns


def _image(size: tuple[int, int]) -> Image:
    height, width = size
    message = Image(height=height, width=width, step=3 * width, encoding="rgb8")
    message.header.frame_id = " " * NUMBER
    message.data.frombytes(bytes(range(256)) * (height * width * 3 // 256))
    return message


def _joints(name: str) -> JointState:
    fingers = [f"fr3_finger_joint{i}" for i in (1, 2)]
    names = fingers if "gripper" in name else [f"fr3_joint{i}" for i in range(1, 8)]
    zeros = [0.0] * len(names)
    message = JointState(name=names, position=zeros, velocity=zeros, effort=zeros)
    message.header.frame_id = " " * NUMBER
    return message


def main() -> int:
    """Publish; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the node")
    parser.add_argument("topics", nargs="+", help="name@rate, or name@rate@image")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640))
    args = parser.parse_args()
    rclpy.init(args=[])
    Flood(Node(args.name), args.topics, tuple(args.size)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
