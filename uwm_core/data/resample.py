# SPDX-License-Identifier: Apache-2.0
"""Streams to steps: what was true at a tick of the grid, the same live and offline.

``ObservationBuffer`` takes messages as they come, undecoded, and answers for a tick:

* images: the last one at or before the tick;
* vectors: linear interpolation (orientations: slerp), or the last value for commands that jump;
* older than the stream's ``max_age_s``: ``Absent``, never zeros and never a silent repeat.

A stream is known up to its newest stamp, so the newest tick is the oldest of the newest stamps, and
interpolation needs no future. Stamps that cannot be used (jump back, header 0, another epoch) are
counted per stream. It neither reads bags nor knows ROS; time always comes in as an argument.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.messages import NS_PER_S, between, picture
from uwm_core.data.stream_buffer import StreamBuffer
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError
from uwm_core.records import Observation, Step
from uwm_core.streams import Camera, Vector


class ObservationBuffer:
    """Ring buffers of an embodiment's streams, bounded by time, sampled on the grid.

    ``push`` may be called from one thread and ``observation`` from another. A push costs a few
    microseconds; decoding happens when a tick asks for it, once per image used.

    Args:
        embodiment: The streams and their rules.
        history: Steps in an observation (T).
        actions: Take the action streams too, which conversion needs and driving does not.
        horizon_s: How far back samples are kept; by default what the history can reach, and 2 s.
        view: Decodes an image; conversion gives ``LazyImage``, which leaves that to others.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        history: int = 1,
        *,
        actions: bool = False,
        horizon_s: float | None = None,
        view: Callable[[Any, Camera], Any] = picture,
    ) -> None:
        self.embodiment = embodiment
        self.history = history
        specs = embodiment.streams if actions else embodiment.observation_streams
        reach_s = history / embodiment.rate_hz + max(spec.max_age_s for spec in specs.values())
        horizon_ns = round((horizon_s if horizon_s is not None else reach_s + 2.0) * NS_PER_S)
        self._streams = {key: StreamBuffer(key, spec, horizon_ns) for key, spec in specs.items()}
        self._view = view
        self._lock = threading.Lock()

    @property
    def keys(self) -> tuple[str, ...]:
        """Streams that are taken: ``camera/<name>``, ``state/<key>``, ``action/<key>``."""
        return tuple(self._streams)

    def push(self, key: str, msg: Any, receive_ns: int) -> int | None:
        """Take one message of one stream.

        Args:
            key: The stream, e.g. ``camera/front``.
            msg: The message, not decoded; it must not change afterwards.
            receive_ns: When it was received (live) or logged (bag).

        Returns:
            Its stamp as it counts here; None if the message cannot be used.

        Raises:
            UnknownNameError: If the embodiment has no such stream.
        """
        stream = self._streams.get(key)
        if stream is None:
            raise UnknownNameError("stream", key, self._streams)
        with self._lock:
            return stream.push(msg, receive_ns)

    def age_ns(self, key: str, tick_ns: int) -> int:
        """How old, at a tick for which there is a step, the newest sample is."""
        return tick_ns - self._streams[key].around(tick_ns)[0].stamp_ns

    def newest_ns(self, key: str) -> int | None:
        """Stamp of the newest usable message of one stream; None if there is none."""
        return self._streams[key].newest_ns

    def newest_tick_ns(self) -> int | None:
        """Newest moment at which every stream is known; None while there is none."""
        newest, oldest = self._edge(newest=True), self.oldest_tick_ns()
        if newest is None or oldest is None or newest < oldest:
            return None
        return newest

    def oldest_tick_ns(self) -> int | None:
        """First moment from which every stream is known; None while one has no message."""
        return self._edge(newest=False)

    def _edge(self, *, newest: bool) -> int | None:
        edge: int | None = None
        for stream in self._streams.values():
            stamp = stream.newest_ns if newest else stream.oldest_ns
            if stamp is None:
                return None
            if edge is None or (stamp < edge) == newest:
                edge = stamp
        return edge

    def missing(self) -> list[str]:
        """Streams of which nothing usable has come."""
        return [key for key, stream in self._streams.items() if stream.newest_ns is None]

    def forget_before(self, tick_ns: int) -> None:
        """Drop what no tick at or after this one can need (conversion calls it; live need not)."""
        with self._lock:
            for stream in self._streams.values():
                stream.forget_before(tick_ns)

    def spans(self) -> dict[str, tuple[int, int]]:
        """Oldest and newest stamp that is kept, by stream that has any."""
        return {
            key: (stream.oldest_ns, stream.newest_ns)
            for key, stream in self._streams.items()
            if stream.oldest_ns is not None and stream.newest_ns is not None
        }

    def counted(self, kind: str) -> dict[str, int]:
        """Streams that had one kind of trouble, with how often."""
        return {key: kinds[kind] for key, kinds in self.trouble.items() if kind in kinds}

    @property
    def trouble(self) -> Mapping[str, Mapping[str, int]]:
        """Messages by stream and by what was wrong with their stamps."""
        return {key: dict(s.trouble) for key, s in self._streams.items() if s.trouble}

    def trouble_sentences(self) -> list[str]:
        """The same for people: ``front/color/image_raw: 12 x header stamp 0``."""
        return [
            f"{self._streams[key].spec.topic}: {count} x {kind}"
            for key, kinds in self.trouble.items()
            for kind, count in kinds.items()
        ]

    def observation(self, tick_ns: int, task: str = "") -> Observation:
        """What a policy sees at a tick: the history's steps, oldest first.

        Args:
            tick_ns: The newest step's tick; ``newest_tick_ns()`` when driving.
            task: The task sentence.

        Returns:
            The observation, stamped with the tick.

        Raises:
            Absent: If a stream has nothing that holds at one of the ticks.
            DataError: If a message cannot be decoded; names the topic's trouble.
        """
        period = self.embodiment.period_ns
        ticks = [tick_ns - k * period for k in reversed(range(self.history))]
        return Observation(
            stamp_ns=tick_ns,
            images={
                name: np.stack([self._sample(f"camera/{name}", tick) for tick in ticks])
                for name in self.embodiment.camera_names
            },
            state={
                key: np.stack([self._sample(f"state/{key}", tick) for tick in ticks])
                for key in self.embodiment.state
            },
            task=task,
        )

    def step(self, tick_ns: int) -> Step:
        """One row of a dataset, actions included if the buffer takes them.

        Raises:
            Absent: If a stream has nothing that holds at the tick.
            DataError: If a message cannot be decoded.
        """
        return Step(
            stamp_ns=tick_ns,
            images=self._group("camera", self.embodiment.camera_names, tick_ns),
            state=self._group("state", self.embodiment.state, tick_ns),
            action=self._group("action", self.embodiment.action, tick_ns),
        )

    def present(self, tick_ns: int) -> dict[str, Any]:
        """Values by stream at a tick, without what is absent or cannot be decoded."""
        values = {}
        for key in self._streams:
            with contextlib.suppress(DataError):
                values[key] = self._sample(key, tick_ns)
        return values

    def _group(self, kind: str, names: Iterable[str], tick_ns: int) -> dict[str, npt.NDArray[Any]]:
        keys = {name: f"{kind}/{name}" for name in names}
        return {
            name: self._sample(key, tick_ns) for name, key in keys.items() if key in self._streams
        }

    def _sample(self, key: str, tick_ns: int) -> npt.NDArray[Any]:
        stream = self._streams[key]
        # Only the choice is locked: decoding an image takes longer than a callback may wait.
        with self._lock:
            before, after = stream.around(tick_ns)
        try:
            value: npt.NDArray[Any] = before.decoded(stream.spec, self._view)
            if after is None or not isinstance(stream.spec, Vector):
                return value
            weight = (tick_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
            return between(value, after.decoded(stream.spec, self._view), weight, stream.spec)
        except DataError as error:
            raise DataError(f"{key}: {error}") from None
