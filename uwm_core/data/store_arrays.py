# SPDX-License-Identifier: Apache-2.0
"""The Zarr v3 arrays of a store as bytes: metadata, shards of images, chunks of numbers.

Written and read here rather than by zarr-python, for two reasons: a coded image must pass from
store to store as it is, and one image out of a shard must not cost a trip through a general
pipeline. zarr-python reads the same arrays, and is what the tests compare with.

Every image and every chunk of numbers ends in its CRC-32C (the ``crc32c`` codec of Zarr v3), and so
does the index of a shard: a flipped bit is noticed by whoever reads it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import struct
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import numpy.typing as npt

from uwm_core.data.store_format import ImageCoding, row_layout
from uwm_core.data.store_images import ZSTD_LEVEL
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

IMAGE_CODEC = "uwm.image"
"""Name of our Zarr codec for lossy images, see ``store_codec``."""

CRC_BYTES = 4
ABSENT = 2**64 - 1
"""Offset and size of an image that is not there, in the index of a shard."""

MAX_ROWS = {True: 1024, False: 16384}
"""Rows of a file at most: of images, of numbers."""

_CRC32C: dict[str, Any] = {"name": "crc32c"}
_BYTES: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
_PLAIN: dict[str, Any] = {"name": "bytes"}
_ZSTD: dict[str, Any] = {
    "name": "zstd",
    "configuration": {"level": ZSTD_LEVEL, "checksum": False},
}


def with_crc(data: bytes) -> bytes:
    """Bytes and their CRC-32C."""
    return data + struct.pack("<I", google_crc32c.value(data))


def without_crc(data: bytes) -> bytes:
    """Bytes without the CRC-32C at their end.

    Raises:
        StoreError: If it is not theirs.
    """
    body = data[:-CRC_BYTES]
    if len(data) < CRC_BYTES or struct.pack("<I", google_crc32c.value(body)) != data[-CRC_BYTES:]:
        raise StoreError(f"has a wrong checksum over {len(data)} bytes")
    return body


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array of a store.

    Attributes:
        name: Where it lies, e.g. ``data/obs.front``.
        tail: Shape of a row.
        dtype: Type of the values.
        rows: Rows per file.
        coding: How its images are coded; None for numbers.
    """

    name: str
    tail: tuple[int, ...]
    dtype: str
    rows: int
    coding: ImageCoding | None = None

    def file(self, number: int) -> str:
        """Name of a file of rows, ``number * rows`` being its first."""
        return f"{self.name}/c/{number}" + "/0" * len(self.tail)

    def files(self, rows: int) -> int:
        """Number of files that so many rows take."""
        return -(-rows // self.rows)

    def metadata(self, rows: int) -> bytes:
        """Content of the array's ``zarr.json``."""
        return as_json(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": [rows, *self.tail],
                "data_type": self.dtype,
                "chunk_grid": _grid(self.rows, self.tail),
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": {"float32": "NaN", "bool": False}.get(self.dtype, 0),
                "codecs": self._codecs(),
                "attributes": {},
                "storage_transformers": [],
            }
        )

    def _codecs(self) -> list[dict[str, Any]]:
        if self.coding is None:
            return [_BYTES if np.dtype(self.dtype).itemsize > 1 else _PLAIN, _ZSTD, _CRC32C]
        if self.coding.kind == "lossless":
            inner = [_PLAIN, _ZSTD, _CRC32C]
        else:
            settings = {"kind": self.coding.kind, "quality": self.coding.quality}
            inner = [{"name": IMAGE_CODEC, "configuration": settings}, _CRC32C]
        sharding = {
            "chunk_shape": [1, *self.tail],
            "codecs": inner,
            "index_codecs": [_BYTES, _CRC32C],
            "index_location": "end",
        }
        return [{"name": "sharding_indexed", "configuration": sharding}]


