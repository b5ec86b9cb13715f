# SPDX-License-Identifier: Apache-2.0
"""Message classes by their names in an embodiment, e.g. `sensor_msgs/msg/JointState`."""

from __future__ import annotations

import importlib
from typing import Any

from uwm_core.errors import UwmError

_PARTS = 3


def message_class(name: str) -> Any:
    """The Python class of a message type.

    Args:
        name: `package/msg/Type`.

    Raises:
        UwmError: If the name has another form, or the type is not installed here.
    """
    parts = name.split("/")
    if len(parts) != _PARTS or parts[1] != "msg":
        raise UwmError(f"message type {name!r} must look like 'sensor_msgs/msg/JointState'")
    package, _, kind = parts
    try:
        return getattr(importlib.import_module(f"{package}.msg"), kind)
    except (ImportError, AttributeError) as error:
        raise UwmError(
            f"message type {name!r} is not installed here; install the ROS package {package!r}"
        ) from error
