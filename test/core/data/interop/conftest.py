# SPDX-License-Identifier: Apache-2.0
"""A small store with known content, and what "the same store" means."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step

SIZES = {"front": (24, 32), "wrist": (16, 16)}
EPISODES = (
    EpisodeRecord(task="lift the cube", source="bag_1", counts={"joints": 3}),
    EpisodeRecord(task="open the drawer", outcome="failure", role="play", notes=("slow",)),
    EpisodeRecord(task="lift the cube"),
)
LENGTHS = (7, 4, 9)
START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="session")
def robot() -> Embodiment:
    """``fr3_sim`` with pictures of two sizes."""
    full = Embodiment.load("fr3_sim")
    cameras = {
        name: dataclasses.replace(camera, size=SIZES[name]) for name, camera in full.cameras.items()
    }
    return dataclasses.replace(full, cameras=cameras)


def _smooth_picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """A picture that a lossy codec keeps well, with ``number`` in eight black or white bars."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    picture = np.stack([255 * y / height, 255 * x / width, 255 - 255 * y / height], -1)
    for bit in range(8):
        columns = slice(bit * width // 8, (bit + 1) * width // 8)
        picture[: height // 2, columns] = 255 if number >> bit & 1 else 0
    return picture.astype(np.uint8)


def _number_in(picture: np.ndarray) -> int:
    """The way back of ``_smooth_picture``."""
    height, width = picture.shape[:2]
    bars = picture[: height // 2].mean(axis=(0, 2))
    return sum(int(bars[bit * width // 8 + width // 16] > 127) << bit for bit in range(8))


def _write_store(path, robot: Embodiment, pictures=None, episodes=EPISODES) -> Store:
    """A store whose pictures are noise, or what ``pictures(row, size)`` says."""
    rng = np.random.default_rng(0)
    row = 0
    with StoreWriter(path, robot) as writer:
        for number, (record, length) in enumerate(zip(episodes, LENGTHS, strict=True)):
            for k in range(length):
                writer.add(
                    Step(
                        stamp_ns=START_NS + number * 10**12 + k * robot.period_ns,
                        images={
                            name: pictures(row, size)
                            if pictures
                            else rng.integers(0, 256, (*size, 3), dtype=np.uint8)
                            for name, size in SIZES.items()
                        },
                        state={
                            key: rng.normal(size=vector.size).astype(np.float32)
                            for key, vector in robot.state.items()
                        },
                        action={
                            key: rng.normal(size=channel.size).astype(np.float32)
                            for key, channel in robot.action.items()
                            if record.has_action
                        },
                    )
                )
                row += 1
            writer.end_episode(record)
        writer.commit()
    return Store.open(path)


@pytest.fixture
def store(tmp_path, robot) -> Store:
    """Three episodes of noise."""
    return _write_store(tmp_path / "original.zarr", robot)


def _assert_same(one: Store, other: Store, *, images: bool = True) -> None:
    """Every number, task and end of one store is in the other."""
    assert one.embodiment == other.embodiment
    assert one.episode_ends.tolist() == other.episode_ends.tolist()
    for key in one.keys:
        if images or key not in {f"obs.{name}" for name in one.embodiment.cameras}:
            assert one.array(key)[:].tobytes() == other.array(key)[:].tobytes(), key
    for mine, theirs in zip(one.episodes, other.episodes, strict=True):
        assert (mine.task, mine.role, mine.outcome) == (theirs.task, theirs.role, theirs.outcome)
        assert (mine.steps, mine.notes, mine.counts) == (theirs.steps, theirs.notes, theirs.counts)


@pytest.fixture
def assert_same():
    """Fails unless two stores hold the same."""
    return _assert_same


@pytest.fixture
def make_store(robot):
    """Writes a store at a path; see ``_write_store``."""
    return lambda path, **options: _write_store(path, robot, **options)


@pytest.fixture
def numbered():
    """Draws a number into a picture, and reads it back."""
    return _smooth_picture, _number_in
