# SPDX-License-Identifier: Apache-2.0
"""Services that do one thing and answer with where that led, or with why it was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from uwm_core.errors import UwmError


def serve_trigger(
    node: Node, name: str, command: Callable[[], None], state: Callable[[], str]
) -> None:
    """A Trigger service; a `UwmError` is its refusal.

    Args:
        node: That serves.
        name: Of the service.
        command: What it does.
        state: What a success answers.
    """
    node.create_service(Trigger, name, _answering(node, lambda _: command(), state))


def serve_flag(
    node: Node, name: str, command: Callable[[bool], None], state: Callable[[], str]
) -> None:
    """A SetBool service; the same otherwise."""
    node.create_service(SetBool, name, _answering(node, lambda asked: command(asked.data), state))


def _answering(
    node: Node, command: Callable[[Any], None], state: Callable[[], str]
) -> Callable[[Any, Any], Any]:
    def answer(request: Any, response: Any) -> Any:
        try:
            command(request)
            response.success, response.message = True, state()
        except UwmError as error:
            response.success, response.message = False, str(error)
            node.get_logger().warning(str(error))
        return response

    return answer
