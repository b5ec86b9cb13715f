# SPDX-License-Identifier: Apache-2.0
"""The measured arm: the newest joint state, taken and decoded when somebody asks.

Polled and not called back, so that 1 kHz cost a node nothing that looks less often.
"""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from uwm_core.data.messages import stamp_ns, vector
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_ros.bridge.taps import Tap
from uwm_ros.bridge.types import message_class
from uwm_ros.logic.judge import measured_by
from uwm_ros.logic.limits import Floats

_REFRESH_S = 0.5


class ArmState:
    """Keeps the newest joint state; may be asked from any thread.

    Attributes:
        max_age_s: Older is stale.
        trouble: Why the newest message could not be read; empty while it could.
    """

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe.

        Raises:
            UwmError: If the embodiment has no state with the positions of all joints.
        """
        self._node = node
        self._spec = measured_by(embodiment)
        self._places = [self._spec.names.index(name) for name in embodiment.arm_joints]
        self._class = message_class(self._spec.type)
        self._newest: tuple[bytes, int] | None = None
        self._read: tuple[bytes, Floats | None, int] = (b"", None, 0)
        self.max_age_s = self._spec.max_age_s
        self.trouble = ""
        self._tap = Tap(node, self._spec.topic, self._spec.type, self._spec.rate_hz, self._keep)
        self._timer = node.create_timer(_REFRESH_S, self._refresh)

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self._tap.topic

    def at(self, now_ns: int) -> tuple[Floats | None, float]:
        """Positions (J,) rad in the order of `arm_joints`, and their age in s.

        Without a readable message: None and infinity. A stamp ahead of the clock has the age by
        which it is ahead: both are a clock that cannot be trusted.
        """
        self._tap.take()
        newest = self._newest
        if newest is None:
            return None, float("inf")
        data, receive_ns = newest
        if data is not self._read[0]:
            self._decode(data, receive_ns)
        _, joint_rad, moment_ns = self._read
        if joint_rad is None:
            return None, float("inf")
        return joint_rad, abs(now_ns - moment_ns) / 1e9

    def measured(self, now_ns: int) -> Floats:
        """Where the arm is now: (J,) rad.

        Raises:
            UwmError: If that is not known.
        """
        joint_rad, age_s = self.at(now_ns)
        if joint_rad is None or age_s > self.max_age_s:
            why = f": {self.trouble}" if self.trouble else ""
            raise UwmError(f"no fresh joint state on {self.topic}{why}")
        return joint_rad

    def close(self) -> None:
        """Leave the topic."""
        self._node.destroy_timer(self._timer)
        self._tap.close()

    def _decode(self, data: bytes, receive_ns: int) -> None:
        try:
            message = deserialize_message(data, self._class)
            values = vector(message, self._spec).astype(np.float64)
        except DataError as error:
            self.trouble = str(error)
            self._read = (data, None, 0)
            return
        self.trouble = ""
        self._read = (data, values[self._places], stamp_ns(message, receive_ns, self._spec))

    def _refresh(self) -> None:
        self._tap.refresh(mend_only=False)

    def _keep(self, data: bytes, receive_ns: int) -> None:
        self._newest = (data, receive_ns)
