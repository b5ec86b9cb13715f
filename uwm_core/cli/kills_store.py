# SPDX-License-Identifier: Apache-2.0
"""Scenario ``store`` of ``uwm bench kills``: a writer that appends, rolls back and commits.

It tells the content hash of every episode that it has committed. Small files make it cross their
borders all the time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError
from uwm_core.records import Step

ROBOT = "fr3_sim"
FILE_BYTES = 300_000
LONGEST = 25


def prepare(folder: Path, seed: int) -> None:
    """Nothing: the writer makes the store, and may be killed at that too."""


def command(folder: Path, seed: int) -> list[str]:
    """The writer."""
    return [sys.executable, "-m", __name__, str(folder / "s.zarr"), str(seed)]


def check(folder: Path, told: Sequence[str]) -> list[str]:
    """Every episode that was told is there, in order, and its bytes are those that were written.

    Raises:
        StoreError: If not.
    """
    if not (folder / "s.zarr").exists() and not told:
        return []
    store = Store.open(folder / "s.zarr")
    there = [record.content for record in store.episodes]
    if there[: len(told)] != list(told):
        raise StoreError(f"{store.location}: {len(told)} episodes were committed, it has {there}")
    if faults := verify(store, decode=True):
        raise StoreError(f"{store.location}: {faults[0]}")
    return there


def write_episodes(path: Path, seed: int) -> Iterator[str]:
    """Append random episodes, without end; gives the content of each after its commit."""
    random = np.random.default_rng(seed)
    embodiment = Embodiment.load(ROBOT)
    with StoreWriter(path, embodiment, mode="append", file_bytes=FILE_BYTES) as writer:
        while True:
            for _ in range(int(random.integers(1, LONGEST))):
                writer.add(_step(embodiment, writer.steps, random))
            writer.end_episode(EpisodeRecord(task=f"episode {len(writer.episodes)}"))
            if random.random() < 0.2:
                writer.rollback()
                continue
            writer.commit()
            yield writer.episodes[-1].content


def _step(embodiment: Embodiment, row: int, random: np.random.Generator) -> Step:
    return Step(
        stamp_ns=row * embodiment.period_ns,
        images={
            name: random.integers(0, 256, (*camera.size, 3), np.uint8)
            for name, camera in embodiment.cameras.items()
        },
        state={
            key: random.random(vector.size, np.float32) for key, vector in embodiment.state.items()
        },
        action={
            key: random.random(channel.size, np.float32)
            for key, channel in embodiment.action.items()
        },
    )


if __name__ == "__main__":
    print("ready", flush=True)
    for content in write_episodes(Path(sys.argv[1]), int(sys.argv[2])):
        print(content, flush=True)
