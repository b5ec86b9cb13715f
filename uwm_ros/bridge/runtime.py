# SPDX-License-Identifier: Apache-2.0
"""Start, spin and stop one node as a process.

Every node's `main` is `return run_node(SomeNode, argv)`. The executor is single threaded: with
several threads under Python's lock a 200 Hz topic loses messages (measured: 342 of 800 received),
so long work belongs on a worker thread of the node's own. Signals are handled here and not by
rclpy, whose handlers shut the context down first and so leave a node no way to say a last word;
here `close()` runs while publishers still work: that is where an executor sends its hold.
"""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import rclpy
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.exceptions import ROSInterruptException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from uwm_core.errors import UwmError

EXIT_OK = 0
EXIT_CRASH = 1
EXIT_REFUSED = 2
_WAKE_S = 0.1
# A thread that computes lets another have Python's lock after this time at the latest.
_SWITCH_S = 0.0005


class _StopRequest:
    """Remembers the first SIGINT or SIGTERM; later ones change nothing.

    A terminal's Ctrl-C reaches the whole group and a launcher then sends its own: the second must
    not cut a node's farewell short. Whoever runs out of patience has SIGKILL.
    """

    def __init__(self) -> None:
        self.signal_name = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal_name = self.signal_name or signal.Signals(number).name


def run_node(build: Callable[[], Node], argv: Sequence[str] | None = None) -> int:
    """Run one node until SIGINT, SIGTERM or an error; call its `close()` before the context goes.

    Args:
        build: Makes the node; called after rclpy is up. If the node has a method `close()`, it is
            called once on the way out, with publishers still alive.
        argv: Arguments after the program's name, `--ros-args` included; None: the process's own.

    Returns:
        The exit code: 0 after a signal, 2 where a UwmError refused (one line is logged), 1 after
        any other exception (its traceback is logged).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = getattr(build, "__name__", "uwm_ros")
    sys.setswitchinterval(_SWITCH_S)
    # The handlers come before rclpy: a signal during start-up must not kill halfway.
    with _StopRequest() as stop:
        try:
            rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:  # rclpy's own argument errors have no common parent
            get_logger(name).error(" ".join(str(error).split()))
            return EXIT_REFUSED
        try:
            return _build_and_spin(build, name, stop)
        finally:
            rclpy.try_shutdown()


def settle() -> None:
    """Let the collector leave alone what exists now: to look at all of it takes tens of ms."""
    gc.unfreeze()  # what was left alone before may be done with since
    gc.collect()
    gc.freeze()


def _build_and_spin(build: Callable[[], Node], name: str, stop: _StopRequest) -> int:
    """Build, spin, close, destroy: each step's failure becomes an exit code."""
    node: Node | None = None
    code = EXIT_OK
    try:
        node = build()
        name = node.get_name()
        settle()
        _spin(node, stop)
    except (KeyboardInterrupt, ExternalShutdownException, ROSInterruptException):
        pass
    except Exception as error:
        code = _report(name, error)
    finally:
        if node is not None:
            code = max(code, _close(node))
    return code


def _spin(node: Node, stop: _StopRequest) -> None:
    """Spin until a signal was seen; a slow steady timer lets Python look for one."""
    # A timer is cheaper than spin_once(timeout_sec=...), which builds one at every call.
    wake = node.create_timer(_WAKE_S, lambda: None, clock=Clock(clock_type=ClockType.STEADY_TIME))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop.signal_name:
            executor.spin_once()
        node.get_logger().info(f"{stop.signal_name}: leaving")
    finally:
        executor.remove_node(node)
        executor.shutdown()
        node.destroy_timer(wake)


def _close(node: Node) -> int:
    """Let the node say its last word, then take it off the graph."""
    code = EXIT_OK
    try:
        close = getattr(node, "close", None)
        if close is not None:
            close()
    except Exception as error:
        code = _report(node.get_name(), error)
    node.destroy_node()
    return code


def _report(name: str, error: Exception) -> int:
    """Log an error as users should see it, one line for a refusal, and give the exit code."""
    logger = get_logger(name)
    if isinstance(error, UwmError):
        logger.error(str(error))
        return EXIT_REFUSED
    logger.error("".join(traceback.format_exception(error)).rstrip())
    return EXIT_CRASH
