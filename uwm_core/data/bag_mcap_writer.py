# SPDX-License-Identifier: Apache-2.0
"""Writes the MCAP container: chunks with their indexes, metadata, summary, checksums.

A chunk goes to the file in one ``writev`` with its indexes, straight from the messages that the
caller gave: an image is never copied. Nothing is waited for on the disk; what has been written
survives the end of the process, whatever ends it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from uwm_core.data import bag_mcap as mcap
from uwm_core.data.bag_types import Definition
from uwm_core.errors import DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# A chunk is written when it has this many bytes, or when its messages span this long. The size is
# that of rosbag2: an image of 640 x 480 closes its chunk, so a reader finds all that it looks at in
# the first few KiB of each.
CHUNK_BYTES = 768 * 1024
CHUNK_NS = 500_000_000

# A message from this size on is written from where it is; smaller ones are gathered first, because
# one call takes at most 1024 buffers.
_APART_BYTES = 16 * 1024
_MAX_BUFFERS = 1000
# The quickest level: a recorder has no time, and noise of cameras does not compress anyway.
_ZSTD_LEVEL = 1

_HEAD = struct.Struct("<BQHIQQ")  # opcode, length and head of a message record
_CHUNK = struct.Struct("<BQQQQI")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TWO_IDS = struct.Struct("<HH")
_ENTRY = struct.Struct("<QQ")
_CHUNK_INDEX = struct.Struct("<QQQQ")
_STATISTICS = struct.Struct("<QHIIIIQQ")
_COUNT = struct.Struct("<HQ")
_SUMMARY_OFFSET = struct.Struct("<BQQ")


class McapWriter:
    """One MCAP file being written; not safe for threads.

    Args:
        path: The file; must not exist.
        compress: Compress chunks with zstd.

    Raises:
        OSError: If the file cannot be made.
    """

    def __init__(self, path: Path, *, compress: bool = False) -> None:
        self._path = path
        self._packing = "zstd" if compress else ""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._at = 0
        self._schemas: dict[str, tuple[int, bytes]] = {}
        self._channels: list[bytes] = []
        self._chunk = _Chunk()
        self._summary: dict[int, list[bytes]] = {mcap.CHUNK_INDEX: [], mcap.METADATA_INDEX: []}
        self.counts: dict[int, int] = {}
        self.span_ns: tuple[int, int] | None = None
        self._put([mcap.MAGIC, _record(mcap.HEADER, _text("ros2") + _text("uwm_ros"))])

    def add_channel(self, topic: str, type_name: str, definition: Definition, qos: str) -> int:
        """Announce a stream of messages; its number is the return value."""
        if type_name not in self._schemas:
            number = len(self._schemas) + 1
            body = (
                _U16.pack(number)
                + _text(type_name)
                + _text(definition.encoding)
                + _text(definition.text)
            )
            self._schemas[type_name] = number, _record(mcap.SCHEMA, body)
            self._chunk.add(self._schemas[type_name][1])
        channel = len(self._channels) + 1
        notes = _text(mcap.QOS_KEY) + _text(qos)
        body = (
            _TWO_IDS.pack(channel, self._schemas[type_name][0])
            + _text(topic)
            + _text("cdr")
            + _sized(notes)
        )
        self._channels.append(_record(mcap.CHANNEL, body))
        self._chunk.add(self._channels[-1])
        self.counts[channel] = 0
        return channel

    def write(self, channel: int, log_ns: int, data: bytes) -> None:
        """Append one message; ``data`` is kept, not copied, until its chunk is written.

        Raises:
            DataError: If the chunk cannot be written, e.g. because the disk is full.
        """
        chunk = self._chunk
        number = self.counts[channel]
        head = _HEAD.pack(
            mcap.MESSAGE,
            mcap.MESSAGE_HEAD.size + len(data),
            channel,
            number & 0xFFFFFFFF,
            log_ns,
            log_ns,
        )
        chunk.message(channel, log_ns, head, data)
        self.counts[channel] = number + 1
        if chunk.size >= CHUNK_BYTES or chunk.end_ns - chunk.start_ns >= CHUNK_NS:
            self.flush()

    def flush(self) -> None:
        """Write the chunk that is being gathered.

        Raises:
            DataError: If it cannot be written; the file then ends with the chunk before.
        """
        chunk, self._chunk = self._chunk, _Chunk()
        if not chunk.size:
            return
        begin = self._at
        buffers = chunk.buffers()
        size, crc = chunk.size, 0
        for buffer in buffers:
            crc = zlib.crc32(buffer, crc)
        if self._packing:
            buffers = [zstd.compress(b"".join(buffers), _ZSTD_LEVEL)]
        packed = sum(len(buffer) for buffer in buffers)
        tail = _text(self._packing) + _U64.pack(packed)
        length = _CHUNK.size - mcap.RECORD.size + len(tail) + packed
        start_ns, end_ns = chunk.span_ns
        head = _CHUNK.pack(mcap.CHUNK, length, start_ns, end_ns, size, crc) + tail
        stop = begin + mcap.RECORD.size + length
        places, indexes = b"", b""
        for channel, entries in chunk.entries.items():
            places += _COUNT.pack(channel, stop + len(indexes))
            body = _U16.pack(channel) + _sized(b"".join(entries))
            indexes += _record(mcap.MESSAGE_INDEX, body)
        self._put([head, *buffers, indexes])
        self._summary[mcap.CHUNK_INDEX].append(
            _CHUNK_INDEX.pack(start_ns, end_ns, begin, stop - begin)
            + _sized(places)
            + _U64.pack(self._at - stop)
            + _text(self._packing)
            + _ENTRY.pack(packed, size)
        )
        if chunk.entries:
            low, high = self.span_ns or (start_ns, end_ns)
            self.span_ns = min(low, start_ns), max(high, end_ns)

    def add_metadata(self, name: str, notes: Mapping[str, str]) -> None:
        """Write a metadata record, at once.

        Raises:
            DataError: If it cannot be written.
        """
        pairs = b"".join(_text(key) + _text(value) for key, value in notes.items())
        record = _record(mcap.METADATA, _text(name) + _sized(pairs))
        place = _ENTRY.pack(self._at, len(record))
        self._put([record])
        self._summary[mcap.METADATA_INDEX].append(place + _text(name))

    def close(self) -> None:
        """Write what is left and the summary.

        Raises:
            DataError: If it cannot be written.
        """
        self.flush()
        self._put([_record(mcap.DATA_END, _U32.pack(0))])
        start, parts, offsets = self._at, [], []
        statistics = _STATISTICS.pack(
            sum(self.counts.values()),
            len(self._schemas),
            len(self._channels),
            0,
            len(self._summary[mcap.METADATA_INDEX]),
            len(self._summary[mcap.CHUNK_INDEX]),
            *(self.span_ns or (0, 0)),
        ) + _sized(b"".join(_COUNT.pack(*entry) for entry in self.counts.items()))
        groups = {
            mcap.SCHEMA: [record for _, record in self._schemas.values()],
            mcap.CHANNEL: self._channels,
            mcap.STATISTICS: [_record(mcap.STATISTICS, statistics)],
            **{op: [_record(op, body) for body in self._summary[op]] for op in self._summary},
        }
        at = start
        for opcode, records in groups.items():
            if records:
                group = b"".join(records)
                body = _SUMMARY_OFFSET.pack(opcode, at, len(group))
                offsets.append(_record(mcap.SUMMARY_OFFSET, body))
                parts.append(group)
                at += len(group)
        footer = mcap.RECORD.pack(mcap.FOOTER, mcap.FOOTER_BODY.size) + _ENTRY.pack(start, at)
        summary = b"".join([*parts, *offsets, footer])
        self._put([summary, _U32.pack(zlib.crc32(summary)), mcap.MAGIC])
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is; does nothing if that was done."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write buffers as they are, all or nothing."""
        if self._file < 0:
            raise DataError(f"{self._path}: is closed")
        begin = self._at
        left = [memoryview(buffer) for buffer in buffers]
        try:
            while left:
                wrote = os.writev(self._file, left[:_MAX_BUFFERS])
                self._at += wrote
                while left and wrote >= len(left[0]):
                    wrote -= len(left.pop(0))
                if left:
                    left[0] = left[0][wrote:]
        except OSError as error:
            # Half a chunk would hide the ones after it, should the disk get room again.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, begin)
            os.lseek(self._file, begin, os.SEEK_SET)
            self._at = begin
            raise DataError(f"{self._path}: cannot be written: {error.strerror}") from None


