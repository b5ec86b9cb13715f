# SPDX-License-Identifier: Apache-2.0
"""What the simulated robot obeys: the command topics of its embodiment, in any form they may have.

The arm has one controller, chosen by its channel's `command_type`; the hand takes single values.
Messages are read by the same readers as everywhere (`uwm_core.data.messages`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node

from uwm_core.data import messages
from uwm_core.data.rotations import matrix_of_6d
from uwm_core.embodiment import ActionChannel, Embodiment, Vector
from uwm_core.errors import DataError, UwmError
from uwm_core.sim import hand, streaming
from uwm_core.sim.controller import JointTrajectoryController, Rejected, Trajectory
from uwm_core.sim.kinematics import tcp_pose, tip_in
from uwm_core.sim.scene import Scene
from uwm_core.streams import (
    ARRAY,
    FLOAT_TYPES,
    FOLLOW_JOINT_TRAJECTORY,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE_STAMPED,
    TWIST,
    TWIST_STAMPED,
)
from uwm_ros.bridge.qos import COMMAND_DEPTH, reliable
from uwm_ros.bridge.sim_actions import Goals, arm_goals, hand_goals
from uwm_ros.bridge.types import message_class

_RATE_HZ = 100.0  # a Vector wants one; reading a message does not depend on it
Refuse = Callable[[str], None]
Moment = Callable[[], int]


class Controller(Protocol):
    """What the simulated servos follow."""

    def hold(self, position_rad: np.ndarray) -> None:
        """Drop whatever it follows and stay at a position, (7,) rad."""

    def sample(self, now_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Set point: (7,) rad and (7,) rad/s."""


