# SPDX-License-Identifier: Apache-2.0
"""Growing arrays: rows wait in memory until their file is full, or until someone commits.

A file is only ever replaced by one with the same committed rows at its beginning, so a reader that
trusts the root's attributes never sees the difference.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from uwm_core.data.store_arrays import (
    CRC_BYTES,
    ArraySpec,
    blank_chunk,
    pack_chunk,
    pack_shard,
    unpack_chunk,
    unpack_shard,
    with_crc,
)
from uwm_core.data.store_files import Files


class Block(Protocol):
    """The rows of one file, in memory."""

    def put(self, row: int, value: Any) -> bytes:
        """Set a row; gives what stands for it in the hash of an episode."""
        ...

    def clear(self, row: int) -> None:
        """Forget the rows from this one on."""
        ...

    def pack(self) -> bytes:
        """The file."""
        ...


class ImageBlock:
    """Coded images."""

    def __init__(self, spec: ArraySpec, data: bytes | None = None) -> None:
        self._images = [b""] * spec.rows if data is None else unpack_shard(data, spec.rows)

    def put(self, row: int, value: bytes | None) -> bytes:
        """Set a row; an empty one is absent."""
        self._images[row] = with_crc(value) if value else b""
        return self._images[row][-CRC_BYTES:]

    def clear(self, row: int) -> None:
        """Forget the rows from this one on."""
        self._images[row:] = [b""] * (len(self._images) - row)

    def pack(self) -> bytes:
        """The shard."""
        return pack_shard(self._images)


class NumberBlock:
    """Numbers."""

    def __init__(self, spec: ArraySpec, data: bytes | None = None) -> None:
        self._blank = blank_chunk(spec)
        self._values = self._blank.copy() if data is None else unpack_chunk(data, spec)

    def put(self, row: int, value: npt.ArrayLike) -> bytes:
        """Set a row."""
        self._values[row] = value
        return np.asarray(self._values[row]).tobytes()

    def clear(self, row: int) -> None:
        """Forget the rows from this one on."""
        self._values[row:] = self._blank[row:]

    def pack(self) -> bytes:
        """The chunk."""
        return pack_chunk(self._values)


class Column:
    """One growing array.

    Args:
        files: Of the store.
        spec: The array.
        rows: Rows that are there already; those of the last file are read.
    """

    def __init__(self, files: Files, spec: ArraySpec, rows: int) -> None:
        self.spec = spec
        self.rows = rows
        self._files = files
        self._block = self._load(rows)
        self._unwritten = False
        self._hash = hashlib.sha256()

    def add(self, value: Any) -> None:
        """Append a row."""
        number, row = divmod(self.rows, self.spec.rows)
        self._hash.update(self._block.put(row, value))
        if row + 1 == self.spec.rows:
            self._files.write({self.spec.file(number): self._block.pack()})
            self._block = self._load(self.rows + 1)
        self.rows += 1
        self._unwritten = True

    def truncate(self, rows: int) -> None:
        """Forget the rows from ``rows`` on; those of a file already written come back."""
        self._hash = hashlib.sha256()
        if rows // self.spec.rows != self.rows // self.spec.rows:
            self._block = self._load(rows)
        self._block.clear(rows % self.spec.rows)
        self._unwritten |= rows != self.rows
        self.rows = rows

    def unwritten(self) -> dict[str, bytes]:
        """The last file, if it has changed; full ones were written when they became full."""
        number, inside = divmod(self.rows, self.spec.rows)
        if not self._unwritten or not inside:
            return {}
        return {self.spec.file(number): self._block.pack()}

    def wrote(self) -> None:
        """What ``unwritten`` gave has been written."""
        self._unwritten = False

    def take_hash(self) -> bytes:
        """Hash of the rows added since the last call or truncation."""
        digest, self._hash = self._hash.digest(), hashlib.sha256()
        return digest

    def _load(self, rows: int) -> Block:
        """The file that row number ``rows`` belongs to, with the rows before it."""
        kind = NumberBlock if self.spec.coding is None else ImageBlock
        inside = rows % self.spec.rows
        if not inside:
            return kind(self.spec)
        block = kind(self.spec, self._files.read(self.spec.file(rows // self.spec.rows)))
        block.clear(inside)
        return block
