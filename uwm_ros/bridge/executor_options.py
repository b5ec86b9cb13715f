# SPDX-License-Identifier: Apache-2.0
"""Parameters of the executor."""

from __future__ import annotations

import dataclasses
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from uwm_ros.bridge.parameters import Parameters
from uwm_ros.logic.joins import JOINS, Join

DRIVERS = ("policy", "human")
_SLOWEST = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """How chunks are played.

    Attributes:
        autostart: Run as soon as all is well.
        rate_hz: Of the loop, and of streamed commands.
        join: How a chunk continues the one before.
        driver: Whose chunks are played at first.
        deadman_button: Of `joy`, to be held; negative: none.
        compensate_latency: Actions are due by the observation's stamp; else from arrival on.
        realtime: Ask the machine for precedence.
        horizon_s: How far ahead a trajectory controller is told; beyond, it is told to stop.
    """

    autostart: bool
    rate_hz: float
    join: Join
    driver: str
    deadman_button: int
    compensate_latency: bool
    realtime: bool
    horizon_s: float

    @classmethod
    def read(cls, read: Parameters) -> ExecutorOptions:
        """Read them.

        Raises:
            UwmError: If one is not usable.
        """
        join = read.text("join", "inpaint", "how chunks are joined", JOINS)
        return cls(
            autostart=read.flag("autostart", False, "run as soon as the arm is measured"),
            rate_hz=read.number("rate_hz", 100.0, "rate of the loop", 20.0, 500.0),
            join=Join(
                kind=join,  # type: ignore[arg-type]  # one of the choices
                blend_s=read.number("blend_s", 0.2, "s over which a join blends", 0.0, 2.0),
            ),
            driver=read.text("driver", "policy", "whose chunks are played at first", DRIVERS),
            deadman_button=read.integer(
                "deadman_button", -1, "button of joy to be held while the arm moves; -1: none",
                -1, 63,
            ),
            compensate_latency=read.flag(
                "compensate_latency", True,
                "actions are due by their observation's stamp; false: from arrival on",
            ),
            realtime=read.flag("realtime", True, "ask the machine for precedence over other work"),
            horizon_s=read.number(
                "horizon_s", 0.2,
                "s that a trajectory controller is told ahead; it stops by itself after it",
                0.1, 10.0,
            ),
        )  # fmt: skip


class SpeedScale:
    """The parameter `speed_scale`, which may be changed while the arm moves."""

    def __init__(self, node: Node) -> None:
        """Declare it."""
        descriptor = ParameterDescriptor(
            description="share of the policy's own speed that is played",
            floating_point_range=[FloatingPointRange(from_value=_SLOWEST, to_value=1.0)],
        )
        if not node.has_parameter("speed_scale"):
            node.declare_parameter("speed_scale", 1.0, descriptor)
        self._node = node
        self.value = float(node.get_parameter("speed_scale").value)
        node.add_on_set_parameters_callback(self._set)

    def _set(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == "speed_scale":
                self.value = float(parameter.value)
                self._node.get_logger().info(f"speed_scale {self.value:g}")
        return SetParametersResult(successful=True)
