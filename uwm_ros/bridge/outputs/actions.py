# SPDX-License-Identifier: Apache-2.0
"""Actions by the names in an embodiment, e.g. `control_msgs/action/GripperCommand`.

Their packages are not part of every ROS installation, so they are imported when they are asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.node import Node

from uwm_core.errors import UwmError

ACCEPTED_ENDS = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED)
"""How a goal may end without anything being wrong."""


def action_class(name: str) -> Any:
    """The Python class of an action.

    Args:
        name: `package/action/Type`.

    Raises:
        UwmError: If it is not installed here.
    """
    package, _, kind = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.action"), kind)
    except (ImportError, AttributeError) as error:
        raise UwmError(
            f"action type {name!r} is not installed here; install the ROS package {package!r}, or "
            "command a topic instead"
        ) from error


def offered(node: Node, name: str) -> bool:
    """Whether somebody offers an action of this full name."""
    return bool(node.count_services(f"{name}/_action/send_goal"))
