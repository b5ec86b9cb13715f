# SPDX-License-Identifier: Apache-2.0
"""What a preflight looks at: streams, executor, command topics and the robot's own mode."""

from __future__ import annotations

import time

from rclpy.node import Node

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.qos import full_name, publishers
from uwm_ros.bridge.robot_state import RobotState
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.streams import Streams
from uwm_ros.logic.doctor import Line
from uwm_ros.logic.preflight import CommandFacts, check_command, check_robot


class Around:
    """Listens to everything that a policy needs, until it is closed."""

    def __init__(self, node: Node, embodiment: Embodiment, log: SideLog) -> None:
        """Listen.

        Raises:
            UwmError: If a message type is not installed.
        """
        self._node, self._embodiment = node, embodiment
        self._begin_s = time.monotonic()
        self._streams = Streams(node, embodiment, log)
        self._robot = RobotState(node)

    @property
    def age_s(self) -> float:
        """How long it has listened."""
        return time.monotonic() - self._begin_s

    def check(self, executor: str) -> list[Line]:
        """Judge what was heard; `executor` is the one node that may command."""
        self._streams.refresh()
        lines = self._streams.check(now_ns(self._node), actions=False)
        lines += [check_command(facts, executor) for facts in self._commands()]
        return [*lines, check_robot(self._robot.facts)]

    def close(self) -> None:
        """Leave every topic."""
        self._streams.close()
        self._robot.close()

    def _commands(self) -> list[CommandFacts]:
        """Who publishes and who listens where the embodiment is commanded."""
        services = [name for name, _ in self._node.get_service_names_and_types()]
        found = []
        for channel in self._embodiment.action.values():
            topic = str(self._node.resolve_topic_name(channel.command_topic))
            if "/action/" in channel.command_type:
                goals = (name for name in services if name.endswith("/_action/send_goal"))
                listeners = sum(name.startswith(f"{topic}/") for name in goals)
            else:
                listeners = self._node.count_subscribers(topic)
            names = tuple(full_name(offer) for offer in publishers(self._node, topic))
            arm = self._embodiment.moves_arm(channel)
            found.append(CommandFacts(topic=topic, arm=arm, listeners=listeners, publishers=names))
        return found
