# SPDX-License-Identifier: Apache-2.0
"""Why an arm holds, and which causes heal by themselves."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """Why the arm holds; a transient cause heals by itself when good chunks come again."""

    NONE = "none"
    OPERATOR = "operator"
    STALE_STATE = "stale_state"
    STALE_OBSERVATION = "stale_observation"
    LATE_CHUNK = "late_chunk"
    CLOCK = "clock"
    HEARTBEAT = "heartbeat"
    DEADMAN = "deadman"
    PERIOD = "period"
    NOT_FINITE = "not_finite"
    JUMP = "jump"
    LIMIT = "limit"
    WORKSPACE = "workspace"
    COLLISION = "collision"
    REACH = "reach"
    TRACKING = "tracking"
    NAMES = "names"
    SECOND_PUBLISHER = "second_publisher"
    CONTROLLER = "controller"
    ROBOT = "robot"
    GRIPPER = "gripper"
    TAKEOVER = "takeover"
    DEFECT = "defect"

    @property
    def transient(self) -> bool:
        """Whether motion may go on without an operator."""
        return self in _TRANSIENT

    @property
    def of_chunk(self) -> bool:
        """Whether it lies in the chunk alone, whatever the arm does meanwhile."""
        return self in (Cause.NOT_FINITE, Cause.NAMES)


_TRANSIENT = frozenset(
    {
        Cause.STALE_STATE,
        Cause.STALE_OBSERVATION,
        Cause.LATE_CHUNK,
        Cause.CLOCK,
        Cause.HEARTBEAT,
        Cause.DEADMAN,
        Cause.PERIOD,
    }
)
