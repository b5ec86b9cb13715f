# SPDX-License-Identifier: Apache-2.0
"""What a bag is read through: our own reader for MCAP files, rosbags for everything else.

Both give the same: channels, span of log times, metadata, messages in log order.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, Protocol

import yaml
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.rosbag2 import Reader

from uwm_core.data import bag_mcap as mcap
from uwm_core.data.bag_folder import custom_data, parse
from uwm_core.data.bag_index import Index, index_of
from uwm_core.data.bag_message import LazyMessage
from uwm_core.data.bag_types import Definition, Definitions
from uwm_core.data.bag_walk import Found, Wanted, in_log_order
from uwm_core.errors import DataError


class Stream(NamedTuple):
    """One channel of a bag."""

    topic: str
    type: str
    encoding: str
    qos: str
    messages: int


class Source(Protocol):
    """An open bag."""

    custom: dict[str, str]
    definitions: dict[str, Definition]

    @property
    def streams(self) -> list[Stream]:
        """Every channel of every file."""
        ...

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        ...

    def messages(self, topics: set[str], start_ns: int, stop_ns: int) -> Iterator[Found]:
        """Messages of some topics in log order."""
        ...

    def verify(self) -> None:
        """Read everything and try every checksum; raises ``DataError`` at what is wrong."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...


class McapSource:
    """MCAP files, read by ourselves.

    Args:
        paths: The files of one bag.
        recover: Take each as far as it is good.

    Raises:
        DataError: If a file is not whole.
    """

    def __init__(self, paths: Sequence[Path], *, recover: bool = False) -> None:
        self._parts: list[tuple[mcap.McapFile, Index]] = []
        self.custom: dict[str, str] = {}
        self.definitions: dict[str, Definition] = {}
        try:
            for path in paths:
                file = mcap.McapFile(path)
                self._parts.append((file, Index()))
                self._parts[-1] = (file, index_of(file, recover=recover))
        except BaseException:
            self.close()
            raise
        for _, index in self._parts:
            self.definitions |= index.definitions
            self.custom |= _noted(index)
        self._decoder = Definitions(self.definitions)

    @property
    def streams(self) -> list[Stream]:
        """Every channel of every file."""
        return [
            Stream(*channel, index.counts[number])
            for _, index in self._parts
            for number, channel in index.channels.items()
        ]

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        starts = [i.start_ns for _, i in self._parts if i.start_ns is not None]
        ends = [i.end_ns for _, i in self._parts if i.end_ns is not None]
        return (min(starts), max(ends)) if starts else None

    def messages(self, topics: set[str], start_ns: int, stop_ns: int) -> Iterator[Found]:
        """Messages of some topics in log order, merged over the files."""
        wanted = {}
        for file, index in self._parts:
            channels = {
                number: (channel.topic, channel.type)
                for number, channel in index.channels.items()
                if channel.topic in topics
            }
            wanted[file] = Wanted(channels, self._decoder, start_ns, stop_ns)
        sections = [section for _, index in self._parts for section in index.sections]
        return in_log_order(sections, wanted)

    def verify(self) -> None:
        """Read everything and try every checksum.

        Raises:
            DataError: At the first that is wrong.
        """
        for file, index in self._parts:
            for section in index.sections:
                if section.is_chunk:
                    mcap.check(file, mcap.chunk_head(file, section.offset, section.stop))

    def close(self) -> None:
        """Close the files; messages with a place can still be read."""
        for file, _ in self._parts:
            file.close()


def _noted(index: Index) -> dict[str, str]:
    """What the recorder noted inside of a file: rosbag2's record, and ours after it."""
    found: dict[str, str] = {}
    text = index.metadata.get(mcap.ROSBAG2_METADATA, {}).get("serialized_metadata", "")
    # A copy of metadata.yaml for convenience: one that cannot be read is no reason to refuse.
    with contextlib.suppress(yaml.YAMLError, ValueError, TypeError, AttributeError):
        found |= custom_data(parse(text))
    return found | index.metadata.get(mcap.OWN_METADATA, {})


class RosbagsSource:
    """Bags that rosbags reads: sqlite3, and files or messages compressed by rosbag2.

    Args:
        path: The bag.
        files: Its files, where each can be opened alone and they are to be merged.

    Raises:
        DataError: If rosbags cannot open it.
    """

    custom: dict[str, str]

    def __init__(self, path: Path, files: Sequence[Path] = ()) -> None:
        self._path = path
        self._readers: list[Reader] = []
        self.custom = {}
        try:
            with self._named_errors():
                for part in files or [path]:
                    reader = Reader(part)
                    reader.open()
                    self._readers.append(reader)
        except BaseException:
            self.close()
            raise
        self.definitions = {
            connection.msgtype: Definition(
                connection.msgdef.data,
                "ros2idl" if connection.msgdef.format == MessageDefinitionFormat.IDL else "ros2msg",
            )
            for reader in self._readers
            for connection in reader.connections
            if connection.msgdef.format != MessageDefinitionFormat.NONE
        }
        self._decoder = Definitions(self.definitions)

    @property
    def streams(self) -> list[Stream]:
        """Every connection of every file."""
        return [
            Stream(c.topic, c.msgtype, _encoding(c), "", c.msgcount)
            for reader in self._readers
            for c in reader.connections
        ]

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """First and last log time; None without messages."""
        full = [reader for reader in self._readers if reader.message_count]
        if not full:
            return None
        return min(r.start_time for r in full), max(r.end_time for r in full) - 1

    def messages(self, topics: set[str], start_ns: int, stop_ns: int) -> Iterator[Found]:
        """Messages of some topics in log order, merged over the files."""
        parts = [self._part(reader, topics, start_ns, stop_ns) for reader in self._readers]
        return heapq.merge(*parts, key=itemgetter(2))

    def _part(
        self, reader: Reader, topics: set[str], start_ns: int, stop_ns: int
    ) -> Iterator[Found]:
        connections = [c for c in reader.connections if c.topic in topics]
        if not connections:
            return
        # sqlite3 counts with a sign.
        stop_ns = min(stop_ns, 2**63 - 1)
        with self._named_errors():
            for connection, log_ns, data in reader.messages(connections, start_ns, stop_ns):
                message = LazyMessage(data, connection.msgtype, self._decoder)
                yield connection.topic, message, log_ns

    def verify(self) -> None:
        """Read everything; sqlite3 bags have no checksums.

        Raises:
            DataError: If something cannot be read.
        """
        for _ in self.messages({stream.topic for stream in self.streams}, 0, 2**64):
            pass

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers:
            with contextlib.suppress(Exception):
                reader.close()
        self._readers = []

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # A library on hostile bytes may raise anything.
            shown = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{self._path}: cannot be read as a bag: {shown}") from None


def _encoding(connection: Connection) -> str:
    ext = connection.ext
    return ext.serialization_format if isinstance(ext, ConnectionExtRosbag2) else ""
