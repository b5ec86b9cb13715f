# SPDX-License-Identifier: Apache-2.0
"""Builds stores for tests: rows whose every value says which one it is, in small files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step

# Several files per array, so that growing and taking back crosses their borders.
FILE_BYTES = 600_000


def step(index: int) -> Step:
    """A step whose every value says which one it is."""
    image = np.full((96, 96, 3), index % 251, np.uint8)
    return Step(
        stamp_ns=1000 + index,
        images={"front": image, "wrist": image[::-1] + np.uint8(1)},
        state={
            "joint_pos": np.arange(7, dtype=np.float32) + index,
            "gripper_width": np.array([index], np.float32),
        },
        action={
            "joint_target": np.arange(7, dtype=np.float32) - index,
            "gripper_width": np.array([-index], np.float32),
        },
    )


def writer_at(path: Path, embodiment: Embodiment, **options: Any) -> StoreWriter:
    return StoreWriter(path, embodiment, file_bytes=FILE_BYTES, **options)


def write(
    path: Path, embodiment: Embodiment, lengths: tuple[int, ...] = (30, 2, 55), **options: Any
) -> Store:
    with writer_at(path, embodiment, **options) as writer:
        index = writer.steps
        for number, length in enumerate(lengths):
            for _ in range(length):
                writer.add(step(index))
                index += 1
            writer.end_episode(EpisodeRecord(task=f"t{number}", source=f"bag_{number}"))
            writer.commit()
    return Store.open(path)


def files_of(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="session")
def stores() -> SimpleNamespace:
    """The builders of this file."""
    return SimpleNamespace(step=step, writer_at=writer_at, write=write, files_of=files_of)
