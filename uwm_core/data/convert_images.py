# SPDX-License-Identifier: Apache-2.0
"""Images of chosen messages to the bytes of a store: here, or in worker processes.

Rows go in and come out in the same order, with the same bytes, whoever does the work. At most a few
batches are under way, so memory is flat. A worker reads its images out of the bag's file by itself
where they lie plainly in it.
"""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import NamedTuple, Protocol, cast

from uwm_core.data.bag import LazyMessage, Place
from uwm_core.data.episodes import Span
from uwm_core.data.grid import Hole, Trouble
from uwm_core.data.lazy_image import LazyImage
from uwm_core.data.messages import image_rgb, resize
from uwm_core.data.store_format import ImageCoding
from uwm_core.data.store_images import encode_image
from uwm_core.errors import DataError, UwmError
from uwm_core.records import Step
from uwm_core.streams import Camera

# Images per task of a worker: about 30 ms of work, so that handing it over costs little.
BATCH = 16
# Tasks under way per worker: one in work, two that wait while this process codes one itself.
DEPTH = 3
# Tasks that may wait for a slow one before them, in units of those under way.
MOST = 4
# Rows whose images the disk is asked for before they are needed: it reads while we code.
AHEAD = 8


@dataclasses.dataclass(frozen=True)
class Row:
    """A tick of a bag on its way into the store.

    Attributes:
        item: What it is; its images may be handles still.
        span: The episode that it is in.
        trouble: What had been wrong with messages when it was reached.
    """

    item: Step | Hole
    span: Span
    trouble: Trouble


class Job(NamedTuple):
    """One image to code in a worker: where it is, or what it is, and its camera."""

    source: Place | bytes
    spec: Camera


class Coded(NamedTuple):
    """One image as a store keeps it, or why there is none.

    Attributes:
        data: The bytes.
        size: (H, W) that it had before.
        fault: Why it cannot be decoded; empty if it can.
    """

    data: bytes = b""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


