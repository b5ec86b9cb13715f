# SPDX-License-Identifier: Apache-2.0
"""Estimates the ``latency_s`` of an embodiment's streams from one bag in which the arm moves.

The arm's joint states are the clock: they are stamped by the controller. A camera is late by as
much as the change in its pictures comes after the joints' motion. A command stream is not late but
early: by as much as the arm follows it, which is told and not written. Where nothing moves, or two
lags are as good, the confidence is low and nothing is proposed.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.bag import BagReader
from uwm_core.data.lags import find_lag
from uwm_core.data.messages import NS_PER_S, image_rgb, resize, stamp_ns, vector
from uwm_core.data.topics import embodiment_of, resolve_topics
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, SpecError
from uwm_core.resources import bundled
from uwm_core.streams import Camera, Vector

SURE = 0.5
"""Confidence from which an estimate is worth writing down."""

_LOOK_PX = (48, 64)  # enough to see motion, little enough to compare quickly
_STEP_S = 0.002
_ARM_HZ = 200.0

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """One stream against the motion of the arm.

    Attributes:
        key: The stream, e.g. ``camera/front``.
        lag_s: By how much it comes after the arm's motion, its present ``latency_s`` left out;
            negative for commands, which come before it.
        confidence: 0 (a guess) to 1.
        samples: Messages that were used.
        present_s: ``latency_s`` that the embodiment says now.
        reason: Why there is no answer, or what it means.
    """

    key: str
    lag_s: float
    confidence: float
    samples: int
    present_s: float
    reason: str = ""

    @property
    def proposes(self) -> bool:
        """Whether ``lag_s`` is a ``latency_s`` to write into the embodiment."""
        return self.key.startswith("camera/") and self.confidence >= SURE and self.lag_s >= 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "proposes": self.proposes}


def calibrate(
    bag: Path | str,
    embodiment: Embodiment | None = None,
    *,
    namespace: str | None = None,
    seen: Callable[[float], None] | None = None,
) -> tuple[Embodiment, tuple[Estimate, ...]]:
    """Estimate the latency of every camera and command stream.

    Args:
        bag: A recording in which the arm moves and the cameras see it.
        embodiment: The robot; by default the one that the bag names.
        namespace: Where the topics live; needed only where several fit.
        seen: Told the share of the bag that is behind, in [0, 1].

    Returns:
        The embodiment, and an estimate per stream in its order.

    Raises:
        DataError: If the bag cannot be read, or no state stream gives joint positions.
    """
    with BagReader(bag) as reader:
        embodiment = embodiment or embodiment_of(reader)
        streams = embodiment.streams
        clock = _clock_of(embodiment)
        signals = _signals(reader, streams, namespace, seen)
    moment_s, speed = _arm_speed(clock, signals)
    found = []
    for key, spec in streams.items():
        if key.startswith("camera/"):
            found.append(_camera(key, spec, signals[key], (moment_s, speed)))
        elif key.startswith("action/") and isinstance(spec, Vector) and _has_joints(spec):
            found.append(_command(key, spec, signals[key], (moment_s, speed)))
    return embodiment, tuple(found)


def _has_joints(spec: Vector) -> bool:
    return spec.field == "position" and spec.combine == "none" and spec.unit == "rad"


def _clock_of(embodiment: Embodiment) -> str:
    """The state stream that tells when the arm moved."""
    for key, spec in embodiment.state.items():
        if _has_joints(spec):
            return f"state/{key}"
    raise DataError(
        f"embodiment {embodiment.name} has no state with joint positions in rad: nothing tells "
        "when the arm moved"
    )


@dataclasses.dataclass
class _Signal:
    """What was read of one stream."""

    stamps: list[int] = dataclasses.field(default_factory=list)
    values: list[Any] = dataclasses.field(default_factory=list)


def _signals(
    reader: BagReader,
    streams: Mapping[str, Camera | Vector],
    namespace: str | None,
    seen: Callable[[float], None] | None,
) -> dict[str, _Signal]:
    """Stamps (present latency left out) and values of all streams; pictures become changes."""
    present = reader.topics
    known = resolve_topics((s.topic for s in streams.values()), present, namespace)
    keys: dict[str, list[str]] = {}
    for key, spec in streams.items():
        keys.setdefault(known[spec.topic], []).append(key)
    found = {key: _Signal() for key in streams}
    last: dict[str, npt.NDArray[np.int16]] = {}
    span_ns = max(1, reader.end_ns - reader.start_ns)
    for count, (topic, message, log_ns) in enumerate(reader.messages(keys)):
        for key in keys[topic]:
            spec, signal = streams[key], found[key]
            stamp = stamp_ns(message, log_ns, spec) + round(spec.latency_s * NS_PER_S)
            if signal.stamps and stamp <= signal.stamps[-1]:
                continue
            if isinstance(spec, Vector):
                signal.values.append(vector(message, spec))
            else:
                look = resize(image_rgb(message), _LOOK_PX).astype(np.int16)
                before = last.get(key, look)
                signal.values.append(float(np.abs(look - before).mean()))
                last[key] = look
            signal.stamps.append(stamp)
        if seen is not None and count % 1000 == 0:
            seen((log_ns - reader.start_ns) / span_ns)
    return found


def _arm_speed(clock: str, signals: Mapping[str, _Signal]) -> tuple[Floats, Floats]:
    """Speed of all joints together, rad/s, on a fine grid."""
    signal = signals[clock]
    if len(signal.stamps) < 20:
        raise DataError(f"{clock} has {len(signal.stamps)} usable messages; a calibration needs 20")
    return _speed(signal)


def _speed(signal: _Signal) -> tuple[Floats, Floats]:
    time_s = np.array(signal.stamps, np.int64)
    seconds = (time_s - time_s[0]) / NS_PER_S
    grid = np.arange(0, seconds[-1], 1 / _ARM_HZ)
    rows = np.stack(signal.values).astype(np.float64)
    fine = np.stack([np.interp(grid, seconds, column) for column in rows.T], axis=1)
    # Differences over one period of the stream: finer ones would show its samples as steps.
    reach = max(1, round(float(np.median(np.diff(seconds))) * _ARM_HZ))
    speed = np.linalg.norm(fine[reach:] - fine[:-reach], axis=1) * _ARM_HZ / reach
    return (grid[reach:] + grid[:-reach]) / 2 + time_s[0] / NS_PER_S, speed


def _camera(
    key: str, spec: Camera | Vector, signal: _Signal, arm: tuple[Floats, Floats]
) -> Estimate:
    blank = Estimate(
        key=key, lag_s=0.0, confidence=0.0, samples=len(signal.stamps), present_s=spec.latency_s
    )
    if len(signal.stamps) < 20:
        return dataclasses.replace(blank, reason="fewer than 20 pictures")
    stamps_s = np.array(signal.stamps, np.int64) / NS_PER_S
    # A change belongs to the time between two pictures: the arm's speed is averaged over as much.
    between = (stamps_s[1:] + stamps_s[:-1]) / 2
    width = max(1, round(float(np.median(np.diff(stamps_s))) * _ARM_HZ))
    speed = np.convolve(arm[1], np.ones(width) / width, mode="same")
    change = np.array(signal.values[1:], np.float64) / np.diff(stamps_s)
    return _compare(blank, (arm[0], between), speed, change, low_s=-0.2)


def _command(key: str, spec: Vector, signal: _Signal, arm: tuple[Floats, Floats]) -> Estimate:
    blank = Estimate(
        key=key, lag_s=0.0, confidence=0.0, samples=len(signal.stamps), present_s=spec.latency_s
    )
    if len(signal.stamps) < 20:
        return dataclasses.replace(blank, reason="fewer than 20 messages")
    moments, speed = _speed(signal)
    return _compare(blank, (arm[0], moments), arm[1], speed, low_s=-0.6)


def _compare(
    blank: Estimate, times: tuple[Floats, Floats], arm: Floats, other: Floats, *, low_s: float
) -> Estimate:
    # The arm's own moments are seconds since 1970: small numbers keep their digits.
    zero = times[0][0]
    shifted = (times[0] - zero, times[1] - zero)
    lag = find_lag(shifted, arm, other, low_s=low_s, high_s=0.6, step_s=_STEP_S)
    found = dataclasses.replace(blank, lag_s=round(lag.lag_s, 4), confidence=lag.confidence)
    if np.ptp(arm) < 0.02:
        return dataclasses.replace(found, confidence=0.0, reason="the arm does not move")
    if lag.confidence < SURE:
        return dataclasses.replace(
            found, reason=f"ambiguous (correlation {lag.correlation:.2f}): move more, stop and go"
        )
    if found.key.startswith("action/"):
        return dataclasses.replace(found, reason=f"the arm follows it by {-found.lag_s:.3f} s")
    if found.lag_s < 0:
        return dataclasses.replace(found, reason="before the arm moves: check the camera's clock")
    return found


def write_latencies(path: Path, estimates: tuple[Estimate, ...]) -> list[str]:
    """Write the proposed latencies into an embodiment file; its comments and order stay.

    Args:
        path: The YAML file; never one that ships with the project.
        estimates: Those that propose nothing are left out.

    Returns:
        The streams that were written.

    Raises:
        SpecError: If the file ships with the project, or has no such camera.
    """
    if path.resolve() in {known.resolve() for known in bundled("embodiments", ".yaml").values()}:
        raise SpecError(f"{path}: ships with the project; copy it and name the copy")
    text = path.read_text(encoding="utf-8")
    wanted = {e.key.removeprefix("camera/"): e.lag_s for e in estimates if e.proposes}
    for name, lag_s in wanted.items():
        text = _set_latency(text, name, lag_s, path)
    written = Embodiment.parse(text, str(path))
    for name, lag_s in wanted.items():
        if written.cameras[name].latency_s != lag_s:
            raise SpecError(f"{path}: the latency of {name} could not be set; write {lag_s:g}")
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
    return [f"camera/{name}" for name in wanted]


def _set_latency(text: str, camera: str, lag_s: float, path: Path) -> str:
    """The text with ``latency_s`` of one camera set, in block style."""
    block = re.search(rf"^cameras:\n(?:.*\n)*?(  {camera}:\n(?:    .*\n)+)", text, re.M)
    if block is None:
        raise SpecError(f"{path}: has no camera {camera!r} in block style; write {lag_s:g} there")
    old = block.group(1)
    line = f"    latency_s: {lag_s:g}\n"
    new, count = re.subn(r"^    latency_s:.*\n", line, old, flags=re.M)
    return text.replace(old, new if count else old + line, 1)
