# SPDX-License-Identifier: Apache-2.0
"""Every stream of an embodiment, raw, watched, and handed to an episode while one runs.

What a recorder listens with, and what `uwm doctor` looks with. Cameras may be taken as they are,
compressed (`<topic>/compressed`), or both.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from uwm_core.data.bag import LazyMessage
from uwm_core.data.bag_types import definition
from uwm_core.embodiment import Embodiment
from uwm_core.streams import Camera
from uwm_ros.bridge.qos import publishers
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.taps import Tap, TapLoop
from uwm_ros.logic.alarms import Alarm, Expectation, TopicHealth
from uwm_ros.logic.doctor import Line, Offer, StreamFacts, check_stream
from uwm_ros.logic.recording import EpisodeRecording, Raw

Transport = Literal["raw", "compressed", "both"]
TRANSPORTS = ("raw", "compressed", "both")
_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_LEAD_IN_S = 1.0
_LOSSES_S = 1.5
_STALL_S = 0.5


class Streams:
    """Listens to an embodiment's topics and to more.

    Attributes:
        embodiment: With cameras on the topics that are recorded, relative as it names them.
        taps: Tap by resolved topic, in the order of the embodiment.
        health: How each is.
    """

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        log: SideLog,
        *,
        extra: Sequence[str] = (),
        transport: Transport = "raw",
    ) -> None:
        """Subscribe.

        Args:
            node: The node.
            embodiment: Whose topics.
            log: Where it says how it adapts.
            extra: More topics; subscribed to as soon as somebody tells their type.
            transport: What to take of cameras that are `sensor_msgs/Image`.

        Raises:
            UwmError: If a message type is not installed.
        """
        self.embodiment = _transported(embodiment, transport)
        self.taps: dict[str, Tap] = {}
        self.health: dict[str, TopicHealth] = {}
        self._node, self._log = node, log
        self._missing = list(extra)
        self._newest: dict[str, Raw] = {}
        self._lost_before: dict[str, int] = {}
        self._losses: dict[str, int] = {}
        self._losses_s = 0.0
        # Between a tap's thread, which delivers, and a start or stop, which must miss nothing.
        self._gate = threading.Lock()
        self._episode: EpisodeRecording | None = None
        self._loop = TapLoop()
        both = embodiment.cameras.values() if transport == "both" else ()
        for topic, type_name in {
            **self.embodiment.topics,
            **{f"{c.topic}/compressed": _COMPRESSED for c in both if c.type == _IMAGE},
        }.items():
            self._listen(topic, type_name)

    @property
    def missing(self) -> tuple[str, ...]:
        """Extra topics that nobody publishes yet, resolved."""
        return tuple(str(self._node.resolve_topic_name(topic)) for topic in self._missing)

    def refresh(self) -> None:
        """Follow what the graph offers now; cheap enough for every second."""
        recording = self._episode is not None
        now_s = time.monotonic()
        if now_s - self._losses_s > _LOSSES_S:
            self._losses, self._losses_s = {t: tap.lost for t, tap in self.taps.items()}, now_s
        for tap in self.taps.values():
            note = tap.note
            if tap.refresh(mend_only=recording) and tap.note != note:
                self._log.warning(f"{tap.topic}: {tap.note or 'reliable again'}")
        for topic in [] if recording else list(self._missing):
            if offers := publishers(self._node, topic):
                self._missing.remove(topic)
                self._listen(topic, offers[0].topic_type)

    def take(self) -> None:
        """Take what has arrived now, instead of within the next milliseconds."""
        for tap in self.taps.values():
            tap.take()

    def begin(self, episode: EpisodeRecording, now_ns: int) -> None:
        """Hand everything to `episode` from now on, its lead-in first."""
        self.take()
        self._lost_before = {topic: tap.lost for topic, tap in self.taps.items()}
        self._loop.stall_s = 0.0
        with self._gate:
            for health in self.health.values():
                health.begin(now_ns)
            for message in sorted(self._newest.values(), key=lambda message: message.receive_ns):
                if message.receive_ns > now_ns - self._lead_in_ns(message.topic):
                    episode.add(message)
            self._episode = episode

    def end(self) -> None:
        """Hand over what has arrived, then nothing more."""
        self.take()
        with self._gate:
            self._episode = None
            for health in self.health.values():
                health.end()

    def lost(self, topic: str) -> int:
        """Messages of this take that were published and never arrived."""
        return self.taps[topic].lost - self._lost_before.get(topic, 0)

    def alarms(self, now_ns: int) -> list[Alarm]:
        """What is wrong with the streams now."""
        found = [a for health in self.health.values() for a in health.alarms(now_ns)]
        if self._episode is None:
            return found
        for topic in self.taps:
            if lost := self.lost(topic):
                found.append(Alarm(f"{topic} lost", f"{topic}: {lost} messages never arrived"))
        if self._loop.stall_s > _STALL_S:
            text = (
                f"the recorder could not run for {self._loop.stall_s:.1f} s; lighten this computer"
            )
            found.append(Alarm("stall", text))
        return found

    def facts(self, now_ns: int) -> dict[str, StreamFacts]:
        """What was seen of every topic, by resolved name."""
        return {topic: self._facts(topic, now_ns) for topic in self.taps}

    def check(self, now_ns: int, *, actions: bool = True) -> list[Line]:
        """Judge every stream; without `actions` those that a video needs."""
        self.take()
        lines: list[Line] = []
        for key, spec in self.embodiment.streams.items():
            command = key.startswith("action/")
            if command and not actions:
                continue
            facts = self._facts(str(self._node.resolve_topic_name(spec.topic)), now_ns)
            lines += check_stream(key, spec, facts, needed=not command)
        for topic in self.missing:
            lines.append(Line(topic, "fail", "has no publisher", "start it, or do not ask for it"))
        return lines

    def as_recorded(self) -> Embodiment:
        """The embodiment with the topics as they are in the bag, where a remapping moved one."""
        space = self._node.get_namespace().rstrip("/")

        def streams(entries: dict[str, Any]) -> dict[str, Any]:
            moved = {}
            for key, entry in entries.items():
                topic = getattr(entry, "topic", "")
                resolved = self._node.resolve_topic_name(topic) if topic else ""
                same = resolved in (topic, f"{space}/{topic}")
                moved[key] = entry if same else dataclasses.replace(entry, topic=resolved)
            return moved

        known = self.embodiment
        return dataclasses.replace(
            known,
            cameras=streams(known.cameras),
            state=streams(known.state),
            action=streams(known.action),
        )

    def close(self) -> None:
        """Leave every topic."""
        self._loop.close()
        for tap in self.taps.values():
            tap.close()

    def _listen(self, topic: str, type_name: str) -> None:
        resolved = str(self._node.resolve_topic_name(topic))
        if resolved in self.taps:
            return
        definition(type_name)  # slow the first time, and a start must not wait for it
        expected = self._expected(resolved)

        def deliver(data: bytes, receive_ns: int) -> None:
            message = Raw(resolved, data, receive_ns)
            with self._gate:
                health.add(data, receive_ns)
                self._newest[resolved] = message
                if self._episode is not None:
                    self._episode.add(message)

        tap = Tap(self._node, topic, type_name, expected.rate_hz, deliver)
        expected = dataclasses.replace(expected, stamped=tap.stamped, image=type_name == _IMAGE)
        health = self.health[resolved] = TopicHealth(expected)
        self.taps[resolved] = tap
        self._loop.watch(self.taps.values())
        if tap.note:
            self._log.warning(f"{resolved}: {tap.note}")

    def _specs(self, resolved: str) -> dict[str, Any]:
        """Streams of the embodiment that live on a topic."""
        return {
            key: spec
            for key, spec in self.embodiment.streams.items()
            if self._node.resolve_topic_name(spec.topic) == resolved
        }

    def _expected(self, resolved: str) -> Expectation:
        specs = self._specs(resolved)
        if not specs:
            return Expectation(topic=resolved)
        return Expectation(
            topic=resolved,
            rate_hz=max(spec.rate_hz for spec in specs.values()),
            max_gap_s=min(spec.max_age_s for spec in specs.values()),
            starts_late=all(key.startswith("action/") for key in specs),
        )

    def _lead_in_ns(self, resolved: str) -> int:
        """How old a message before the start may be to serve the first tick."""
        ages_s = [spec.max_age_s for spec in self._specs(resolved).values()]
        return round(max(ages_s, default=_LEAD_IN_S) * 1e9)

    def _facts(self, topic: str, now_ns: int) -> StreamFacts:
        health, newest = self.health[topic], self._newest.get(topic)
        return StreamFacts(
            topic=topic,
            offers=tuple(
                Offer(
                    f"{info.node_namespace.rstrip('/')}/{info.node_name}",
                    info.topic_type,
                    info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
                    info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
                )
                for info in publishers(self._node, topic)
            ),
            rate_hz=health.rate_hz(now_ns),
            silent_s=health.silent_s(now_ns),
            offset_s=health.offset_s,
            message=LazyMessage(newest.data, self.taps[topic].type) if newest else None,
            lost=self.taps[topic].lost - self._losses.get(topic, 0),
            size_bytes=len(newest.data) if newest else 0,
        )


def _transported(embodiment: Embodiment, transport: Transport) -> Embodiment:
    """The embodiment with its raw cameras on their compressed topics, if that is what is taken."""
    if transport != "compressed":
        return embodiment
    cameras = {
        name: dataclasses.replace(c, topic=f"{c.topic}/compressed", type=_COMPRESSED)
        if isinstance(c, Camera) and c.type == _IMAGE
        else c
        for name, c in embodiment.cameras.items()
    }
    return dataclasses.replace(embodiment, cameras=cameras)
