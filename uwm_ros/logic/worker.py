# SPDX-License-Identifier: Apache-2.0
"""One thread for long work; of several waiting requests only the latest is done.

The callbacks of a node must stay short: inference runs here. A request that arrives while another
is being worked on waits; a newer one takes its place, since an old observation answers nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Request = TypeVar("Request")


class LatestWorker(Generic[Request]):
    """Runs `work(request)` on its own thread."""

    def __init__(
        self,
        work: Callable[[Request], None],
        failed: Callable[[Exception], None],
        *,
        name: str = "worker",
        niceness: int = 0,
    ) -> None:
        """Start the thread.

        Args:
            work: Called on the thread with one request at a time; says its result itself.
            failed: Called on the thread with whatever `work` raises; the thread goes on.
            name: Of the thread.
            niceness: Added to the thread's priority value (Linux has one per thread).
        """
        self._work, self._failed, self._niceness = work, failed, niceness
        self._condition = threading.Condition()
        self._waiting: list[Request] = []
        self._busy = False
        self._closed = False
        self._replaced = 0
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a request is being worked on or waits."""
        with self._condition:
            return self._busy or bool(self._waiting)

    @property
    def replaced(self) -> int:
        """Requests that gave way to newer ones."""
        with self._condition:
            return self._replaced

    def submit(self, request: Request) -> None:
        """Ask for work; takes the place of a request that still waits. No effect once closed."""
        with self._condition:
            if self._closed:
                return
            self._replaced += len(self._waiting)
            self._waiting = [request]
            self._condition.notify_all()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Drop what waits, let what runs end; False if it did not end in time."""
        with self._condition:
            self._closed = True
            self._waiting = []
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        if self._niceness:
            os.nice(self._niceness)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                request, self._waiting, self._busy = self._waiting[0], [], True
            try:
                self._work(request)
            except Exception as error:  # the thread must outlive one bad request
                self._failed(error)
            finally:
                with self._condition:
                    self._busy = False
