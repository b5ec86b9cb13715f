# SPDX-License-Identifier: Apache-2.0
"""The topics of a flight recorder, raw, into its memory: what drives, what is seen and said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.node import Node

from uwm_core.data.bag_types import definition
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.streams import IMAGE_TYPES, Camera
from uwm_ros.bridge.qos import publishers
from uwm_ros.bridge.robot_state import TOPIC as ROBOT_STATE
from uwm_ros.bridge.taps import Tap, TapLoop
from uwm_ros.logic.flight import FlightMemory
from uwm_ros.logic.recording import Raw

# Four times as seldom as a recorder looks: nothing waits for it, and the arm needs the processor.
_POLL_S = 0.02
SAID = {
    "policy/action_chunk": "uwm_ros/msg/ActionChunk",
    "teleop/action_chunk": "uwm_ros/msg/ActionChunk",
    "policy/status": "uwm_ros/msg/PolicyStatus",
    "executor/status": "uwm_ros/msg/ExecutorStatus",
    "executor/safety": "uwm_ros/msg/SafetyStatus",
    "executor/chunk_timing": "uwm_ros/msg/ChunkTiming",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    "/rosout": "rcl_interfaces/msg/Log",
}
"""What the nodes say, type by topic."""
FOUND = (ROBOT_STATE, "manager/status", "sim/task")
"""Topics that are kept where somebody publishes them."""


class Remembering:
    """Subscriptions that fill a memory.

    Attributes:
        taps: By resolved topic.
    """

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        memory: FlightMemory,
        *,
        images: bool,
        extra: Sequence[str],
        warn: Callable[[str], None],
    ) -> None:
        """Subscribe.

        Args:
            node: The node.
            embodiment: Its streams and commands.
            memory: What is filled.
            images: Whether cameras are kept.
            extra: More topics; subscribed to as soon as somebody tells their type.
            warn: Gets a line about each topic that cannot be kept.
        """
        self.taps: dict[str, Tap] = {}
        self._node, self._memory, self._warn = node, memory, warn
        self._loop = TapLoop(_POLL_S)
        topics = {
            stream.topic: (stream.type, stream.rate_hz)
            for stream in embodiment.streams.values()
            if images or not isinstance(stream, Camera)
        }
        commands = [c for c in embodiment.action.values() if "/msg/" in c.command_type]
        topics = {c.command_topic: (c.command_type, 0.0) for c in commands} | topics
        for topic, kind in SAID.items():
            topics.setdefault(topic, (kind, 0.0))
        for topic, (kind, rate_hz) in topics.items():
            self._listen(topic, kind, rate_hz)
        goals = [
            c.command_topic for c in embodiment.action.values() if "/action/" in c.command_type
        ]
        self._missing = [*extra, *FOUND, *(f"{name}/_action/status" for name in goals)]

    @property
    def lost(self) -> dict[str, int]:
        """Messages that never arrived, by topic; those of which there are none left out."""
        return {topic: tap.lost for topic, tap in self.taps.items() if tap.lost}

    def refresh(self) -> None:
        """Follow what the graph offers now; cheap enough for every second."""
        for tap in self.taps.values():
            tap.refresh(mend_only=False)
        for topic in list(self._missing):
            if offers := publishers(self._node, topic):
                self._missing.remove(topic)
                self._listen(topic, offers[0].topic_type, 0.0)

    def close(self) -> None:
        """Leave every topic."""
        self._loop.close()
        for tap in self.taps.values():
            tap.close()

    def _listen(self, topic: str, kind: str, rate_hz: float) -> None:
        resolved = str(self._node.resolve_topic_name(topic))
        if resolved in self.taps:
            return
        picture = kind in IMAGE_TYPES

        def deliver(data: bytes, receive_ns: int) -> None:
            self._memory.add(Raw(resolved, data, receive_ns), picture=picture)

        try:
            definition(kind)  # slow the first time, and a bag has to have it
            self.taps[resolved] = Tap(self._node, topic, kind, rate_hz, deliver)
        except UwmError as error:
            self._warn(f"{resolved} is not kept: {error}")
            return
        self._loop.watch(self.taps.values())
