# SPDX-License-Identifier: Apache-2.0
"""One robot as a policy sees it, read from one YAML file; valid from birth.

Says which topics carry cameras, state and actions, by which clock, how old they may be, and what
the arm's limits are. Decoding is in ``data.messages``, sampling in ``data.resample``; no ROS.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable
from pathlib import Path

from uwm_core.action_channel import ARM_COMMAND_TYPES, VALUE_COMMAND_TYPES, ActionChannel
from uwm_core.arm import Gripper, JointLimits, Kinematics, Safety
from uwm_core.errors import UnknownNameError, did_you_mean
from uwm_core.resources import bundled
from uwm_core.spec import NEWER, dump_spec, parse_spec, read_spec
from uwm_core.streams import (
    Camera,
    Vector,
    above_zero,
    unique,
)

__all__ = [
    "ActionChannel",
    "Camera",
    "Embodiment",
    "Gripper",
    "JointLimits",
    "Kinematics",
    "Safety",
    "Vector",
]

_KEY = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embodiment:
    """One robot as a policy sees it.

    Attributes:
        name: What it is called.
        description: One sentence for people.
        rate_hz: Rate of the grid that steps lie on.
        arm_joints: Joint names of the arm, base first.
        home_rad: Where the arm rests, one per joint.
        limits: The arm's limits, one entry per joint.
        gripper: The gripper.
        cameras: View by name; always used in the order of the names.
        state: Low-dimensional observations by key, concatenated in this order.
        action: What is commanded, by key, concatenated in this order.
        safety: What the executor enforces.
        kinematics: Where the links are; needed for Cartesian actions and commands, and for the
            limits of ``safety`` that are about places.

    Raises:
        ValueError: If the parts do not fit together.
    """

    name: str
    description: str = ""
    rate_hz: float
    arm_joints: tuple[str, ...]
    home_rad: tuple[float, ...]
    limits: JointLimits
    gripper: Gripper
    cameras: dict[str, Camera]
    state: dict[str, Vector]
    action: dict[str, ActionChannel]
    safety: Safety
    kinematics: Kinematics | None = dataclasses.field(default=None, metadata=NEWER)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name must not be empty")
        above_zero(rate_hz=self.rate_hz)
        self._check_arm()
        self._check_keys()
        self._check_actions()
        self._check_kinematics()

    def _check_kinematics(self) -> None:
        if self.kinematics is None and self.safety.needs_kinematics:
            raise ValueError(
                "kinematics must be given where safety limits workspace_m, table_m or "
                "self_collision_m"
            )

    def _check_arm(self) -> None:
        unique("arm_joints", self.arm_joints)
        joints, limited = len(self.arm_joints), len(self.limits.position_rad)
        if len(self.home_rad) != joints:
            raise ValueError(f"home_rad has {len(self.home_rad)} entries for {joints} arm_joints")
        if limited != joints:
            raise ValueError(f"limits has {limited} entries per list for {joints} arm_joints")
        margin = self.safety.limit_margin_rad
        for name, home, (low, high) in zip(
            self.arm_joints, self.home_rad, self.limits.position_rad, strict=True
        ):
            if not low + margin <= home <= high - margin:
                raise ValueError(
                    f"home_rad of {name} is {home:g}, outside [{low + margin:g}, "
                    f"{high - margin:g}] (position limits less limit_margin_rad)"
                )

    def _check_keys(self) -> None:
        if not self.cameras and not self.state:
            raise ValueError("cameras and state are both empty; a policy must see something")
        for kind, keys in (
            ("cameras", self.cameras),
            ("state", self.state),
            ("action", self.action),
        ):
            for key in keys:
                if not _KEY.fullmatch(key):
                    raise ValueError(f"{kind} key {key!r} must be lower-case letters, digits and _")
        if both := sorted(set(self.cameras) & set(self.state)):
            raise ValueError(f"cameras and state share the key {both[0]!r}; keys must be unique")
        types: dict[str, str] = {}
        for key, stream in self.streams.items():
            if types.setdefault(stream.topic, stream.type) != stream.type:
                kind = {"camera": "cameras"}.get(key.split("/")[0], key.split("/")[0])
                raise ValueError(
                    f"{kind} reads {stream.topic} as {stream.type}, another stream as "
                    f"{types[stream.topic]}; a topic has one type"
                )

    def _check_actions(self) -> None:
        if not self.action:
            raise ValueError("action must have at least one channel")
        unique("action names", self.action_names)
        for key, channel in self.action.items():
            self._check_relative(key, channel)
            self._check_command(key, channel)

    def _check_command(self, key: str, channel: ActionChannel) -> None:
        """Refuse a command type that cannot carry what the channel means."""
        mine = self.moves_arm(channel)
        allowed = ARM_COMMAND_TYPES if mine else VALUE_COMMAND_TYPES
        if channel.command_type in allowed:
            return
        strangers = [name for name in channel.names if name not in self.arm_joints]
        if channel.command_type in ARM_COMMAND_TYPES and strangers:
            raise ValueError(
                f"action {key} commands {strangers[0]!r}, which is not among arm_joints and "
                "has no limits"
            )
        what = "the arm" if mine else "one value"
        raise ValueError(
            f"action {key} commands {what}, which {channel.command_type} cannot; "
            f"what can: {', '.join(allowed)}"
        )

    def moves_arm(self, channel: ActionChannel) -> bool:
        """Whether a channel says where the arm goes: joints of it, a pose or a twist."""
        return channel.cartesian or set(channel.names) <= set(self.arm_joints)

    def _check_relative(self, key: str, channel: ActionChannel) -> None:
        if not channel.relative_to:
            return
        base = self.state.get(channel.relative_to)
        if base is None:
            raise ValueError(
                f"action {key} is relative_to {channel.relative_to!r}, which is no state"
                f".{did_you_mean(channel.relative_to, self.state)} State: {', '.join(self.state)}"
            )
        mine = (channel.columns(""), channel.unit, channel.field == "pose")
        if mine != (base.columns(""), base.unit, base.field == "pose"):
            raise ValueError(
                f"action {key} is relative_to {channel.relative_to!r}, which is "
                f"{base.meaning}, not {channel.meaning}"
            )

    @classmethod
    def load(cls, name_or_path: str | Path) -> Embodiment:
        """Read a bundled embodiment by name (``"fr3_sim"``) or any by path.

        Raises:
            UnknownNameError: If it is neither a bundled name nor a file.
            SpecError: If the file does not describe an embodiment.
        """
        known = bundled("embodiments", ".yaml")
        if str(name_or_path) in known:
            return read_spec(known[str(name_or_path)], cls)
        if Path(name_or_path).is_file():
            return read_spec(name_or_path, cls)
        raise UnknownNameError("embodiment", str(name_or_path), [*known, "a path to a .yaml file"])

    @classmethod
    def parse(cls, text: str, source: str = "<string>") -> Embodiment:
        """Read YAML text.

        Raises:
            SpecError: If the text does not describe an embodiment.
        """
        return parse_spec(text, cls, source)

    def to_yaml(self) -> str:
        """YAML that ``parse`` reads back to an equal embodiment."""
        return dump_spec(self)

    @property
    def period_ns(self) -> int:
        """Time between steps."""
        return round(1e9 / self.rate_hz)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Views in the order used everywhere: sorted by name."""
        return tuple(sorted(self.cameras))

    @property
    def state_size(self) -> int:
        """Columns of the concatenated state (S)."""
        return len(self.state_names)

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name per column of the concatenated state."""
        return _columns(self.state.items())

    @property
    def action_size(self) -> int:
        """Columns of the concatenated action (D)."""
        return len(self.action_names)

    @property
    def action_names(self) -> tuple[str, ...]:
        """One name per column of the concatenated action."""
        return _columns(self.action.items())

    @property
    def observation_streams(self) -> dict[str, Camera | Vector]:
        """Streams that a policy sees, as ``camera/<name>`` and ``state/<key>``."""
        cameras = {f"camera/{name}": self.cameras[name] for name in self.camera_names}
        return {**cameras, **{f"state/{key}": vector for key, vector in self.state.items()}}

    @property
    def streams(self) -> dict[str, Camera | Vector]:
        """All recorded streams: the observation's and ``action/<key>``."""
        actions = {f"action/{key}": channel for key, channel in self.action.items()}
        return {**self.observation_streams, **actions}

    @property
    def topics(self) -> dict[str, str]:
        """Type by topic of everything that is recorded."""
        return {stream.topic: stream.type for stream in self.streams.values()}

    def difference(self, other: Embodiment) -> list[str]:
        """What makes a model of one useless or dangerous on the other, in sentences.

        Wiring (topics, clocks, rates of streams, ages, limits) may differ; what the numbers of an
        observation or an action mean may not.

        Args:
            other: The embodiment to compare with.

        Returns:
            One sentence per difference, ``name: mine here, theirs there``; empty if none.
        """
        mine, theirs = _meaning(self), _meaning(other)
        return [
            f"{key}: {mine.get(key, 'absent')} in {self.name}, "
            f"{theirs.get(key, 'absent')} in {other.name}"
            for key in dict.fromkeys(itertools.chain(mine, theirs))
            if mine.get(key) != theirs.get(key)
        ]


def _columns(vectors: Iterable[tuple[str, Vector]]) -> tuple[str, ...]:
    """One name per column of all vectors side by side."""
    return tuple(itertools.chain.from_iterable(vector.columns(key) for key, vector in vectors))


def _meaning(embodiment: Embodiment) -> dict[str, str]:
    """What the numbers of an observation and an action mean, as comparable text."""
    meaning = {
        "name": embodiment.name,
        "rate_hz": f"{embodiment.rate_hz:g}",
        "arm_joints": ", ".join(embodiment.arm_joints),
    }
    for name in embodiment.camera_names:
        height, width = embodiment.cameras[name].size
        meaning[f"camera {name}"] = f"{height}x{width}"
    meaning |= {f"state {key}": vector.meaning for key, vector in embodiment.state.items()}
    meaning |= {f"action {key}": channel.meaning for key, channel in embodiment.action.items()}
    meaning["order of state"] = ", ".join(embodiment.state)
    meaning["order of action"] = ", ".join(embodiment.action)
    return meaning
