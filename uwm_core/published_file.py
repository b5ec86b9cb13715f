# SPDX-License-Identifier: Apache-2.0
"""A published checkpoint file, opened without executing anything in it.

Map: `read_published` (the whole file), `PublishedFile` (its tensors by name, its scalings, its
step), `StoredTensor` (shape now, numbers when they are asked for). The optimiser's state, most of
such a file, is walked over as names and never read. What the tensors mean is
``uwm_core.published``'s business, what becomes of them ``uwm_core.published_import``'s.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uwm_core.errors import CheckpointError
from uwm_core.published_pickle import (
    ARRAYS,
    DTYPE,
    ENCODE,
    NORMALIZER,
    NORMALIZERS,
    ORDERED,
    PARAMETER,
    STORAGES,
    TENSOR,
    Call,
    Storage,
    read_pickle,
)

MAX_PICKLE_BYTES = 64 * 2**20
MAX_NUMBERS = 2**32
"""A tensor may repeat one stored number as often as it says; a file must not fill the memory."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_FLOATS = ("f2", "f4", "f8")
_MOST_NESTED = 8
_MOST_AXES = 8
_MOST_COLUMNS = 4096


@dataclass(frozen=True, eq=False)
class Scaling:
    """normalised = (value - offset) / scale.

    Attributes:
        scale: (n,) float64, in the values' units.
        offset: (n,) float64, in the values' units.
    """

    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor that lies in a file.

    Attributes:
        shape: Its shape.
        stride: Steps between its numbers; 0 repeats.
        first: Place of its first number in the storage.
        storage: Which numbers those are.
        archive: The file.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    first: int
    storage: Storage
    archive: _Archive

    @property
    def numel(self) -> int:
        """Numbers in it, repeated ones counted as often as they appear."""
        return math.prod(self.shape)

    def read(self) -> Tensor:
        """Its numbers, in memory of their own.

        Raises:
            CheckpointError: They are damaged, or fewer than was said.
        """
        kind, _ = STORAGES[self.storage.kind]
        numbers = torch.from_numpy(self.archive.numbers(self.storage)).view(getattr(torch, kind))
        laid_out = numbers.as_strided(self.shape, self.stride, self.first)
        # A small part of a large storage must not keep the whole of it alive.
        return laid_out.clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True, eq=False)
class PublishedFile:
    """What a published checkpoint file holds of a model.

    Attributes:
        tensors: By published name.
        action: Scaling of actions.
        state: Scaling of the low-dimensional observations, by published key.
        step: Training steps; None if it does not say.
    """

    tensors: Mapping[str, StoredTensor]
    action: Scaling
    state: Mapping[str, Scaling]
    step: int | None


def read_published(path: Path | str) -> PublishedFile:
    """Open a published checkpoint file.

    Raises:
        CheckpointError: It is no such file, is damaged, or asks for anything to be executed.
    """
    path = Path(path)
    archive = _Archive(path)
    value = read_pickle(archive.read("data.pkl", MAX_PICKLE_BYTES).tobytes(), str(path))
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds no dict of a model and its normalisers")
    for key in ("model", "action_normalizer"):
        if key not in value:
            found = ", ".join(map(str, value)) or "nothing"
            raise CheckpointError(f"{path} has no {key!r}, as published files have; it has {found}")
    reader = _Reader(path, archive)
    model = reader.items("model", value["model"])
    tensors = {str(name): reader.tensor(str(name), item) for name, item in model}
    if (claimed := sum(tensor.numel for tensor in tensors.values())) > MAX_NUMBERS:
        raise CheckpointError(
            f"{path} claims {claimed:.3g} numbers, more than any published model; refused"
        )
    step = value.get("step")
    return PublishedFile(
        tensors=tensors,
        action=reader.scaling("action_normalizer", value["action_normalizer"]),
        state=dict(reader.scalings("lowdim_normalizer", value.get("lowdim_normalizer"))),
        step=step if type(step) is int else None,
    )


