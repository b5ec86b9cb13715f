# SPDX-License-Identifier: Apache-2.0
"""Windows of a store as batches of tensors.

Map: `WindowReader` reads the windows that `uwm_core.data.plan` chose, `WindowBatch` is what comes
out, `Loader` has worker processes read ahead. Only the rows that training uses are read: T images
before and T after the chunk, never the chunk's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uwm_core.data.ahead import Ahead, Images, blank
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.plan import BatchPlan
from uwm_core.data.windows import VIDEO, Flags, Rows, Steps, Windows


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
        images = blank(self.shapes(len(index), next_images=next_images))
        self.read_images(index, images)
        return self.join(index, images)

    def shapes(self, count: int, *, next_images: bool) -> dict[str, tuple[int, ...]]:
        """Per camera the shape of the images of ``count`` windows: (2 or 1, B, T, H, W, 3).

        First those before the chunk, then, with ``next_images``, those after it.
        """
        head = (1 + next_images, count, self.windows.history)
        return {camera: (*head, *self._images[camera].shape[1:]) for camera in self._cameras}

    def read_images(self, index: Rows, out: Images) -> None:
        """Read the images of windows ``index`` into arrays of the given `shapes`."""
        for camera, images in out.items():
            # All rows at once: an array that decodes reads every row of the batch only once.
            rows = [self.windows.observation_rows(index), self.windows.next_rows(index)]
            flat = np.concatenate(rows[: len(images)]).reshape(-1)  # (2 B T), or (B T)
            _read_into(self._images[camera], flat, images.reshape(len(flat), *images.shape[3:]))

    def join(self, index: Rows, images: Images) -> WindowBatch:
        """A batch of the images that were read and everything else, which lies in memory."""
        windows = self.windows
        before, role = windows.observation_rows(index), windows.role[index]
        views = {camera: torch.from_numpy(image) for camera, image in images.items()}
        both = all(len(view) == 2 for view in views.values())
        return WindowBatch(
            images={camera: view[0] for camera, view in views.items()},
            state=None if self._state is None else torch.from_numpy(self._state[before]),
            action=torch.from_numpy(self._action[windows.action_rows(index)]),
            action_mask=torch.from_numpy(role != VIDEO),
            next_images={camera: view[1] for camera, view in views.items()} if both else None,
            next_rows=windows.next_rows(index),
            role=torch.from_numpy(role),
        )


def _read_into(array: Any, rows: Rows, out: npt.NDArray[np.uint8]) -> None:
    """Rows (n,) of an array to where they are wanted, without a copy where it knows how."""
    if hasattr(array, "read_into"):
        array.read_into(rows, out)
    else:
        out[...] = array[rows]


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
        self._reader, self._plan, self._next_images = reader, plan, next_images
        self._workers, self._ahead = workers, ahead
        self._coming: Ahead | None = None

    def batch(self, number: int) -> WindowBatch:
        """Batch ``number``, counted from 0.

        Raises:
            StoreError: It cannot be read, or a worker was ended by someone else.
        """
        index = self._plan.windows_of(number)
        if not self._workers:
            return self._reader.read(index, next_images=self._next_images)
        if self._coming is None or number != self._coming.number:
            self.close()
            self._coming = Ahead(
                self._read_images,
                self._reader.shapes(len(index), next_images=self._next_images),
                number,
                workers=self._workers,
                depth=self._ahead,
            )
        return self._reader.join(index, self._coming.take())

    def close(self) -> None:
        """End the workers; a later `batch` starts them again."""
        if self._coming is not None:
            self._coming.close()
        self._coming = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_images(self, number: int, out: Images) -> None:
        self._reader.read_images(self._plan.windows_of(number), out)
