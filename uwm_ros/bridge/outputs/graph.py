# SPDX-License-Identifier: Apache-2.0
"""What the graph says about a command: who else sends it, and whether anybody listens."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from rclpy.publisher import Publisher

from uwm_ros.bridge.qos import full_name, publishers


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
    names = ", ".join(sorted(full_name(offer) for offer in offers))
    count = "several publishers" if own else "a publisher"
    return f"{node.resolve_topic_name(topic)} has {count}: {names}"


def trouble_of(node: Node, publisher: Publisher) -> str:
    """What is wrong with a command topic: another publisher, or nobody who listens; else empty."""
    other = second_publisher(node, publisher.topic_name)
    if other or publisher.get_subscription_count() > 0:
        return other
    return f"no controller listens on {publisher.topic_name}"


class Listener:
    """The one who takes the commands, told from recorders and other ears on the same topic.

    A controller of ros2_control is a node named as its topics begin; a driver that does all by
    itself publishes the joint states too. Where neither is among the listeners, any ear counts.
    """

    def __init__(self, node: Node, topics: Sequence[str], measured_topic: str) -> None:
        """Watch the command topics of an arm that is measured on another."""
        self._node, self._topics, self._measured = node, topics, measured_topic
        self._known: dict[str, str] = {}

    def trouble(self) -> str:
        """Who does not listen any more, one sentence; empty while it does."""
        drivers = {full_name(offer) for offer in publishers(self._node, self._measured)}
        for topic in self._topics:
            ears = self._node.get_subscriptions_info_by_topic(topic)
            names = {full_name(ear) for ear in ears}
            found = names & ({topic.rpartition("/")[0]} | drivers)
            if found:
                self._known[topic] = min(found)
            elif (gone := self._known.get(topic)) is not None and gone not in names:
                return f"{gone} no longer listens on {topic}"
        return ""

    def forget(self) -> None:
        """Begin anew: whoever listens now may be another."""
        self._known.clear()
