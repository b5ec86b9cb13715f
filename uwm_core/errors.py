# SPDX-License-Identifier: Apache-2.0
"""The errors that this project raises on purpose, and the shape check that raises one of them.

Every message is one line that names the thing, its value, and what would have worked. Command
lines print that line and exit with 2; anything that is not a ``UwmError`` is a defect of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Protocol


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Hint for a mistyped name: ``" Did you mean 'rate_hz'?"`` or an empty string."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def first_line(error: BaseException) -> str:
    """What an error says in its first line, or its kind where it says nothing."""
    return str(error).partition("\n")[0] or type(error).__name__


class UwmError(Exception):
    """Something that the user can mend; the message says how."""


class UnknownNameError(UwmError):
    """A name that is not among the known ones.

    Args:
        kind: What is named, e.g. ``"embodiment"``.
        name: The name that was given.
        known: The names that would have worked.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        listed = ", ".join(known) if known else "none"
        super().__init__(f"unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {listed}.")


class SpecError(UwmError):
    """A YAML file that does not say what it must; the message starts with ``file:line:``."""


class DataError(UwmError):
    """A message or a bag that cannot be read as the embodiment says."""


class StoreError(UwmError):
    """A store that is missing, half-written, or of another format."""


class CheckpointError(UwmError):
    """A checkpoint that is missing, incomplete, or of another embodiment."""


class ShapeError(UwmError):
    """An array whose shape is not the one that is written in letters."""


class HasShape(Protocol):
    """Anything with a shape: a numpy array, a torch tensor, a zarr array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length along each axis."""
        ...


def check_shape(name: str, array: HasShape, letters: str, **sizes: int) -> dict[str, int]:
    """Check an array's shape against letters, e.g. ``"B A D"``.

    Args:
        name: What the array is called in the message.
        array: Anything with a ``shape``.
        letters: One word per axis; a number stands for itself, the same word for the same length.
        **sizes: Lengths that are already known.

    Returns:
        The length of every lettered axis.

    Raises:
        ShapeError: If the number of axes or a length differs.
    """
    words = letters.split()
    shape = tuple(array.shape)
    found = dict(sizes)
    fits = len(shape) == len(words)
    for word, length in zip(words, shape, strict=False):
        wanted = int(word) if word.isdigit() else found.setdefault(word, length)
        fits = fits and wanted == length
    if not fits:
        known = f" with {sizes}" if sizes else ""
        raise ShapeError(f"{name} must be ({', '.join(words)}){known}, got {shape}")
    return found
