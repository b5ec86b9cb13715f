# SPDX-License-Identifier: Apache-2.0
"""Actions as a policy learns them, made of what was recorded, and the way back to targets.

A channel says what its numbers are: a target at the tick, or the state that was reached at the
next one; absolute, or relative to the state at the tick. ``complete`` makes them of the steps of a
grid; ``relative`` and ``absolute`` turn chunks of targets into such numbers and back. It never
looks at images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from uwm_core.action_channel import ActionChannel
from uwm_core.data.rotations import pose_at, pose_from
from uwm_core.embodiment import Embodiment
from uwm_core.errors import check_shape
from uwm_core.records import Step

Other = TypeVar("Other")
Vectors = Mapping[str, npt.NDArray[np.float32]]


def complete(embodiment: Embodiment, steps: Iterator[Step | Other]) -> Iterator[Step | Other]:
    """Turn the action streams of a grid's steps into the actions that the embodiment names.

    A step whose action is the state of the next tick needs that tick: the last step before a hole
    and the last of all have none and are left out.

    Args:
        embodiment: Says what the actions are.
        steps: Steps in order of time, their actions as sampled at their own ticks; anything else
            among them is passed on, and ends the run of steps before it.

    Yields:
        The same with complete actions; where nothing is to be done, the very same steps.
    """
    channels = embodiment.action
    later = [key for key, channel in channels.items() if channel.at == "next_tick"]
    if not later and not any(channel.relative_to for channel in channels.values()):
        yield from steps
        return
    waiting: Step | None = None
    for step in steps:
        if not isinstance(step, Step):
            waiting = None
            yield step
            continue
        if not later or not step.action:
            yield _with(step, _relative_step(channels, step.action, step.state))
            continue
        if waiting is not None and step.stamp_ns - waiting.stamp_ns == embodiment.period_ns:
            reached = {**waiting.action, **{key: step.action[key] for key in later}}
            yield _with(waiting, _relative_step(channels, reached, waiting.state))
        waiting = step


def _with(step: Step, action: Vectors) -> Step:
    return dataclasses.replace(step, action=action)


def _relative_step(
    channels: Mapping[str, ActionChannel], action: Vectors, state: Vectors
) -> dict[str, npt.NDArray[np.float32]]:
    return {
        key: _difference(channels[key], value, state[channels[key].relative_to])
        if channels[key].relative_to
        else value
        for key, value in action.items()
    }


def _difference(
    channel: ActionChannel, value: npt.NDArray[Any], base: npt.NDArray[Any]
) -> npt.NDArray[np.float32]:
    wide = base.astype(np.float64)
    found = pose_from(wide, value) if channel.field == "pose" else value.astype(np.float64) - wide
    return found.astype(np.float32)


def _sum(
    channel: ActionChannel, value: npt.NDArray[Any], base: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    wide = value.astype(np.float64)
    return pose_at(base, wide) if channel.field == "pose" else base + wide


def absolute(
    embodiment: Embodiment, actions: npt.NDArray[np.float32], state: Vectors
) -> npt.NDArray[np.float32]:
    """A chunk of actions as targets.

    Each action of a relative channel is relative to the state of its own tick, which nobody knows
    ahead; the target of the action before stands for it. That is what ``at: next_tick`` recorded.
    Of a command it is true only for an arm that reaches each target within one period; one that
    lags by two would be sent twice as fast, so the executor refuses such channels.

    Args:
        embodiment: Says what the actions are.
        actions: (A, D) a chunk.
        state: Per state key (n,) at the tick of the first action.

    Returns:
        (A, D) targets; columns that were absolute are as they were.

    Raises:
        ShapeError: If the chunk is not of the embodiment.
    """
    return _chain(embodiment, actions, state, inverse=False)


def relative(
    embodiment: Embodiment, targets: npt.NDArray[np.float32], state: Vectors
) -> npt.NDArray[np.float32]:
    """The way back of ``absolute``: targets (A, D) as the actions that lead to them."""
    return _chain(embodiment, targets, state, inverse=True)


def _chain(
    embodiment: Embodiment, rows: npt.NDArray[np.float32], state: Vectors, *, inverse: bool
) -> npt.NDArray[np.float32]:
    check_shape("actions", rows, "A D", D=embodiment.action_size)
    found = rows.copy()
    start = 0
    for channel in embodiment.action.values():
        columns = slice(start, start + channel.size)
        start += channel.size
        if not channel.relative_to:
            continue
        base = state[channel.relative_to].astype(np.float64)
        for row in range(len(rows)):
            value = rows[row, columns]
            if inverse:
                found[row, columns] = _difference(channel, value, base)
                base = value.astype(np.float64)
            else:
                base = _sum(channel, value, base)
                found[row, columns] = base
    return found
