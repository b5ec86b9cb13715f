# SPDX-License-Identifier: Apache-2.0
"""What the parts of the project hand to one another: frozen records of stamped numpy arrays.

Nothing here knows of ROS, torch or files. Stamps are int64 nanoseconds of the clock that the
embodiment's streams use. Image arrays are RGB, uint8; views are ordered by name everywhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from uwm_core.errors import ShapeError, check_shape

Images = Mapping[str, npt.NDArray[np.uint8]]
Vectors = Mapping[str, npt.NDArray[np.float32]]


def _check_dtype(name: str, array: npt.NDArray[np.generic], dtype: type[np.generic]) -> None:
    if array.dtype != dtype:
        raise ShapeError(f"{name} must be {np.dtype(dtype).name}, got {array.dtype}")


def _check_images(images: Images, letters: str) -> int:
    """Check every view and return T, the number of steps (0 without views)."""
    steps: dict[str, int] = {}
    for name, image in images.items():
        found = check_shape(f"images[{name!r}]", image, letters, **steps)
        steps = {letter: size for letter, size in found.items() if letter == "T"}
        _check_dtype(f"images[{name!r}]", image, np.uint8)
    return steps.get("T", 0)


def _check_vectors(kind: str, vectors: Vectors, letters: str, **sizes: int) -> None:
    for name, vector in vectors.items():
        check_shape(f"{kind}[{name!r}]", vector, letters, **sizes)
        _check_dtype(f"{kind}[{name!r}]", vector, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """The last T steps that a policy sees.

    Attributes:
        stamp_ns: Tick of the newest step.
        images: Per camera (T, H, W, 3) uint8, oldest first.
        state: Per state key (T, n) float32 in the embodiment's units, oldest first.
        task: The task sentence, may be empty.

    Raises:
        ShapeError: If an array has another shape or type, or the streams disagree about T.
    """

    stamp_ns: int
    images: Images
    state: Vectors
    task: str = ""

    def __post_init__(self) -> None:
        steps = _check_images(self.images, "T H W 3")
        _check_vectors("state", self.state, "T n", **({"T": steps} if steps else {}))


@dataclasses.dataclass(frozen=True, eq=False)
class ActionChunk:
    """The next A actions; action k is due at ``stamp_ns + k * period_ns``.

    Attributes:
        stamp_ns: Tick of the observation that the chunk answers.
        period_ns: Time between actions.
        actions: (A, D) float32 in the embodiment's units.
        names: What each of the D columns is.

    Raises:
        ShapeError: If actions are not (A, D) float32 with one column per name.
        ValueError: If the period is not above 0.
    """

    stamp_ns: int
    period_ns: int
    actions: npt.NDArray[np.float32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_shape("actions", self.actions, "A D", D=len(self.names))
        _check_dtype("actions", self.actions, np.float32)
        if self.period_ns <= 0:
            raise ValueError(f"period_ns must be above 0, got {self.period_ns}")

    def due_ns(self, k: int) -> int:
        """Moment at which action ``k`` is to be in force."""
        return self.stamp_ns + k * self.period_ns


@dataclasses.dataclass(frozen=True, eq=False)
class KnownActions:
    """What is known of the next A actions before a policy answers.

    Attributes:
        actions: (A, D) float32 absolute targets in the embodiment's units, finite everywhere.
        weight: (A,) float32 in [0, 1], how much of each is known: 1 will be played whatever is
            answered, 0 is free.

    Raises:
        ShapeError: If an array has another shape or type.
        ValueError: If a number is not finite or a weight outside [0, 1].
    """

    actions: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        rows = check_shape("known actions", self.actions, "A D")["A"]
        check_shape("weight of known actions", self.weight, "A", A=rows)
        for name, array in (("known actions", self.actions), ("their weight", self.weight)):
            _check_dtype(name, array, np.float32)
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite")
        if ((self.weight < 0) | (self.weight > 1)).any():
            raise ValueError("weight of known actions must be in [0, 1]")

    @property
    def prefix(self) -> int:
        """Actions at the beginning that are known for certain."""
        return int(np.append(self.weight < 1, True).argmax())


@dataclasses.dataclass(frozen=True, eq=False)
class ImaginedFuture:
    """Images that the model expects at the given moments.

    Attributes:
        stamps_ns: (T,) int64, the moments that are imagined.
        images: Per camera (T, H, W, 3) uint8.

    Raises:
        ShapeError: If an array has another shape or type.
    """

    stamps_ns: npt.NDArray[np.int64]
    images: Images

    def __post_init__(self) -> None:
        _check_dtype("stamps_ns", self.stamps_ns, np.int64)
        check_shape("stamps_ns", self.stamps_ns, "T")
        if self.images and _check_images(self.images, "T H W 3") != len(self.stamps_ns):
            raise ShapeError(f"images must have {len(self.stamps_ns)} steps, one per stamp")


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One row of a dataset: everything at one tick.

    Attributes:
        stamp_ns: The tick.
        images: Per camera (H, W, 3) uint8.
        state: Per state key (n,) float32.
        action: Per action key (n,) float32; empty for episodes without actions.

    Raises:
        ShapeError: If an array has another shape or type.
    """

    stamp_ns: int
    images: Images
    state: Vectors
    action: Vectors

    def __post_init__(self) -> None:
        for name, image in self.images.items():
            check_shape(f"images[{name!r}]", image, "H W 3")
            _check_dtype(f"images[{name!r}]", image, np.uint8)
        _check_vectors("state", self.state, "n")
        _check_vectors("action", self.action, "n")