class _Chunk:
    """Records that wait to be written together."""

    def __init__(self) -> None:
        self.size = 0
        self.start_ns = self.end_ns = 0
        self.entries: dict[int, list[bytes]] = {}
        self._tail = bytearray()
        self._parts: list[bytes | bytearray] = []

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last log time; zeros without messages."""
        return self.start_ns, self.end_ns

    def add(self, record: bytes) -> None:
        """Append a whole record that is no message."""
        self._tail += record
        self.size += len(record)

    def message(self, channel: int, log_ns: int, head: bytes, data: bytes) -> None:
        """Append a message."""
        if not self.entries:
            self.start_ns = self.end_ns = log_ns
        elif log_ns > self.end_ns:
            self.end_ns = log_ns
        elif log_ns < self.start_ns:
            self.start_ns = log_ns
        self.entries.setdefault(channel, []).append(_ENTRY.pack(log_ns, self.size))
        self._tail += head
        if len(data) < _APART_BYTES:
            self._tail += data
        else:
            self._parts += [self._tail, data]
            self._tail = bytearray()
        self.size += len(head) + len(data)

    def buffers(self) -> list[bytes | bytearray]:
        """Everything in order."""
        return [*self._parts, self._tail]


def _record(opcode: int, body: bytes) -> bytes:
    return mcap.RECORD.pack(opcode, len(body)) + body


def _sized(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _text(text: str) -> bytes:
    return _sized(text.encode())
