# SPDX-License-Identifier: Apache-2.0
"""The same conversion on a dask cluster that is there already: one task per bag.

Each task converts its bag into a store of its own, beside the one that is wanted; these are joined
in the order of the bags, so the result is that of a conversion on one machine. The workers must see
the bags and that folder under the same names, and have this package installed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uwm_core.data.bag import BagReader
from uwm_core.data.convert import convert, records_of
from uwm_core.data.convert_config import BagResult, ConvertConfig, Report
from uwm_core.data.convert_sources import Source, find_sources
from uwm_core.data.store import Store
from uwm_core.data.store_edit import copy_episodes
from uwm_core.data.store_files import is_url, local_path
from uwm_core.data.store_format import EpisodeRecord
from uwm_core.errors import DataError, UwmError

CONNECT_S = "10s"


def convert_on_dask(
    bags: Sequence[Path | str],
    store_path: Path | str,
    config: ConvertConfig,
    scheduler: str,
    finished: Callable[[BagResult], None] | None = None,
) -> Report:
    """Put bags into a store, each converted by a worker of a cluster.

    Args:
        bags: Bags, or folders of bags.
        store_path: The store, a local folder that the workers see as well.
        config: How; ``workers`` does not count.
        scheduler: Address of the cluster's scheduler, ``tcp://host:8786``.
        finished: Called with what became of a bag, once it is in the store.

    Returns:
        What was done.

    Raises:
        UwmError: If dask is missing, the scheduler does not answer, or a bag is bad.
    """
    if is_url(store_path) or config.overwrite or config.replace:
        raise UwmError("--engine dask appends to a local store, without --overwrite and --replace")
    path = local_path(store_path).absolute()
    pieces = path.with_name(f"{path.name}.pieces")
    sources = [source._replace(path=source.path.absolute()) for source in find_sources(bags)]
    work = _Work(path, pieces, config)
    results = []
    with _client(scheduler) as client:
        try:
            tasks = [work.begin(client, source) for source in sources]
            for source, task in zip(sources, tasks, strict=True):
                results.append(work.end(source, task))
                if finished is not None:
                    finished(results[-1])
        finally:
            shutil.rmtree(pieces, ignore_errors=True)
    if not path.exists():
        reasons = "; ".join(result.reason for result in results[:3])
        raise DataError(f"none of {len(sources)} bags gave an episode: {reasons}")
    return Report(path, tuple(results))


def _client(scheduler: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise UwmError("--engine dask needs dask: pip install 'uwm_ros[cluster]'") from None
    client: Any = distributed.Client  # not annotated
    try:
        return client(scheduler, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        shown = " ".join(str(error).split())
        raise UwmError(f"no dask scheduler answers at {scheduler}: {shown}") from None


class _Work:
    """What is sent to the cluster, and what is made of what comes back."""

    def __init__(self, path: Path, pieces: Path, config: ConvertConfig) -> None:
        self._path = path
        self._pieces = pieces
        self._skip_bad = config.skip_bad
        store = Store.open(path) if path.exists() else None
        self._episodes: tuple[EpisodeRecord, ...] = store.episodes if store else ()
        images = config.images or (store.coding if store else None)
        self._config = dataclasses.replace(
            config, workers=1, overwrite=True, skip_bad=True, images=images
        )

    def _piece(self, source: Source) -> Path:
        # Two folders may have bags of one name.
        digest = hashlib.blake2b(str(source.path).encode(), digest_size=8).hexdigest()
        return self._pieces / f"{digest}.zarr"

    def begin(self, client: Any, source: Source) -> Any:
        """A task for the cluster, or the result if there is nothing to do."""
        try:
            if not source.cut_off:
                with BagReader(source.path) as reader:
                    known = records_of(source, reader.identity, self._episodes)
                if known and not known[-1].source_goes_on:
                    return BagResult(path=source.path, state="unchanged")
        except UwmError as error:
            if not self._config.recover:
                return BagResult(path=source.path, state="bad", reason=str(error))
        return client.submit(convert_piece, source, self._piece(source), self._config, pure=False)

    def end(self, source: Source, task: Any) -> BagResult:
        """Wait for a task, and put its episodes into the store.

        Raises:
            UwmError: If the bag is bad and bad ones are not to be skipped.
        """
        result: BagResult = task if isinstance(task, BagResult) else task.result()
        if result.episodes:
            piece = Store.open(self._piece(source))
            whole = [(piece, range(len(piece)))]
            try:
                copy_episodes(whole, self._path, images=piece.coding, mode="append")
            except UwmError as error:
                result = BagResult(path=source.path, state="bad", reason=str(error))
            shutil.rmtree(piece.path)
        if result.state == "bad" and not self._skip_bad:
            raise DataError(result.reason)
        return result


def convert_piece(source: Source, path: Path, config: ConvertConfig) -> BagResult:
    """What a worker does: one bag into a store of its own."""
    results: list[BagResult] = []
    try:
        convert([source], path, config, finished=results.append)
    except UwmError as error:
        # The error of a bag that gave nothing says less than its result, if it came to one.
        return (
            results[0] if results else BagResult(path=source.path, state="bad", reason=str(error))
        )
    return results[0]
