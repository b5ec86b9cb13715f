# SPDX-License-Identifier: Apache-2.0
"""What the graph says about a command: who else sends it, and whether anybody listens."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.topic_endpoint_info import TopicEndpointInfo

from uwm_ros.bridge.qos import publishers


def second_publisher(node: Node, topic: str, own: int = 1) -> str:
    """One sentence where a topic has more publishers than our own; else empty.

    Args:
        node: The node that commands.
        topic: Name of the topic, resolved or not.
        own: How many of the publishers are ours.
    """
    offers = publishers(node, topic)
    if len(offers) <= own:
        return ""
    names = ", ".join(sorted(_full_name(offer) for offer in offers))
    count = "several publishers" if own else "a publisher"
    return f"{node.resolve_topic_name(topic)} has {count}: {names}"


def trouble_of(node: Node, publisher: Publisher) -> str:
    """What is wrong with a command topic: another publisher, or nobody who listens; else empty."""
    other = second_publisher(node, publisher.topic_name)
    if other or publisher.get_subscription_count() > 0:
        return other
    return f"no controller listens on {publisher.topic_name}"


def _full_name(offer: TopicEndpointInfo) -> str:
    """Of the node behind a publisher; discovery tells of it a moment after the publisher."""
    if "UNKNOWN" in offer.node_name:
        return "one not yet known by name"
    return f"{offer.node_namespace.rstrip('/')}/{offer.node_name}"
