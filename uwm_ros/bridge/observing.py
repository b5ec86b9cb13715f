# SPDX-License-Identifier: Apache-2.0
"""An embodiment's observation streams as one buffer that fills itself from the graph.

Whoever plans is woken by the message that completes an observation, not by a timer; who only looks
back now and then is not woken at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from uwm_core.data.messages import NS_PER_S
from uwm_core.data.resample import ObservationBuffer
from uwm_core.data.stream_buffer import Absent
from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.qos import MatchedSubscription
from uwm_ros.bridge.taps import Tap
from uwm_ros.bridge.types import message_class
from uwm_ros.logic.freshness import Freshness

# Images are large and old ones useless: a few suffice where a callback was late.
_DEPTH = 3
_REFRESH_S = 0.5
# What is polled waits no longer than from one refresh to the next, and what a busy machine adds.
_KEEP_S = 1.0


class Observing:
    """Subscriptions that push into an `ObservationBuffer`; decoding is left to who asks.

    Attributes:
        buffer: The resampler that conversion uses too.
        freshness: Whether the streams are alive, seen apart from what is resampled; None where
            nobody asked for that.
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
                shows a new picture of every camera. None: nobody waits, and `poll` is to be
                called before the buffer is read.

        Raises:
            UwmError: If a message type is not installed.
        """
        self._node, self._embodiment = node, embodiment
        self._arrived = arrived
        self._completed = (0, 0)  # newest tick at which all is known, when that was received
        self._shown_ns = 0
        self.buffer = ObservationBuffer(embodiment, history)
        # Who waits for arrivals acts upon them, and so must know when they are none.
        self.freshness = Freshness(embodiment) if arrived is not None else None
        keys: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, spec in embodiment.observation_streams.items():
            keys[spec.topic, spec.type].append(key)
        self._streams: list[MatchedSubscription] = []
        self._taps: list[Tap] = []
        for (topic, kind), names in keys.items():
            wakes = names[0].startswith("camera/") or not embodiment.cameras
            if arrived is None or not wakes:
                rate_hz = embodiment.observation_streams[names[0]].rate_hz
                read = self._reader(names, kind)
                self._taps.append(Tap(node, topic, kind, rate_hz, read, keep_s=_KEEP_S))
            else:
                push = self._pusher(names)
                self._streams.append(MatchedSubscription(node, kind, topic, push, depth=_DEPTH))
        self._timer = node.create_timer(_REFRESH_S, self._refresh)

    def poll(self) -> None:
        """Take what the streams have brought that wake nobody; on the node's thread.

        A picture decides when there is something to do; to be woken by each of a thousand joint
        states in between would cost more than all else.
        """
        for tap in self._taps:
            tap.take()

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
        self._node.destroy_timer(self._timer)
        for stream in (*self._streams, *self._taps):
            stream.close()

    def _refresh(self) -> None:
        for tap in self._taps:
            tap.refresh(mend_only=False)
        self.poll()

    def _reader(self, keys: list[str], type_name: str) -> Callable[[bytes, int], None]:
        kind = message_class(type_name)

        def read(data: bytes, receive_ns: int) -> None:
            self._push(keys, deserialize_message(data, kind), receive_ns)

        return read

    def _pusher(self, keys: list[str]) -> Callable[[Any, int], None]:
        def push(message: Any, receive_ns: int) -> None:
            self.poll()
            self._push(keys, message, receive_ns)
            fresh = self._complete(receive_ns)
            if self._arrived is not None:
                self._arrived(fresh)

        return push

    def _push(self, keys: list[str], message: Any, receive_ns: int) -> None:
        for key in keys:
            self.buffer.push(key, message, receive_ns)
            if self.freshness is not None:
                self.freshness.saw(key, message, receive_ns)

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
