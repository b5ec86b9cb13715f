# SPDX-License-Identifier: Apache-2.0
"""What the ranks of `test_ranks` do: torchrun starts this with a folder and the names of scenarios.

FOLDER/store  FOLDER/config.yaml      what all learn from
FOLDER/<scenario>/                    the run; one that is there goes on
FOLDER/<scenario>.<rank>.txt          the error that ended it on that rank, if one did
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from uwm_core.data.mixture import Source, mix
from uwm_core.data.store import Store
from uwm_core.spec import read_spec
from uwm_core.training.config import Compute, TrainConfig
from uwm_core.training.loop import Data, train
from uwm_core.training.team import Team, Together, team

# Scenarios that go on with what another one has left: a state in one file, and one in shards.
BEGUN = {"ported": "ddp_stopped", "resharded": "fsdp_stopped"}
LATE = 14  # this read of a camera lies in the model's phase, for any rank


class Acting:
    """Images that do something when they are read for the n-th time."""

    def __init__(self, images: Any, when: int, act: Callable[[], None]) -> None:
        self._images, self._left, self._act = images, when, act
        self.shape = images.shape

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left == 0:
            self._act()
        return np.asarray(self._images[rows])


def acting(data: Data, act: Callable[[], None]) -> Data:
    images = {**data.steps.images, "front": Acting(data.steps.images["front"], LATE, act)}
    return dataclasses.replace(data, steps=dataclasses.replace(data.steps, images=images))


def fail() -> None:
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        raise OSError("the disk of rank 1 is gone")


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def poisoned(data: Data) -> Data:
    """Actions of which one in 10 is not a number, as this rank alone reads them."""
    action = data.steps.action.copy()
    action[::10] = np.nan
    return dataclasses.replace(data, steps=dataclasses.replace(data.steps, action=action))


def scenario(out: Path, config: TrainConfig, data: Data, ranks: Team) -> tuple[TrainConfig, Data]:
    """The config and the data of a scenario on this rank; rank 1 is the one that has trouble."""
    kind, _, what = out.name.partition("_")
    compute = {
        "ddp": Compute(accumulate=2),
        "fsdp": Compute(parallel="fsdp", accumulate=2, checkpointing=True),
    }[kind]
    config = dataclasses.replace(config, compute=compute)
    if what in BEGUN and ranks.first:
        shutil.copytree(out.with_name(BEGUN[what]), out)
    ranks.wait()
    if ranks.rank == 1:
        if what == "stopped":
            data = acting(data, terminate)
        elif what == "failed":
            data = acting(data, fail)
        elif what == "poisoned":
            data = poisoned(data)
    return config, data


def main() -> None:
    folder, *names = sys.argv[1:]
    config = read_spec(Path(folder) / "config.yaml", TrainConfig)
    with team("cpu") as ranks:
        source = Source.of_store(Store.open(Path(folder) / "store"))
        data = Data.of_mixture(mix([source]), config)
        for name in names:
            out = Path(folder) / name
            asked, given = scenario(out, config, data, ranks)
            again = out.exists()
            ranks.wait()
            try:
                train(asked, given, out, resume=again, quiet=True, team=ranks)
            except Together as error:
                note = Path(folder) / f"{name}.{ranks.rank}.txt"
                note.write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
