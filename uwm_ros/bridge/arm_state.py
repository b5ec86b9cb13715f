# SPDX-License-Identifier: Apache-2.0
"""The measured arm: newest joint state, decoded only when somebody asks."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node

from uwm_core.data.messages import stamp_ns, vector
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_ros.bridge.qos import MatchedSubscription
from uwm_ros.logic.judge import measured_by
from uwm_ros.logic.limits import Floats


class ArmState:
    """Keeps the newest joint state.

    Attributes:
        max_age_s: Older is stale.
        trouble: Why the newest message could not be read; empty while it could.
    """

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe.

        Raises:
            UwmError: If the embodiment has no state with the positions of all joints.
        """
        self._joints = embodiment.arm_joints
        self._spec = measured_by(embodiment)
        self.max_age_s = self._spec.max_age_s
        self.trouble = ""
        # At 1 kHz most messages are never looked at, so they are not decoded.
        self._newest: tuple[Any, int] | None = None
        self._stream = MatchedSubscription(
            node, self._spec.type, self._spec.topic, self._keep, depth=1
        )

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self._stream.resolved

    def at(self, now_ns: int) -> tuple[Floats | None, float]:
        """Positions (J,) rad in the order of `arm_joints`, and their age in s.

        Without a readable message: None and infinity. A stamp ahead of the clock has the age by
        which it is ahead: both are a clock that cannot be trusted.
        """
        if self._newest is None:
            return None, float("inf")
        message, receive_ns = self._newest
        try:
            values = vector(message, self._spec).astype(np.float64)
        except DataError as error:
            self.trouble = str(error)
            return None, float("inf")
        self.trouble = ""
        by_name = dict(zip(self._spec.names, values, strict=True))
        age_s = abs(now_ns - stamp_ns(message, receive_ns, self._spec)) / 1e9
        return np.array([by_name[name] for name in self._joints]), age_s

    def _keep(self, message: Any, receive_ns: int) -> None:
        self._newest = (message, receive_ns)
