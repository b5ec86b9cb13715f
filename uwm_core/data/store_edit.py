# SPDX-License-Identifier: Apache-2.0
"""Whole episodes from store to store: merge, split, drop, relabel.

Coded images are copied as they are; only a change of coding decodes them. Nothing is destroyed: a
dropped episode goes to a trash store first, and an episode that is there already (the same content)
is not written twice, so that whatever was interrupted may simply be done again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.store import Store, StoreWriter
from uwm_core.data.store_files import is_url
from uwm_core.data.store_format import EncodedStep, EpisodeRecord, ImageCoding, Outcome, Role
from uwm_core.data.store_images import decode_image, encode_image
from uwm_core.data.store_place import Mode
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

# Rows in memory at once while an episode is copied.
PIECE_ROWS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which episodes of a store are meant: those that fit everything that is said.

    Attributes:
        episodes: Their numbers; None for all.
        outcome: Their outcome.
        role: Their role.
        task: Their task sentence.
        source: The bag they came from.
    """

    episodes: tuple[int, ...] | None = None
    outcome: Outcome | None = None
    role: Role | None = None
    task: str | None = None
    source: str | None = None

    def pick(self, store: Store) -> list[int]:
        """Numbers of the episodes that are meant, ascending.

        Raises:
            StoreError: If a number is not in the store, or nothing fits.
        """
        if strange := [n for n in self.episodes or () if not 0 <= n < len(store)]:
            raise StoreError(
                f"{store.location}: has {len(store)} episodes, there is no {strange[0]}"
            )
        wanted = {
            name: value
            for name in ("outcome", "role", "task", "source")
            if (value := getattr(self, name)) is not None
        }
        picked = [
            number
            for number, record in enumerate(store.episodes)
            if (self.episodes is None or number in self.episodes)
            and all(getattr(record, name) == value for name, value in wanted.items())
        ]
        if not picked:
            said = ", ".join(f"{name} {value!r}" for name, value in wanted.items())
            raise StoreError(f"{store.location}: no episode of {len(store)} has {said or 'this'}")
        return picked


@dataclasses.dataclass(frozen=True)
class Copied:
    """What a copy did.

    Attributes:
        store: Folder or URL that was written.
        episodes: Episodes that were written.
        steps: Their steps.
        known: Episodes that were there already.
    """

    store: str
    episodes: int
    steps: int
    known: int


def merge(
    sources: Sequence[Store],
    path: Path | str,
    *,
    images: ImageCoding | None = None,
    mode: Mode = "create",
) -> Copied:
    """All episodes of several stores, one store after the other.

    Args:
        sources: The stores.
        path: The store to write.
        images: How to code images; by default as the sources do.
        mode: As in ``StoreWriter``; ``append`` goes on with a merge that was interrupted.

    Raises:
        StoreError: If they are of several embodiments or codings, or the store may not be written.
    """
    first = sources[0]
    for other in sources[1:]:
        if differences := first.embodiment.difference(other.embodiment):
            raise StoreError(f"{other.location}: is of another embodiment: {differences[0]}")
        if images is None and str(other.coding) != str(first.coding):
            raise StoreError(
                f"{other.location}: has images as {other.coding}, {first.location} as "
                f"{first.coding}; name one (--images {first.coding})"
            )
    every = [(store, list(range(len(store)))) for store in sources]
    return copy_episodes(every, path, images=images or first.coding, mode=mode)


def split(
    store: Store, selection: Selection, path: Path | str, rest: Path | str | None = None
) -> tuple[Copied, ...]:
    """The selected episodes into a new store, the others into another if one is named.

    Raises:
        StoreError: If nothing is selected, or a store exists.
    """
    picked = selection.pick(store)
    written = [copy_episodes([(store, picked)], path, images=store.coding)]
    if rest is not None:
        others = _others(store, picked)
        written.append(copy_episodes([(store, others)], rest, images=store.coding))
    return tuple(written)


def drop(store: Store, selection: Selection, path: Path | str | None = None) -> tuple[Copied, ...]:
    """The store without the selected episodes.

    Args:
        store: The store.
        selection: Episodes that go.
        path: A new store that has the others; the old one then stays as it is. By default the
            store is replaced, after the selected episodes were added to its trash.

    Returns:
        What was written: the new store, or the trash and the store.

    Raises:
        StoreError: If nothing is selected, nothing would be left, or a URL is to be replaced.
    """
    picked = selection.pick(store)
    others = _others(store, picked)
    if path is not None:
        return (copy_episodes([(store, others)], path, images=store.coding),)
    if is_url(store.location):
        raise StoreError(
            f"{store.location}: object storage cannot replace a store in one step; name a new one"
        )
    trash = trash_path(store.path)
    thrown = copy_episodes([(store, picked)], trash, images=store.coding, mode="append")
    kept = copy_episodes([(store, others)], store.path, images=store.coding, mode="overwrite")
    return thrown, kept


