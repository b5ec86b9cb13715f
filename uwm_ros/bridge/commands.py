# SPDX-License-Identifier: Apache-2.0
"""An embodiment's command topics: trajectories for the arm, single values at their due times."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.topic_endpoint_info import TopicEndpointInfo
from std_msgs.msg import Float32
from trajectory_msgs.msg import JointTrajectory

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_core.streams import JOINT_TRAJECTORY
from uwm_ros.bridge.chunks import to_trajectory
from uwm_ros.bridge.qos import publishers, reliable
from uwm_ros.logic.schedule import Gate, Schedule
from uwm_ros.logic.trajectory import Trajectory

# In the channel's unit: 1 mm for a gripper, well below what a hand can tell.
_DEAD_BAND = 0.001
_RESEND_S = 1.0


@dataclasses.dataclass
class _Scalar:
    """A channel that takes one value at a time."""

    publisher: Publisher[Float32]
    scale: float
    gate: Gate
    schedule: Schedule = dataclasses.field(default_factory=Schedule)


class Commands:
    """Publishers of everything that moves the robot."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Create the publishers; nothing is sent."""
        self._node = node
        self._names = embodiment.arm_joints
        self._arm: Publisher[JointTrajectory] | None = None
        self._scalars: dict[str, _Scalar] = {}
        self._topics = [channel.command_topic for channel in embodiment.action.values()]
        for key, channel in embodiment.action.items():
            if channel.command_type == JOINT_TRAJECTORY:
                self._arm = node.create_publisher(
                    JointTrajectory, channel.command_topic, reliable(1)
                )
            else:
                publisher = node.create_publisher(Float32, channel.command_topic, reliable(1))
                # A command may be the recorded label too, which must not become absent by its age.
                gate = Gate(_DEAD_BAND, min(_RESEND_S, channel.max_age_s / 2))
                self._scalars[key] = _Scalar(publisher, channel.scale, gate)

    def play(
        self,
        chunk: ActionChunk,
        trajectory: Trajectory | None,
        values: Mapping[str, npt.NDArray[np.float64]],
    ) -> None:
        """Send a judged trajectory and put the single values (A,) on their schedules."""
        self.move(trajectory)
        for key, scalar in self._scalars.items():
            scalar.schedule.replace(chunk.stamp_ns, chunk.period_ns, values[key])

    def move(self, trajectory: Trajectory | None) -> None:
        """Send the arm a trajectory."""
        if self._arm is not None and trajectory is not None:
            self._arm.publish(to_trajectory(trajectory, self._names))

    def send_due(self, now_ns: int) -> None:
        """Send the single values that are due and say something new."""
        for scalar in self._scalars.values():
            value = scalar.schedule.value_at(now_ns)
            if value is not None and scalar.gate.let_through(value, now_ns):
                scalar.publisher.publish(Float32(data=float(value / scalar.scale)))

    def drop_due(self) -> None:
        """Forget the single values that are not sent yet."""
        for scalar in self._scalars.values():
            scalar.schedule.clear()

    def forget(self) -> None:
        """Forget what was sent too: the next value goes out whatever it is."""
        self.drop_due()
        for scalar in self._scalars.values():
            scalar.gate.forget()

    def check_alone(self) -> None:
        """Look at the graph.

        Raises:
            UwmError: If somebody else commands the robot too, or no controller listens.
        """
        for topic in self._topics:
            offers = publishers(self._node, topic)
            if len(offers) > 1:
                names = sorted(_full_name(offer) for offer in offers)
                raise UwmError(
                    f"{self._node.resolve_topic_name(topic)} has several publishers:"
                    f" {', '.join(names)}"
                )
        if self._arm is not None and self._arm.get_subscription_count() == 0:
            raise UwmError(f"no controller listens on {self._arm.topic_name}")

    def wait_until_sent(self, timeout_s: float) -> None:
        """Wait until the controller has acknowledged what was sent."""
        if self._arm is not None:
            self._arm.wait_for_all_acked(Duration(seconds=timeout_s))


def _full_name(offer: TopicEndpointInfo) -> str:
    """Of the node behind a publisher; discovery tells of it a moment after the publisher."""
    if "UNKNOWN" in offer.node_name:
        return "one not yet known by name"
    return f"{offer.node_namespace.rstrip('/')}/{offer.node_name}"
