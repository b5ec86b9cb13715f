# SPDX-License-Identifier: Apache-2.0
"""What a store is made of: the names, the layout of a row, the record of an episode."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UnknownNameError

FORMAT = "uwm_store"
VERSION = 1

Role = Literal["expert", "play", "video"]
Outcome = Literal["success", "failure", "discard"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """What is known of one episode beside its arrays.

    Attributes:
        task: Task sentence.
        role: What it may teach: ``expert``, ``play`` or ``video``.
        outcome: ``success``, ``failure`` or ``discard``.
        source: Name of the bag it came from.
        steps: Number of steps.
        has_action: Whether the action rows are real; they are NaN if not.
        counts: Messages that the bag had, by topic.
        notes: What the conversion remarked, e.g. clock trouble.

    Raises:
        UnknownNameError: If role or outcome is none of the known ones.
    """

    task: str = ""
    role: Role = "expert"
    outcome: Outcome = "success"
    source: str = ""
    steps: int = 0
    has_action: bool = True
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("role", self.role, Role),
            ("outcome", self.outcome, Outcome),
        ):
            if value not in get_args(known):
                raise UnknownNameError(f"episode {kind}", value, get_args(known))

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> EpisodeRecord:
        """Read a record; keys of newer versions are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in entry.items() if key in names}
        return cls(**{**known, "notes": tuple(known.get("notes", ()))})


def part_path(path: Path) -> Path:
    """Where a store is while it is written."""
    return path.with_name(f"{path.name}.part")


def lock_path(path: Path) -> Path:
    """File that is locked while the store is written."""
    return path.with_name(f".{path.name}.lock")


def row_layout(embodiment: Embodiment) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of a row and type of every array of a store."""
    images = {
        f"obs.{name}": ((*embodiment.cameras[name].size, 3), "uint8")
        for name in embodiment.camera_names
    }
    state = {f"obs.{key}": ((vector.size,), "float32") for key, vector in embodiment.state.items()}
    return {
        **images,
        **state,
        "action": ((embodiment.action_size,), "float32"),
        "stamp_ns": ((), "int64"),
    }
