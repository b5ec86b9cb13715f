# SPDX-License-Identifier: Apache-2.0
"""Rows out of the arrays of a store: only the bytes of the rows that are asked for.

Images come straight out of their shards: the index of a shard is read once, neighbouring images
in one piece. Numbers come in whole chunks; they are small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.store_arrays import (
    ABSENT,
    ArraySpec,
    index_bytes,
    read_index,
    unpack_chunk,
    without_crc,
)
from uwm_core.data.store_files import Files, Range
from uwm_core.data.store_images import decode_images
from uwm_core.errors import StoreError

Index = slice | int | Sequence[int] | npt.NDArray[np.int64]

# Images side by side are read in pieces of at most this size.
MAX_PIECE_BYTES = 1 << 23
# Images that are in memory both coded and decoded at once.
PIECE_ROWS = 512


class StoredArray:
    """Rows of one array on disk; ``len``, slices and integer arrays give numpy arrays.

    Args:
        files: Of the store.
        spec: The array.
        rows: How many rows are committed; what lies behind them is not there.
        threads: Threads that decode images.
    """

    def __init__(self, files: Files, spec: ArraySpec, rows: int, *, threads: int = 1) -> None:
        self._files = files
        self._spec = spec
        self._rows = rows
        self._threads = threads
        self._indexes: dict[int, npt.NDArray[np.uint64]] = {}

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        return (self._rows, *self._spec.tail)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._spec.dtype)

    def __getitem__(self, rows: Index) -> npt.NDArray[Any]:
        """Read rows, in any order and repeated.

        Raises:
            IndexError: If there is no such row.
            StoreError: If the store is damaged there.
        """
        wanted = self._wanted(rows)
        out = np.empty((wanted.size, *self._spec.tail), self.dtype)
        self.read_into(wanted.reshape(-1), out)
        return out.reshape(*wanted.shape, *self._spec.tail)

    def read_into(self, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Read rows, in any order and repeated, to where they are wanted.

        Args:
            rows: (n,)
            out: (n, ...), contiguous.

        Raises:
            IndexError: If there is no such row.
            StoreError: If the store is damaged there.
        """
        wanted, coding = self._wanted(rows), self._spec.coding
        unique, first, inverse = np.unique(wanted, return_index=True, return_inverse=True)
        if coding is None:
            np.take(self._numbers(unique), inverse, axis=0, out=out)
            return
        for start in range(0, len(unique), PIECE_ROWS):
            piece = slice(start, start + PIECE_ROWS)
            coded = self._coded(unique[piece])
            with self._naming(unique[piece]):
                decode_images(coding, coded, [out[n] for n in first[piece]], threads=self._threads)
        source = first[inverse]
        again = np.flatnonzero(source != np.arange(len(source)))
        out[again] = out[source[again]]

    def coded(self, rows: Index) -> list[bytes]:
        """Images as they are stored, see ``store_images``; an absent one is empty.

        Raises:
            IndexError: If there is no such row.
            StoreError: If the array has no images, or is damaged there.
        """
        if self._spec.coding is None:
            raise StoreError(f"{self._files.location}: {self._spec.name} holds numbers, not images")
        return self._coded(self._wanted(rows).reshape(-1))

    def _wanted(self, rows: Index) -> npt.NDArray[np.int64]:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self._rows))
        wanted = np.asarray(rows)
        if wanted.dtype == bool:
            wanted = np.flatnonzero(np.broadcast_to(wanted, (self._rows,)))
        wanted = np.where(wanted < 0, wanted + self._rows, wanted).astype(np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self._rows:
            raise IndexError(f"{self._spec.name} has {self._rows} rows, asked for {rows}")
        return wanted

    def _coded(self, rows: npt.NDArray[np.int64]) -> list[bytes]:
        places = self._places(rows)
        pieces = list(_pieces([place for place in places if place is not None]))
        with self._naming(rows):
            parts = self._split(pieces)
            return [b"" if place is None else without_crc(next(parts)) for place in places]

    def _places(self, rows: npt.NDArray[np.int64]) -> list[Range | None]:
        """Where images lie; None for those that are absent."""
        numbers, inside = np.divmod(rows, self._spec.rows)
        self._read_indexes(rows, sorted(set(numbers.tolist()) - self._indexes.keys()))
        places: list[Range | None] = []
        for number, row in zip(numbers.tolist(), inside.tolist(), strict=True):
            offset, size = self._indexes[number][row].tolist()
            known = size != ABSENT
            places.append(Range(self._spec.file(number), offset, size) if known else None)
        return places

    def _read_indexes(self, rows: npt.NDArray[np.int64], numbers: list[int]) -> None:
        if numbers:
            with self._naming(rows):
                names = [self._spec.file(number) for number in numbers]
                tails = self._files.read_tails(names, index_bytes(self._spec.rows))
                for number, tail in zip(numbers, tails, strict=True):
                    self._indexes[number] = read_index(tail, self._spec.rows)

    def _split(self, pieces: list[list[Range]]) -> Iterator[bytes]:
        """The images of every piece, read together."""
        ranges = [
            Range(piece[0].name, piece[0].offset, sum(place.size for place in piece))
            for piece in pieces
        ]
        for piece, data in zip(pieces, self._files.read_ranges(ranges), strict=True):
            for place in piece:
                start = place.offset - piece[0].offset
                yield data[start : start + place.size]

    def _numbers(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        out = np.empty((len(rows), *self._spec.tail), self.dtype)
        number_of = rows // self._spec.rows
        for number in np.unique(number_of).tolist():
            here = number_of == number
            with self._naming(rows[here]):
                data = self._files.read(self._spec.file(number))
                out[here] = unpack_chunk(data, self._spec)[rows[here] % self._spec.rows]
        return out

    @contextmanager
    def _naming(self, rows: npt.NDArray[np.int64]) -> Iterator[None]:
        """Say which array and rows an error is about."""
        try:
            yield
        except FileNotFoundError:
            raise self._named(rows, "the file is missing") from None
        except (OSError, StoreError) as error:
            raise self._named(rows, str(error)) from None

    def _named(self, rows: npt.NDArray[np.int64], reason: str) -> StoreError:
        where = f"{self._spec.name}, rows {rows.min()} to {rows.max()}"
        return StoreError(f"{self._files.location}: {where}: {reason}")


def _pieces(places: list[Range]) -> Iterator[list[Range]]:
    """Runs of places that lie side by side in one file."""
    piece: list[Range] = []
    size = 0
    for place in places:
        last = piece[-1] if piece else None
        follows = last is not None and place[:2] == (last.name, last.offset + last.size)
        if piece and not (follows and size + place.size <= MAX_PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(place)
        size += place.size
    if piece:
        yield piece
