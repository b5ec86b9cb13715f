# SPDX-License-Identifier: Apache-2.0
"""One bag to steps on the embodiment's grid, in one pass and with flat memory.

The grid begins at the first moment at which every stream is known and ends at the last. A tick at
which a stream is absent is a ``Hole``; what is done about holes is decided by ``convert``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from uwm_core.data.bag import BagReader
from uwm_core.data.messages import NS_PER_S
from uwm_core.data.resample import CLOCK_SET, Absent, ObservationBuffer
from uwm_core.data.topics import resolve_topics
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.records import Step

# How far the streams may run apart before samples that a tick still waits for are let go.
HORIZON_S = 10.0


@dataclasses.dataclass(frozen=True)
class Hole:
    """A tick that has no step.

    Attributes:
        stamp_ns: The tick.
        offset_s: The same, since the first tick.
        reason: Which stream is absent and why.
    """

    stamp_ns: int
    offset_s: float
    reason: str


class BagGrid:
    """Steps of one bag.

    Args:
        reader: The open bag.
        embodiment: Streams and rate.
        actions: Whether the action streams are needed.
        namespace: Where the topics live; needed only where several namespaces fit.

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
    ) -> None:
        self._reader = reader
        self._embodiment = embodiment
        self._buffer = ObservationBuffer(embodiment, actions=actions, horizon_s=HORIZON_S)
        streams = {key: embodiment.streams[key] for key in self._buffer.keys}
        topics = reader.topics
        wanted = dict.fromkeys(stream.topic for stream in streams.values())
        try:
            self.topics = resolve_topics(wanted, topics, namespace)
        except DataError as error:
            raise DataError(f"{reader.path}: {error}") from None
        self._keys: dict[str, list[str]] = {}
        for key, stream in streams.items():
            actual = self.topics[stream.topic]
            if topics[actual].type != stream.type:
                raise DataError(
                    f"{reader.path}: {actual} is {topics[actual].type}, the embodiment says "
                    f"{stream.type}"
                )
            self._keys.setdefault(actual, []).append(key)

    @property
    def counts(self) -> dict[str, int]:
        """Messages in the bag, by topic that is used."""
        return {topic: self._reader.topics[topic].messages for topic in self._keys}

    @property
    def notes(self) -> tuple[str, ...]:
        """Clock trouble met so far, in sentences."""
        return tuple(self._buffer.trouble_sentences())

    def steps(self, seen: Callable[[int], None] | None = None) -> Iterator[Step | Hole]:
        """Go through the bag once.

        Args:
            seen: Called now and then with the log time that was reached, for a progress bar.

        Yields:
            A step or a hole per tick, in order of time.

        Raises:
            DataError: If a message cannot be decoded, or the streams have no moment in common.
        """
        buffer, period = self._buffer, self._embodiment.period_ns
        first: int | None = None
        tick = 0
        for topic, message, log_ns in self._reader.messages(self._keys):
            for key in self._keys[topic]:
                self._push(key, message, log_ns)
            newest = buffer.newest_tick_ns()
            if newest is None:
                continue
            if first is None:
                first = tick = buffer.oldest_tick_ns() or 0
            while tick <= newest:
                yield self._step(tick, first)
                tick += period
                buffer.forget_before(tick)
                if seen is not None:
                    seen(log_ns)
        if first is None or tick == first:
            raise self._nothing()
        yield from self._cut_off(tick, first)

    def _push(self, key: str, message: object, log_ns: int) -> None:
        try:
            self._buffer.push(key, message, log_ns)
        except DataError as error:
            raise DataError(f"{self._reader.path}: {key}: {error}") from None

    def _step(self, tick: int, first: int) -> Step | Hole:
        try:
            return self._buffer.step(tick)
        except Absent as absent:
            return Hole(tick, (tick - first) / NS_PER_S, str(absent))
        except DataError as error:
            raise DataError(f"{self._reader.path}: {error}") from None

    def _nothing(self) -> DataError:
        """Why a bag gave no step: the stream that is to blame."""
        path = self._reader.path
        trouble = "; ".join(self._buffer.trouble_sentences())
        with_trouble = f" ({trouble})" if trouble else ""
        if missing := self._buffer.missing():
            topic = self.topics[self._embodiment.streams[missing[0]].topic]
            return DataError(f"{path}: {topic} has no usable message{with_trouble}")
        spans = ", ".join(
            f"{key} {low / NS_PER_S:.3f} to {high / NS_PER_S:.3f} s"
            for key, (low, high) in self._buffer.spans().items()
        )
        return DataError(f"{path}: the streams have no moment in common: {spans}{with_trouble}")

    def _cut_off(self, tick: int, first: int) -> Iterator[Hole]:
        """A hole at the end if a stream stopped long before the others or a clock was set."""
        for key, count in self._buffer.counted(CLOCK_SET).items():
            topic = self.topics[self._embodiment.streams[key].topic]
            offset_s = (tick - first) / NS_PER_S
            yield Hole(tick, offset_s, f"{key}: the clock of {topic} was set back {count} times")
        spans = self._buffer.spans()
        last = max(high for _, high in spans.values())
        for key, (_, high) in spans.items():
            stream = self._embodiment.streams[key]
            silent_s = (last - high) / NS_PER_S
            if silent_s > stream.max_age_s + self._embodiment.period_ns / NS_PER_S:
                reason = f"{self.topics[stream.topic]} stops {silent_s:.3f} s before the end"
                yield Hole(tick, (tick - first) / NS_PER_S, f"{key}: {reason}")
