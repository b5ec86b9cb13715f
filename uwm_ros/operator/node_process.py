# SPDX-License-Identifier: Apache-2.0
"""One node as a process that may be paused, killed and started again, as faults are.

`bringup` runs a stack that lives and dies together; this is for what must lose a single part.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from uwm_core.errors import UwmError
from uwm_ros.bringup import dies_with_parent, node_command
from uwm_ros.description import Process, environment

_LEAVE_S = 8.0
_POLL_S = 0.02


class NodeProcess:
    """Starts and ends one node; use as a context manager."""

    def __init__(
        self,
        process: Process,
        folder: Path,
        *,
        prefix: Sequence[str] = (),
        module: str = "",
        environ: dict[str, str] | None = None,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            process: What to run.
            folder: Of its log and its parameter file.
            prefix: Put before the command line, e.g. ``ip netns exec NAME``.
            module: Python file that is run in place of the node's own module; "": none.
            environ: Variables that are added.
        """
        self._process, self._folder = process, folder
        self._prefix, self._program = list(prefix), module
        self._environ = environ or {}
        self._popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, whatever state it is in."""
        self.stop()

    @property
    def pid(self) -> int:
        """Process number.

        Raises:
            UwmError: It does not run.
        """
        if not self.alive:
            raise UwmError(f"{self._process.full_name} is not running; see {self.log}")
        assert self._popen is not None
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def log(self) -> Path:
        """Everything it has printed, over all its lives."""
        return self._folder / f"{self._process.node}.log"

    def start(self) -> None:
        """Start it.

        Raises:
            UwmError: It runs already.
        """
        if self.alive:
            raise UwmError(f"{self._process.full_name} runs already")
        self._folder.mkdir(parents=True, exist_ok=True)
        command = node_command(self._process, self.log.with_suffix(".yaml"))
        if self._program:  # python -m MODULE ... -> python FILE ...
            command[1:3] = [self._program]
        environ = {**os.environ, **environment(), **self._environ, "PYTHONUNBUFFERED": "1"}
        environ.setdefault("ROS_LOG_DIR", str(self._folder))
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*dies_with_parent(), *self._prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal: SIGKILL ends it at once, SIGSTOP hangs it, SIGCONT lets it go on."""
        os.kill(self.pid, number)

    def stop(self) -> int | None:
        """End it: SIGINT, then SIGKILL; the exit code, None if it never ran."""
        popen = self._popen
        if popen is None:
            return None
        if popen.poll() is None:
            for number in (signal.SIGCONT, signal.SIGINT):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(popen.pid, number)
            end_s = time.monotonic() + _LEAVE_S
            while popen.poll() is None and time.monotonic() < end_s:
                time.sleep(_POLL_S)
            if popen.poll() is None:
                popen.kill()
        return popen.wait()