class ArmCommands:
    """The arm's controller and the topic that it listens on.

    Attributes:
        controller: What the servos follow.
        goals: Of its action, where it has one.
    """

    def __init__(self, node: Node, embodiment: Embodiment, refuse: Refuse, moment: Moment) -> None:
        """Listen.

        Args:
            node: The node.
            embodiment: Its one action that moves the arm says on which topic and how.
            refuse: Told why a command was not taken.
            moment: Tells the moment of the physics' state, ns: the controller's clock.

        Raises:
            UwmError: The embodiment does not command the arm by one action, or not in a way that
                this arm knows.
        """
        self._node, self._embodiment, self._refuse = node, embodiment, refuse
        self._moment = moment
        self._channel = _arm_channel(embodiment)
        self._subscription: Any = None
        self._ended = False
        self.goals: Goals | None = None
        self.controller, self._topic, self._type, self._obey = self._choose()
        self.listen()

    def listen(self) -> None:
        """Subscribe."""
        if self._subscription is None:
            kind = message_class(self._type)
            # Of streamed commands the newest counts: a queue of them would be a delay.
            depth = COMMAND_DEPTH if self._type == JOINT_TRAJECTORY else 1
            self._subscription = self._node.create_subscription(
                kind, self._topic, self._take, reliable(depth)
            )

    def leave(self, position_rad: np.ndarray) -> None:
        """Unsubscribe and stay at a position, (7,) rad: the controller is not active."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
        self.controller.hold(position_rad)

    def sample(self, moment_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Set point of this moment; says once when a stream of commands has ended."""
        ended = getattr(self.controller, "ended", None)
        if ended is not None:
            over = ended(moment_ns)
            if over and not self._ended:
                self._refuse(f"commands no longer come; holding: {self._topic}")
            self._ended = over
        return self.controller.sample(moment_ns)

    def _take(self, message: Any) -> None:
        try:
            self._obey(message)
        except Rejected as error:
            what = "trajectory" if self._type == JOINT_TRAJECTORY else "command"
            self._refuse(f"{what} rejected: {error}")
        except DataError as error:
            self._refuse(f"command rejected: {error}")

    def _choose(
        self,
    ) -> tuple[Controller, str, str, Callable[[Any], None]]:
        """Controller, topic, message type, and what a message does."""
        position_rad = home_rad = np.array(self._embodiment.home_rad)
        kind, topic = self._channel.command_type, self._channel.command_topic
        if kind in (JOINT_TRAJECTORY, FOLLOW_JOINT_TRAJECTORY):
            arm = JointTrajectoryController(self._embodiment.arm_joints, position_rad)
            self.goals = arm_goals(self._node, self._channel, arm, self._moment)
            # A trajectory controller listens beside its action.
            topic = f"{topic.rpartition('/')[0]}/joint_trajectory".lstrip("/")
            topic = self._channel.command_topic if kind == JOINT_TRAJECTORY else topic
            return arm, topic, JOINT_TRAJECTORY, lambda m: self._trajectory(arm, m)
        if kind == JOINT_STATE or (kind == ARRAY and self._channel.command_field == "position"):
            targets = streaming.PositionStream(position_rad)
            spec = self._joints_spec("rad")
            return targets, topic, kind, lambda m: self._targets(targets, spec, m)
        if kind == ARRAY:
            speeds = streaming.VelocityStream(position_rad)
            spec = self._joints_spec("rad/s")
            return speeds, topic, kind, lambda m: self._speeds(speeds, spec, m)
        if kind == POSE_STAMPED:
            poses = streaming.PoseStream(position_rad)
            spec = _hand_spec(self._channel, "pose")
            return poses, topic, kind, lambda m: self._pose(poses, spec, m)
        twists = streaming.TwistStream(position_rad, home_rad)
        spec, scale = _hand_spec(self._channel, "twist"), _twist_scale(self._channel)
        return twists, topic, kind, lambda m: self._twist(twists, spec, scale, m)

    def _joints_spec(self, unit: Any) -> Vector:
        """How all joints of the arm are read; an array has them in the channel's order."""
        channel, joints = self._channel, self._embodiment.arm_joints
        array = channel.command_type == ARRAY
        own = array and set(channel.names) == set(joints)
        return Vector(
            topic=channel.command_topic,
            type=channel.command_type,
            rate_hz=_RATE_HZ,
            names=channel.names if own else joints,
            indices=channel.indices if own else (),
            field="data" if array else "position",
            unit=unit,
            clock="receive",
            max_age_s=1.0,
        )

    def _read(self, message: Any, spec: Vector) -> np.ndarray:
        """Values of all joints, in the arm's order: (7,) float64."""
        values = messages.vector(message, spec).astype(np.float64)
        return values[[spec.names.index(name) for name in self._embodiment.arm_joints]]

    def _trajectory(self, arm: JointTrajectoryController, message: Any) -> None:
        arm.accept(Trajectory.from_message(message), self._moment())

    def _targets(self, stream: streaming.PositionStream, spec: Vector, message: Any) -> None:
        moment_ns = self._moment()
        stamp_ns = messages.header_ns(message) if spec.type == JOINT_STATE else 0
        if stamp_ns and moment_ns - stamp_ns > streaming.TARGET_TIMEOUT_NS:
            late_s = (moment_ns - stamp_ns) / 1e9
            raise Rejected(f"the target is old: it was stamped {late_s:.1f} s ago")
        stream.aim(self._read(message, spec), moment_ns)

    def _speeds(self, stream: streaming.VelocityStream, spec: Vector, message: Any) -> None:
        stream.drive(self._read(message, spec), self._moment())

    def _pose(self, stream: streaming.PoseStream, spec: Vector, message: Any) -> None:
        self._check_frame(message, ())
        numbers = messages.vector(message, spec).astype(np.float64)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = matrix_of_6d(numbers[3:]), numbers[:3]
        stream.reach(pose @ tip_in(self._tool()), self._moment())

    def _twist(
        self, stream: streaming.TwistStream, spec: Vector, scale: np.ndarray, message: Any
    ) -> None:
        twist = messages.vector(message, spec).astype(np.float64) * scale
        moment_ns = self._moment()
        turn = tcp_pose(stream.position_rad)[:3, :3]
        to_tip = tip_in(self._tool())
        turn = turn @ to_tip[:3, :3].T  # the tool's axes in the base
        if spec.type == TWIST_STAMPED and self._check_frame(message, (self._tool(),)):
            twist = np.concatenate([turn @ twist[:3], turn @ twist[3:]])
        twist[:3] += np.cross(twist[3:], turn @ to_tip[:3, 3])
        stream.move(twist, moment_ns)

    def _tool(self) -> str:
        kinematics = self._embodiment.kinematics
        return "hand_tcp" if kinematics is None else kinematics.tcp_frame

    def _check_frame(self, message: Any, tools: tuple[str, ...]) -> bool:
        """Whether a message is given in the tool's frame rather than the base's.

        Raises:
            Rejected: It is given in a frame that this arm does not know.
        """
        frame, kinematics = message.header.frame_id, self._embodiment.kinematics
        base = "" if kinematics is None else kinematics.base_frame
        if frame in ("", base):
            return False
        if frame in tools:
            return True
        known = ", ".join(name for name in (base, *tools) if name)
        raise Rejected(f"it is given in the frame {frame!r}; this arm knows {known or 'none'}")


