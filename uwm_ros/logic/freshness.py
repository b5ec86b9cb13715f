# SPDX-License-Identifier: Apache-2.0
"""Whether every stream of an observation is alive now, whatever the next inference will need.

Looked at many times a second: an observation that goes stale must stop the arm before the chunk
that was made from the last good one has been played. A camera whose driver hangs repeats its last
picture with fresh stamps; that is only seen against the arm, which moves meanwhile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections import deque
from typing import Any

import numpy as np

from uwm_core.data.messages import stamp_ns, vector
from uwm_core.embodiment import Camera, Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_ros.logic.judge import measured_by
from uwm_ros.logic.limits import Floats

# A camera is frozen when its picture has not changed for so long while a joint moved so far.
_FROZEN_S = 0.15
_MOVED_RAD = 0.03
# So many joint states are kept, and the newest one is taken for a moment so little later.
_STATES = 400
_SOON_NS = 10_000_000
# Every so many bytes of a picture are compared: enough to see any motion, and quick.
_STRIDE = 5
_AHEAD_S = 0.2


@dataclasses.dataclass
class _Stream:
    spec: Any
    stamp_ns: int = 0
    receive_ns: int = 0
    digest: int = 0
    same_since_ns: int = 0
    same_stamp_ns: int = 0
    joints_then: Floats | None = None


class Freshness:
    """Watches the streams that an embodiment observes."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Nothing has been seen yet, which is no trouble: see `trouble`."""
        self._streams = {key: _Stream(spec) for key, spec in embodiment.observation_streams.items()}
        self._arm_spec: Any = None
        with contextlib.suppress(UwmError):
            self._arm_spec = measured_by(embodiment)
        # Stamp and message, oldest first: a picture is compared with where the arm was at its own
        # moment, since the two streams may be late by different times.
        self._arm: deque[tuple[int, Any]] = deque(maxlen=_STATES)

    def saw(self, key: str, message: Any, receive_ns: int) -> None:
        """A message of a stream (a key of `observation_streams`) arrived."""
        stream = self._streams[key]
        stream.stamp_ns = stamp_ns(message, receive_ns, stream.spec)
        stream.receive_ns = receive_ns
        if stream.spec is self._arm_spec:
            self._arm.append((stream.stamp_ns, message))
        if isinstance(stream.spec, Camera):
            data = np.frombuffer(message.data, np.uint8)
            digest = zlib.crc32(data[::_STRIDE].tobytes())
            if digest != stream.digest or stream.same_since_ns == 0:
                stream.digest, stream.same_since_ns = digest, receive_ns
                stream.same_stamp_ns, stream.joints_then = stream.stamp_ns, None

    def trouble(self, now_ns: int) -> str:
        """The first thing that is wrong, one sentence; empty where all streams are alive."""
        for stream in self._streams.values():
            topic = stream.spec.topic
            if not stream.receive_ns:
                return f"nothing received on {topic} yet"
            late_s = (stream.receive_ns - stream.stamp_ns) / 1e9
            if late_s < -_AHEAD_S:
                return f"{topic} is stamped {-late_s:.1f} s in the future"
            if late_s > stream.spec.max_age_s:
                return f"{topic} arrives {late_s:.1f} s after its stamp"
            silent_s = (now_ns - stream.receive_ns) / 1e9
            if silent_s > stream.spec.max_age_s:
                return f"{topic} is silent for {silent_s:.2f} s"
            if trouble := self._frozen(stream):
                return trouble
        return ""

    def _frozen(self, stream: _Stream) -> str:
        if not isinstance(stream.spec, Camera):
            return ""
        if stream.joints_then is None:
            stream.joints_then = self._joints_after(stream.same_stamp_ns)
        same_s = (stream.receive_ns - stream.same_since_ns) / 1e9
        if same_s < _FROZEN_S or stream.joints_then is None:
            return ""
        joints = self._joints(stream.stamp_ns)
        if joints is None or np.abs(joints - stream.joints_then).max() < _MOVED_RAD:
            return ""
        return f"{stream.spec.topic} shows the same picture for {same_s:.2f} s while the arm moves"

    def _joints(self, moment_ns: int) -> Floats | None:
        """Where the arm was at a moment; None where that is not known, or not yet."""
        if not self._arm or not self._arm[0][0] <= moment_ns <= self._arm[-1][0] + _SOON_NS:
            return None
        return self._read(next(m for stamp, m in reversed(self._arm) if stamp <= moment_ns))

    def _joints_after(self, moment_ns: int) -> Floats | None:
        """Where the arm was right after a moment.

        A simulated arm jumps: what it was before is not what the picture shows.
        """
        if not self._arm or not self._arm[0][0] <= moment_ns <= self._arm[-1][0]:
            return None
        return self._read(next(m for stamp, m in self._arm if stamp >= moment_ns))

    def _read(self, message: Any) -> Floats | None:
        try:
            return vector(message, self._arm_spec).astype(np.float64)
        except DataError:
            return None
