# SPDX-License-Identifier: Apache-2.0
"""What all outputs share that send one target after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node

from uwm_ros.bridge.outputs.graph import trouble_of
from uwm_ros.bridge.qos import reliable
from uwm_ros.logic.plan import Plan


class Stream(ABC):
    """Publishes a sample of the plan in force at every tick. An `ArmOutput`."""

    streams = True

    def __init__(self, node: Node, kind: type, topic: str) -> None:
        """Create the publisher; nothing is sent before the first plan.

        Args:
            node: The node that sends.
            kind: The message class.
            topic: Where the samples go.
        """
        self._node = node
        self._plan: Plan | None = None
        # A target that waited is worth nothing: only the newest one is kept for a slow reader.
        self._publisher = node.create_publisher(kind, topic, reliable(1))
        self.topics = (self._publisher.topic_name,)

    @abstractmethod
    def message(self, plan: Plan, now_ns: int) -> Any:
        """What to send now."""

    def plan(self, plan: Plan, now_ns: int) -> None:
        """Sample this one from the next tick on."""
        self._plan = plan

    def tick(self, now_ns: int) -> bool:
        """Send the sample for now."""
        if self._plan is None:
            return False
        self._publisher.publish(self.message(self._plan, now_ns))
        return True

    def check(self) -> str:
        """Another publisher, or nobody who listens."""
        return trouble_of(self._node, self._publisher)

    def release(self) -> None:
        """Fall silent."""
        self._plan = None

    def wait_until_sent(self, timeout_s: float) -> None:
        """Until the controller has acknowledged the last sample."""
        self._publisher.wait_for_all_acked(Duration(seconds=timeout_s))
