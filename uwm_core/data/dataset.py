# SPDX-License-Identifier: Apache-2.0
"""Windows of a store as batches of tensors: which ones come when, and reading them.

Map: `BatchPlan` says which windows make batch number n (a pure function of the seed and n, so a
resumed run needs to remember one number), `WindowReader` reads them, `WindowBatch` is what comes
out. Only the rows that training uses are read: T images before and T after the chunk, never the
chunk's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uwm_core.data.normalize import Normalizer
from uwm_core.data.windows import ROLES, Rows, Steps, Windows
from uwm_core.errors import StoreError, UnknownNameError


class BatchPlan:
    """Batches of window numbers, shuffled without replacement within each role.

    Args:
        windows: What there is.
        batch: Windows per batch (B).
        shares: Wanted share of the batch per role; roles not named, or without windows, get none.
            Empty takes every role by its number of windows.
        seed: Draws the same batches again.

    Raises:
        StoreError: There is no window to train on.
        UnknownNameError: A share names no role.
        ValueError: The batch is smaller than the number of roles in it.
    """

    def __init__(
        self, windows: Windows, *, batch: int, shares: Mapping[str, float], seed: int
    ) -> None:
        for name in shares:
            if name not in ROLES:
                raise UnknownNameError("episode role", name, ROLES)
        groups = {role: windows.of_role(role) for role in ROLES}
        groups = {role: rows for role, rows in groups.items() if len(rows)}
        weights = {role: shares.get(role, 0.0) if shares else len(groups[role]) for role in groups}
        weights = {role: weight for role, weight in weights.items() if weight > 0}
        if not weights:
            raise StoreError("no window to train on: every episode is too short, or left out")
        if batch < len(weights):
            raise ValueError(f"batch must be at least {len(weights)}, got {batch}")
        self._groups = groups
        self._seed = seed
        self.counts = _apportion(weights, batch)

    def windows_of(self, number: int) -> Rows:
        """Window numbers of batch ``number`` (counted from 0): (B,)."""
        parts = []
        for role, count in self.counts.items():
            group = self._groups[role]
            place = np.arange(number * count, (number + 1) * count)
            epochs, offset = place // len(group), place % len(group)
            order = np.empty(count, np.int64)
            for epoch in np.unique(epochs):
                shuffled = _permutation(self._seed, ROLES.index(role), int(epoch), len(group))
                order[epochs == epoch] = shuffled[offset[epochs == epoch]]
            parts.append(group[order])
        return np.concatenate(parts)


@lru_cache(maxsize=8)
def _permutation(seed: int, role: int, epoch: int, length: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, role, epoch)).permutation(length)


def _apportion(weights: Mapping[str, float], batch: int) -> dict[str, int]:
    """Whole numbers in proportion to the weights, at least 1 each, that sum to ``batch``."""
    total = sum(weights.values())
    counts = {role: max(1, int(batch * weight / total)) for role, weight in weights.items()}
    by_need = sorted(weights, key=lambda role: counts[role] - batch * weights[role] / total)
    while sum(counts.values()) < batch:
        for role in by_need:
            if sum(counts.values()) < batch:
                counts[role] += 1
    while sum(counts.values()) > batch:
        counts[max(counts, key=lambda role: counts[role])] -= 1
    return counts


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """B windows as tensors.

    Attributes:
        images: Per camera (B, T, H, W, 3) uint8.
        state: (B, T, S) float32, normalised; None for a model without state.
        action: (B, A, D) float32, normalised.
        next_images: Per camera (B, T, H, W, 3) uint8; None when latents stand for them.
        next_rows: (B, T) rows of the next observation, to look latents up.
        role: (B,) number of the role in `ROLES`.
    """

    images: dict[str, Tensor]
    state: Tensor | None
    action: Tensor
    next_images: dict[str, Tensor] | None
    next_rows: Rows
    role: Tensor


class WindowReader:
    """Reads windows of a store.

    Args:
        steps: The store.
        windows: Windows cut from it.
        normalizer: Scales state and action; without a state part none is read.
    """

    def __init__(self, steps: Steps, windows: Windows, normalizer: Normalizer) -> None:
        self.windows = windows
        self._images = steps.images
        self._cameras = steps.cameras
        self._action = normalizer.action.apply(steps.action)
        state = normalizer.state
        self._state = None if state is None else state.apply(steps.state)

    def read(self, index: Rows, *, next_images: bool) -> WindowBatch:
        """Read windows ``index`` (B,).

        Args:
            index: Window numbers.
            next_images: Whether to read the next observation's images.
        """
        windows = self.windows
        before, after = windows.observation_rows(index), windows.next_rows(index)
        state = None if self._state is None else torch.from_numpy(self._state[before])
        return WindowBatch(
            images=self._views(before),
            state=state,
            action=torch.from_numpy(self._action[windows.action_rows(index)]),
            next_images=self._views(after) if next_images else None,
            next_rows=after,
            role=torch.from_numpy(windows.role[index]),
        )

    def _views(self, rows: Rows) -> dict[str, Tensor]:
        flat = rows.reshape(-1)  # (B T)
        return {
            camera: torch.from_numpy(
                np.ascontiguousarray(self._images[camera][flat]).reshape(
                    *rows.shape, *self._images[camera].shape[1:]
                )
            )  # (B, T, H, W, 3)
            for camera in self._cameras
        }
