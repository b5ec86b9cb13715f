# SPDX-License-Identifier: Apache-2.0
"""The state of a run whose parameters no rank has whole: a file per rank, written while it goes on.

    OUT/state_<phase>.shards/step_00000250/   torch.distributed.checkpoint's files, and run.json

A state is whole once it has ``.metadata``, which is written last; the one before is deleted only
then. It can be loaded by any number of ranks, sharded or not.
"""

from __future__ import annotations

import json
import shutil
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from uwm_core.errors import CheckpointError
from uwm_core.training.state import Learner, Place, load_state
from uwm_core.training.team import Team

_WHOLE = ".metadata"


class ShardKeeper:
    """A file per rank, written in the background."""

    def __init__(self, place: Place, learner: Learner, team: Team) -> None:
        self._place, self._learner, self._team = place, learner, team
        # Of its own, or the writing's exchanges would mix with those of the steps.
        self._group: Any = dist.new_group(backend="gloo")
        self._writing: Future[Any] | None = None
        self._path: Path | None = None

    def save(self, step: int) -> None:
        """See `Keeper`; comes back when the tensors are copied, not when they are written."""
        self.finish()
        self._path = self._place.shards / f"step_{step:08d}"
        if self._team.first:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path.mkdir(parents=True)
            note = {"step": step, "stamp": self._place.stamp}
            (self._path / "run.json").write_text(json.dumps(note), encoding="utf-8")
        self._team.wait()
        writing: Any = async_save(
            self._learner.tensors(), checkpoint_id=str(self._path), process_group=self._group
        )
        self._writing = writing

    def load(self) -> int:
        """See `Keeper`."""
        return load_state(self._place, self._learner)

    def finish(self) -> None:
        """See `Keeper`."""
        if self._writing is None:
            return
        self._writing.result()
        self._writing = None
        if self._team.first:
            for older in self._place.shards.glob("step_*"):
                if older != self._path:
                    shutil.rmtree(older)
            self._place.file.unlink(missing_ok=True)


def newest(place: Place) -> tuple[int, Path | None]:
    """Steps before the last whole state, and its folder; 0 and None if there is none."""
    whole = [path for path in place.shards.glob("step_*") if (path / _WHOLE).exists()]
    path = max(whole, default=None)
    return (0, None) if path is None else (int(path.name.removeprefix("step_")), path)


def load_shards(place: Place, path: Path, learner: Learner) -> int:
    """Put back a state in shards; the steps that were taken.

    Raises:
        CheckpointError: It is broken, or belongs to another run.
    """
    try:
        note = json.loads((path / "run.json").read_text(encoding="utf-8"))
        place.check(path, note["stamp"])
        tensors = learner.tensors()
        with warnings.catch_warnings():
            # That one process goes on alone is what was asked.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load(tensors, checkpoint_id=str(path))
    except (OSError, ValueError, KeyError, CheckpointException) as error:
        raise CheckpointError(f"{path} cannot be resumed: {error}") from error
    learner.put(tensors)
    return int(note["step"])
