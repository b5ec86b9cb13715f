# SPDX-License-Identifier: Apache-2.0
"""A loop that keeps its rate on a thread of its own.

An rclpy executor builds a wait set of everything a node has for every wake-up, some 0.3 ms of
Python: a hundred times a second, and once more per message, that is a third of a core, and what
comes out is as regular as the messages that come in. This loop waits for nothing but the clock.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from uwm_ros.bridge.realtime import take_precedence

_PRIORITY = 20

Method = TypeVar("Method", bound=Callable[..., Any])


def locked(method: Method) -> Method:
    """A method that holds its object's `lock`: for what a loop and the ROS thread share."""

    @functools.wraps(method)
    def call(self: Any, *args: Any) -> Any:
        with self.lock:
            return method(self, *args)

    return call  # type: ignore[return-value]


class SteadyLoop:
    """Calls `work` at a rate, until it is closed."""

    def __init__(
        self,
        work: Callable[[], None],
        failed: Callable[[Exception], None],
        rate_hz: float,
        *,
        realtime: bool,
    ) -> None:
        """Start.

        Args:
            work: Called on the loop's thread.
            failed: Called on it with whatever `work` raises; the loop goes on.
            rate_hz: Calls per second. What was missed is not made up for.
            realtime: Ask the machine for precedence.
        """
        self._work, self._failed = work, failed
        self._period_s = 1.0 / rate_hz
        self._realtime = realtime
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; `work` is not called after this returns."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        if self._realtime:
            take_precedence(_PRIORITY)
        due_s = time.monotonic()
        while not self._closing.is_set():
            try:
                self._work()
            except Exception as error:  # the loop must outlive one bad turn
                self._failed(error)
            due_s += self._period_s
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            else:
                due_s = time.monotonic()
