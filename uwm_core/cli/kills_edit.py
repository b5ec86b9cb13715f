# SPDX-License-Identifier: Apache-2.0
"""Scenario ``edit`` of ``uwm bench kills``: episodes are dropped, and merged back from the trash.

Wherever it is killed, every episode is in the store or in its trash, and both are whole.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from uwm_core.cli.kills_store import ROBOT, write_episodes
from uwm_core.data.store import Store, StoreWriter
from uwm_core.data.store_edit import Selection, drop, merge, trash_path
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

STORE = "s.zarr"
EVERY = "contents.txt"
EPISODES = 6


def prepare(folder: Path, seed: int) -> None:
    """Write a store, and beside it what is in it."""
    contents = itertools.islice(write_episodes(folder / STORE, seed), EPISODES)
    (folder / EVERY).write_text("\n".join(contents))


def command(folder: Path, seed: int) -> list[str]:
    """The editor."""
    return [sys.executable, "-m", __name__, str(folder / STORE), str(seed)]


def check(folder: Path, told: Sequence[str]) -> list[str]:
    """Every episode is somewhere, and nothing is damaged.

    Raises:
        StoreError: If not.
    """
    path = folder / STORE
    # A writer first: it brings back what a replacement left that was killed between its renames.
    StoreWriter(path, Embodiment.load(ROBOT), mode="append").abort()
    stores = [Store.open(at) for at in (path, trash_path(path)) if at.exists()]
    there = {record.content for store in stores for record in store.episodes}
    wanted = (folder / EVERY).read_text().split()
    if missing := set(wanted) - there:
        raise StoreError(f"{path}: {len(missing)} of {len(wanted)} episodes are nowhere")
    for store in stores:
        if faults := verify(store):
            raise StoreError(f"{store.location}: {faults[0]}")
    return wanted


def edit_forever(path: Path, seed: int) -> None:
    """Drop and merge back until someone ends it."""
    choice = random.Random(seed)
    print("ready", flush=True)
    while True:
        if trash_path(path).exists():
            # An append, so that it also brings the store back if it was killed while replaced.
            merge([Store.open(trash_path(path))], path, mode="append")
        store = Store.open(path)
        picked = choice.sample(range(len(store)), choice.randint(1, len(store) - 1))
        drop(store, Selection(episodes=tuple(picked)))


if __name__ == "__main__":
    edit_forever(Path(sys.argv[1]), int(sys.argv[2]))
