# SPDX-License-Identifier: Apache-2.0
"""An embodiment's observation streams as one buffer that fills itself from the graph.

Whoever plans is woken by the message that completes an observation, not by a timer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from uwm_core.data.messages import NS_PER_S
from uwm_core.data.resample import ObservationBuffer
from uwm_core.data.stream_buffer import Absent
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.qos import MatchedSubscription
from uwm_ros.logic.freshness import Freshness

# Images are large and old ones useless: a few suffice where a callback was late.
_IMAGE_DEPTH = 3
_VECTOR_DEPTH = 50


class Observing:
    """Subscriptions that push into an `ObservationBuffer`; decoding is left to who asks.

    Attributes:
        buffer: The resampler that conversion uses too.
        freshness: Whether the streams are alive, seen apart from what is resampled.
    """

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        history: int,
        arrived: Callable[[bool], None] | None = None,
    ) -> None:
        """Subscribe to every camera and state topic.

        Args:
            node: The node.
            embodiment: Its streams.
            history: Steps in an observation (T).
            arrived: Called after every message, with whether it completed an observation that
                shows a new picture of every camera.

        Raises:
            UwmError: If a message type is not installed.
        """
        self._embodiment = embodiment
        self._arrived = arrived
        self._completed = (0, 0)  # newest tick at which all is known, when that was received
        self._shown_ns = 0
        self.buffer = ObservationBuffer(embodiment, history)
        self.freshness = Freshness(embodiment)
        keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, spec in embodiment.observation_streams.items():
            keys[spec.topic, spec.type].append(key)
        self._streams = [
            MatchedSubscription(
                node,
                kind,
                topic,
                self._pusher(names),
                depth=_IMAGE_DEPTH if names[0].startswith("camera/") else _VECTOR_DEPTH,
            )
            for (topic, kind), names in keys.items()
        ]

    def newest_tick_ns(self, now_ns: int) -> int:
        """Newest moment at which every stream is known, if it is fresh enough to act upon.

        Raises:
            Absent: If a stream has not come yet, or the slowest one is too old; names it.
        """
        if missing := self.buffer.missing():
            topics = self._embodiment.observation_streams
            trouble = "; ".join(self.buffer.trouble_sentences())
            why = f"nothing usable received on {topics[missing[0]].topic}"
            raise Absent(missing[0], f"{why} ({trouble})" if trouble else why)
        newest = {key: self.buffer.newest_ns(key) or 0 for key in self.buffer.keys}
        slowest = min(newest, key=lambda key: newest[key])
        age_s = (now_ns - newest[slowest]) / NS_PER_S
        limit_s = self._embodiment.safety.max_observation_age_s
        if age_s > limit_s:
            topic = self._embodiment.observation_streams[slowest].topic
            raise Absent(slowest, f"{topic} is silent for {age_s:.2f} s, allowed are {limit_s:g} s")
        return newest[slowest]

    def received_ns(self, tick_ns: int) -> int:
        """When the message that completed the newest observation came; 0 for another tick."""
        completed_ns, received_ns = self._completed
        return received_ns if completed_ns == tick_ns else 0

    def close(self) -> None:
        """Leave the topics."""
        for stream in self._streams:
            stream.close()

    def _pusher(self, keys: list[str]) -> Callable[[Any, int], None]:
        def push(message: Any, receive_ns: int) -> None:
            for key in keys:
                self.buffer.push(key, message, receive_ns)
                self.freshness.saw(key, message, receive_ns)
            fresh = self._complete(receive_ns)
            if self._arrived is not None:
                self._arrived(fresh)

        return push

    def _complete(self, receive_ns: int) -> bool:
        """Whether every stream is now known at the newest moment that all cameras show."""
        newest = {key: self.buffer.newest_ns(key) or 0 for key in self.buffer.keys}
        tick_ns = min(newest.values())
        if tick_ns != self._completed[0]:
            self._completed = (tick_ns, receive_ns)
        cameras = [stamp for key, stamp in newest.items() if key.startswith("camera/")]
        shown_ns = min(cameras, default=tick_ns)
        if tick_ns < shown_ns or not tick_ns or shown_ns == self._shown_ns:
            return False
        self._shown_ns = shown_ns
        return True
