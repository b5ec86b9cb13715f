# SPDX-License-Identifier: Apache-2.0
"""Windows of a store as batches of tensors.

Map: `WindowReader` reads the windows that `uwm_core.data.plan` chose, `WindowBatch` is what comes
out, `Loader` has worker processes read ahead. Only the rows that training uses are read: T images
before and T after the chunk, never the chunk's own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.plan import BatchPlan
from uwm_core.data.windows import VIDEO, Flags, Rows, Steps, Windows
from uwm_core.errors import StoreError, UwmError


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """B windows as tensors.

    Attributes:
        images: Per camera (B, T, H, W, 3) uint8.
        state: (B, T, S) float32, normalised; None for a model without state.
        action: (B, A, D) float32, normalised; 0 where there was none.
        action_mask: (B,) bool, whether the actions are real; False for video, which never teaches
            them.
        next_images: Per camera (B, T, H, W, 3) uint8; None when latents stand for them.
        next_rows: (B, T) rows of the next observation, to look latents up.
        role: (B,) number of the role in `ROLES`.
    """

    images: dict[str, Tensor]
    state: Tensor | None
    action: Tensor
    action_mask: Tensor
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
        valid = steps.validity
        self._action = _scaled(normalizer.action, steps.action, valid.action)
        state = normalizer.state
        self._state = None if state is None else _scaled(state, steps.state, valid.state)

    def read(self, index: Rows, *, next_images: bool) -> WindowBatch:
        """Read windows ``index`` (B,).

        Args:
            index: Window numbers.
            next_images: Whether to read the next observation's images.
        """
        windows = self.windows
        before, after = windows.observation_rows(index), windows.next_rows(index)
        # One read per camera for both: an array that decodes sees all of a batch's rows at once.
        views = self._views(np.stack([before, after]) if next_images else before[None])
        role = windows.role[index]
        return WindowBatch(
            images={camera: view[0] for camera, view in views.items()},
            state=None if self._state is None else torch.from_numpy(self._state[before]),
            action=torch.from_numpy(self._action[windows.action_rows(index)]),
            action_mask=torch.from_numpy(role != VIDEO),
            next_images={name: view[1] for name, view in views.items()} if next_images else None,
            next_rows=after,
            role=torch.from_numpy(role),
        )

    def _views(self, rows: Rows) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for camera in self._cameras:
            read = np.ascontiguousarray(self._images[camera][rows.reshape(-1)])
            found[camera] = torch.from_numpy(read.reshape(*rows.shape, *read.shape[1:]))
        return found  # (2, B, T, H, W, 3) each, or (1, ...)


def _scaled(scale: Affine, values: npt.NDArray[np.float32], real: Flags) -> npt.NDArray[np.float32]:
    """Normalised rows; 0, the middle of the range, for those that are not real."""
    return np.where(real[:, None], scale.apply(values), np.float32(0))


class Loader:
    """Batches by number, read ahead by worker processes; the same ones for any number of workers.

    A batch is asked for by its number, so there is no position to save beside the step of the run.
    Asked for in order they come as fast as the workers read; any other number starts them anew.
    Use as a context manager, or `close` it: no process outlives it.

    Args:
        reader: Reads windows.
        plan: Says which.
        workers: Processes that read ahead; 0 reads when asked.
        ahead: Batches that each worker has ready or in hand.
        next_images: Whether the next observation's images are read.
    """

    def __init__(
        self,
        reader: WindowReader,
        plan: BatchPlan,
        *,
        workers: int = 0,
        ahead: int = 2,
        next_images: bool = True,
    ) -> None:
        self._batches = _Batches(reader, plan, next_images)
        self._workers, self._ahead = workers, ahead
        self._coming: Iterator[WindowBatch | UwmError] | None = None
        self._next = 0

    def batch(self, number: int) -> WindowBatch:
        """Batch ``number``, counted from 0.

        Raises:
            StoreError: It cannot be read, or a worker was ended by someone else.
        """
        if not self._workers:
            return self._batches.read(number)
        if self._coming is None or number != self._next:
            self._coming = self._start(number)
        self._next = number + 1
        try:
            found = next(self._coming)
        except RuntimeError as error:  # torch's word for a worker that is gone
            self.close()
            raise StoreError(
                f"a process that reads batches ahead has ended ({str(error).splitlines()[0]}); "
                "with fewer workers, or more shared memory in /dev/shm, it would have worked"
            ) from error
        if isinstance(found, UwmError):
            raise found
        return found

    def close(self) -> None:
        """End the workers; a later `batch` starts them again."""
        self._coming = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, first: int) -> Iterator[WindowBatch | UwmError]:
        self.close()
        numbers = range(first, sys.maxsize)
        return iter(
            DataLoader(
                self._batches,
                batch_size=None,
                sampler=numbers,
                num_workers=self._workers,
                prefetch_factor=self._ahead,
                worker_init_fn=_leave_ctrl_c_to_the_parent,
            )
        )


class _Batches(Dataset[WindowBatch | UwmError]):
    """Batch by number, as DataLoader wants it."""

    def __init__(self, reader: WindowReader, plan: BatchPlan, next_images: bool) -> None:
        self._reader, self._plan, self._next_images = reader, plan, next_images

    def __getitem__(self, number: int) -> WindowBatch | UwmError:
        # Handed over as a value: DataLoader would make a page of traceback of one line.
        try:
            return self.read(number)
        except UwmError as error:
            return error

    def read(self, number: int) -> WindowBatch:
        return self._reader.read(self._plan.windows_of(number), next_images=self._next_images)


def _leave_ctrl_c_to_the_parent(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
