# SPDX-License-Identifier: Apache-2.0
"""Keys of a terminal, one by one, over ssh too; the terminal is left as it was found."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType

from uwm_core.errors import UwmError

_LEAVE = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def keys(program: str, wait_s: float, instead: str) -> Iterator[Callable[[], str]]:
    """A function that reads the next key; "" where none came in time.

    However the block is left, by a signal that asks to end too, the terminal is as before.

    Args:
        program: Who asks, for the refusal.
        wait_s: Longest wait for a key.
        instead: What to do without a terminal, for the refusal.

    Raises:
        UwmError: If there is no terminal.
    """
    if not sys.stdin.isatty():
        raise UwmError(f"{program} reads keys and needs a terminal; {instead} instead")
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def read() -> str:
        ready, _, _ = select.select([number], [], [], wait_s)
        if not ready:
            return ""
        data = os.read(number, 1)
        if not data:
            raise KeyboardInterrupt  # the terminal is gone
        return data.decode(errors="replace")

    handlers = {name: signal.signal(name, _interrupt) for name in _LEAVE}
    try:
        tty.setcbreak(number)
        yield read
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(number, termios.TCSADRAIN, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