def array_specs(
    embodiment: Embodiment, coding: ImageCoding, rows: dict[str, int]
) -> dict[str, ArraySpec]:
    """Every array of a store, by name.

    Args:
        embodiment: Decides the arrays.
        coding: How images are coded.
        rows: Rows per file, by name.

    Raises:
        KeyError: If an array is missing in ``rows``.
    """
    return {
        name: ArraySpec(
            name=name,
            tail=tail,
            dtype=dtype,
            rows=rows[name],
            coding=coding if dtype == "uint8" else None,
        )
        for name, (tail, dtype) in _layout(embodiment).items()
    }


def rows_per_file(embodiment: Embodiment, file_bytes: int) -> dict[str, int]:
    """Rows per file such that a file holds about so many bytes before coding: a power of two."""
    rows = {}
    for name, (tail, dtype) in _layout(embodiment).items():
        row_bytes = math.prod(tail) * np.dtype(dtype).itemsize
        fitting = min(MAX_ROWS[dtype == "uint8"], max(1, file_bytes // row_bytes))
        rows[name] = 1 << (fitting.bit_length() - 1)
    return rows


def mask_name(key: str) -> str:
    """Array that says which rows of ``obs.<key>`` or ``action`` are real."""
    return f"mask/{key}"


def _layout(embodiment: Embodiment) -> dict[str, tuple[tuple[int, ...], str]]:
    data = row_layout(embodiment)
    nothing: tuple[int, ...] = ()
    return {
        **{f"data/{key}": row for key, row in data.items()},
        **{mask_name(key): (nothing, "bool") for key in data if key != "stamp_ns"},
        "meta/episode_ends": (nothing, "int64"),
    }


def as_json(value: dict[str, Any]) -> bytes:
    """JSON as it is written everywhere in a store: the same value gives the same bytes."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _grid(rows: int, tail: tuple[int, ...]) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [rows, *tail]}}


# --- shards of images -------------------------------------------------------------------------


def index_bytes(rows: int) -> int:
    """Size of the index at the end of a shard."""
    return 16 * rows + CRC_BYTES


def pack_shard(sealed: list[bytes]) -> bytes:
    """A shard of coded images with their CRC, one after the other; an empty one is absent."""
    index = np.full((len(sealed), 2), ABSENT, "<u8")
    offset = 0
    for row, image in enumerate(sealed):
        if image:
            index[row] = offset, len(image)
            offset += len(image)
    return b"".join([*sealed, with_crc(index.tobytes())])


def read_index(tail: bytes, rows: int) -> npt.NDArray[np.uint64]:
    """Offset and size of every image of a shard: (rows, 2).

    Raises:
        StoreError: If the bytes are not an index of so many rows.
    """
    if len(tail) != index_bytes(rows):
        raise StoreError(f"has an index of {len(tail)} bytes, not {index_bytes(rows)}")
    return np.frombuffer(without_crc(tail), "<u8").reshape(rows, 2)


def unpack_shard(data: bytes, rows: int) -> list[bytes]:
    """The way back of ``pack_shard``.

    Raises:
        StoreError: If the index is damaged.
    """
    index = read_index(data[-index_bytes(rows) :], rows).tolist()
    return [b"" if size == ABSENT else data[offset : offset + size] for offset, size in index]


# --- chunks of numbers ------------------------------------------------------------------------


def blank_chunk(spec: ArraySpec) -> npt.NDArray[Any]:
    """A chunk without values: (rows, ...)."""
    fill = math.nan if spec.dtype == "float32" else 0
    return np.full((spec.rows, *spec.tail), fill, np.dtype(spec.dtype).newbyteorder("<"))


def pack_chunk(values: npt.NDArray[Any]) -> bytes:
    """A chunk of numbers, coded."""
    return with_crc(bytes(_zstd().encode(np.ascontiguousarray(values))))


def unpack_chunk(data: bytes, spec: ArraySpec) -> npt.NDArray[Any]:
    """The way back of ``pack_chunk``.

    Raises:
        StoreError: If the checksum is wrong, or the chunk is of another size.
    """
    values = blank_chunk(spec)
    try:
        _zstd().decode(without_crc(data), out=values)
    except (ValueError, RuntimeError) as error:
        raise StoreError(f"is not a chunk of {values.shape}: {error}") from None
    return values


@functools.cache
def _zstd() -> Any:
    return numcodecs.Zstd(level=ZSTD_LEVEL)
