# SPDX-License-Identifier: Apache-2.0
"""The measured arm for a node that looks now and then: polled, so that 1 kHz cost it nothing."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from uwm_core.data.messages import vector
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.taps import Tap
from uwm_ros.bridge.types import message_class
from uwm_ros.logic.foresight import Floats
from uwm_ros.logic.judge import measured_by


class Glimpse:
    """The newest joint state, taken and decoded when it is asked for."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe.

        Raises:
            UwmError: If the embodiment has no state with the positions of all joints.
        """
        self._joints = embodiment.arm_joints
        self._spec = measured_by(embodiment)
        self._class = message_class(self._spec.type)
        self._newest: tuple[bytes, int] | None = None
        self._tap = Tap(node, self._spec.topic, self._spec.type, self._spec.rate_hz, self._keep)

    def measured(self, now_ns: int) -> Floats:
        """Positions (J,) rad, in the order of `arm_joints`.

        Raises:
            UwmError: If none has come lately, or it cannot be read.
        """
        self._tap.take()
        data, received_ns = self._newest or (b"", 0)
        if not data or now_ns - received_ns > self._spec.max_age_s * 1e9:
            raise UwmError(f"no fresh joint state on {self._tap.topic}")
        values = vector(deserialize_message(data, self._class), self._spec)
        by_name = dict(zip(self._spec.names, values.astype(np.float64), strict=True))
        return np.array([by_name[name] for name in self._joints])

    def refresh(self) -> None:
        """Follow what the publishers offer, and take what waits; for every second."""
        self._tap.refresh(mend_only=False)
        self._tap.take()

    def close(self) -> None:
        """Leave the topic."""
        self._tap.close()

    def _keep(self, data: bytes, received_ns: int) -> None:
        self._newest = (data, received_ns)
