# SPDX-License-Identifier: Apache-2.0
"""Judges whether a recording would be good before anything moves: what was found, what to do.

Facts about streams and machine come in (`bridge/streams.py` and `bridge/machine.py` gather them),
lines come out: ok, warn or fail, with advice. A recorder refuses to start on what fails here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from uwm_core.data.messages import image_rgb, vector
from uwm_core.errors import UwmError
from uwm_core.streams import Camera, Vector
from uwm_ros.logic.alarms import NEVER_S

Level = Literal["ok", "warn", "fail"]

_MIN_SHARE = 0.8
_MAX_OFFSET_S = 0.1
_MAX_LOST_SHARE = 0.2
_OTHER_EPOCH_S = 60.0
# A header from the future: the clocks of two computers differ.
_MAX_AHEAD_S = 0.01
_GIB = 2**30
# Twice a 480x640 colour image.
_SMALL_BYTES = 2 * 480 * 640 * 3


class Line(NamedTuple):
    """One finding: what it is about, how good it is, what was found, what to do."""

    subject: str
    level: Level
    found: str
    advice: str = ""

    def to_text(self) -> str:
        """One line for people."""
        arrow = f" -> {self.advice}" if self.advice else ""
        return f"{self.level:<4}  {self.subject}: {self.found}{arrow}"


class Offer(NamedTuple):
    """A publisher of a topic."""

    node: str
    type: str
    reliable: bool
    latched: bool


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What was seen of one topic.

    Attributes:
        topic: Resolved name.
        offers: Its publishers.
        rate_hz: Measured.
        silent_s: Since the newest message.
        offset_s: Receive time less header stamp; None without a header, or without a message.
        message: The newest one, decoded or decoding itself; None: there was none.
        lost: Messages that were published within the last second or two and never arrived.
        size_bytes: Of the newest message.
    """

    topic: str
    offers: tuple[Offer, ...] = ()
    rate_hz: float = 0.0
    silent_s: float = NEVER_S
    offset_s: float | None = None
    message: Any = None
    lost: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """What was seen of this computer.

    Attributes:
        directory: Where bags would be written.
        free_bytes: Free there.
        write_bytes_per_s: Measured there; 0: not measured.
        rmw: Name of the middleware.
        domain: ROS domain.
        segment_bytes: Shared memory of Fast DDS per participant; None: not known.
        use_sim_time: Whether the clock of a simulation counts.
        has_clock: Whether anybody publishes that clock.
    """

    directory: str
    free_bytes: int
    write_bytes_per_s: float = 0.0
    rmw: str = ""
    domain: int = 0
    segment_bytes: int | None = None
    use_sim_time: bool = False
    has_clock: bool = False
    streams: Mapping[str, StreamFacts] = field(default_factory=dict)


def check_stream(
    key: str, spec: Camera | Vector, facts: StreamFacts, *, needed: bool = True
) -> list[Line]:
    """Judge one stream of an embodiment.

    Args:
        key: E.g. `camera/front`.
        spec: What the embodiment says of it.
        facts: What was seen.
        needed: Whether its silence fails; a command stream may begin with the first motion.

    Returns:
        What is wrong, worst first; one line that says how it is if nothing is.
    """
    subject = f"{facts.topic} ({key})"
    missing = _presence(subject, spec, facts, needed)
    if missing is not None:
        return [missing]
    found = [
        *_content(subject, spec, facts),
        *_clock(subject, spec, facts),
        *_flow(subject, spec, facts),
    ]
    if found:
        return sorted(found, key=lambda line: line.level != "fail")
    return [Line(subject, "ok", _summary(spec, facts))]


def check_machine(facts: MachineFacts) -> list[Line]:
    """Judge the computer: disk, middleware, clock."""
    return [_disk(facts), _speed(facts), _transport(facts), _time_source(facts)]


def failures(lines: Iterable[Line]) -> list[Line]:
    """Those that forbid a recording."""
    return [line for line in lines if line.level == "fail"]


