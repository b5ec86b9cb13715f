# SPDX-License-Identifier: Apache-2.0
"""What a foreign data set looks like to us: a layout, and episodes whose rows come one by one.

A format's reader is a ``Source``. It keeps its own names; ``fit`` says which of them become which
parts of an embodiment. Nothing here reads files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from uwm_core.data.store_format import EpisodeRecord
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError, UwmError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """What every row of a data set holds, in its own words.

    Attributes:
        name: What to call the robot that it was recorded on.
        rate_hz: Rows per second.
        cameras: (H, W) by camera key.
        state: Column names by state key.
        action: Column names of the action; empty if there is none.
    """

    name: str
    rate_hz: float
    cameras: Mapping[str, tuple[int, int]]
    state: Mapping[str, tuple[str, ...]]
    action: tuple[str, ...]

    def only(self, keys: Collection[str]) -> Layout:
        """The same with none but some of the camera and state keys.

        Raises:
            UnknownNameError: If there is no such key.
        """
        for key in keys:
            if key not in (known := [*self.cameras, *self.state]):
                raise UnknownNameError(f"key of {self.name}", key, known)
        return dataclasses.replace(
            self,
            cameras={key: size for key, size in self.cameras.items() if key in keys},
            state={key: names for key, names in self.state.items() if key in keys},
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
    """One row of a data set; what is missing is absent.

    Attributes:
        stamp_ns: When it was true; from the episode's first row on if the source has no clock.
        images: Per camera key (H, W, 3) uint8.
        state: Per state key (n,).
        action: (D,), or None.
    """

    stamp_ns: int
    images: Mapping[str, npt.NDArray[np.uint8]]
    state: Mapping[str, npt.NDArray[np.floating]]
    action: npt.NDArray[np.floating] | None


@dataclasses.dataclass(frozen=True, eq=False)
class SourceEpisode:
    """One episode, not yet read.

    Attributes:
        record: What is known of it; ``source`` and ``source_hash`` say which it is.
        rows: Reads it, once. Raises ``DataError`` if it cannot be read.
    """

    record: EpisodeRecord
    rows: Iterable[Row]


class _Unreadable:
    """Rows that cannot be read."""

    def __init__(self, error: UwmError) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Row]:
        raise self._error


def unreadable(source: str, error: UwmError) -> SourceEpisode:
    """An episode of which not even the record can be read; reading its rows says why."""
    return SourceEpisode(EpisodeRecord(source=source), _Unreadable(error))


class Source(Protocol):
    """A data set of a foreign format, open for reading."""

    @property
    def layout(self) -> Layout:
        """What every row holds."""
        ...

    @property
    def embodiment(self) -> Embodiment | None:
        """The embodiment that the data set carries, because this project wrote it."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What it holds that a store has no place for."""
        ...

    def episodes(self, wanted: Collection[str]) -> Iterator[SourceEpisode]:
        """Its episodes in order.

        Args:
            wanted: Camera and state keys that rows need; others need not be read.
        """
        ...


def key_of(name: str) -> str:
    """A foreign name as a key of an embodiment: lower-case letters, digits and ``_``."""
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return key if key[:1].isalpha() else f"x_{key}"


def column_names(prefix: str, size: int) -> tuple[str, ...]:
    """Names for columns that have none."""
    return tuple(f"{prefix}_{index}" for index in range(size))


def needs(module: str, extra: str = "interop") -> ModuleType:
    """Import an optional library.

    Raises:
        UwmError: If it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UwmError(
            f"this format needs {error.name!r}, which is not installed: pip install "
            f"'uwm_ros[{extra}]'"
        ) from None


def digest(*arrays: npt.NDArray[np.generic]) -> str:
    """Identity of an episode by its numbers."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def one_line(error: BaseException) -> str:
    """What a library's error says, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def action_names(size: int, embodiment: Embodiment | None) -> tuple[str, ...]:
    """Names of an action's columns: those of the robot that the data carry, if it is theirs."""
    if embodiment is not None and embodiment.action_size == size:
        return embodiment.action_names
    return column_names("action", size)


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what a library says of damaged data into an error of ours.

    Raises:
        DataError: If anything is raised inside.
    """
    try:
        yield
    except UwmError:
        raise
    except Exception as error:  # A damaged file makes the library raise anything.
        raise DataError(f"{what}: cannot be read: {one_line(error)}") from None


def grid_ns(index: int, rate_hz: float) -> int:
    """Stamp of row ``index`` of a source without a clock, on the grid of an embodiment."""
    return index * round(1e9 / rate_hz)


def require_rate(rate_hz: float | None, what: str) -> float:
    """The rate that was given for a source that does not say its own.

    Raises:
        DataError: If none was given.
    """
    if rate_hz is None:
        raise DataError(f"{what}: does not say how many rows a second has; say it (--rate 10)")
    return rate_hz