class _Archive:
    """The zip archive that torch writes: whatever is read is stored plainly and whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                infos = archive.infolist()
            self._bytes = np.memmap(path, np.uint8, mode="r")
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is no file of torch.save: {error}") from None
        roots = [i.filename.removesuffix("data.pkl") for i in infos if _is_pickle(i.filename)]
        if len(roots) != 1:
            raise CheckpointError(
                f"{path} is no file of torch.save: it has {len(roots)} data.pkl, one is right"
            )
        self._root, self._infos = roots[0], {info.filename: info for info in infos}
        if self._root + "byteorder" in self._infos and self.read("byteorder", 16).tobytes() != (
            b"little"
        ):
            raise CheckpointError(f"{path} was not written on a little-endian machine")

    def read(self, name: str, most: int | None = None) -> npt.NDArray[np.uint8]:
        """The bytes of one file in the archive; nothing is copied.

        Raises:
            CheckpointError: It is missing, compressed, damaged, or larger than ``most``.
        """
        info = self._infos.get(self._root + name)
        if info is None:
            raise CheckpointError(f"{self._path} lacks its part {name}; it is not whole")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(f"{self._path}: {name} is compressed, which torch never does")
        if most is not None and info.file_size > most:
            raise CheckpointError(
                f"{self._path}: {name} has {info.file_size} bytes, at most {most} are read"
            )
        header = self._bytes[info.header_offset :][: _LOCAL_HEADER.size].tobytes()
        if len(header) == _LOCAL_HEADER.size and header[:4] == b"PK\x03\x04":
            _, *lengths = _LOCAL_HEADER.unpack(header)
            start = info.header_offset + _LOCAL_HEADER.size + sum(lengths)
            found = self._bytes[start : start + info.file_size]
            if len(found) == info.file_size and zlib.crc32(found.data) == info.CRC:
                return found
        raise CheckpointError(f"{self._path}: {name} is damaged")

    def numbers(self, storage: Storage) -> npt.NDArray[np.uint8]:
        """The bytes of a storage, copied."""
        found = self.read(f"data/{storage.key}")
        size = storage.count * STORAGES[storage.kind][1]
        if len(found) < size:
            raise CheckpointError(
                f"{self._path}: data/{storage.key} has {len(found)} bytes, {size} were promised"
            )
        return np.array(found[:size])


def _is_pickle(name: str) -> bool:
    return name == "data.pkl" or (name.count("/") == 1 and name.endswith("/data.pkl"))


@dataclass(frozen=True, eq=False)
class _Reader:
    """Says what inert values mean."""

    path: Path
    archive: _Archive

    def fail(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: {name} {what}")

    def tensor(self, name: str, value: Any) -> StoredTensor:
        if isinstance(value, Call) and value.function == PARAMETER and value.args:
            value = value.args[0]
        if not isinstance(value, Call) or value.function != TENSOR or len(value.args) < 4:
            raise self.fail(name, "is no tensor")
        storage, first, shape, stride = value.args[:4]
        if isinstance(shape, Call) and shape.function == "torch.Size" and shape.args:
            shape = shape.args[0]
        if not isinstance(storage, Storage) or storage.kind not in STORAGES:
            raise self.fail(name, "has no storage")
        if not (
            _numbers(shape, 1)
            and _numbers(stride, 0)
            and _numbers((first,), 0)
            and len(shape) == len(stride) <= _MOST_AXES
        ):
            # Not said in full: a pickle can nest a value so that writing it out never ends.
            raise self.fail(name, "has an impossible shape or stride")
        last = first + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if last >= storage.count:
            raise self.fail(name, f"reaches number {last} of a storage of {storage.count}")
        return StoredTensor(shape, stride, first, storage, self.archive)

    def scaling(self, name: str, value: Any) -> Scaling:
        """A pickled LinearNormalizer."""
        if not isinstance(value, Call) or value.function != NORMALIZER:
            raise self.fail(name, f"is no {NORMALIZER}")
        state = value.state if isinstance(value.state, dict) else {}
        if missing := [key for key in ("scale", "offset") if key not in state]:
            raise self.fail(name, f"has no {' and no '.join(missing)}")
        scale, offset = (self.array(f"{name}.{key}", state[key]) for key in ("scale", "offset"))
        if scale.shape != offset.shape:
            raise self.fail(name, f"has {len(scale)} scales and {len(offset)} offsets")
        if not np.isfinite([scale, offset]).all() or (scale < 0).any():
            raise self.fail(name, "has a scale below 0 or a value that is not finite")
        return Scaling(scale, offset)

    def scalings(self, name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Scaling]]:
        """A pickled NestedDictLinearNormalizer; names of nested ones are joined by a dot."""
        if depth > _MOST_NESTED:
            raise self.fail(name, "is nested too deeply")
        for key, item in [] if value is None else self.items(name, value):
            if isinstance(item, Call) and item.function == NORMALIZER:
                yield str(key), self.scaling(f"{name}.{key}", item)
            else:
                for inner, scaling in self.scalings(f"{name}.{key}", item, depth + 1):
                    yield f"{key}.{inner}", scaling

    def items(self, name: str, value: Any) -> list[tuple[str | int, Any]]:
        """Items of a dict, or of an object that is one or holds one."""
        if isinstance(value, dict):
            return list(value.items())
        if not isinstance(value, Call) or value.function not in (ORDERED, NORMALIZERS):
            raise self.fail(name, "is no dict")
        inside = [value.items, *value.args]
        # A state dict's own attributes (`_metadata`) are no tensors.
        if value.function == NORMALIZERS and isinstance(value.state, dict):
            inside += value.state.values()
        return [item for part in inside if isinstance(part, dict) for item in part.items()]

    def array(self, name: str, value: Any) -> npt.NDArray[np.float64]:
        """A pickled numpy array of floats, or a tensor of them, as a vector (n,)."""
        if isinstance(value, Call) and value.function in (TENSOR, PARAMETER):
            found = self.tensor(name, value)
            if found.numel > _MOST_COLUMNS:
                raise self.fail(name, f"has {found.numel} numbers, {_MOST_COLUMNS} at most")
            return found.read().to(torch.float64).numpy().reshape(-1)
        match value:
            case Call(
                function=function,
                state=(
                    _,
                    tuple(shape),
                    Call(function=dtype, args=(kind, *_), state=(_, order, *_)),
                    _,
                    raw,
                ),
            ) if function in ARRAYS and dtype == DTYPE and kind in _FLOATS:
                number = np.dtype(f"{'>' if order == '>' else '<'}{kind}")
            case _:
                raise self.fail(name, "is no array of floating-point numbers")
        data = _raw(raw)
        sized = len(shape) <= _MOST_AXES and _numbers(shape, 1)
        if data is None or not sized or len(data) != math.prod(shape) * number.itemsize:
            raise self.fail(name, "has not as many numbers as its shape says")
        return np.frombuffer(data, number).astype(np.float64)


def _numbers(value: Any, least: int) -> bool:
    """Whether it is a tuple of whole numbers that a shape or a stride may have."""
    return isinstance(value, tuple) and all(
        type(number) is int and least <= number < 2**48 for number in value
    )


def _raw(value: Any) -> bytes | None:
    """Bytes, or what stands for them in older pickles: text to be encoded as latin-1."""
    if isinstance(value, bytes):
        return value
    match value:
        case Call(function=function, args=(str(text), "latin1")) if function == ENCODE:
            return text.encode("latin1") if max(text, default="") <= "\xff" else None
    return None
