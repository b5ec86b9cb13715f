# SPDX-License-Identifier: Apache-2.0
"""What a store is made of: the record of an episode, an encoded row, how images are coded.

The arrays on disk are in ``store_arrays``, the text of the format in ``docs/reference/store.md``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError

FORMAT = "uwm_store"
VERSION = 2

Role = Literal["expert", "play", "video"]
Outcome = Literal["success", "failure", "discard"]
ImageKind = Literal["lossless", "jpeg", "jpegxl"]

Vectors = Mapping[str, npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageCoding:
    """How the images of a store are coded; ``store_images`` does it.

    Attributes:
        kind: ``lossless`` (zstd), ``jpeg`` or ``jpegxl``.
        quality: Of the lossy kinds, 1 to 100; ``lossless`` has none.

    Raises:
        UnknownNameError: If the kind is none of the known ones.
        ValueError: If the quality is outside 1 to 100.
    """

    kind: ImageKind = "lossless"
    quality: int = 95

    def __post_init__(self) -> None:
        if self.kind not in get_args(ImageKind):
            raise UnknownNameError("image coding", self.kind, get_args(ImageKind))
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality of {self.kind} must be 1 to 100, got {self.quality}")

    @classmethod
    def parse(cls, text: str) -> ImageCoding:
        """Read ``"lossless"``, ``"jpeg"`` or ``"jpeg:90"``; the way back of ``str``.

        Raises:
            UnknownNameError: If the kind is none of the known ones.
            StoreError: If the quality is not a number from 1 to 100.
        """
        kind, colon, quality = text.partition(":")
        try:
            return cls(kind=kind, quality=int(quality) if colon else 95)  # type: ignore[arg-type]
        except ValueError:
            raise StoreError(
                f"image coding {text!r}: quality must be 1 to 100, as in jpeg:90"
            ) from None

    def __str__(self) -> str:
        return self.kind if self.kind == "lossless" else f"{self.kind}:{self.quality}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeRecord:
    """What is known of one episode beside its arrays.

    Attributes:
        task: Task sentence.
        role: What it may teach: ``expert``, ``play`` or ``video``.
        outcome: ``success``, ``failure`` or ``discard``.
        source: Name of the bag it came from.
        source_hash: Identity of that bag's content.
        source_goes_on: Whether that bag had more episodes after this one.
        source_span: First and last moment of the episode in the bag, ns, where the bag has several.
        software: What wrote it.
        steps: Number of steps; set by the writer.
        content: Hash of the rows as they are stored; set by the writer.
        has_action: Whether the action rows are real; they are NaN if not.
        counts: Messages that the bag had, by topic.
        dropped: Messages that the recording lost, by topic.
        notes: What the conversion remarked, e.g. clock trouble.
        remarks: What the operator noted.
        sync: How well its streams kept time, by key: ``data.sync.StreamSync`` as plain values.

    Raises:
        UnknownNameError: If role or outcome is none of the known ones.
    """

    task: str = ""
    role: Role = "expert"
    outcome: Outcome = "success"
    source: str = ""
    source_hash: str = ""
    source_goes_on: bool = False
    source_span: tuple[int, int] | None = None
    software: str = ""
    steps: int = 0
    content: str = ""
    has_action: bool = True
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    dropped: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    sync: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("role", self.role, Role),
            ("outcome", self.outcome, Outcome),
        ):
            if value not in get_args(known):
                raise UnknownNameError(f"episode {kind}", value, get_args(known))

    @cached_property
    def json_line(self) -> str:
        """The record in one line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> EpisodeRecord:
        """Read a record; keys of newer versions are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {key: value for key, value in entry.items() if key in names}
        for key in ("notes", "remarks", "source_span"):
            if known.get(key) is not None:
                known[key] = tuple(known[key])
        return cls(**known)


@dataclasses.dataclass(frozen=True)
class EncodedStep:
    """A row whose images are already coded; what is missing is absent.

    Attributes:
        stamp_ns: The tick.
        images: Per camera the bytes of ``encode_image``; empty or None is absent.
        state: Per state key (n,) float32.
        action: Per action key (n,) float32.
    """

    stamp_ns: int
    images: Mapping[str, bytes | None]
    state: Vectors
    action: Vectors


def part_path(path: Path) -> Path:
    """Where a local store is until it may have its name."""
    return path.with_name(f"{path.name}.part")


def replaced_path(path: Path) -> Path:
    """Where a local store is for the moment in which another takes its name."""
    return path.with_name(f".{path.name}.replaced")


def row_layout(embodiment: Embodiment) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of a row and type of every array of a store's ``data``."""
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
