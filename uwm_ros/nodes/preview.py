# SPDX-License-Identifier: Apache-2.0
"""The preview: where the chunk that has just come would lead the hand, before it is played.

In: `policy/action_chunk`, `teleop/action_chunk`, joint states, `executor/safety`. Out:
`preview/markers` (the way of the hand, fainter the later, green where the gripper is open and
orange where it is closed; hand frames; workspace and table; what the executor says),
`preview/path` (one pose per action, stamped with its due time), `/diagnostics`. What is over is
taken away. Of two drivers the one that the executor listens to is drawn. Due times count as the
executor counts them: what answers an arm at rest begins when the arm does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nav_msgs.msg import Path
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from visualization_msgs.msg import Marker, MarkerArray

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.arm_state import ArmState
from uwm_ros.bridge.chunks import pause_of, to_chunk
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.preview_markers import (
    no_way,
    place_markers,
    to_path,
    way_markers,
    words_marker,
)
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.foresight import NOWHERE, Foreseer
from uwm_ros.logic.pause import LONG_AGO
from uwm_ros.msg import ActionChunk, SafetyStatus

_TICK_S = 0.1
_SECOND_TICKS = 10
_WORDS_AT_M = (0.0, 0.0, 1.0)
_DRIVERS = {"policy": "policy/action_chunk", "human": "teleop/action_chunk"}


class Preview(Node):
    """Draws; see the module."""

    def __init__(self, **options: Any) -> None:
        """Build the arm and listen.

        Args:
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter is not usable, or the embodiment has no kinematics.
        """
        super().__init__("preview", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._foreseer = Foreseer(self._embodiment)
        self._frame = self._foreseer.base_frame
        self._arm = ArmState(self, self._embodiment)
        self._driver, self._words, self._pause = "policy", "", LONG_AGO
        self._drawn, self._reason = 0, ""
        self._ends_ns: int | None = None
        self._ticks = 0
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._markers = self.create_publisher(MarkerArray, "preview/markers", reliable())
        self._path = self.create_publisher(Path, "preview/path", reliable(2))
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        for driver, topic in _DRIVERS.items():

            def take(message: ActionChunk, driver: str = driver) -> None:
                if driver == self._driver:
                    self._draw(message)

            self.create_subscription(ActionChunk, topic, take, reliable(2))
        self.create_subscription(SafetyStatus, "executor/safety", self._on_safety, reliable(1))
        self.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Take away what is drawn."""
        self._markers.publish(MarkerArray(markers=no_way(self._frame, now_ns(self))))
        self._arm.close()

    def _draw(self, message: ActionChunk) -> None:
        now = now_ns(self)
        try:
            chunk = self._pause.counted(to_chunk(message), now)
            foresight = self._foreseer(chunk, now, self._arm.measured(now))
        except UwmError as error:
            self._say(str(error))
            return
        self._markers.publish(MarkerArray(markers=way_markers(foresight, self._frame, now)))
        self._path.publish(to_path(foresight, self._frame, now))
        self._ends_ns = int(foresight.dues_ns[-1]) if len(foresight.dues_ns) else None
        self._drawn += 1
        self._say("")

    def _on_safety(self, message: SafetyStatus) -> None:
        self._driver, self._pause = message.driver or self._driver, pause_of(message)
        words = f"{message.state}: {message.reason}" if message.reason else message.state
        if words != self._words:
            self._words = words
            self._markers.publish(MarkerArray(markers=[self._words_marker(now_ns(self))]))

    def _tick(self) -> None:
        now = now_ns(self)
        if self._ends_ns is not None and now > self._ends_ns:
            self._ends_ns = None
            self._markers.publish(MarkerArray(markers=no_way(self._frame, now)))
            self._path.publish(to_path(NOWHERE, self._frame, now))
        if self._ticks % _SECOND_TICKS == 0:
            places = place_markers(self._embodiment.safety, self._frame, now)
            self._markers.publish(MarkerArray(markers=[*places, self._words_marker(now)]))
            self._report()
        self._ticks += 1

    def _words_marker(self, now: int) -> Marker:
        return words_marker(self._words, self._frame, now, _WORDS_AT_M)

    def _say(self, reason: str) -> None:
        self._reason = reason
        self._edges.update("preview", bad=bool(reason), text=f"nothing is drawn: {reason}")

    def _report(self) -> None:
        level = Level.WARN if self._reason else Level.OK
        values = {"driver": self._driver, "chunks drawn": self._drawn}
        self._diagnostics.update(level, self._reason or "ok", values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(Preview, argv)


if __name__ == "__main__":
    raise SystemExit(main())
