# SPDX-License-Identifier: Apache-2.0
"""Makes room in a store for bags that have changed since they were converted into it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from uwm_core.data.bag import BagReader
from uwm_core.data.convert_sources import Source
from uwm_core.data.store import Store
from uwm_core.data.store_edit import Selection, copy_episodes, drop, trash_path
from uwm_core.errors import StoreError, UwmError


def drop_changed(sources: Sequence[Source], path: Path | str) -> Literal["append", "overwrite"]:
    """Move episodes to the store's trash whose bag, by its name, has another content now.

    Args:
        sources: The bags.
        path: The store; it need not be there.

    Returns:
        How the store is to be written to: ``overwrite`` if none of its episodes is to stay.

    Raises:
        StoreError: If the store is being written, or is not local.
    """
    try:
        store = Store.open(path)
    except StoreError:
        return "append"  # There is none; if it is damaged, the writer says so.
    identities = {}
    names = {record.source for record in store.episodes}
    for source in sources:
        # A bag that cannot be read is named when its turn comes.
        with contextlib.suppress(UwmError):
            if source.name in names:
                with BagReader(source.path) as reader:
                    identities[source.name] = reader.identity
    changed = tuple(
        number
        for number, record in enumerate(store.episodes)
        if identities.get(record.source, record.source_hash) != record.source_hash
    )
    if len(changed) == len(store) and changed:
        whole = [(store, list(changed))]
        copy_episodes(whole, trash_path(store.path), images=store.coding, mode="append")
        return "overwrite"
    if changed:
        drop(store, Selection(episodes=changed))
    return "append"
