# SPDX-License-Identifier: Apache-2.0
"""Starts a stack of `description` as plain subprocesses, where there is no launch_ros.

What `ros2 launch` would do: one process per node, each with a log and a parameter file in one
folder, and all of them stopped together. A node that ends by itself is an error here, and the
error carries the end of its log. Nothing is left running, not even when this process is killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import yaml

from uwm_core.errors import UwmError
from uwm_ros.processes import Element, Process
from uwm_ros.surroundings import environment

POLL_S = 0.05
TAIL_LINES = 15


class NodeDiedError(UwmError):
    """A node ended that nobody had asked to; the message ends with the end of its log."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a node may take to leave, in seconds, before the next stronger signal.

    Attributes:
        interrupt_s: After SIGINT: the node says its last word, the recorder closes its bag.
        terminate_s: After SIGTERM.
    """

    interrupt_s: float = 8.0
    terminate_s: float = 3.0


@dataclass
class _Running:
    process: Process
    popen: subprocess.Popen[bytes]
    log: Path
    output: IO[bytes]


class Bringup:
    """Runs processes for the length of a ``with`` block.

    Example:
        with Bringup(policy_stack(PolicyOptions(sim=True)), Path("out/logs")) as graph:
            graph.wait_until_alive()
            ...
            graph.check()
    """

    def __init__(
        self,
        processes: Iterable[Element],
        log_folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        command: Callable[[Process, Path], list[str]] | None = None,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            processes: What to start.
            log_folder: Where each node's log and parameter file go; made if missing.
            environ: Variables of the processes; None: those of this one. What `description`
                asks for is added.
            patience: How long a stop may take.
            command: Command line of a process and a path for its parameter file; None:
                `node_command`.

        Raises:
            UwmError: Something is asked for that only `ros2 launch` can start.
        """
        self._processes = tuple(_ours(element) for element in processes)
        self._log_folder = log_folder
        self._environ = dict(os.environ if environ is None else environ)
        self._patience = patience or Patience()
        self._command = command or node_command
        self._running: list[_Running] = []

    def __enter__(self) -> Bringup:
        """Start everything."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything; a node that had died before is an error if nothing else is."""
        try:
            if error is None:
                self.check()
        finally:
            self.stop()

    def start(self) -> None:
        """Start everything.

        Raises:
            UwmError: Something of this object is running already, or a process cannot be made.
        """
        if self._running:
            raise UwmError("this bringup is running already; stop it first")
        self._log_folder.mkdir(parents=True, exist_ok=True)
        try:
            with _interruptible():
                for process in self._processes:
                    self._running.append(self._start(process))
        except BaseException:
            self.stop()
            raise

    def wait_until_alive(self, timeout_s: float = 60.0) -> None:
        """Wait until every node is seen on the ROS graph.

        Alive is not ready: a policy still loads its checkpoint then; see its status topic.

        Raises:
            NodeDiedError: A node ended meanwhile.
            UwmError: One was not seen in time.
        """
        from uwm_ros.bridge.presence import GraphWatch

        end_s = time.monotonic() + timeout_s
        expected = {process.full_name for process in self._processes}
        with GraphWatch() as watch:
            while missing := expected - watch.node_names():
                self.check()
                if time.monotonic() > end_s:
                    names = ", ".join(sorted(missing))
                    raise UwmError(
                        f"not on the ROS graph after {timeout_s:g} s: {names}; "
                        f"their logs are in {self._log_folder}"
                    )
                time.sleep(POLL_S)

    def check(self) -> None:
        """Notice a node that died.

        Raises:
            NodeDiedError: One did; the first one, with the end of its log.
        """
        for running in self._running:
            code = running.popen.poll()
            if code is not None:
                name = running.process.full_name
                raise NodeDiedError(
                    f"{name} ended by itself with exit code {code}; "
                    f"the end of {running.log}:\n{_tail(running.log)}"
                )

    def stop(self) -> dict[str, int]:
        """Stop everything: SIGINT, then SIGTERM, then SIGKILL, to all at once.

        Returns:
            Exit code by full node name; negative: the signal that ended it.
        """
        waits = (
            (signal.SIGINT, self._patience.interrupt_s),
            (signal.SIGTERM, self._patience.terminate_s),
            (signal.SIGKILL, 5.0),
        )
        try:
            for number, wait_s in waits:
                alive = [running for running in self._running if running.popen.poll() is None]
                for running in alive:
                    _signal(running.popen, number)
                end_s = time.monotonic() + wait_s
                while any(r.popen.poll() is None for r in alive) and time.monotonic() < end_s:
                    time.sleep(POLL_S)
        except KeyboardInterrupt:
            # A second Ctrl-C: patience is over, but still nothing may be left running.
            for running in self._running:
                _signal(running.popen, signal.SIGKILL)
        codes = {running.process.full_name: running.popen.wait() for running in self._running}
        for running in self._running:
            running.output.close()
        self._running.clear()
        return codes

    def log(self, node: str) -> Path:
        """Log file of a node, by its name or full name."""
        return self._log_folder / f"{node.strip('/').replace('/', '_')}.log"

    def _start(self, process: Process) -> _Running:
        log = self.log(process.full_name)
        output = log.open("wb")
        environ = {**self._environ, **environment(self._environ)}
        environ["PYTHONUNBUFFERED"] = "1"
        environ.setdefault("ROS_LOG_DIR", str(self._log_folder.resolve()))
        try:
            popen = subprocess.Popen(
                [*dies_with_parent(), *self._command(process, log.with_suffix(".yaml"))],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                # A group of its own: Ctrl-C in a terminal reaches us alone, and we stop in order.
                start_new_session=True,
            )
        except OSError as error:
            output.close()
            raise UwmError(f"cannot start {process.full_name}: {error}") from error
        return _Running(process, popen, log, output)


def node_command(process: Process, parameter_file: Path) -> list[str]:
    """Command line of one process; its parameters are written to ``parameter_file``.

    A file, because only a file keeps every type and every text as it is; launch_ros does the same.
    """
    content = {"/**": {"ros__parameters": dict(process.parameters)}}
    parameter_file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    arguments = ["--params-file", str(parameter_file.resolve())]
    arguments += ["-r", f"__node:={process.node}"]
    if process.namespace:
        arguments += ["-r", f"__ns:=/{process.namespace}"]
    for before, after in process.remappings:
        arguments += ["-r", f"{before}:={after}"]
    return [sys.executable, "-m", process.module, "--ros-args", *arguments]


def _ours(element: Element) -> Process:
    """The element, if it can be started without launch_ros."""
    if isinstance(element, Process):
        return element
    raise UwmError(f"{element.why} needs `ros2 launch`: {element.package} is started by it alone")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let children inherit a SIGINT that means something.

    A shell leaves SIGINT ignored in what it starts in the background, and programs keep that; one
    that is caught is the default again in a child.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def dies_with_parent() -> list[str]:
    """Prefix that makes the kernel send SIGINT to the child when this process is gone.

    The kernel means the thread that started the child: start from one that stays.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []


def _signal(popen: subprocess.Popen[bytes], number: int) -> None:
    """Signal the process and what it may have started; a group that is gone needs none."""
    if popen.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(popen.pid, number)


def _tail(log: Path) -> str:
    """Last lines of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:]) or "(empty)"