class ImageCoder(Protocol):
    """Turns rows with image handles into rows with coded images."""

    def through(self, rows: Iterable[Row]) -> Iterator[tuple[Row, dict[str, Coded]]]:
        """Rows in their order, each with its images by camera."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


def image_coder(coding: ImageCoding, workers: int) -> ImageCoder:
    """One that works here for one worker, else one with that many processes."""
    return PoolCoder(coding, workers) if workers > 1 else InlineCoder(coding)


def code(message: LazyMessage, spec: Camera, coding: ImageCoding) -> Coded:
    """Decode, resize and code one image; does not raise for what is wrong with it."""
    try:
        image = image_rgb(message)
        return Coded(encode_image(coding, resize(image, spec.size)), image.shape[:2])
    except DataError as error:
        return Coded(fault=str(error))


class InlineCoder:
    """Codes in this process, one image after the other.

    Args:
        coding: How.
    """

    def __init__(self, coding: ImageCoding) -> None:
        self._coding = coding

    def through(self, rows: Iterable[Row]) -> Iterator[tuple[Row, dict[str, Coded]]]:
        """Rows in their order, each with its images by camera."""
        last: dict[str, tuple[LazyImage, Coded]] = {}
        for row in _asked(rows):
            images = {}
            for name, lazy in _lazy_images(row).items():
                # A camera slower than the grid gives the same image to several ticks.
                if name not in last or last[name][0] is not lazy:
                    last[name] = (lazy, code(lazy.msg, lazy.spec, self._coding))
                images[name] = last[name][1]
            yield row, images

    def close(self) -> None:
        """Nothing is held."""


class PoolCoder:
    """Codes in worker processes and, while they are busy, in this one: no core waits for another.

    Workers come from a server that was started clean, so that no lock or thread is inherited and
    the libraries are loaded once.

    Args:
        coding: How.
        workers: How many processes, this one included.
    """

    def __init__(self, coding: ImageCoding, workers: int) -> None:
        self._coding = coding
        self._in_flight = (workers - 1) * DEPTH
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._pool = ProcessPoolExecutor(workers - 1, context, initializer=_begin_worker)

    def through(self, rows: Iterable[Row]) -> Iterator[tuple[Row, dict[str, Coded]]]:
        """Rows in their order, each with its images by camera.

        Raises:
            DataError: If a worker was killed.
        """
        waiting: collections.deque[tuple[_Batch, Future[list[Coded]]]] = collections.deque()
        try:
            for batch in _batches(rows):
                waiting.append((batch, self._begin(batch, waiting)))
                while waiting and (
                    waiting[0][1].done() or len(waiting) > MOST * self._in_flight or batch.failure
                ):
                    yield from _finished(*waiting.popleft())
                if batch.failure:
                    raise batch.failure
            while waiting:
                yield from _finished(*waiting.popleft())
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, perhaps for want of memory; use fewer (-j)"
            ) from None
        finally:
            for _, future in waiting:
                future.cancel()

    def _begin(
        self, batch: _Batch, waiting: Iterable[tuple[_Batch, Future[list[Coded]]]]
    ) -> Future[list[Coded]]:
        """Hand a batch to a worker, or code it here if they have enough."""
        if sum(not future.done() for _, future in waiting) < self._in_flight:
            return self._pool.submit(_code_all, batch.jobs, self._coding)
        done: Future[list[Coded]] = Future()
        done.set_result(_code_all(batch.jobs, self._coding))
        return done

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(cancel_futures=True)


class _Batch:
    """Consecutive rows and what is to be coded for them, each image once.

    Attributes:
        failure: What ended the rows, if they came to no good end.
    """

    def __init__(self) -> None:
        self.failure: UwmError | None = None
        self.rows: list[Row] = []
        self.jobs: list[Job] = []
        self.places: list[dict[str, int]] = []
        self._known: dict[int, int] = {}

    def add(self, row: Row) -> None:
        self.rows.append(row)
        places = {}
        for name, lazy in _lazy_images(row).items():
            places[name] = self._known.setdefault(id(lazy), len(self.jobs))
            if places[name] == len(self.jobs):
                self.jobs.append(_job(lazy))
        self.places.append(places)


def _batches(rows: Iterable[Row]) -> Iterator[_Batch]:
    """Rows in batches; an error comes with the rows before it, not instead of them."""
    batch = _Batch()
    try:
        for row in rows:
            batch.add(row)
            if len(batch.jobs) >= BATCH:
                yield batch
                batch = _Batch()
    except UwmError as error:
        batch.failure = error
    yield batch


def _asked(rows: Iterable[Row]) -> Iterator[Row]:
    """The same rows, their images asked for a little ahead; an error comes after its rows."""
    waiting: collections.deque[Row] = collections.deque()
    try:
        for row in rows:
            for lazy in _lazy_images(row).values():
                if isinstance(lazy.msg, LazyMessage):
                    lazy.msg.ask()
            waiting.append(row)
            if len(waiting) > AHEAD:
                yield waiting.popleft()
    except UwmError:
        yield from waiting
        raise
    yield from waiting


def _finished(batch: _Batch, future: Future[list[Coded]]) -> Iterator[tuple[Row, dict[str, Coded]]]:
    coded = future.result()
    for row, places in zip(batch.rows, batch.places, strict=True):
        yield row, {name: coded[index] for name, index in places.items()}


def _lazy_images(row: Row) -> Mapping[str, LazyImage]:
    """The images of a row that are to be coded, by camera."""
    step = row.item.partial if isinstance(row.item, Hole) else row.item
    # A step holds handles in place of pixels here, which its type cannot say.
    return cast(Mapping[str, LazyImage], step.images) if step is not None else {}


def _job(lazy: LazyImage) -> Job:
    message: LazyMessage = lazy.msg
    message.ask()
    return Job(message.place or message.raw, lazy.spec)


def _code_all(jobs: Sequence[Job], coding: ImageCoding) -> list[Coded]:
    """What a worker does with a batch."""
    return [_code_job(job, coding) for job in jobs]


def _code_job(job: Job, coding: ImageCoding) -> Coded:
    if isinstance(job.source, bytes):
        return code(LazyMessage(job.source, job.spec.type), job.spec, coding)
    try:
        return code(LazyMessage.at(job.source, job.spec.type), job.spec, coding)
    except DataError as error:
        return Coded(fault=str(error))


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
