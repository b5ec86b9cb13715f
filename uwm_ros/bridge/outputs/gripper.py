# SPDX-License-Identifier: Apache-2.0
"""What all grippers share that take goals: find the gripper, one goal at a time, never wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.node import Node

from uwm_core.action_channel import ActionChannel
from uwm_core.embodiment import Embodiment
from uwm_ros.logic.gripper import Goal, GripperDrive
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.schedule import Schedule

FRANKA_NAMESPACES = ("franka_gripper", "fr3_gripper", "panda_gripper")
"""Where Franka's gripper node has been, over the years and in MoveIt's configurations."""
_LOOK_S = 0.5


class ActionGripper(ABC):
    """A gripper behind an action server. A `ValueOutput`.

    Values are widths in m, or shares of the gripper's travel; `drive` decides when one of them
    becomes a goal. Answers of the server arrive while the node spins.
    """

    topics: tuple[str, ...] = ()

    def __init__(self, node: Node, channel: ActionChannel, drive: GripperDrive) -> None:
        """Begin to look for the gripper; a subclass has made itself ready for `found` before.

        Args:
            node: The node that sends.
            channel: What is commanded.
            drive: What decides.
        """
        self._node = node
        self._channel = channel
        self._drive = drive
        self._schedule = Schedule()
        self._place = ""
        self._seen = ""
        node.create_timer(_LOOK_S, self._look)

    @abstractmethod
    def places(self) -> tuple[str, ...]:
        """Full names where the gripper may be, the likeliest first."""

    @abstractmethod
    def is_at(self, place: str) -> bool:
        """Whether the gripper's actions are offered there."""

    @abstractmethod
    def use(self, place: str) -> str:
        """Make the clients; returns what was found, for people."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server that was found is still there."""

    @abstractmethod
    def send(self, goal: Goal) -> Any:
        """Send a goal; the future of its handle."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the gripper to end what it does."""

    @abstractmethod
    def taken(self, handle: Any) -> None:
        """The server has taken the goal of this handle."""

    @abstractmethod
    def read(self, answer: Any) -> tuple[str, bool | None]:
        """Of a result: why it failed, empty if it did not; whether the fingers hold something."""

    def play(self, stamp_ns: int, period_ns: int, values: Floats) -> None:
        """Put values (A,) on the schedule."""
        self._schedule.replace(stamp_ns, period_ns, values)

    def tick(self, now_ns: int) -> None:
        """Send a goal or a stop where it is time for one."""
        if not self._place:
            return
        value = self._schedule.value_at(now_ns)
        order = self._drive.step(None if value is None else float(value), now_ns)
        if isinstance(order, Goal):
            self.send(order).add_done_callback(self._after(order))
        elif order is not None:
            self.stop()

    def drop(self) -> None:
        """Empty the schedule. A goal in flight goes on: fingers that close keep what they hold."""
        self._schedule.clear()

    def forget(self) -> None:
        """Empty the schedule; the next value becomes a goal whatever it is."""
        self.drop()
        self._drive.forget()

    def check(self) -> str:
        """A goal that failed (said once), or no gripper."""
        trouble = self._drive.take_trouble()
        if trouble:
            return f"gripper {self._place}: {trouble}"
        if not self._place:
            return f"no gripper is on the graph; looked for {', '.join(self.places())}"
        return "" if self.is_ready() else f"gripper {self._place} is gone"

    def _look(self) -> None:
        """Find the gripper, again where it is gone; twice, as discovery tells of it in parts."""
        if self._place and self.is_ready():
            return
        place = next((place for place in self.places() if self.is_at(place)), "")
        if not place or place != self._seen:
            self._seen = place
        elif place != self._place:
            found = self.use(place)
            self._place = place
            self._node.get_logger().info(f"gripper found: {found}")

    def _after(self, goal: Goal) -> Callable[[Any], None]:
        """What to do once the server has taken or rejected a goal."""

        def answered(future: Any) -> None:
            handle = future.result()
            if handle is None or not handle.accepted:
                self._drive.ended(goal, "rejected")
                return
            self.taken(handle)
            handle.get_result_async().add_done_callback(ended)

        def ended(future: Any) -> None:
            answer = future.result()
            self._drive.ended(goal, *self.read(answer))

        return answered


def drive_for(embodiment: Embodiment, channel: ActionChannel, *, keeps: bool) -> GripperDrive:
    """The drive of a channel: widths in m where that is its unit, else shares from 0 to 1."""
    travel = embodiment.gripper.max_width_m if channel.unit == "m" else 1.0
    return GripperDrive(travel, embodiment.gripper.timeout_s, keeps=keeps)


def failure(answer: Any, error: str) -> str:
    """Why a goal failed; empty if it succeeded."""
    if answer.status == GoalStatus.STATUS_SUCCEEDED:
        return ""
    return error or "the gripper gave no reason"
