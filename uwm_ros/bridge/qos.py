# SPDX-License-Identifier: Apache-2.0
"""Subscriptions whose quality of service matches what publishers offer on the graph.

A best-effort subscriber hears everyone but loses large images; a reliable one never hears a
best-effort publisher (franka's state broadcasters, many cameras). So the offer is looked up:
reliable while every publisher is (or none is known yet), best effort as soon as one is not; the
same for transient-local. When a publisher appears later the subscription is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.types import message_class

COMMAND_DEPTH = 10
_REFRESH_S = 0.5


def reliable(depth: int = COMMAND_DEPTH) -> QoSProfile:
    """Reliable and volatile: commands, chunks, status."""
    return QoSProfile(depth=depth, history=HistoryPolicy.KEEP_LAST)


def publishers(node: Node, topic: str) -> list[TopicEndpointInfo]:
    """Publishers of a topic (resolved in the node's namespace and remappings) on the graph."""
    return list(node.get_publishers_info_by_topic(node.resolve_topic_name(topic)))


def full_name(offer: TopicEndpointInfo) -> str:
    """Of the node behind a publisher; discovery tells of it a moment after the publisher."""
    if "UNKNOWN" in offer.node_name:
        return "one not yet known by name"
    return f"{offer.node_namespace.rstrip('/')}/{offer.node_name}"


def matching_profile(offers: list[QoSProfile], depth: int) -> QoSProfile:
    """The strongest profile that hears every one of the offers."""
    profile = reliable(depth)
    if any(offer.reliability == ReliabilityPolicy.BEST_EFFORT for offer in offers):
        profile.reliability = ReliabilityPolicy.BEST_EFFORT
    if offers and all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers):
        profile.durability = DurabilityPolicy.TRANSIENT_LOCAL
    return profile


class MatchedSubscription:
    """One subscription that follows the offers on its topic.

    Attributes:
        topic: Name as given.
        type: Name of the message type.
    """

    def __init__(
        self,
        node: Node,
        type_name: str,
        topic: str,
        callback: Callable[[Any, int], None],
        *,
        depth: int = 10,
    ) -> None:
        """Subscribe with what the graph offers now.

        Args:
            node: The node.
            type_name: E.g. `sensor_msgs/msg/Image`.
            topic: Name, relative to the node's namespace.
            callback: Gets the message and when it was received, ns.
            depth: Messages that may wait.

        Raises:
            UwmError: If the message type is not installed.
        """
        self.topic = topic
        self.type = type_name
        self._node = node
        self._class = message_class(type_name)
        self._callback = callback
        self._depth = depth
        self._use_sim_time = bool(node.get_parameter("use_sim_time").value)
        self._profile = self._wanted()
        self._subscription: Subscription[Any] = self._create()
        self._timer = node.create_timer(_REFRESH_S, self.refresh)

    @property
    def resolved(self) -> str:
        """Full name of the topic after namespace and remapping."""
        return str(self._node.resolve_topic_name(self.topic))

    def refresh(self) -> None:
        """Look at the offers again and subscribe anew where they ask for another profile."""
        wanted = self._wanted()
        same = (
            wanted.reliability == self._profile.reliability
            and wanted.durability == self._profile.durability
        )
        if same:
            return
        self._node.destroy_subscription(self._subscription)
        self._profile = wanted
        self._subscription = self._create()
        self._node.get_logger().info(
            f"{self.resolved}: publishers offer {wanted.reliability.name.lower()},"
            f" {wanted.durability.name.lower()}; subscribed anew to match"
        )

    def close(self) -> None:
        """Leave the topic."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_subscription(self._subscription)

    def _wanted(self) -> QoSProfile:
        offers = [
            info.qos_profile
            for info in publishers(self._node, self.topic)
            if info.topic_type == self.type
        ]
        return matching_profile(offers, self._depth)

    def _create(self) -> Subscription[Any]:
        return self._node.create_subscription(self._class, self.topic, self._receive, self._profile)

    def _receive(self, message: Any, info: Any) -> None:
        # The middleware's own stamp does not contain the time the message waited in our queue.
        received_ns = 0 if self._use_sim_time else int(info["received_timestamp"])
        self._callback(message, received_ns or now_ns(self._node))
