# SPDX-License-Identifier: Apache-2.0
"""Finished episodes in a folder: named, kept, taken back, relabelled, noted; never deleted.

A kept episode is a bag in the folder, a discarded one is a bag in `trash/` below it. `undo` takes
back the last decision, and a second `undo` takes back the first, so that a pedal stepped on twice
changes nothing. Where a label and a place disagree after a power cut the label is right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from uwm_core.data.bag_labels import read_labels, write_labels
from uwm_core.errors import UnknownNameError, UwmError
from uwm_ros.logic.recording import OUTCOMES, ROLES, check_name

TRASH = "trash"
PART = ".part"
DISCARD = "discard"
# What an episode becomes that was discarded as it ended and is wanted after all.
_UNJUDGED = "failure"


class Shelved(NamedTuple):
    """An episode on the shelf: its name, where it is, and what is said about it."""

    name: str
    path: Path
    outcome: str
    task: str
    role: str


class Shelf:
    """The episodes of one folder.

    Attributes:
        directory: The folder.
        last: The episode that was judged last; None since the start.
        kept: Episodes kept since the start.
    """

    def __init__(self, directory: Path) -> None:
        """Look after `directory`; it need not exist yet."""
        self.directory = directory
        self.last: Shelved | None = None
        self.kept = 0
        self._before = ""

    def free_name(self, when: str) -> str:
        """A name that is free: the time, and a number where that is taken.

        Raises:
            UwmError: If none is.
        """
        for number in range(10_000):
            name = f"{when}_{number:02d}" if number else when
            places = (self.directory / name, self.directory / f"{name}{PART}", self._trash / name)
            if not any(place.exists() for place in places):
                return name
        raise UwmError(f"no free episode name {when}_* in {self.directory}")

    def put(self, path: Path, outcome: str) -> Shelved:
        """Take a bag that has just been finished with `outcome`."""
        self._before = _UNJUDGED if outcome == DISCARD else DISCARD
        self.kept += outcome != DISCARD
        self.last = self._place(path)
        return self.last

    def undo(self) -> Shelved:
        """Take back the last decision: a kept episode goes to the trash, a discarded one returns.

        Raises:
            UwmError: If nothing was decided since the start.
        """
        if self.last is None:
            raise UwmError("nothing to undo: no episode has ended since the recorder started")
        return self.relabel(self.last.name, outcome=self._before)

    def relabel(
        self, name: str = "", *, outcome: str = "", task: str = "", role: str = ""
    ) -> Shelved:
        """Change what an episode is called; its data stay untouched.

        Args:
            name: Of the episode; empty: the last one.
            outcome: New outcome; empty: as it is. `discard` moves it to the trash.
            task: New task sentence; empty: as it is.
            role: New role; empty: as it is.

        Raises:
            UwmError: If there is no such episode, or a value is not known.
        """
        found = self.find(name)
        changes = {}
        if outcome:
            changes["uwm.outcome"] = check_name("outcome", outcome, OUTCOMES)
        if role:
            changes["uwm.role"] = check_name("role", role, ROLES)
        if task:
            changes["uwm.task"] = task
        if not changes:
            raise UwmError(f"nothing to change in {found.name}: give an outcome, a task or a role")
        write_labels(found.path, changes)
        shelved = self._place(found.path)
        if outcome:
            self._before = found.outcome
            self.kept += (found.outcome == DISCARD) - (outcome == DISCARD)
        if outcome or (self.last is not None and self.last.name == shelved.name):
            self.last = shelved
        return shelved

    def note(self, text: str, name: str = "") -> Shelved:
        """Add a remark to an episode.

        Raises:
            UwmError: If there is no such episode.
        """
        found = self.find(name)
        remarks = [*remarks_of(read_labels(found.path)), text]
        write_labels(found.path, {"uwm.remarks": json.dumps(remarks)})
        return found

    def find(self, name: str = "") -> Shelved:
        """An episode by name, kept or discarded; the last one for an empty name.

        Raises:
            UwmError: If there is none.
        """
        if not name:
            if self.last is None:
                raise UwmError("no episode has ended since the recorder started; name one")
            return self.last
        for path in (self.directory / name, self._trash / name):
            if "/" not in name and path.is_dir():
                return _shelved(path)
        raise UnknownNameError("episode", name, self.names())

    def names(self) -> list[str]:
        """Every whole episode, kept or discarded."""
        bags = [*self.directory.glob("*/metadata.yaml"), *self._trash.glob("*/metadata.yaml")]
        return sorted({bag.parent.name for bag in bags})

    def kept_before(self) -> list[Path]:
        """Bags that are kept, in the order of their names."""
        return sorted(bag.parent for bag in self.directory.glob("*/metadata.yaml"))

    def cut_off(self) -> list[Path]:
        """Bags that were being written when a recorder was killed."""
        return sorted(self.directory.glob(f"*{PART}"))

    @property
    def _trash(self) -> Path:
        return self.directory / TRASH

    def _place(self, path: Path) -> Shelved:
        """Move a bag to where its label says that it belongs."""
        shelved = _shelved(path)
        folder = self._trash if shelved.outcome == DISCARD else self.directory
        target = folder / path.name
        if target != path:
            folder.mkdir(parents=True, exist_ok=True)
            if target.exists():
                raise UwmError(f"{target} exists already; move it away first")
            os.replace(path, target)
        return shelved._replace(path=target)


def _shelved(path: Path) -> Shelved:
    labels = read_labels(path)
    outcome, role = labels.get("uwm.outcome", _UNJUDGED), labels.get("uwm.role", ROLES[0])
    return Shelved(path.name, path, outcome, labels.get("uwm.task", ""), role)


def remarks_of(labels: Mapping[str, str]) -> list[str]:
    """What the operator noted, from the labels of a bag."""
    found = json.loads(labels.get("uwm.remarks") or "[]")
    return [str(text) for text in found]
