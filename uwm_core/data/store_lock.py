# SPDX-License-Identifier: Apache-2.0
"""One writer at a time: a lock beside a local store, gone with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from uwm_core.errors import StoreError


class StoreLock:
    """Held from its making until ``release`` or the end of the process.

    Args:
        path: The store.

    Raises:
        StoreError: If another process, or another writer of this one, holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.with_name(f".{path.name}.lock")
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while self._descriptor < 0:
                self._descriptor = self._take(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror}") from None

    def _take(self, path: Path) -> int:
        """The locked file, or -1 if its last holder removed it in between."""
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreError(f"{path}: another process is writing it") from None
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._file).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
        return -1

    def release(self) -> None:
        """Let others write; does nothing the second time."""
        if self._descriptor >= 0:
            self._file.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
