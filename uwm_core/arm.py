# SPDX-License-Identifier: Apache-2.0
"""What an arm is and may do: limits, kinematic description, gripper, safety; valid from birth.

The parts of an ``Embodiment`` that no stream needs and every command is judged by.
"""

from __future__ import annotations

import dataclasses
import math

from uwm_core.spec import NEWER
from uwm_core.streams import above_zero


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointLimits:
    """The arm's limits, one entry per joint.

    Attributes:
        position_rad: (low, high) per joint.
        velocity_rad_s: Highest speed per joint.
        acceleration_rad_s2: Highest acceleration per joint.
        jerk_rad_s3: Highest jerk per joint; empty: no more than ``Safety.smoothing_s`` leaves.

    Raises:
        ValueError: If a range is empty or the lists differ in length.
    """

    position_rad: tuple[tuple[float, float], ...]
    velocity_rad_s: tuple[float, ...]
    acceleration_rad_s2: tuple[float, ...]
    jerk_rad_s3: tuple[float, ...] = dataclasses.field(default=(), metadata=NEWER)

    def __post_init__(self) -> None:
        for joint, (low, high) in enumerate(self.position_rad):
            if low >= high:
                raise ValueError(
                    f"position_rad[{joint}] must be (low, high) with low < high, "
                    f"got ({low:g}, {high:g})"
                )
        for name in ("velocity_rad_s", "acceleration_rad_s2", "jerk_rad_s3"):
            values = getattr(self, name)
            if name == "jerk_rad_s3" and not values:
                continue
            if len(values) != len(self.position_rad):
                raise ValueError(
                    f"{name} has {len(values)} entries, position_rad has {len(self.position_rad)}"
                )
            for joint, value in enumerate(values):
                above_zero(**{f"{name}[{joint}]": value})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gripper:
    """The gripper.

    Attributes:
        max_width_m: Opening between the fingers when fully open.
        speed_m_s: Speed of the fingers that actions ask for.
        force_n: Force of a grasp that actions ask for.
        timeout_s: A goal that is not done by then is given up, and the gripper stopped.

    Raises:
        ValueError: If a value is not above 0.
    """

    max_width_m: float
    speed_m_s: float = dataclasses.field(default=0.1, metadata=NEWER)
    force_n: float = dataclasses.field(default=20.0, metadata=NEWER)
    timeout_s: float = dataclasses.field(default=4.0, metadata=NEWER)

    def __post_init__(self) -> None:
        above_zero(
            max_width_m=self.max_width_m,
            speed_m_s=self.speed_m_s,
            force_n=self.force_n,
            timeout_s=self.timeout_s,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kinematics:
    """Where the links are.

    Attributes:
        urdf: Name of a description in ``config/urdf``, or path of a URDF file.
        base_frame: Link that poses, the workspace and the table are given in.
        tcp_frame: Link that a Cartesian action moves: between the finger tips.

    Raises:
        ValueError: If a name is empty.
    """

    urdf: str
    base_frame: str
    tcp_frame: str

    def __post_init__(self) -> None:
        for name in ("urdf", "base_frame", "tcp_frame"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Safety:
    """What the executor enforces on top of the joint limits.

    Attributes:
        max_observation_age_s: Older observations stop the motion.
        max_chunk_age_s: A chunk older than this is not played.
        start_tolerance_rad: Largest distance between measured state and first command at start.
        limit_margin_rad: Kept free at each end of each joint.
        velocity_scale: Share of the velocity limits that may be used, above 0 and at most 1.
        smoothing_s: Commands are averaged over this time, which bounds their jerk.
        tracking_tolerance_rad: Largest distance between the plan and the measured state, beyond
            what motion explains; more means that something is in the way.
        workspace_m: (low, high) of x, y, z in the base frame that all links but the base stay in;
            empty: no box.
        table_m: Height of a plane in the base frame that nothing but the base may go below.
        self_collision_m: Least distance between links that are no neighbours; None: not watched.

    Raises:
        ValueError: If a value is impossible.
    """

    max_observation_age_s: float
    max_chunk_age_s: float
    start_tolerance_rad: float
    limit_margin_rad: float
    velocity_scale: float
    smoothing_s: float = dataclasses.field(default=0.04, metadata=NEWER)
    tracking_tolerance_rad: float = dataclasses.field(default=0.25, metadata=NEWER)
    workspace_m: tuple[tuple[float, float], ...] = dataclasses.field(default=(), metadata=NEWER)
    table_m: float | None = dataclasses.field(default=None, metadata=NEWER)
    self_collision_m: float | None = dataclasses.field(default=None, metadata=NEWER)

    def __post_init__(self) -> None:
        above_zero(
            max_observation_age_s=self.max_observation_age_s,
            max_chunk_age_s=self.max_chunk_age_s,
            start_tolerance_rad=self.start_tolerance_rad,
            velocity_scale=self.velocity_scale,
            smoothing_s=self.smoothing_s,
            tracking_tolerance_rad=self.tracking_tolerance_rad,
        )
        if self.limit_margin_rad < 0:
            raise ValueError(f"limit_margin_rad must be 0 or more, got {self.limit_margin_rad:g}")
        if self.velocity_scale > 1:
            raise ValueError(f"velocity_scale must be at most 1, got {self.velocity_scale:g}")
        if self.smoothing_s > 0.2:
            raise ValueError(f"smoothing_s must be at most 0.2, got {self.smoothing_s:g}")
        if self.self_collision_m is not None and self.self_collision_m < 0:
            raise ValueError(f"self_collision_m must be 0 or more, got {self.self_collision_m:g}")
        self._check_workspace()

    def _check_workspace(self) -> None:
        if self.workspace_m and len(self.workspace_m) != 3:
            raise ValueError(
                f"workspace_m must be three ranges, for x, y and z; got {len(self.workspace_m)}"
            )
        for axis, (low, high) in zip("xyz", self.workspace_m, strict=False):
            if not low < high:
                raise ValueError(
                    f"workspace_m must be (low, high) with low < high, got ({low:g}, {high:g}) "
                    f"for {axis}"
                )
        if self.table_m is not None and not math.isfinite(self.table_m):
            raise ValueError(f"table_m must be finite, got {self.table_m:g}")

    @property
    def needs_kinematics(self) -> bool:
        """Whether a limit can only be watched with a kinematic description."""
        return (
            bool(self.workspace_m)
            or self.table_m is not None
            or (self.self_collision_m is not None)
        )
