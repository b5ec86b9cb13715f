# SPDX-License-Identifier: Apache-2.0
"""Raw messages off the graph for a recorder: polled, not called back.

An executor wakes for every message, builds a wait set and calls back: some 0.3 ms of Python each,
too much for 1 kHz beside three cameras. Here the middleware's own history is the queue: one thread
empties every subscription each few milliseconds, at about 10 us a message. Receive times are the
middleware's, so that waiting costs nothing. Sequence numbers of the publishers tell what was never
delivered.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.qos import matching_profile, publishers
from uwm_ros.bridge.types import message_class

_POLL_S = 0.005
# Messages may wait while this process cannot run, and while a lost one is asked for again.
_STALL_S = 4.0
_MIN_DEPTH = 1000
_IMAGE_DEPTH = 10
_UNKNOWN_IMAGE_DEPTH = 100

Deliver = Callable[[bytes, int], None]


class _Polled(CallbackGroup):
    """A group whose entities no executor ever waits for."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        return None


class Tap:
    """One topic, raw, with the strongest quality of service that hears every publisher.

    Attributes:
        topic: Resolved name.
        type: Name of the message type.
        lost: Messages that a publisher numbered and the middleware never delivered.
        stamped: Whether the type begins with a header.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        type_name: str,
        rate_hz: float,
        deliver: Deliver,
        *,
        keep_s: float = _STALL_S,
    ) -> None:
        """Subscribe with what the graph offers now.

        Args:
            node: The node.
            topic: Name, relative to the node's namespace.
            type_name: E.g. `sensor_msgs/msg/Image`.
            rate_hz: Expected rate; 0: unknown.
            deliver: Gets the bytes of a message and when it was received, ns; from the thread
                that takes, as of `TapLoop`.
            keep_s: Messages of so long may wait.

        Raises:
            UwmError: If the message type is not installed.
        """
        self.topic = str(node.resolve_topic_name(topic))
        self.type = type_name
        self.lost = 0
        self._node = node
        self._class = message_class(type_name)
        fields = list(self._class.get_fields_and_field_types().values())
        self.stamped = bool(fields) and fields[0] == "std_msgs/Header"
        self._deliver = deliver
        self._depth = _depth(type_name, rate_hz, keep_s)
        self._use_sim_time = bool(node.get_parameter("use_sim_time").value)
        self._group = _Polled()
        self._numbers: dict[bytes, int] = {}
        # Held while messages are taken, so that none is taken twice or after the end.
        self._taking = threading.Lock()
        self._profile = self._wanted()
        self._subscription: Subscription[Any] = self._subscribe()

    @property
    def is_reliable(self) -> bool:
        """Whether the publishers offer reliable delivery."""
        return bool(self._profile.reliability == ReliabilityPolicy.RELIABLE)

    @property
    def is_latched(self) -> bool:
        """Whether the publishers offer transient-local durability."""
        return bool(self._profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)

    @property
    def note(self) -> str:
        """How the subscription had to be adapted to the publishers; empty if not at all."""
        parts = []
        if not self.is_reliable:
            parts.append("best effort, as its publisher offers: messages can be lost on the way")
        if self.is_latched:
            parts.append("transient local, as its publisher offers")
        return "; ".join(parts)

    def refresh(self, *, mend_only: bool) -> bool:
        """Follow the offers on the graph; True if the subscription was made anew.

        Args:
            mend_only: Do not touch a subscription that hears everybody; for the length of a take.
        """
        wanted = self._wanted()
        same = (wanted.reliability, wanted.durability) == (
            self._profile.reliability,
            self._profile.durability,
        )
        if same or (mend_only and wanted.reliability == ReliabilityPolicy.RELIABLE):
            return False
        before, self._profile = self._subscription, wanted
        # The new one listens before the old one leaves; what both have heard is taken once.
        after = self._subscribe()
        with self._taking:
            self._empty(before)
            self._subscription = after
        self._node.destroy_subscription(before)
        return True

    def take(self) -> None:
        """Deliver everything that has arrived."""
        with self._taking:
            self._empty(self._subscription)

    def close(self) -> None:
        """Leave the topic."""
        with self._taking:
            self._node.destroy_subscription(self._subscription)

    def _empty(self, subscription: Subscription[Any]) -> None:
        handle, kind = subscription.handle, self._class
        with handle:
            while (taken := handle.take_message(kind, True)) is not None:
                data, info = taken
                if self._is_new(info):
                    received_ns = 0 if self._use_sim_time else info["received_timestamp"]
                    self._deliver(data, received_ns or now_ns(self._node))

    def _is_new(self, info: Any) -> bool:
        """Count what is missing before this message; False if it was heard before."""
        number, publisher = info.get("publication_sequence_number"), info.get("publisher_gid")
        if number is None or publisher is None:  # a middleware that numbers nothing
            return True
        key = publisher["data"]
        last = self._numbers.get(key)
        if last is not None and number <= last:
            return False
        self._numbers[key] = number
        if last is not None:
            self.lost += number - last - 1
        return True

    def _wanted(self) -> QoSProfile:
        offers = publishers(self._node, self.topic)
        profiles = [info.qos_profile for info in offers if info.topic_type == self.type]
        return matching_profile(profiles, self._depth)

    def _subscribe(self) -> Subscription[Any]:
        return self._node.create_subscription(
            self._class,
            self.topic,
            lambda _: None,
            self._profile,
            callback_group=self._group,
            raw=True,
        )


def _depth(type_name: str, rate_hz: float, keep_s: float) -> int:
    """How many messages may wait; few images, since each is a megabyte."""
    waiting = math.ceil(rate_hz * keep_s)
    if type_name.endswith("Image"):
        return max(_IMAGE_DEPTH, waiting) if rate_hz else _UNKNOWN_IMAGE_DEPTH
    return max(_MIN_DEPTH, waiting)


class TapLoop:
    """The thread that empties the taps.

    Attributes:
        stall_s: Longest time between two looks; set it to 0 to begin anew.
    """

    def __init__(self, poll_s: float = _POLL_S) -> None:
        """Start with no taps; look at them every `poll_s`."""
        self.stall_s = 0.0
        self._poll_s = poll_s
        self._taps: tuple[Tap, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taps", daemon=True)
        self._thread.start()

    def watch(self, taps: Iterable[Tap]) -> None:
        """Empty these from now on."""
        self._taps = tuple(taps)

    def close(self) -> None:
        """Stop; nothing is delivered after this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        looked_s = time.monotonic()
        while not self._stop.wait(self._poll_s):
            now_s = time.monotonic()
            self.stall_s, looked_s = max(self.stall_s, now_s - looked_s), now_s
            for tap in self._taps:
                tap.take()
