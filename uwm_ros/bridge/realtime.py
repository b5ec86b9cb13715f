# SPDX-License-Identifier: Apache-2.0
"""Precedence on a busy machine for threads whose work is short and must not wait."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

_NICE = -10
# Threads that one with precedence starts do not inherit it.
_FIRST = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
_LIKE_OTHERS = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK


def take_precedence_of_process() -> str:
    """The same for all threads of this process, if it is the calling thread that it lives for.

    What the middleware's threads receive is as urgent as what the loop does with it. In a process
    whose main thread does something else, only the calling thread is put first.
    """
    done = take_precedence()
    if threading.current_thread() is threading.main_thread() and "real-time" in done:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                os.sched_setscheduler(int(thread.name), _FIRST, os.sched_param(10))
    return done


@contextlib.contextmanager
def precedence(priority: int) -> Iterator[None]:
    """Put the calling thread before others for a moment, where the machine allows it."""
    try:
        os.sched_setscheduler(0, _FIRST, os.sched_param(priority))
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setscheduler(0, _LIKE_OTHERS, os.sched_param(0))


def take_precedence(priority: int = 10) -> str:
    """Put the calling thread before others, by what the machine allows.

    Args:
        priority: Among real-time threads, 1 to 99.

    Returns:
        What was done, for a log: `real-time priority 10`, `niceness -10` or `no precedence`.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, _FIRST, os.sched_param(priority))
        return f"real-time priority {priority}"
    with contextlib.suppress(OSError):
        # Linux has one niceness per thread.
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        return f"niceness {_NICE}"
    return "no precedence (allow it with rtprio in /etc/security/limits.d)"