def _presence(subject: str, spec: Camera | Vector, facts: StreamFacts, needed: bool) -> Line | None:
    """Whether there is anything to judge."""
    right = [offer for offer in facts.offers if offer.type == spec.type]
    if not right:
        others = sorted({offer.type for offer in facts.offers})
        if others:
            found = f"has no publisher of {spec.type}; it is published as {', '.join(others)}"
            return Line(subject, "fail", found, f"set type: {others[0]} in the embodiment")
        advice = "start its driver, or check namespace, remapping and ROS_DOMAIN_ID"
        return Line(subject, "fail", "has no publisher", advice)
    if facts.silent_s > max(1.0, 3 / spec.rate_hz):
        never = facts.silent_s == NEVER_S
        found = "is silent" + ("" if never else f" for {facts.silent_s:.1f} s")
        if not needed:
            return Line(subject, "warn", found, "right if it begins with the first motion")
        return Line(subject, "fail", found, f"look at {right[0].node}, which announces it")
    return None


def _content(subject: str, spec: Camera | Vector, facts: StreamFacts) -> list[Line]:
    """Whether the newest message can be made a value of."""
    if facts.message is None:
        return []
    try:
        if isinstance(spec, Camera):
            image_rgb(facts.message)
        else:
            vector(facts.message, spec)
    except UwmError as error:
        advice = (
            "set the driver to rgb8, bgr8 or a JPEG or PNG transport"
            if isinstance(spec, Camera)
            else "correct names or field in the embodiment, or the driver"
        )
        return [Line(subject, "fail", str(error), advice)]
    return []


def _clock(subject: str, spec: Camera | Vector, facts: StreamFacts) -> list[Line]:
    """Whether header stamps can be compared with this computer's clock."""
    if facts.offset_s is None:
        return []
    counts: Level = "fail" if spec.clock == "header" else "warn"
    receive = "or set clock: receive for this stream"
    if abs(facts.offset_s) > _OTHER_EPOCH_S:
        found = f"its stamps are {facts.offset_s:.0f} s from this clock: another epoch, or none"
        return [Line(subject, counts, found, f"let its driver stamp with system time, {receive}")]
    if facts.offset_s < -_MAX_AHEAD_S:
        found = f"its stamps are {-1000 * facts.offset_s:.0f} ms in the future"
        return [Line(subject, "warn", found, f"synchronise the computers (chrony), {receive}")]
    if facts.offset_s > _MAX_OFFSET_S:
        found = f"its messages are {1000 * facts.offset_s:.0f} ms old when they arrive"
        return [Line(subject, "warn", found, "synchronise the computers (chrony), or lighten it")]
    return []


def _flow(subject: str, spec: Camera | Vector, facts: StreamFacts) -> list[Line]:
    """Whether everything arrives, as often as the embodiment says."""
    lines = []
    if facts.lost:
        found = f"{facts.lost} messages were published lately and never arrived"
        many: Level = "fail" if facts.lost > _MAX_LOST_SHARE * facts.rate_hz else "warn"
        lines.append(Line(subject, many, found, _loss_advice(facts)))
    if facts.rate_hz < _MIN_SHARE * spec.rate_hz:
        found = f"has {facts.rate_hz:.1f} Hz, the embodiment says {spec.rate_hz:g} Hz"
        advice = "raise the driver's rate (light and exposure of a camera), or correct rate_hz"
        lines.append(Line(subject, "warn", found, advice))
    elif facts.rate_hz * _MIN_SHARE > spec.rate_hz:
        found = f"has {facts.rate_hz:.1f} Hz, the embodiment says {spec.rate_hz:g} Hz"
        lines.append(Line(subject, "warn", found, "correct rate_hz in the embodiment"))
    nodes = sorted({offer.node for offer in facts.offers})
    if len(facts.offers) > 1:
        found = f"has {len(facts.offers)} publishers: {', '.join(nodes)}"
        lines.append(Line(subject, "warn", found, "stop all but one: their messages mix"))
    return lines


