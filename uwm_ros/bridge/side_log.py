# SPDX-License-Identifier: Apache-2.0
"""Log lines that nothing waits for.

rclpy's logger writes to the terminal and to a file while it holds Python's lock. A disk that is
busy with a bag then stops every thread of the process: measured, 1.5 s for one line, and 100
messages lost. Here a thread of its own writes the line, to the error stream and to `/rosout`.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading

from rcl_interfaces.msg import Log
from rclpy.logging import LoggingSeverity
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from uwm_ros.bridge.clock import now_ns, to_stamp

_DEPTH = 1000
_NS = 1_000_000_000


class SideLog:
    """The logger of one node."""

    def __init__(self, node: Node) -> None:
        """Log for `node`."""
        self._node = node
        profile = QoSProfile(depth=_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._rosout = node.create_publisher(Log, "/rosout", profile)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def info(self, text: str) -> None:
        """Say what happened."""
        self._say(LoggingSeverity.INFO, text)

    def warning(self, text: str) -> None:
        """Say what is not as it should be."""
        self._say(LoggingSeverity.WARN, text)

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self._say(LoggingSeverity.ERROR, text)

    def close(self, patience_s: float = 2.0) -> None:
        """Write what waits, for so long at most."""
        self._lines.put(None)
        self._thread.join(patience_s)

    def _say(self, severity: LoggingSeverity, text: str) -> None:
        if not self._node.get_logger().is_enabled_for(severity):
            return
        now, name = now_ns(self._node), self._node.get_logger().name
        self._lines.put(f"[{severity.name}] [{now // _NS}.{now % _NS:09d}] [{name}]: {text}\n")
        self._rosout.publish(Log(stamp=to_stamp(now), level=severity.value, name=name, msg=text))

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # a terminal that was closed
                sys.stderr.write(line)
                sys.stderr.flush()
