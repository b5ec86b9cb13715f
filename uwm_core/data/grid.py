# SPDX-License-Identifier: Apache-2.0
"""Messages to steps on the embodiment's grid, in one pass and flat memory; no image is decoded.

The grid begins at the first moment at which every stream is known and ends at the last. A tick at
which a stream is absent is a ``Hole``; what is done about holes is decided by ``convert``. ``Grid``
takes messages one by one, from wherever they come; ``BagGrid`` feeds it a bag.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from uwm_core.data.bag import BagReader
from uwm_core.data.lazy_image import LazyImage
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.resample import ObservationBuffer
from uwm_core.data.stream_buffer import CLOCK_SET, EPOCH_NS, Absent
from uwm_core.data.sync import SyncMeter
from uwm_core.data.topics import resolve_topics
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

# How long the others wait for a stream that has stopped before their ticks are holes.
HORIZON_S = 5.0
# Longer silence of all topics together is a pause of the recording: nobody is late because of it.
PAUSE_NS = NS_PER_S // 10

UNREADABLE = "message too short for a header"


@dataclasses.dataclass(frozen=True)
class Hole:
    """A tick that has no step.

    Attributes:
        stamp_ns: The tick.
        offset_s: The same, since the first tick.
        reason: Which stream is absent and why.
        final: Whether the recording has nothing usable after it.
        partial: What holds at the tick all the same; has none of the keys that are absent.
    """

    stamp_ns: int
    offset_s: float
    reason: str
    final: bool = False
    partial: Step | None = None


Trouble = dict[tuple[str, str], int]
"""How often something was wrong with messages, by topic and what it was."""


def sentences(trouble: Mapping[tuple[str, str], int]) -> list[str]:
    """Trouble for people: ``/front/color/image_raw: 12 x header stamp 0``."""
    return [f"{topic}: {count} x {kind}" for (topic, kind), count in trouble.items()]


class Grid:
    """Ticks of one recording, as its messages come in.

    Args:
        embodiment: Streams and rate.
        topics: Where the messages of each of the embodiment's topics come from.
        actions: Whether the action streams are needed.
        partial: Whether holes say what holds all the same.

    Attributes:
        pauses: Log times between which no message came at all, longer than ``PAUSE_NS``.
        sync: How well the streams keep time.
        shift_ns: Log time less stamp, if stamps are of another epoch than the log; else 0.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        topics: Mapping[str, str],
        *,
        actions: bool = True,
        partial: bool = False,
    ) -> None:
        self._embodiment = embodiment
        self._topics = topics
        self._partial = partial
        streams = embodiment.streams if actions else embodiment.observation_streams
        # No stream may be given up on while a sample of it could still hold.
        patience_s = max(s.max_age_s + s.latency_s for s in streams.values()) + 1.0
        self._horizon_ns = round(max(HORIZON_S, patience_s) * NS_PER_S)
        self._buffer = ObservationBuffer(
            embodiment,
            actions=actions,
            horizon_s=self._horizon_ns / NS_PER_S,
            view=LazyImage,
        )
        self._keys: dict[str, list[str]] = {}
        for key, stream in streams.items():
            self._keys.setdefault(topics[stream.topic], []).append(key)
        self.sync = SyncMeter(streams)
        self._unreadable: collections.Counter[str] = collections.Counter()
        self.pauses: list[tuple[int, int]] = []
        self.shift_ns = 0
        self._first: int | None = None
        self._tick = 0
        # The stream that the tick waits for, and what it must reach before anything else matters.
        self._awaited: str | None = None
        self._awaited_ns = 0
        self._log_ns: int | None = None
        self._active_ns = 0  # time that passed, pauses left out
        self._heard_ns = dict.fromkeys(self._buffer.keys, 0)  # the same, at the last message

    @property
    def sources(self) -> tuple[str, ...]:
        """Topics whose messages are wanted."""
        return tuple(self._keys)

    def push(self, topic: str, message: object, log_ns: int) -> bool:
        """Take one message, in log order.

        Returns:
            Whether ticks may be due.
        """
        passed_ns = log_ns - self._log_ns if self._log_ns is not None else 0
        self._log_ns = log_ns
        if passed_ns > PAUSE_NS:
            self.pauses.append((log_ns - passed_ns, log_ns))
            passed_ns = PAUSE_NS
        self._active_ns += passed_ns
        buffer = self._buffer
        for key in self._keys[topic]:
            try:
                stamp = buffer.push(key, message, log_ns)
                if stamp is not None:
                    self.sync.saw(key, stamp, log_ns)
            except DataError:
                self._unreadable[key] += 1
            self._heard_ns[key] = self._active_ns
        awaited = self._awaited
        if awaited is None:
            return True
        newest = buffer.newest_ns(awaited)
        return (newest is not None and newest >= self._awaited_ns) or self._is_late(awaited)

    def due(self) -> Iterator[Step | Hole]:
        """Ticks that can be decided now, in order of time."""
        if self._first is None and not self._begin():
            return
        while self._tick <= self._known_ns():
            yield self._at(self._tick)
            self._tick += self._embodiment.period_ns
            self._buffer.forget_before(self._tick)

    def _begin(self) -> bool:
        """Fix the first tick, if every stream is known."""
        if self._buffer.newest_tick_ns() is None:
            # Streams that wait for one that has not begun need no long memory.
            heard = [high for _, high in self._buffer.spans().values()]
            if heard:
                self._buffer.forget_before(min(heard) - self._horizon_ns)
            return False
        self._first = self._tick = self._buffer.oldest_tick_ns() or 0
        shift_ns = (self._log_ns or 0) - self._tick
        self.shift_ns = shift_ns if abs(shift_ns) > EPOCH_NS else 0
        return True

    def _is_late(self, key: str) -> bool:
        return self._active_ns - self._heard_ns[key] > self._horizon_ns

    def _known_ns(self) -> int:
        """Up to where every stream is known, or given up on."""
        newest = {
            key: self._buffer.newest_ns(key) or 0
            for key in self._buffer.keys
            if not self._is_late(key)
        }
        late = len(newest) < len(self._buffer.keys)
        # A late stream may come again, with samples from now on; till then it has no say.
        wait_ns = self._horizon_ns if late else 0
        self._awaited = min(newest, key=newest.__getitem__)
        self._awaited_ns = self._tick + wait_ns
        return newest[self._awaited] - wait_ns

    def _at(self, tick: int) -> Step | Hole:
        try:
            step = self._buffer.step(tick)
            for key in self._buffer.keys:
                self.sync.used(key, tick, self._buffer.age_ns(key, tick))
            return step
        except Absent as absent:
            newest = self._buffer.newest_ns(absent.key)
            reason = str(absent)
            if newest is not None and newest < tick:
                silent_s = (tick - newest) / NS_PER_S
                reason = f"{absent.key}: {self._topic(absent.key)} is silent for {silent_s:.3f} s"
        except DataError as error:
            reason = str(error)
        return self.hole(tick, reason, partial=self._present(tick) if self._partial else None)

    def _present(self, tick: int) -> Step:
        values = self._buffer.present(tick)
        kinds: dict[str, dict[str, Any]] = {"camera": {}, "state": {}, "action": {}}
        for key, value in values.items():
            kind, _, name = key.partition("/")
            kinds[kind][name] = value
        return Step(tick, kinds["camera"], kinds["state"], kinds["action"])

    def hole(
        self, tick: int, reason: str, *, final: bool = False, partial: Step | None = None
    ) -> Hole:
        """A hole at a tick."""
        return Hole(tick, (tick - (self._first or 0)) / NS_PER_S, reason, final, partial)

    def _topic(self, key: str) -> str:
        return self._topics[self._embodiment.streams[key].topic]

    def trouble(self) -> Trouble:
        """What was wrong with messages so far."""
        found = {
            (self._topic(key), kind): count
            for key, kinds in self._buffer.trouble.items()
            for kind, count in kinds.items()
        }
        return found | {(self._topic(k), UNREADABLE): n for k, n in self._unreadable.items()}

    def finish(self) -> Iterator[Hole]:
        """Holes at the end: a stream stopped long before the others, or a clock was set.

        Raises:
            DataError: If there was no tick at all; says which stream is to blame.
        """
        if self._first is None or self._tick == self._first:
            raise DataError(self._why_nothing())
        for key, count in self._buffer.counted(CLOCK_SET).items():
            reason = f"{key}: the clock of {self._topic(key)} was set back {count} times"
            yield self.hole(self._tick, reason, final=True)
        spans = self._buffer.spans()
        last = max(high for _, high in spans.values())
        for key, (_, high) in spans.items():
            silent_s = (last - high) / NS_PER_S
            period_s = self._embodiment.period_ns / NS_PER_S
            if silent_s > self._embodiment.streams[key].max_age_s + period_s:
                topic = self._topic(key)
                reason = f"{key}: {topic} stops {silent_s:.3f} s before the end"
                yield self.hole(self._tick, reason, final=True)

    def _why_nothing(self) -> str:
        trouble = "; ".join(sentences(self.trouble()))
        with_trouble = f" ({trouble})" if trouble else ""
        if missing := self._buffer.missing():
            return f"{self._topic(missing[0])} has no usable message{with_trouble}"
        spans = ", ".join(
            f"{key} {low / NS_PER_S:.3f} to {high / NS_PER_S:.3f} s"
            for key, (low, high) in self._buffer.spans().items()
        )
        return f"the streams have no moment in common: {spans}{with_trouble}"


