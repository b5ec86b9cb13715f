# SPDX-License-Identifier: Apache-2.0
"""An episode's rows as messages on the embodiment's topics, always below a namespace of its own.

The way back of `uwm_core.data.messages`: what `picture` and `vector` read of these messages is what
was in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rclpy.node import Node

from uwm_core.data.store import Episode
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.streams import (
    ARRAY,
    FLOAT_TYPES,
    JOINT_STATE,
    TWIST,
    TWIST_STAMPED,
    Vector,
)
from uwm_ros.bridge.clock import to_stamp
from uwm_ros.bridge.images import to_image
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.types import message_class

IMAGE = "sensor_msgs/msg/Image"


class Player:
    """Publishes rows of an episode.

    Attributes:
        left_out: Streams that are not played, each with the reason.
    """

    def __init__(self, node: Node, embodiment: Embodiment, namespace: str) -> None:
        """Create the publishers.

        Args:
            node: Of this process.
            embodiment: Of the store.
            namespace: Goes before every topic, absolute ones included.

        Raises:
            UwmError: If the namespace is empty: a robot may listen to its own topics.
        """
        space = namespace.strip("/")
        if not space:
            raise UwmError(
                "namespace must not be empty: an episode is never played onto a robot's own "
                "topics; to drive the arm with it, use replay.launch.py"
            )
        self._embodiment = embodiment
        self.left_out: list[str] = []
        self._cameras = {
            name: node.create_publisher(
                message_class(IMAGE), f"/{space}/{camera.topic.strip('/')}", reliable()
            )
            for name, camera in embodiment.cameras.items()
        }
        self._vectors: dict[str, list[tuple[str, Vector]]] = {}
        for key, spec in self._played():
            self._vectors.setdefault(spec.topic, []).append((key, spec))
        self._topics = {
            topic: node.create_publisher(
                message_class(specs[0][1].type), f"/{space}/{topic.strip('/')}", reliable()
            )
            for topic, specs in self._vectors.items()
        }

    @property
    def publishers(self) -> list[Any]:
        """Every publisher."""
        return [*self._cameras.values(), *self._topics.values()]

    def publish(self, episode: Episode, row: int, stamp_ns: int) -> None:
        """Publish one row; what is absent in it stays silent."""
        for name, publisher in self._cameras.items():
            publisher.publish(to_image(episode.images[name][row], stamp_ns, name))
        for topic, specs in self._vectors.items():
            values = [(spec, self._value(episode, key, row)) for key, spec in specs]
            if all(np.isfinite(value).all() for _, value in values):
                self._topics[topic].publish(_message(values, stamp_ns))

    def _value(self, episode: Episode, key: str, row: int) -> np.ndarray:
        kind, _, name = key.partition("/")
        if kind == "state":
            return episode.state[name][row]
        start = 0
        for other, channel in self._embodiment.action.items():
            if other == name:
                return episode.action[row, start : start + channel.size]
            start += channel.size
        raise KeyError(key)

    def _played(self) -> Iterator[tuple[str, Vector]]:
        """Vectors whose messages can be made again; the others are named."""
        for key, spec in self._embodiment.streams.items():
            if not isinstance(spec, Vector):
                continue
            if spec.type not in _WRITERS:
                self.left_out.append(f"{key}: {spec.type} is not played")
            elif getattr(spec, "relative_to", ""):
                self.left_out.append(f"{key}: its topic had targets, the store has differences")
            elif getattr(spec, "at", "tick") == "next_tick":
                self.left_out.append(f"{key}: it is a state one tick later")
            else:
                yield key, spec


def _message(values: list[tuple[Vector, np.ndarray]], stamp_ns: int) -> Any:
    """One message that carries all vectors of a topic."""
    message = message_class(values[0][0].type)()
    if hasattr(message, "header"):
        message.header.stamp = to_stamp(stamp_ns)
    for spec, value in values:
        _WRITERS[spec.type](message, spec, value.astype(np.float64) / spec.scale)
    return message


def _joint_state(message: Any, spec: Vector, raw: np.ndarray) -> None:
    if spec.combine == "sum":  # two fingers have half of a width each
        raw = np.repeat(raw / len(spec.names), len(spec.names))
    known = dict(zip(message.name, getattr(message, spec.field), strict=False))
    known |= dict(zip(spec.names, raw.tolist(), strict=True))
    names = list(dict.fromkeys([*message.name, *spec.names]))
    fields = {name: list(getattr(message, name)) for name in ("position", "velocity", "effort")}
    message.name = names
    fields[spec.field] = [known.get(name, float("nan")) for name in names]
    for name, field in fields.items():
        # A field has one number per joint or none at all.
        setattr(message, name, field + [float("nan")] * (len(names) - len(field)) if field else [])


def _single(message: Any, spec: Vector, raw: np.ndarray) -> None:
    message.data = float(raw[0])


def _array(message: Any, spec: Vector, raw: np.ndarray) -> None:
    places = spec.indices or tuple(range(len(raw)))
    data = list(message.data) + [0.0] * (max(places) + 1 - len(message.data))
    for place, value in zip(places, raw.tolist(), strict=True):
        data[place] = value
    message.data = data


def _twist(message: Any, spec: Vector, raw: np.ndarray) -> None:
    twist = message.twist if spec.type == TWIST_STAMPED else message
    twist.linear.x, twist.linear.y, twist.linear.z = raw[:3].tolist()
    twist.angular.x, twist.angular.y, twist.angular.z = raw[3:].tolist()


_WRITERS: dict[str, Callable[[Any, Vector, np.ndarray], None]] = {
    JOINT_STATE: _joint_state,
    ARRAY: _array,
    TWIST: _twist,
    TWIST_STAMPED: _twist,
    **dict.fromkeys(FLOAT_TYPES, _single),
}
