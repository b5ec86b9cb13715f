# SPDX-License-Identifier: Apache-2.0
"""Nanoseconds and ROS stamps, both ways. Everything behind the bridge counts int64 nanoseconds."""

from __future__ import annotations

from builtin_interfaces.msg import Duration, Time
from rclpy.node import Node

_NS = 1_000_000_000


def now_ns(node: Node) -> int:
    """The node's clock in ns: system time, or simulated time where `use_sim_time` is set."""
    return int(node.get_clock().now().nanoseconds)


def to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds as a message stamp."""
    return Time(sec=int(stamp_ns // _NS), nanosec=int(stamp_ns % _NS))


def to_duration(duration_ns: int) -> Duration:
    """Nanoseconds as a message duration; negative ones have a negative `sec`."""
    return Duration(sec=int(duration_ns // _NS), nanosec=int(duration_ns % _NS))


def to_ns(stamp: Time | Duration) -> int:
    """A message stamp or duration in nanoseconds."""
    return int(stamp.sec) * _NS + int(stamp.nanosec)
