# SPDX-License-Identifier: Apache-2.0
"""Reads ROS 2 bags without ROS; with its siblings ``bag_*`` the only place that imports rosbags.

``BagReader`` gives messages in log order, decoded only when a field is asked for; ``BagWriter``
(from ``bag_writer``) is its counterpart for the recorder. Whatever a broken file makes a library
raise becomes one ``DataError`` that names the bag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from uwm_core.data.bag_folder import Folder, open_folder
from uwm_core.data.bag_message import LazyMessage, Place
from uwm_core.data.bag_sources import McapSource, RosbagsSource, Source, Stream
from uwm_core.data.bag_types import Definition
from uwm_core.data.bag_writer import BagWriter
from uwm_core.errors import DataError

__all__ = ["BagReader", "BagWriter", "LazyMessage", "Place", "TopicInfo"]

# How much of each file its identity looks at: both ends, and samples between.
_END_BYTES = 64 * 1024
_SAMPLES = 16
_SAMPLE_BYTES = 4096


class TopicInfo(NamedTuple):
    """A topic of a bag: its type and how many messages it has."""

    type: str
    messages: int


class BagReader:
    """One recorded bag: a rosbag2 folder (MCAP or sqlite3, split, zstd) or a single file.

    Use as a context manager.

    Args:
        path: The bag's folder, or its ``.mcap`` or ``.db3`` file.
        recover: Read a bag whose recorder was killed (``<name>.part``) or that is damaged up to its
            last good chunk. All of it is checked first, so this is slow.

    Attributes:
        path: Where it is.

    Raises:
        DataError: If there is no bag, or it is empty, truncated or of an unknown kind.
    """

    def __init__(self, path: Path | str, *, recover: bool = False) -> None:
        self.path = Path(path)
        self._recover = recover
        self._folder: Folder | None = None
        self._source: Source | None = None

    def __enter__(self) -> BagReader:
        """Open it."""
        folder = self._folder = open_folder(self.path, recover=self._recover)
        try:
            if folder.storage == "mcap" and not folder.compressed:
                self._source = McapSource(folder.files, recover=self._recover)
            else:
                # Uncompressed files are opened one by one, so that they can be merged in time.
                self._source = RosbagsSource(self.path, () if folder.compressed else folder.files)
            if self._source.span_ns is None:
                raise DataError("the bag is empty, it has no messages")
        except DataError as error:
            self._close()
            raise self._named(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._close()

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _named(self, error: DataError) -> DataError:
        """The error with the bag's name, if it has not got it."""
        return error if str(self.path) in str(error) else DataError(f"{self.path}: {error}")

    @property
    def _open(self) -> Source:
        if self._source is None:
            raise DataError(f"{self.path}: is not open")
        return self._source

    @property
    def metadata(self) -> dict[str, str]:
        """What the recorder wrote beside the messages (``uwm.task`` and others); may be empty."""
        beside = self._folder.custom if self._folder is not None else {}
        return {**self._open.custom, **beside}

    @property
    def topics(self) -> dict[str, TopicInfo]:
        """Every topic with its type and count.

        Raises:
            DataError: If one topic was recorded with two types.
        """
        found: dict[str, TopicInfo] = {}
        for stream in self._open.streams:
            before = found.get(stream.topic, TopicInfo(stream.type, 0))
            if before.type != stream.type:
                raise DataError(
                    f"{self.path}: {stream.topic} has two types, {before.type} and {stream.type}"
                )
            found[stream.topic] = before._replace(messages=before.messages + stream.messages)
        return found

    @property
    def streams(self) -> list[Stream]:
        """Every channel with the quality of service that was offered; a topic may have several."""
        return self._open.streams

    @property
    def definitions(self) -> dict[str, Definition]:
        """The definitions that the bag carries, by type."""
        return self._open.definitions

    @property
    def start_ns(self) -> int:
        """Log time of the first message."""
        return self._span_ns[0]

    @property
    def end_ns(self) -> int:
        """Log time of the last message."""
        return self._span_ns[1]

    @property
    def _span_ns(self) -> tuple[int, int]:
        return self._open.span_ns or (0, 0)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        files = self.path.iterdir() if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def identity(self) -> str:
        """A hash that tells bags of different content apart; cheap, samples of each file only.

        Names, places and ``metadata.yaml`` do not count, so that a bag may be moved and relabelled.

        Raises:
            DataError: If a file cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for path in open_folder(self.path, recover=self._recover).files:
            try:
                with path.open("rb") as file:
                    size = path.stat().st_size
                    digest.update(size.to_bytes(8, "little"))
                    steps = [size * k // _SAMPLES for k in range(1, _SAMPLES)]
                    for at in (0, *steps, max(0, size - _END_BYTES)):
                        file.seek(at)
                        digest.update(file.read(_SAMPLE_BYTES if at in steps else _END_BYTES))
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from None
        return digest.hexdigest()

    def verify(self) -> None:
        """Read the whole bag and try every checksum.

        Raises:
            DataError: At the first that is wrong.
        """
        try:
            self._open.verify()
        except DataError as error:
            raise self._named(error) from None

    def messages(
        self, topics: Iterable[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[str, LazyMessage, int]]:
        """Messages of some topics in log order.

        Args:
            topics: Names as in the bag.
            start_ns: Only messages of this log time and later.
            stop_ns: Only messages before this log time.

        Yields:
            Topic, message, log time in ns.

        Raises:
            DataError: If the bag breaks off or is damaged, or a topic is not of ROS 2.
        """
        wanted = set(topics)
        for stream in self._open.streams:
            if stream.topic in wanted and stream.encoding != "cdr":
                raise DataError(
                    f"{self.path}: {stream.topic} is serialized as {stream.encoding!r}; only cdr "
                    "(ROS 2) can be read"
                )
        start_ns, stop_ns = start_ns or 0, 2**64 if stop_ns is None else stop_ns
        try:
            yield from self._open.messages(wanted, start_ns, stop_ns)
        except DataError as error:
            raise self._named(error) from None