def trash_path(path: Path) -> Path:
    """Where dropped episodes of a store go: a store as well, beside it."""
    return path.with_name(f"{path.stem}.trash{path.suffix}")


def _others(store: Store, picked: Sequence[int]) -> list[int]:
    others = [number for number in range(len(store)) if number not in set(picked)]
    if not others:
        raise StoreError(
            f"{store.location}: all {len(store)} episodes are meant; none would remain"
        )
    return others


def relabel(store: Store, selection: Selection, **changes: Any) -> list[EpisodeRecord]:
    """Change what is known of episodes; their rows are not touched.

    Args:
        store: The store; open it again to see the change.
        selection: Which episodes.
        **changes: Any of ``task``, ``outcome`` and ``role``.

    Returns:
        The records of the selected episodes as they are now. Each notes what it was before.

    Raises:
        StoreError: If nothing is selected, or the store is being written.
        UnknownNameError: If an outcome or a role is none of the known ones.
    """
    records = []
    with StoreWriter(store.location, store.embodiment, mode="append") as writer:
        for number in selection.pick(store):
            old = writer.episodes[number]
            notes = [
                f"relabelled: {name} was {getattr(old, name)!r}"
                for name, value in changes.items()
                if getattr(old, name) != value
            ]
            new = dataclasses.replace(old, **changes, notes=(*old.notes, *notes))
            writer.relabel(number, new)
            records.append(new)
    return records


def copy_episodes(
    sources: Sequence[tuple[Store, Sequence[int]]],
    path: Path | str,
    *,
    images: ImageCoding,
    mode: Mode = "create",
) -> Copied:
    """Episodes of several stores, in order, committed one by one.

    Args:
        sources: Stores, each with the numbers of its episodes.
        path: The store to write.
        images: How its images are coded.
        mode: As in ``StoreWriter``.

    Raises:
        StoreError: If the store may not be written, or a source is damaged.
    """
    episodes = steps = known = 0
    with StoreWriter(path, sources[0][0].embodiment, mode=mode, images=images) as writer:
        there = {record.content for record in writer.episodes}
        for store, number in ((store, number) for store, numbers in sources for number in numbers):
            if _append(writer, store, number, there):
                episodes += 1
                steps += store.episodes[number].steps
            else:
                known += 1
    return Copied(writer.location, episodes, steps, known)


def _append(writer: StoreWriter, store: Store, number: int, there: set[str]) -> bool:
    """Append and commit an episode unless its content is ``there``; whether it was appended."""
    record = store.episodes[number]
    if record.content in there:
        return False
    for row in rows_of(store, number, writer.images):
        writer.add_encoded(row)
    writer.end_episode(record)
    # An episode that is coded anew has another content, and only now is it known which.
    content = writer.episodes[-1].content
    if content in there:
        writer.rollback()
        return False
    writer.commit()
    there.update((record.content, content))
    return True


def rows_of(store: Store, number: int, images: ImageCoding | None = None) -> Iterator[EncodedStep]:
    """Rows of an episode, coded as ``images`` says; by default as they are stored."""
    span = store.span(number)
    for start in range(span.start, span.stop, PIECE_ROWS):
        yield from _piece(store, slice(start, min(start + PIECE_ROWS, span.stop)), images)


def _piece(store: Store, rows: slice, images: ImageCoding | None) -> Iterator[EncodedStep]:
    embodiment = store.embodiment
    cameras = embodiment.camera_names
    coded = {name: store.encoded(name, rows) for name in cameras}
    if images is not None and str(images) != str(store.coding):
        coded = {name: _recoded(store, name, coded[name], images) for name in cameras}
    state = {key: store.array(f"obs.{key}")[rows] for key in embodiment.state}
    real = {key: store.mask(f"obs.{key}")[rows] for key in embodiment.state}
    action, acts = store.array("action")[rows], store.mask("action")[rows]
    for row, stamp_ns in enumerate(store.array("stamp_ns")[rows].tolist()):
        yield EncodedStep(
            stamp_ns=stamp_ns,
            images={name: coded[name][row] for name in cameras},
            state={key: vector[row] for key, vector in state.items() if real[key][row]},
            action=_channels(embodiment, action[row], whole=bool(acts[row])),
        )


def _recoded(store: Store, camera: str, coded: list[bytes], images: ImageCoding) -> list[bytes]:
    shape = (*store.embodiment.cameras[camera].size, 3)
    return [
        encode_image(images, decode_image(store.coding, image, shape)) if image else b""
        for image in coded
    ]


def _channels(
    embodiment: Embodiment, action: npt.NDArray[np.float32], *, whole: bool
) -> dict[str, npt.NDArray[np.float32]]:
    """The channels of one row of actions: all, or those that have a value."""
    channels, start = {}, 0
    for key, channel in embodiment.action.items():
        values = action[start : start + channel.size]
        start += channel.size
        if whole or not np.isnan(values).all():
            channels[key] = values
    return channels
