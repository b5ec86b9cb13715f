# SPDX-License-Identifier: Apache-2.0
"""Action channels: what is recorded as an action, and how it is commanded.

A channel that moves the arm always ends as a judged joint trajectory; its ``command_type`` says in
which form a controller is told. Everything else is one value at a time, a gripper's mostly.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from uwm_core.spec import NEWER
from uwm_core.streams import (
    ARRAY,
    FLOAT_TYPES,
    FOLLOW_JOINT_TRAJECTORY,
    FRANKA_GRIPPER,
    GRIPPER_COMMAND,
    JOINT_STATE,
    JOINT_TRAJECTORY,
    POSE_STAMPED,
    TWIST,
    TWIST_STAMPED,
    Vector,
    among,
    topic_name,
)

When = Literal["tick", "next_tick"]

ARM_COMMAND_TYPES = (
    JOINT_TRAJECTORY, FOLLOW_JOINT_TRAJECTORY, JOINT_STATE, ARRAY, POSE_STAMPED, TWIST_STAMPED,
    TWIST,
)  # fmt: skip
"""What an arm's controller may take: whole trajectories, or one target after another."""
VALUE_COMMAND_TYPES = (*FLOAT_TYPES, ARRAY, FRANKA_GRIPPER, GRIPPER_COMMAND)
"""What a gripper, or anything else that takes one value, may take."""
COMMAND_TYPES = tuple(dict.fromkeys((*ARM_COMMAND_TYPES, *VALUE_COMMAND_TYPES)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActionChannel(Vector):
    """An action: recorded from ``topic`` as any ``Vector``, executed on ``command_topic``.

    Attributes:
        at: ``tick`` takes what the topic says at the tick (a teleoperation target);
            ``next_tick`` what it says one tick later (the state that was reached).
        relative_to: State key that is subtracted (for a pose: from which it is seen), at the tick;
            empty for absolute values.
        command_topic: Where the command goes; of an action type, the name of the action or, for a
            Franka gripper, of the namespace that its actions are in.
        command_type: One of ``COMMAND_TYPES``; of a plain value, value / scale is sent, so that
            what was recorded is what is played.
        command_field: What a Float64MultiArray carries: positions or velocities of the joints.
        max_linear_m_s: Speed that a unitless twist of 1 stands for.
        max_angular_rad_s: Turning speed that a unitless twist of 1 stands for.

    Raises:
        ValueError: If a value is impossible.
    """

    at: When = dataclasses.field(default="tick", metadata=NEWER)
    relative_to: str = dataclasses.field(default="", metadata=NEWER)
    command_topic: str
    command_type: str
    command_field: Literal["position", "velocity"] = dataclasses.field(
        default="position", metadata=NEWER
    )
    max_linear_m_s: float = dataclasses.field(default=0.0, metadata=NEWER)
    max_angular_rad_s: float = dataclasses.field(default=0.0, metadata=NEWER)

    def __post_init__(self) -> None:
        super().__post_init__()
        topic_name(command_topic=self.command_topic)
        among(COMMAND_TYPES, command_type=self.command_type)
        for name in ("max_linear_m_s", "max_angular_rad_s"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be 0 or more, got {value:g}")
        if self.command_field == "velocity" and self.command_type != ARRAY:
            raise ValueError(f"command_field 'velocity' is for {ARRAY}, not {self.command_type}")
        one_value = self.command_type in VALUE_COMMAND_TYPES and self.command_type != ARRAY
        if one_value and self.size != 1:
            raise ValueError(f"command_type {self.command_type} takes one value, got {self.size}")
        if self.combine != "none" and self.command_type in ARM_COMMAND_TYPES:
            raise ValueError(
                f"combine must be 'none' for {self.command_type}: joints are commanded"
            )
        if self.relative_to and self.field in ("twist", "twist_6d"):
            raise ValueError("relative_to is for positions and poses; a twist is a change already")

    @property
    def cartesian(self) -> bool:
        """Whether it moves the hand rather than joints."""
        return self.field in ("pose", "twist", "twist_6d")

    @property
    def meaning(self) -> str:
        """What its numbers are, as text that differs where they do."""
        later = " at the next tick" if self.at == "next_tick" else ""
        against = f", relative to {self.relative_to}" if self.relative_to else ""
        return f"{super().meaning}{later}{against}"
