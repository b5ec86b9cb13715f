# SPDX-License-Identifier: Apache-2.0
"""Keeps a store in step with the bags of a recorder: a process of its own, told of bags by lines.

A line of input is JSON, ``{"bag": PATH}``; the store is made to agree with that bag as it is now: a
new one is converted, one whose labels changed is relabelled, one that lies in the trash is dropped.
So a line may be repeated, and a store that missed some catches up. A line of output tells what was
done: ``{"bag": NAME, "done": ..., "error": ...}``. Runs at the lowest priority: the recorder comes
first.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uwm_core.data.bag_labels import read_labels
from uwm_core.data.convert import convert
from uwm_core.data.store import Store, StoreWriter
from uwm_core.data.store_edit import Selection, copy_episodes, drop, trash_path
from uwm_core.errors import UwmError


def follow(bag: Path, store: Path) -> str:
    """Make a store agree with one bag.

    Args:
        bag: A finished bag; in a folder named ``trash``, or labelled so, it was discarded.
        store: The store; made if it is not there.

    Returns:
        What was done: ``added``, ``relabelled``, ``dropped`` or ``nothing``.

    Raises:
        UwmError: If the bag cannot be converted, or the store not be written.
    """
    labels = read_labels(bag)
    discarded = labels.get("uwm.outcome") == "discard"
    known = _episodes_of(bag.name, store)
    if discarded:
        return _drop(store, known) if known else "nothing"
    if known:
        return "relabelled" if _relabel(store, known, labels) else "nothing"
    convert([bag], store)
    return "added"


def _episodes_of(source: str, store: Path) -> list[int]:
    """Numbers of the episodes that came from a bag."""
    if not store.exists():
        return []
    records = Store.open(store).episodes
    return [number for number, record in enumerate(records) if record.source == source]


def _drop(store: Path, known: Sequence[int]) -> str:
    opened = Store.open(store)
    if len(known) < len(opened):
        drop(opened, Selection(episodes=tuple(known)))
        return "dropped"
    # A store has at least one episode, so with its last one the whole store goes to the trash.
    copy_episodes([(opened, list(known))], trash_path(store), images=opened.coding, mode="append")
    shutil.rmtree(store)
    return "dropped"


def _relabel(store: Path, known: Sequence[int], labels: dict[str, str]) -> bool:
    """Write the bag's labels into its episodes, as a conversion now would; False if they agree."""
    said: dict[str, Any] = {
        key: labels[f"uwm.{key}"] for key in ("task", "role", "outcome") if f"uwm.{key}" in labels
    }
    if labels.get("uwm.remarks"):
        said["remarks"] = tuple(json.loads(labels["uwm.remarks"]))
    opened = Store.open(store)
    changed = {
        number: dataclasses.replace(opened.episodes[number], **said)
        for number in known
        if any(getattr(opened.episodes[number], key) != value for key, value in said.items())
    }
    if changed:
        with StoreWriter(store, opened.embodiment, mode="append", images=opened.coding) as writer:
            for number, record in changed.items():
                writer.relabel(number, record)
    return bool(changed)


def main(argv: Sequence[str] | None = None) -> int:
    """Follow until the input ends; returns the exit code."""
    (store,) = sys.argv[1:] if argv is None else argv
    os.nice(19)
    # Whoever interrupts the recorder does not mean the episode that is being added.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        bag = Path(json.loads(line)["bag"])
        answer = {"bag": bag.name, "done": "", "error": ""}
        try:
            answer["done"] = follow(bag, Path(store))
        except (UwmError, OSError) as error:
            answer["error"] = " ".join(str(error).split())
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
