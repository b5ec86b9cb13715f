# SPDX-License-Identifier: Apache-2.0
"""What a preflight looks at: streams, executor, command topics and the robot's own mode."""

from __future__ import annotations

import time
from typing import Any

from rclpy.node import Node

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.qos import MatchedSubscription, publishers
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.streams import Streams
from uwm_ros.logic.doctor import Line
from uwm_ros.logic.preflight import CommandFacts, RobotFacts, check_command, check_robot

_ROBOT_STATE = "franka_msgs/msg/FrankaRobotState"
_ROBOT_TOPIC = "franka_robot_state_broadcaster/robot_state"


class Around:
    """Listens to everything that a policy needs, until it is closed."""

    def __init__(self, node: Node, embodiment: Embodiment, log: SideLog) -> None:
        """Listen.

        Raises:
            UwmError: If a message type is not installed.
        """
        self._node, self._embodiment = node, embodiment
        self._begin_s = time.monotonic()
        self._robot: RobotFacts | None = None
        self._streams = Streams(node, embodiment, log)
        self._robot_state = self._listen_to_robot()

    @property
    def age_s(self) -> float:
        """How long it has listened."""
        return time.monotonic() - self._begin_s

    def check(self, executor: str) -> list[Line]:
        """Judge what was heard; `executor` is the one node that may command."""
        self._streams.refresh()
        lines = self._streams.check(now_ns(self._node), actions=False)
        lines += [check_command(facts, executor) for facts in self._commands()]
        return [*lines, check_robot(self._robot)]

    def close(self) -> None:
        """Leave every topic."""
        self._streams.close()
        if self._robot_state is not None:
            self._robot_state.close()

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
            names = tuple(
                "one not yet known by name"
                if "UNKNOWN" in offer.node_name
                else f"{offer.node_namespace.rstrip('/')}/{offer.node_name}"
                for offer in publishers(self._node, topic)
            )
            arm = self._embodiment.moves_arm(channel)
            found.append(CommandFacts(topic=topic, arm=arm, listeners=listeners, publishers=names))
        return found

    def _listen_to_robot(self) -> MatchedSubscription | None:
        """Where franka_msgs is installed; elsewhere nobody can publish it either."""
        try:
            return MatchedSubscription(
                self._node, _ROBOT_STATE, _ROBOT_TOPIC, self._on_robot, depth=1
            )
        except UwmError:
            return None

    def _on_robot(self, message: Any, _: int) -> None:
        errors = message.current_errors
        names = tuple(
            name.replace("_", " ")
            for name in errors.get_fields_and_field_types()
            if getattr(errors, name) is True
        )
        self._robot = RobotFacts(mode=int(message.robot_mode), errors=names)
