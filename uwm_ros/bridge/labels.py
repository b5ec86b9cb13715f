# SPDX-License-Identifier: Apache-2.0
"""The embodiment's action topics, published as a leader arm would: what a recorder records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_core.streams import FLOAT_TYPES, JOINT_STATE
from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.types import message_class


class Labels:
    """Publishers of what a person wants, by action channel.

    A channel whose label is its own command is left to the executor, which sends that; one that is
    recorded from a state, or as what a device says (a Twist, a Joy), has its publisher already.
    """

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Create the publishers; nothing is sent."""
        states = {spec.topic for spec in embodiment.state.values()}
        commands = {channel.command_topic for channel in embodiment.action.values()}
        self._channels: list[tuple[str, ActionChannel, Publisher[Any]]] = []
        for key, channel in embodiment.action.items():
            spoken = channel.type in (JOINT_STATE, *FLOAT_TYPES)
            if spoken and channel.topic not in states | commands:
                kind = message_class(channel.type)
                publisher = node.create_publisher(kind, channel.topic, reliable())
                self._channels.append((key, channel, publisher))

    def publish(self, wanted: Mapping[str, float], stamp_ns: int) -> None:
        """Publish what is wanted at a moment, by the name of the action's column."""
        for key, channel, publisher in self._channels:
            values = [float(wanted[name]) / channel.scale for name in channel.columns(key)]
            message = message_class(channel.type)()
            if channel.type == JOINT_STATE:
                message.header.stamp = to_stamp(stamp_ns)
                message.name = list(channel.names)
                # A sum is shared out evenly: two fingers have half of a width each.
                shared = channel.combine == "sum"
                setattr(
                    message,
                    channel.field,
                    [values[0] / len(channel.names)] * len(channel.names) if shared else values,
                )
            else:
                message.data = values[0]
            publisher.publish(message)
