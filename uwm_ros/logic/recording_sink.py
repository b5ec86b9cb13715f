# SPDX-License-Identifier: Apache-2.0
"""The Zarr sink of a recorder: tells a process of its own which bags changed, never waits for it.

The process (`uwm_core.data.follow`) starts with the first bag. If it dies it is started again with
the next one, and what it had not finished is told again; that is harmless, since it makes the store
agree with the bags whatever was done before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

FOLLOW = (sys.executable, "-m", "uwm_core.data.follow")


class StoreSink:
    """Lets a store grow beside the bags."""

    def __init__(
        self,
        store: Path,
        tell: Callable[[str], object],
        command: Sequence[str] = FOLLOW,
    ) -> None:
        """Start nothing yet.

        Args:
            store: The store.
            tell: Gets a line for each bag that could not be added; from another thread.
            command: What to run; gets the store's path as its argument.
        """
        self._command = [*command, str(store)]
        self._tell = tell
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: list[Path] = []
        self._failed = ""

    @property
    def state(self) -> str:
        """`idle`, `adding NAME`, or `failed: why`; the last until a bag goes well again."""
        with self._lock:
            if self._failed:
                return f"failed: {self._failed}"
            return f"adding {self._waiting[0].name}" if self._waiting else "idle"

    @property
    def waiting(self) -> int:
        """Bags that are not in the store yet."""
        with self._lock:
            return len(self._waiting)

    def follow(self, bag: Path) -> None:
        """Make the store agree with a bag, sometime soon."""
        with self._lock:
            self._waiting.append(bag)
            try:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                else:
                    self._say(bag)
            except OSError as error:
                self._failed = str(error)

    def close(self, patience_s: float = 3.0) -> bool:
        """Give nothing more; False if the process still works, which it will then end by itself."""
        with self._lock:
            process = self._process
            if process is None:
                return True
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _start(self) -> None:
        # A session of its own: a signal to the recorder's group is not meant for it.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        for bag in self._waiting:
            self._say(bag)

    def _say(self, bag: Path) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps({"bag": str(bag.resolve())}) + "\n")
        self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            with self._lock:
                # Told twice after a restart, a bag is answered twice.
                named = (i for i, bag in enumerate(self._waiting) if bag.name == answer["bag"])
                if (place := next(named, None)) is not None:
                    del self._waiting[place]
                self._failed = answer["error"]
            if answer["error"]:
                self._tell(f"not in the store: {answer['error']}")
        code = process.wait()
        process.stdout.close()
        if code:
            with self._lock:
                self._failed = f"the converter ended with exit code {code}"
            self._tell(self._failed)
