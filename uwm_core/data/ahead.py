# SPDX-License-Identifier: Apache-2.0
"""Processes that read the images of coming batches while the present one is trained on.

The processes take batches in turn and have a few requests each in their pipes, so answers come in
order however long one takes. A batch of the published window is 75 MB: sent through a pipe, or new
shared memory as loaders do, its pages cost as much as half of its decoding. Here a few buffers
(`Slots`) are made before the processes are forked, and used again as soon as nobody looks at them.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import signal
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

import numpy as np
import numpy.typing as npt

from uwm_core.errors import StoreError, UwmError

Images = dict[str, npt.NDArray[np.uint8]]
Shapes = Mapping[str, tuple[int, ...]]

Answer = int | Images | StoreError
"""The slot that was filled; the images where there was no free slot; why they cannot be read."""


def blank(shapes: Shapes) -> Images:
    """Arrays of the given shapes, for someone to fill."""
    return {name: np.empty(shape, np.uint8) for name, shape in shapes.items()}


class Slots:
    """Buffers for batches of images, shared with processes that are forked later.

    One is free again when the last array or tensor over it is gone, so whoever keeps a batch keeps
    it whole. The memory is anonymous: a container's small /dev/shm does not matter.

    Args:
        count: Buffers.
        shapes: Shape of the images of a batch, per camera.
    """

    def __init__(self, count: int, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        size = sum(math.prod(shape) for shape in shapes.values())
        self._memory = [mmap.mmap(-1, max(size, 1)) for _ in range(count)]
        self._free = deque(range(count))

    def take(self) -> int | None:
        """A free buffer's number; None if all are in use."""
        return self._free.popleft() if self._free else None

    def arrays(self, slot: int) -> Images:
        """A buffer's arrays, for the process that fills them."""
        return self._views(np.frombuffer(self._memory[slot], np.uint8))

    def lend(self, slot: int) -> Images:
        """A filled buffer's arrays; it is free again when they and all views of them are gone."""
        whole = np.frombuffer(self._memory[slot], np.uint8)
        weakref.finalize(whole, self._free.append, slot).atexit = False
        return self._views(whole)

    def _views(self, whole: npt.NDArray[np.uint8]) -> Images:
        found, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            found[name] = whole[start:stop].reshape(shape)
            start = stop
        return found


class Ahead:
    """Images of batches ``number``, ``number + 1``, ..., read ahead.

    Args:
        read: Fills the arrays with the images of a batch, given its number.
        shapes: Shape of the images of a batch, per camera.
        first: Number of the first batch.
        workers: Processes.
        depth: Batches that each has ready or in hand.
    """

    def __init__(
        self,
        read: Callable[[int, Images], None],
        shapes: Shapes,
        first: int,
        *,
        workers: int,
        depth: int,
    ) -> None:
        self.number = first
        # One that is asked for, and the one before it, which the caller may still hold.
        self._slots = Slots(workers * depth + 2, shapes)
        self._pipes: list[Connection] = []
        processes: list[ForkProcess] = []
        fork = multiprocessing.get_context("fork")  # the slots are inherited
        for _ in range(workers):
            ours, theirs = fork.Pipe()
            self._pipes.append(ours)
            process = fork.Process(
                target=_serve, args=(theirs, list(self._pipes), read, self._slots), daemon=True
            )
            process.start()
            theirs.close()
            processes.append(process)
        # Also runs when this object is dropped without `close`.
        self.close = weakref.finalize(self, _end, processes, self._pipes)
        for ahead in range(workers * depth):
            self._ask(first + ahead)
        self._asked = first + workers * depth

    def take(self) -> Images:
        """Images of batch ``number``, which then is the next one.

        Raises:
            StoreError: They cannot be read, or the process that should has ended.
        """
        try:
            answer: Answer = self._pipe(self.number).recv()
            self._ask(self._asked)
        except (EOFError, OSError):
            raise StoreError(
                f"the process that should read batch {self.number} has ended, perhaps for want of "
                "memory; fewer workers or a smaller batch need less"
            ) from None
        self.number += 1
        self._asked += 1
        if isinstance(answer, StoreError):
            raise answer
        return self._slots.lend(answer) if isinstance(answer, int) else answer

    def _ask(self, number: int) -> None:
        self._pipe(number).send((number, self._slots.take()))

    def _pipe(self, number: int) -> Connection:
        return self._pipes[number % len(self._pipes)]


def _serve(
    pipe: Connection,
    inherited: Sequence[Connection],
    read: Callable[[int, Images], None],
    slots: Slots,
) -> None:
    """Read what is asked for until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()  # or a killed parent's pipes would stay open among its children
    while True:
        try:
            number, slot = pipe.recv()
        except EOFError:
            return
        images = blank(slots.shapes) if slot is None else slots.arrays(slot)
        answer: Answer = images if slot is None else slot
        try:
            read(number, images)
        except UwmError as error:
            answer = StoreError(str(error))  # others need not survive the way through a pipe
        pipe.send(answer)


def _end(processes: Sequence[ForkProcess], pipes: Sequence[Connection]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
        process.close()
    for pipe in pipes:
        pipe.close()
