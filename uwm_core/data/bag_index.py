# SPDX-License-Identifier: Apache-2.0
"""Finds out what an MCAP file holds: topics, types, sections of messages, metadata.

A whole file says it in its summary; what the summary leaves out is read from the records
themselves. With ``recover`` the summary is not needed: the file is checked from its beginning and
taken as far as it is good.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
import zlib
from collections import Counter
from typing import NamedTuple

from uwm_core.data import bag_mcap as mcap
from uwm_core.data.bag_mcap import Body, McapFile
from uwm_core.data.bag_types import Definition
from uwm_core.data.bag_walk import Section
from uwm_core.errors import DataError

# A run of messages outside of chunks becomes a section of at most this many.
RUN_MESSAGES = 4096

_TWO_IDS = struct.Struct("<HH")
_ID = struct.Struct("<H")
_CHUNK_INDEX = struct.Struct("<QQQQ")
_STATISTICS = struct.Struct("<QHIIIIQQ")
_COUNT = struct.Struct("<HQ")
_LENGTH = struct.Struct("<Q")
_CHUNKS = 5  # which of the statistics counts the chunks
_DEFINITIONS = (mcap.SCHEMA, mcap.CHANNEL, mcap.METADATA)


class Channel(NamedTuple):
    """A stream of messages in a file.

    Attributes:
        topic: Its name.
        type: Type of its messages; empty if the file does not say.
        encoding: How they are serialized; ``cdr`` in ROS 2.
        qos: Quality of service that its publishers offered, YAML.
    """

    topic: str
    type: str
    encoding: str
    qos: str


@dataclasses.dataclass
class Index:
    """What a file holds.

    Attributes:
        channels: By id.
        definitions: Texts of the types, by name.
        sections: Where the messages are, in the order of the file.
        counts: Messages by channel.
        start_ns: First log time; None without messages.
        end_ns: Last one.
        metadata: Metadata records, by name.
        stop: Up to where the file is good.
    """

    channels: dict[int, Channel] = dataclasses.field(default_factory=dict)
    definitions: dict[str, Definition] = dataclasses.field(default_factory=dict)
    sections: list[Section] = dataclasses.field(default_factory=list)
    counts: Counter[int] = dataclasses.field(default_factory=Counter)
    start_ns: int | None = None
    end_ns: int | None = None
    metadata: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    stop: int = 0

    def saw(self, start_ns: int, end_ns: int) -> None:
        """Widen the span of log times."""
        self.start_ns = start_ns if self.start_ns is None else min(self.start_ns, start_ns)
        self.end_ns = end_ns if self.end_ns is None else max(self.end_ns, end_ns)


def index_of(file: McapFile, *, recover: bool = False) -> Index:
    """Find out what a file holds.

    Args:
        file: The open file.
        recover: Take a file that was cut off or is damaged as far as it is good.

    Raises:
        DataError: If it is no MCAP file, or not whole and ``recover`` is off.
    """
    if not file.size:
        raise file.error("is empty, 0 bytes")
    if file.read(0, min(file.size, len(mcap.MAGIC))) != mcap.MAGIC:
        raise file.error("is not an MCAP file")
    with file.damage_named():
        try:
            return _Reader(file).by_summary()
        except (DataError, struct.error, ValueError):
            if not recover:
                raise
        return _Reader(file).good_part()


class _Reader:
    """The work of one ``index_of``."""

    def __init__(self, file: McapFile) -> None:
        self._file = file
        self._index = Index()
        self._schemas: dict[int, tuple[str, Definition]] = {}
        self._channels: dict[int, tuple[int, str, str, str]] = {}
        self._sets: dict[frozenset[int], frozenset[int]] = {}
        self._chunks: dict[int, tuple[Section, int]] = {}  # by offset, with the indexes behind it
        self._statistics: tuple[int, ...] | None = None
        self._run: _Run | None = None
        self._good = 0

    def by_summary(self) -> Index:
        """What the summary says, and what is outside of the chunks that it lists."""
        file = self._file
        foot = file.size - len(mcap.MAGIC) - mcap.FOOTER_BYTES
        if foot < len(mcap.MAGIC) or file.read(file.size - 8, 8) != mcap.MAGIC:
            raise file.error("was cut off: it has no end (uwm bag recover saves what is there)")
        body = Body(file.read(foot, mcap.FOOTER_BYTES))
        if body.take(mcap.RECORD) != (mcap.FOOTER, mcap.FOOTER_BODY.size):
            raise file.error("is damaged: it has no footer")
        start, _, crc = body.take(mcap.FOOTER_BODY)
        if not start:
            return self.by_records(foot)
        if not len(mcap.MAGIC) < start <= foot or foot - start > mcap.MAX_RECORD_BYTES:
            raise file.error(f"is damaged: its summary claims to begin at {start}")
        summary = file.read(start, file.size - len(mcap.MAGIC) - start)
        if crc and zlib.crc32(summary[:-4]) != crc:
            raise file.error("is damaged: its summary has a wrong checksum")
        records = mcap.records(file, 0, foot - start, summary[: foot - start])
        for opcode, at, stop, _, _ in records if start < foot else ():
            self._definition(opcode, Body(summary[at + mcap.RECORD.size : stop]), start)
        told = self._statistics
        if told is None or told[_CHUNKS] != len(self._chunks) or not self._channels:
            return _Reader(file).by_records(start)
        counts = self._index.counts
        self._index.counts = Counter()
        self._between_chunks(start)
        index = self._done()
        index.counts = counts
        index.start_ns, index.end_ns = (told[-2], told[-1]) if told[0] else (None, None)
        return index

    def by_records(self, end: int) -> Index:
        """What the records up to ``end`` say, inside of chunks too."""
        self._records(len(mcap.MAGIC), end, check=False)
        return self._done()

    def good_part(self) -> Index:
        """The same as far as the file is good, every checksum tried."""
        with contextlib.suppress(DataError, struct.error, ValueError):
            self._records(len(mcap.MAGIC), self._file.size, check=True)
        return self._done()

    def _between_chunks(self, end: int) -> None:
        at = len(mcap.MAGIC)
        for offset, (section, behind) in sorted(self._chunks.items()):
            if not at <= offset <= section.stop + behind <= end:
                raise self._file.error(f"is damaged: its chunk at {offset} is not in its place")
            self._records(at, offset, check=False)
            at = section.stop + behind
            self._index.sections.append(section)
        self._records(at, end, check=False)

    def _records(self, begin: int, end: int, *, check: bool) -> None:
        """Records outside of chunks; every chunk among them is gone through."""
        for opcode, at, stop, window, here in mcap.records(self._file, begin, end):
            if opcode in (mcap.DATA_END, mcap.FOOTER):
                break
            if opcode == mcap.MESSAGE:
                channel, _, log_ns, _ = mcap.MESSAGE_HEAD.unpack_from(window, here + 9)
                if self._run is None or len(self._run.stamps) >= RUN_MESSAGES:
                    self._end_run()
                    self._run = _Run(at, stop)
                self._run.stop = stop
                self._run.add(channel, log_ns)
                continue
            self._end_run()
            if opcode == mcap.CHUNK:
                self._chunk(at, stop, check=check)
            elif opcode in _DEFINITIONS:
                self._definition(opcode, self._file.body(at, stop), end)
            self._good = stop
        self._end_run()

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._section(run, is_chunk=False, is_packed=False)
            self._good = run.stop

    def _chunk(self, offset: int, stop: int, *, check: bool) -> None:
        file = self._file
        head = mcap.chunk_head(file, offset, stop)
        if check:
            mcap.check(file, head)
        data = mcap.unpack(file, head) if head.packing else b""
        begin, end = (0, len(data)) if data else (head.begin, head.begin + head.packed)
        run = _Run(offset, stop)
        for opcode, at, after, window, here in mcap.records(file, begin, end, data):
            if opcode == mcap.MESSAGE:
                channel, _, log_ns, _ = mcap.MESSAGE_HEAD.unpack_from(window, here + 9)
                run.add(channel, log_ns)
            elif opcode in (mcap.SCHEMA, mcap.CHANNEL):
                size = after - at
                body = Body(data[here + 9 : here + size]) if data else file.body(at, after)
                self._definition(opcode, body, stop)
        self._section(run, is_chunk=True, is_packed=bool(data))

    def _section(self, run: _Run, *, is_chunk: bool, is_packed: bool) -> None:
        if run.stamps:
            start_ns, end_ns = min(run.stamps), max(run.stamps)
            channels = self._shared(frozenset(run.counts))
            self._index.sections.append(
                Section(
                    self._file,
                    run.offset,
                    run.stop,
                    start_ns,
                    end_ns,
                    channels,
                    is_chunk,
                    is_packed,
                )
            )
            self._index.counts.update(run.counts)
            self._index.saw(start_ns, end_ns)

    def _shared(self, channels: frozenset[int]) -> frozenset[int]:
        """The same set once in memory: a long bag has many chunks and few sets."""
        return self._sets.setdefault(channels, channels)

    def _definition(self, opcode: int, body: Body, end: int) -> None:
        """Take in a record that says something about the file."""
        if opcode == mcap.SCHEMA:
            (number,) = body.take(_ID)
            name, encoding = body.text(), body.text()
            self._schemas[number] = name, Definition(body.text(), encoding)
        elif opcode == mcap.CHANNEL:
            number, schema = body.take(_TWO_IDS)
            topic, encoding, notes = body.text(), body.text(), body.pairs()
            self._channels[number] = schema, topic, encoding, notes.get(mcap.QOS_KEY, "")
        elif opcode == mcap.METADATA:
            name = body.text()
            self._index.metadata.setdefault(name, {}).update(body.pairs())
        elif opcode == mcap.STATISTICS:
            self._statistics = body.take(_STATISTICS)
            self._index.counts = Counter(dict(_COUNT.iter_unpack(body.bytes())))
        elif opcode == mcap.CHUNK_INDEX:
            start_ns, end_ns, offset, size = body.take(_CHUNK_INDEX)
            ids = frozenset(number for number, _ in _COUNT.iter_unpack(body.bytes()))
            (behind,) = body.take(_LENGTH)
            packed = bool(body.text())
            if offset in self._chunks or offset + size > end:
                raise self._file.error(
                    f"is damaged: its summary lists a chunk at {offset} twice or beyond its end"
                )
            known = self._shared(ids) if behind else None
            self._chunks[offset] = (
                Section(self._file, offset, offset + size, start_ns, end_ns, known, True, packed),
                behind,
            )

    def _done(self) -> Index:
        index = self._index
        for number, (schema, topic, encoding, qos) in sorted(self._channels.items()):
            name, definition = self._schemas.get(schema, ("", Definition("")))
            index.channels[number] = Channel(topic, name, encoding, qos)
            if definition.text:
                index.definitions[name] = definition
        index.stop = self._good
        return index


class _Run:
    """Messages that lie one after another."""

    def __init__(self, offset: int, stop: int) -> None:
        self.offset, self.stop = offset, stop
        self.stamps: list[int] = []
        self.counts: Counter[int] = Counter()

    def add(self, channel: int, log_ns: int) -> None:
        """Count one message."""
        self.stamps.append(log_ns)
        self.counts[channel] += 1