def _loss_advice(facts: StreamFacts) -> str:
    if facts.size_bytes > 2**18:
        return (
            "give its driver the DDS profile config/dds/large_images.xml "
            "(FASTDDS_DEFAULT_PROFILES_FILE; Jazzy: FASTRTPS_...), or publish it reliable"
        )
    return "let its driver offer reliable delivery, or lighten this computer"


def _summary(spec: Camera | Vector, facts: StreamFacts) -> str:
    offer = next(offer for offer in facts.offers if offer.type == spec.type)
    parts = [f"{facts.rate_hz:.1f} Hz", "reliable" if offer.reliable else "best effort"]
    if isinstance(spec, Camera) and hasattr(facts.message, "encoding"):
        message = facts.message
        parts.append(f"{message.height}x{message.width} {message.encoding}")
    if facts.offset_s is not None:
        parts.append(f"{1000 * facts.offset_s:.0f} ms old on arrival")
    return ", ".join(parts)


def _disk(facts: MachineFacts) -> Line:
    rate = sum(stream.rate_hz * stream.size_bytes for stream in facts.streams.values())
    found = f"{facts.free_bytes / _GIB:.1f} GiB free in {facts.directory}"
    if rate > 0:
        found += f", {facts.free_bytes / rate / 60:.0f} minutes at {rate / 1e6:.0f} MB/s"
    if facts.free_bytes < _GIB:
        return Line("disk", "fail", found, "make room, or record to another directory")
    short = rate > 0 and facts.free_bytes / rate < 600
    return Line("disk", "warn" if short else "ok", found, "make room" if short else "")


def _speed(facts: MachineFacts) -> Line:
    rate = sum(stream.rate_hz * stream.size_bytes for stream in facts.streams.values())
    speed = facts.write_bytes_per_s
    if not speed:
        return Line("disk speed", "ok", "not measured")
    found = f"writes {speed / 1e6:.0f} MB/s, the streams bring {rate / 1e6:.0f} MB/s"
    if speed < rate:
        return Line("disk speed", "fail", found, "record to a faster disk, or compressed images")
    tight = speed < 1.5 * rate
    advice = "a faster disk, or compressed images, would leave some room" if tight else ""
    return Line("disk speed", "warn" if tight else "ok", found, advice)


def _transport(facts: MachineFacts) -> Line:
    found = f"{facts.rmw}, domain {facts.domain}"
    if facts.segment_bytes is None:
        return Line("middleware", "ok", found)
    advice = (
        "set FASTDDS_DEFAULT_PROFILES_FILE (Jazzy: FASTRTPS_...) to config/dds/"
        "large_images.xml, here and for the drivers"
    )
    largest = max((stream.size_bytes for stream in facts.streams.values()), default=0)
    found += f", {facts.segment_bytes / 2**20:.1f} MiB of shared memory"
    if largest and facts.segment_bytes < 2 * largest:
        found += f" for messages of {largest / 2**20:.1f} MiB: most of them get lost"
        return Line("middleware", "fail", found, advice)
    if not largest and facts.segment_bytes < _SMALL_BYTES:
        return Line("middleware", "warn", found, f"before large images: {advice}")
    return Line("middleware", "ok", found)


def _time_source(facts: MachineFacts) -> Line:
    if facts.use_sim_time and not facts.has_clock:
        return Line("clock", "fail", "use_sim_time is set, and nobody publishes /clock", "unset it")
    if facts.has_clock and not facts.use_sim_time:
        found = "a simulation publishes /clock, and use_sim_time is not set"
        return Line("clock", "warn", found, "set use_sim_time, or stop the simulation")
    return Line("clock", "ok", "simulated time" if facts.use_sim_time else "system time")


def refuse(lines: Iterable[Line]) -> None:
    """Raise what failed among lines, with what to do about it.

    Raises:
        UwmError: If something failed.
    """
    if failed := failures(lines):
        raise UwmError("; ".join(f"{line.subject} {line.found} ({line.advice})" for line in failed))
