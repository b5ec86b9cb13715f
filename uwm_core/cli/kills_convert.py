# SPDX-License-Identifier: Apache-2.0
"""Scenario ``convert`` of ``uwm bench kills``: bags of episodes into one store after another.

It tells the content hash of every episode that is in a store. A store that was left for the next
one is finished, and must be what an undisturbed conversion makes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from uwm_core.cli.bench_bag import write_bench_bag
from uwm_core.data.convert import BagResult, convert
from uwm_core.data.store import Store
from uwm_core.data.store_verify import verify
from uwm_core.errors import StoreError

BAGS = 2
EPISODES = 3
BAG_S = 3.0
IMAGE_SIZE = (48, 64)


def prepare(folder: Path, seed: int) -> None:
    """Bags, and what a conversion makes of them if nobody ends it."""
    for number in range(BAGS):
        path = folder / "bags" / f"ep_{number}"
        write_bench_bag(path, BAG_S - 0.5 * number, image_size=IMAGE_SIZE, episodes=EPISODES)
    convert([folder / "bags"], folder / "whole.zarr")


def command(folder: Path, seed: int) -> list[str]:
    """The converter."""
    return [sys.executable, "-m", __name__, str(folder)]


def check(folder: Path, told: Sequence[str]) -> list[str]:
    """Every episode that was told is there, and finished stores are those of a quiet conversion.

    Raises:
        StoreError: If not.
    """
    whole = _contents(folder / "whole.zarr")
    numbers = _numbers(folder)
    there = []
    for number in numbers:
        contents = _contents(folder / f"{number}.zarr")
        if contents != (whole if number < numbers[-1] else whole[: len(contents)]):
            raise StoreError(f"{folder}/{number}.zarr: is not what an undisturbed conversion makes")
        there += [f"{number} {content}" for content in contents]
    if lost := set(told) - set(there):
        raise StoreError(f"{folder}: {len(lost)} committed episodes are gone: {sorted(lost)[0]}")
    return there


def _contents(path: Path) -> list[str]:
    store = Store.open(path)
    if faults := verify(store, decode=True):
        raise StoreError(f"{path}: {faults[0]}")
    return [record.content for record in store.episodes]


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob("[0-9]*.zarr"))


def convert_forever(folder: Path) -> None:
    """Go on with the newest store, then begin the next, until someone ends it."""
    number = max(_numbers(folder), default=0)
    print("ready", flush=True)
    while True:
        path = folder / f"{number}.zarr"
        convert([folder / "bags"], path, finished=functools.partial(_tell, path))
        number += 1


def _tell(path: Path, _: BagResult) -> None:
    for record in Store.open(path).episodes:
        print(f"{path.stem} {record.content}", flush=True)


if __name__ == "__main__":
    convert_forever(Path(sys.argv[1]))
