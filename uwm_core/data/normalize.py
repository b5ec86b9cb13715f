# SPDX-License-Identifier: Apache-2.0
"""Scale state and actions to [-1, 1] and back, by statistics of the training episodes alone.

Map: `Affine` (one vector), `Normalizer` (state and action, as JSON beside the weights). Constant
columns map to 0 and back to their constant. Images are not normalised here: the model takes uint8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.stats import column_stats
from uwm_core.data.windows import Steps
from uwm_core.errors import CheckpointError

FORMAT = "uwm.normalizer"
VERSION = 1

# A joint that a scripted demonstration never moves still jitters in its last digits; stretching
# that to [-1, 1] would make noise the loudest column.
MIN_HALF_RANGE = 1e-4


@dataclass(frozen=True, eq=False)
class Affine:
    """Scale n columns to [-1, 1] and back; a constant column maps to 0, never to nan.

    Attributes:
        names: One name per column.
        low: (n,) value that becomes -1, in the column's unit.
        high: (n,) value that becomes 1.
    """

    names: tuple[str, ...]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.names),)
        if self.low.shape != shape or self.high.shape != shape:
            raise ValueError(
                f"{len(self.names)} names need as many limits, got {self.low.shape} low and "
                f"{self.high.shape} high"
            )
        finite = np.isfinite(self.low).all() and np.isfinite(self.high).all()
        if not finite or (self.high < self.low).any():
            raise ValueError("limits must be finite, with low not above high")

    @property
    def size(self) -> int:
        """Columns (n)."""
        return len(self.names)

    def apply(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(..., n) in units -> (..., n) float32 in [-1, 1] for values inside the limits."""
        self._check(values)
        return ((values - self._middle) / self._half).astype(np.float32)

    def invert(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """(..., n) unitless -> (..., n) float32 in units; the way back of `apply`."""
        self._check(values)
        # half_range, not _half: a constant column comes back as its constant whatever is said.
        return (values * self.half_range + self._middle).astype(np.float32)

    @property
    def half_range(self) -> npt.NDArray[np.float64]:
        """(n,) units per 1 of the normalised column; 0 where the column is constant."""
        half = (self.high - self.low) / 2
        return np.where(half >= MIN_HALF_RANGE, half, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; floats keep every digit."""
        return {
            "names": list(self.names),
            "low": [float(x) for x in self.low],
            "high": [float(x) for x in self.high],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Affine:
        """The way back of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: The value has another form.
        """
        low, high = (np.asarray(value[key], dtype=np.float64) for key in ("low", "high"))
        return cls(tuple(str(name) for name in value["names"]), low, high)

    @property
    def _middle(self) -> npt.NDArray[np.float64]:
        return (self.high + self.low) / 2

    @property
    def _half(self) -> npt.NDArray[np.float64]:
        return np.where(self.half_range > 0, self.half_range, 1.0)

    def _check(self, values: npt.NDArray[Any]) -> None:
        if values.shape[-1] != self.size:
            raise ValueError(
                f"values must end in {self.size} columns ({', '.join(self.names)}), "
                f"got shape {values.shape}"
            )


@dataclass(frozen=True, eq=False)
class Normalizer:
    """What turns a robot's numbers into the model's and back; travels with the weights.

    Attributes:
        action: The D action columns.
        state: The S state columns; None when the model sees images alone.
    """

    action: Affine
    state: Affine | None = None

    @classmethod
    def fit(
        cls,
        steps: Steps,
        keep: Iterable[int],
        *,
        action_names: Sequence[str],
        state_names: Sequence[str],
    ) -> Normalizer:
        """Take the limits of the kept episodes, of rows that are real.

        Stores of a mixture that have no action at all are no robot's: their state does not count.

        Args:
            steps: The store, or a mixture.
            keep: Training episodes.
            action_names: (D,) column names; a checkpoint is refused by them.
            state_names: (S,) column names, empty for a model without state.

        Raises:
            StoreError: No episode is kept, or a value is not finite.
        """
        numbers = sorted(keep)
        # Video episodes have no actions; what stands in their rows means nothing.
        acting = [i for i in numbers if steps.episodes[i].role != "video"]
        real = steps.validity
        action = column_stats("action", steps.action, steps.episodes, acting, real.action)
        fitted = Affine(tuple(action_names), action.low, action.high)
        if not state_names:
            return cls(fitted)
        robots = {steps.episodes[i].store for i in acting}
        known = [i for i in numbers if steps.episodes[i].store in robots]
        state = column_stats("state", steps.state, steps.episodes, known, real.state)
        return cls(fitted, Affine(tuple(state_names), state.low, state.high))

    @property
    def state_names(self) -> tuple[str, ...]:
        """(S,) column names; empty for a model without state."""
        return self.state.names if self.state is not None else ()

    def dumps(self) -> str:
        """JSON text of the whole."""
        value = {
            "format": FORMAT,
            "version": VERSION,
            "action": self.action.to_json(),
            "state": self.state.to_json() if self.state is not None else None,
        }
        return json.dumps(value, indent=2) + "\n"

    @classmethod
    def loads(cls, text: str, source: str = "normalizer.json") -> Normalizer:
        """Read what `dumps` wrote.

        Args:
            text: The JSON.
            source: Name for errors.

        Raises:
            CheckpointError: The text is no normaliser of this version.
        """
        try:
            value = json.loads(text)
            if value["format"] != FORMAT or value["version"] != VERSION:
                raise ValueError(f"expected {FORMAT} version {VERSION}")
            state = value["state"]
            return cls(
                Affine.from_json(value["action"]),
                None if state is None else Affine.from_json(state),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{source} is not a normaliser: {error}") from error