class HandCommands:
    """The hand's single values, on topics or as goals of actions.

    Attributes:
        goals: Of its actions, where it has some.
    """

    def __init__(self, node: Node, embodiment: Embodiment, scene: Scene, refuse: Refuse) -> None:
        """Listen on every action that is one plain value.

        Raises:
            UwmError: Its unit, or its kind, is not known here.
        """
        self._scene, self._refuse = scene, refuse
        self.goals = hand_goals(node, embodiment, scene)
        for key, channel in embodiment.action.items():
            plain = channel.command_type in (*FLOAT_TYPES, ARRAY)
            if plain and not embodiment.moves_arm(channel):
                hand.check(f"action {key}", channel)
                self._listen(node, channel)

    def _listen(self, node: Node, channel: ActionChannel) -> None:
        array = channel.command_type == ARRAY
        spec = Vector(
            topic=channel.command_topic,
            type=channel.command_type,
            rate_hz=_RATE_HZ,
            names=channel.names[:1],
            indices=channel.indices if array else (),
            field="data",
            unit=channel.unit,
            scale=channel.scale,
            clock="receive",
            max_age_s=1.0,
        )

        def take(message: Any) -> None:
            try:
                value = float(messages.vector(message, spec)[0])
            except DataError as error:
                self._refuse(f"gripper command rejected: {error}")
                return
            self._scene.set_gripper_target(hand.width_of(value, channel))

        node.create_subscription(message_class(spec.type), channel.command_topic, take, reliable())


def _arm_channel(embodiment: Embodiment) -> ActionChannel:
    channels = [c for c in embodiment.action.values() if embodiment.moves_arm(c)]
    if len(channels) != 1:
        raise UwmError(
            f"embodiment {embodiment.name!r} has {len(channels)} actions that move the arm; the "
            "simulated arm has one controller"
        )
    return channels[0]


def _hand_spec(channel: ActionChannel, field: Any) -> Vector:
    """How a pose or a twist of the hand is read."""
    stamped = channel.command_type != TWIST
    return Vector(
        topic=channel.command_topic,
        type=channel.command_type,
        rate_hz=_RATE_HZ,
        field=field,
        unit="m" if field == "pose" else "m/s",
        clock="header" if stamped else "receive",
        max_age_s=1.0,
    )


def _twist_scale(channel: ActionChannel) -> np.ndarray:
    """What a twist on the wire is multiplied by to be in m/s and rad/s: (6,)."""
    if channel.unit != "unitless":
        return np.full(6, channel.scale)
    fastest = (channel.max_linear_m_s, channel.max_angular_rad_s)
    if 0.0 in fastest:
        raise UwmError(
            f"{channel.command_topic} carries shares of the highest speed; give max_linear_m_s and "
            "max_angular_rad_s, or nobody knows how fast that is"
        )
    return np.repeat(fastest, 3) * channel.scale