class BagGrid:
    """Steps of one bag.

    Args:
        reader: The open bag.
        embodiment: Streams and rate.
        actions: Whether the action streams are needed.
        namespace: Where the topics live; needed only where several namespaces fit.
        partial: Whether holes say what holds all the same.

    Attributes:
        grid: The ticks, for what else it knows of them.

    Raises:
        DataError: If a topic is missing or of another type.
    """

    def __init__(
        self,
        reader: BagReader,
        embodiment: Embodiment,
        *,
        actions: bool = True,
        namespace: str | None = None,
        partial: bool = False,
    ) -> None:
        self._reader = reader
        streams = embodiment.streams if actions else embodiment.observation_streams
        present = reader.topics
        wanted = dict.fromkeys(stream.topic for stream in streams.values())
        try:
            topics = resolve_topics(wanted, present, namespace)
        except DataError as error:
            raise DataError(f"{reader.path}: {error}") from None
        for stream in streams.values():
            actual = topics[stream.topic]
            if present[actual].type != stream.type:
                raise DataError(
                    f"{reader.path}: {actual} is {present[actual].type}, the embodiment says "
                    f"{stream.type}"
                )
        self.grid = Grid(embodiment, topics, actions=actions, partial=partial)

    @property
    def counts(self) -> dict[str, int]:
        """Messages in the bag, by topic that is used."""
        topics = self._reader.topics
        return {topic: topics[topic].messages for topic in self.grid.sources}

    def steps(self, seen: Callable[[int], None] | None = None) -> Iterator[Step | Hole]:
        """Go through the bag once.

        Args:
            seen: Called now and then with the log time that was reached, for a progress bar.

        Yields:
            A step (its images as ``LazyImage``) or a hole per tick, in order of time.

        Raises:
            DataError: If the bag breaks off, or the streams have no moment in common.
        """
        grid = self.grid
        for topic, message, log_ns in self._reader.messages(grid.sources):
            if grid.push(topic, message, log_ns):
                yield from grid.due()
                if seen is not None:
                    seen(log_ns)
        try:
            yield from grid.finish()
        except DataError as error:
            raise DataError(f"{self._reader.path}: {error}") from None
