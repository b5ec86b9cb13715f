# SPDX-License-Identifier: Apache-2.0
"""Action chunks and joint trajectories, to messages and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from uwm_core.errors import DataError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.clock import to_duration, to_ns, to_stamp
from uwm_ros.logic.pause import Pause
from uwm_ros.logic.trajectory import Trajectory
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus


def pause_of(safety: SafetyStatus) -> Pause:
    """When the arm was last not driven, by what its executor says."""
    return Pause(to_ns(safety.paused), to_ns(safety.resumed))


def to_message(chunk: ActionChunk) -> ActionChunkMessage:
    """A chunk as a message; sequence, checkpoint and embodiment are the caller's."""
    message = ActionChunkMessage(names=list(chunk.names), length=len(chunk.actions))
    message.header.stamp = to_stamp(chunk.stamp_ns)
    message.period = to_duration(chunk.period_ns)
    message.actions.frombytes(np.ascontiguousarray(chunk.actions, dtype=np.float32).tobytes())
    return message


def to_chunk(message: ActionChunkMessage) -> ActionChunk:
    """A message as a chunk.

    Raises:
        DataError: If the numbers do not fill `length` rows of `names`, or the period is not above
            0; NaN is not looked for here, the judge does that.
    """
    actions = np.frombuffer(message.actions, dtype=np.float32)
    rows, columns = message.length, len(message.names)
    if len(actions) != rows * columns:
        raise DataError(
            f"action chunk has {len(actions)} numbers, {rows} actions of {columns} names"
            f" need {rows * columns}"
        )
    period_ns = to_ns(message.period)
    if period_ns <= 0:
        raise DataError(f"action chunk has a period of {period_ns} ns; it must be above 0")
    return ActionChunk(
        stamp_ns=to_ns(message.header.stamp),
        period_ns=period_ns,
        actions=actions.reshape(rows, columns).copy(),
        names=tuple(message.names),
    )


def to_trajectory(trajectory: Trajectory, names: Sequence[str]) -> JointTrajectory:
    """A trajectory as one stamped message of points with velocities.

    Args:
        trajectory: What to send; the header gets the moment of its first point.
        names: Joint names, one per column.
    """
    message = JointTrajectory(joint_names=list(names))
    message.header.stamp = to_stamp(trajectory.start_ns)
    message.points = [
        JointTrajectoryPoint(
            positions=position.tolist(),
            velocities=velocity.tolist(),
            time_from_start=to_duration(int(time_ns) - trajectory.start_ns),
        )
        for time_ns, position, velocity in zip(
            trajectory.times_ns, trajectory.positions, trajectory.velocities, strict=True
        )
    ]
    return message
