# SPDX-License-Identifier: Apache-2.0
"""Where a store is written: who may write there, what is there already, how it gets its name.

A local store comes into being by one rename, as an empty store that opens, and is replaced by two;
if the process dies between these, the old one lies beside it and comes back with the next writer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from uwm_core.data.store_files import (
    LocalFiles,
    files_at,
    is_url,
    local_path,
    remove_tree,
    sync_folder,
)
from uwm_core.data.store_format import FORMAT, part_path, replaced_path
from uwm_core.data.store_lock import StoreLock
from uwm_core.data.store_root import ROOT_FILE, Root, metadata_files
from uwm_core.errors import StoreError

Mode = Literal["create", "append", "overwrite"]


class StorePlace:
    """The place of one store, locked (if it is local) until ``release``.

    Args:
        path: Folder or URL.
        mode: See ``StoreWriter``.

    Raises:
        StoreError: If another process is writing there.
    """

    def __init__(self, path: Path | str, mode: Mode) -> None:
        self._mode = mode
        self._folder = None if is_url(path) else local_path(path)
        if self._folder is not None and self._folder.is_symlink():
            # What a link names is replaced where it lies, not the link.
            self._folder = self._folder.resolve()
        self.location = str(path).rstrip("/") if self._folder is None else str(self._folder)
        self.target: Path | str = self.location
        self._created = self._done = False
        if self._folder is not None and self._folder.suffix == ".part":
            raise StoreError(f"{path}: .part is for half-written stores; choose another name")
        self._lock = None if self._folder is None else StoreLock(self._folder)

    def begin(self, fresh: Root) -> Root:
        """Make the place ready to write to.

        Args:
            fresh: What a new store begins with.

        Returns:
            The root that rows are added to: ``fresh``, or that of the store that is there.

        Raises:
            StoreError: If something is there that may not be written to.
        """
        if self._folder is not None:
            self._restore(self._folder)
        found = self._found(fresh)
        if self._mode == "append" and found is not None:
            return found
        if self._mode == "overwrite" and found is not None:
            if self._folder is None:
                raise StoreError(
                    f"{self.location}: exists already, and object storage cannot replace it in "
                    "one step; choose another name"
                )
            self.target = part_path(self._folder)
        elif found is not None and found.episodes:
            raise StoreError(
                f"{self.location}: exists already; choose another name, append to it or "
                "overwrite it"
            )
        self._create(fresh)
        return fresh

    def _restore(self, folder: Path) -> None:
        """Bring back what a replacement left that was killed between its two renames."""
        if replaced_path(folder).exists():
            if folder.exists():
                remove_tree(replaced_path(folder))
            else:
                os.replace(replaced_path(folder), folder)

    def _found(self, fresh: Root) -> Root | None:
        """The root of the store that is there; None if nothing is.

        Raises:
            StoreError: If what is there is not a store of this version.
        """
        files = files_at(self.location)
        try:
            data = files.read(ROOT_FILE)
        except (FileNotFoundError, NotADirectoryError):
            if (self._folder is not None and self._folder.is_file()) or files.sizes():
                raise StoreError(
                    f"{self.location}: exists already and is not a store; choose another name"
                ) from None
            return None
        except OSError as error:
            raise StoreError(f"{self.location}: cannot be read: {error.strerror}") from None
        try:
            return Root.parse(data, files.location)
        except StoreError:
            # A store of ours that is damaged, or of another version, may at least be replaced.
            if self._mode == "overwrite" and FORMAT.encode() in data:
                return fresh
            raise

    def _create(self, fresh: Root) -> None:
        self._created = True
        if self._folder is None:
            files = files_at(self.location)
            files.write({ROOT_FILE: fresh.to_json()})
            files.write(metadata_files(fresh))
            return
        part = part_path(self._folder)
        remove_tree(part)
        LocalFiles(part).write({**metadata_files(fresh), ROOT_FILE: fresh.to_json()})
        if self.target != part:
            remove_tree(self._folder)  # at most an empty store, of a writer that was killed early
            os.replace(part, self._folder)
        sync_folder(self._folder.parent)

    def finish(self) -> Path | str:
        """Give a finished store its name; gives the folder, or the URL."""
        self._done = True
        if self._folder is not None and self.target != self.location:
            old = replaced_path(self._folder)
            os.replace(self._folder, old)
            os.replace(self.target, self._folder)
            sync_folder(self._folder.parent)
            remove_tree(old)
        self.release()
        return self._folder or self.location

    def give_up(self, *, empty: bool) -> None:
        """Remove what was begun, if nothing of it counts; does nothing after ``finish``."""
        if self._done:
            return
        self._done = True
        if self._created and (empty or self.target != self.location):
            if self._folder is None:
                files = files_at(self.location)
                files.remove(files.sizes())
            else:
                remove_tree(Path(self.target))
        self.release()

    def release(self) -> None:
        """Let others write there."""
        if self._lock is not None:
            self._lock.release()
