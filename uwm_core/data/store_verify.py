# SPDX-License-Identifier: Apache-2.0
"""Every byte of a store against its checksums: what is damaged, in which array and episode.

Four nets, each for what the one before lets through: the CRC-32C of every image, chunk and index
(a flipped bit), the hash in each episode's record (an intact file of another store or of another
moment), the expected text of every ``zarr.json``, the hash of the root's attributes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator

import numpy as np

from uwm_core.data.store import Store
from uwm_core.data.store_arrays import (
    CRC_BYTES,
    ArraySpec,
    unpack_chunk,
    unpack_shard,
    without_crc,
)
from uwm_core.data.store_images import decode_image
from uwm_core.data.store_root import ROOT_FILE, metadata_files, text_hash
from uwm_core.errors import StoreError

ENDS = "meta/episode_ends"
Seen = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Attributes:
        where: File or array.
        episodes: Numbers of the episodes that it concerns; none for the store as a whole.
        reason: What is wrong.
    """

    where: str
    episodes: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        if not self.episodes:
            return f"{self.where}: {self.reason}"
        first, last = self.episodes[0], self.episodes[-1]
        which = f"episode {first}" if first == last else f"episodes {first} to {last}"
        return f"{self.where}, {which}: {self.reason}"


def verify(store: Store, *, decode: bool = False, seen: Seen | None = None) -> list[Fault]:
    """Check a store.

    Args:
        store: The store; only what was committed when it was opened is looked at.
        decode: Decode every image as well; checksums find damage without it.
        seen: Called with the bytes of every file that was read.

    Returns:
        The faults; none if the store is whole.
    """
    check = _Check(store, decode, seen or (lambda size: None))
    faults = [*_root_faults(store), *_metadata_faults(store)]
    for name, spec in store.root.specs.items():
        faults += check.array(spec) if name != ENDS else check.ends(spec)
    faults += check.contents()
    return faults


def _root_faults(store: Store) -> Iterator[Fault]:
    data = store.files.read(ROOT_FILE)
    if json.loads(data)["attributes"].get("sha256") != text_hash(data):
        yield Fault(ROOT_FILE, (), "is not what was written; change it with uwm store relabel")


def _metadata_faults(store: Store) -> Iterator[Fault]:
    for name, written in metadata_files(store.root).items():
        try:
            found = store.files.read(name)
            spec = store.root.specs.get(name.removesuffix(f"/{ROOT_FILE}"))
            # A writer that was killed, or that is at work, leaves arrays longer than the root says.
            if found != (written if spec is None else spec.metadata(_rows(found, spec, store))):
                yield Fault(name, (), "is not what was written")
        except FileNotFoundError:
            yield Fault(name, (), "is missing")
        except (ValueError, TypeError, KeyError, IndexError):
            yield Fault(name, (), "cannot be read")


def _rows(metadata: bytes, spec: ArraySpec, store: Store) -> int:
    return max(int(json.loads(metadata)["shape"][0]), store.root.rows_of(spec.name))


class _Check:
    """Goes through the arrays one file at a time, and hashes what each episode has in them."""

    def __init__(self, store: Store, decode: bool, seen: Seen) -> None:
        self._store = store
        self._decode = decode
        self._seen = seen
        self._contents = [hashlib.sha256() for _ in store.episodes]
        self._faulty: set[int] = set()

    def array(self, spec: ArraySpec) -> Iterator[Fault]:
        """Faults of an array with one row per step."""
        hashes = [hashlib.sha256() for _ in self._store.episodes]
        for number in range(spec.files(self._store.steps)):
            rows = range(number * spec.rows, min((number + 1) * spec.rows, self._store.steps))
            try:
                data = self._store.files.read(spec.file(number))
                self._seen(len(data))
                yield from self._file(spec, data, rows, hashes)
            except FileNotFoundError:
                yield self._fault(spec.file(number), rows, "is missing")
            except StoreError as error:
                yield self._fault(spec.file(number), rows, str(error))
        for content, part in zip(self._contents, hashes, strict=True):
            content.update(part.digest())

    def _file(
        self, spec: ArraySpec, data: bytes, rows: range, hashes: list[hashlib._Hash]
    ) -> Iterator[Fault]:
        if spec.coding is None:
            values = unpack_chunk(data, spec)
            for episode, part in self._parts(rows):
                inside = values[part.start - rows.start : part.stop - rows.start]
                hashes[episode].update(inside.tobytes())
            return
        images = unpack_shard(data, spec.rows)
        for episode, part in self._parts(rows):
            for row in part:
                image = images[row - rows.start]
                hashes[episode].update(image[-CRC_BYTES:])
                if image and (reason := self._image_fault(spec, image)):
                    yield self._fault(f"{spec.name} row {row}", range(row, row + 1), reason)

    def _image_fault(self, spec: ArraySpec, sealed: bytes) -> str:
        try:
            image = without_crc(sealed)
            if self._decode and spec.coding is not None:
                decode_image(spec.coding, image, spec.tail)
        except StoreError as error:
            return str(error)
        return ""

    def _parts(self, rows: range) -> Iterator[tuple[int, range]]:
        """Which episodes have which of the rows."""
        for episode in self._episodes(rows):
            span = self._store.span(episode)
            yield episode, range(max(span.start, rows.start), min(span.stop, rows.stop))

    def _episodes(self, rows: range) -> range:
        ends = self._store.episode_ends
        first, last = np.searchsorted(ends, [rows.start, rows.stop - 1], side="right").tolist()
        return range(first, last + 1)

    def _fault(self, where: str, rows: range, reason: str) -> Fault:
        episodes = self._episodes(rows)
        self._faulty.update(episodes)
        return Fault(where, tuple(episodes), reason)

    def ends(self, spec: ArraySpec) -> Iterator[Fault]:
        """Faults of the ends of the episodes, which the records say as well."""
        found: list[int] = []
        try:
            for number in range(spec.files(len(self._store))):
                data = self._store.files.read(spec.file(number))
                self._seen(len(data))
                found += unpack_chunk(data, spec).tolist()
        except FileNotFoundError:
            yield Fault(spec.name, (), "a file is missing")
        except StoreError as error:
            yield Fault(spec.name, (), str(error))
        else:
            if found[: len(self._store)] != self._store.episode_ends.tolist():
                yield Fault(spec.name, (), "is not what the records say")

    def contents(self) -> Iterator[Fault]:
        """Episodes whose rows are intact, but not those that were written."""
        for number, (record, content) in enumerate(
            zip(self._store.episodes, self._contents, strict=True)
        ):
            if number not in self._faulty and content.hexdigest() != record.content:
                reason = "its rows are intact, but not those that its record speaks of"
                yield Fault("content", (number,), reason)
