# SPDX-License-Identifier: Apache-2.0
"""The MCAP container as bytes: its records, read with every length checked against the file.

Nothing here knows of topics or order; ``bag_index`` finds out what a file holds and ``bag_walk``
goes through its messages. Files are read with ``pread``, not mapped: a file that is cut while it is
read is then an error and not a fault of the process, and no page of it counts as our memory.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lz4.frame import LZ4FrameDecompressor

from uwm_core.errors import DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"

HEADER = 0x01
FOOTER = 0x02
SCHEMA = 0x03
CHANNEL = 0x04
MESSAGE = 0x05
CHUNK = 0x06
MESSAGE_INDEX = 0x07
CHUNK_INDEX = 0x08
STATISTICS = 0x0B
METADATA = 0x0C
METADATA_INDEX = 0x0D
SUMMARY_OFFSET = 0x0E
DATA_END = 0x0F

RECORD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
CHUNK_HEAD = struct.Struct("<QQQI")  # first and last log time, size unpacked, CRC; compression next
FOOTER_BODY = struct.Struct("<QQI")  # start of the summary, of its offsets, CRC of the summary
FOOTER_BYTES = RECORD.size + FOOTER_BODY.size

# What ROS 2 keeps in the container: the metadata record that rosbag2 looks for, and where a channel
# keeps the quality of service of its publishers. And our own metadata records, written as things
# become known so that they survive a kill; the last one wins.
ROSBAG2_METADATA = "rosbag2"
OWN_METADATA = "uwm"
QOS_KEY = "offered_qos_profiles"

# One read: the small messages between two images fit, and an image costs no more than its head.
WINDOW_BYTES = 16 * 1024
# Of every record so much is looked at, and one that is not longer than that is read along.
FORESIGHT_BYTES = 64
WHOLE_BYTES = 4096

# What a record that is read whole may claim; a claim beyond it is damage, not data.
MAX_RECORD_BYTES = 64 * 2**20
# What a packed chunk may claim to unpack to. Recorders make chunks of about one MiB.
MAX_CHUNK_BYTES = 256 * 2**20


class McapFile:
    """An open file: bounded reads, and errors that name it.

    Args:
        path: The file.

    Attributes:
        path: The same, as text.
        size: Bytes it has.

    Raises:
        DataError: If it cannot be opened.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self._file = -1
        with self.damage_named():
            self._file = os.open(self.path, os.O_RDONLY)
            self.size = os.fstat(self._file).st_size
            # Only what is asked for: the kernel's read-ahead would fetch images that no step uses.
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def close(self) -> None:
        """Close it; does nothing if it is closed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def error(self, what: str) -> DataError:
        """An error that names the file."""
        return DataError(f"{self.path}: {what}")

    @contextlib.contextmanager
    def damage_named(self) -> Iterator[None]:
        """Make one line of whatever damaged bytes lead to."""
        try:
            yield
        except OSError as error:
            raise self.error(f"cannot be read: {error.strerror or error}") from None
        except (struct.error, ValueError, zstd.ZstdError, RuntimeError) as error:
            shown = " ".join(str(error).split())
            raise self.error(f"is damaged: {shown}") from None

    def read(self, offset: int, size: int) -> bytes:
        """Exactly these bytes.

        Raises:
            DataError: If the file has fewer.
        """
        if self._file < 0:
            raise self.error("is not open")
        if offset + size > self.size:
            raise self.error(f"is damaged or cut off: {size} bytes at {offset} are not there")
        data = os.pread(self._file, size, offset)
        if len(data) != size:
            raise self.error(f"became shorter while it was read, at {offset + len(data)}")
        return data

    def ask(self, offset: int, size: int) -> None:
        """Let the system fetch these bytes while we do something else."""
        if self._file >= 0 and offset + size <= self.size:
            os.posix_fadvise(self._file, offset, size, os.POSIX_FADV_WILLNEED)

    def body(self, offset: int, stop: int) -> Body:
        """What is inside the record from ``offset`` to ``stop``.

        Raises:
            DataError: If it is larger than any record of its kind.
        """
        size = stop - offset - RECORD.size
        if size > MAX_RECORD_BYTES:
            raise self.error(f"is damaged: the record at {offset} claims {size} bytes")
        return Body(self.read(offset + RECORD.size, size))


def records(
    file: McapFile, begin: int, end: int, window: bytes = b""
) -> Iterator[tuple[int, int, int, bytes, int]]:
    """Records between two offsets, read through a window that slides over the file.

    Args:
        file: The file.
        begin: Where the first record begins.
        end: Where the last one ends.
        window: The records themselves, if they are in memory; the offsets then count from 0.

    Yields:
        Opcode; where the record begins and ends; a window, and where in it the record begins. A
        record up to ``WHOLE_BYTES`` is in it as a whole, of a longer one ``FORESIGHT_BYTES``.

    Raises:
        ValueError: If a record is not whole.
    """
    base, limit, fixed = begin, begin + len(window), bool(window)
    at, read_head = begin, RECORD.unpack_from
    while at < end:
        if at + FORESIGHT_BYTES > limit and limit < end and not fixed:
            base, window = at, file.read(at, min(WINDOW_BYTES, end - at))
            limit = base + len(window)
        if at + RECORD.size > end:
            raise ValueError(f"no whole record at {at}")
        opcode, length = read_head(window, at - base)
        stop = at + RECORD.size + length
        if stop > end or not opcode:
            raise ValueError(f"the record at {at} claims {length} bytes, {end - at} are left")
        if stop > limit and length <= WHOLE_BYTES and not fixed:
            base, window = at, file.read(at, min(WINDOW_BYTES, end - at))
            limit = base + len(window)
        yield opcode, at, stop, window, at - base
        at = stop


class Body:
    """The fields of one record, taken one after another.

    Every method raises ``ValueError`` or ``struct.error`` where the record ends before its field.

    Args:
        data: What follows the opcode and the length.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, form: struct.Struct) -> tuple[int, ...]:
        """Numbers of a fixed form."""
        found = form.unpack_from(self._data, self._at)
        self._at += form.size
        return found

    def bytes(self) -> bytes:
        """Bytes after their length."""
        (size,) = self.take(_U32)
        if self._at + size > len(self._data):
            raise ValueError(f"a field claims {size} bytes of a record of {len(self._data)}")
        self._at += size
        return self._data[self._at - size : self._at]

    def text(self) -> str:
        """Text after its length."""
        return self.bytes().decode()

    def pairs(self) -> dict[str, str]:
        """A map of texts after its length in bytes."""
        inside = Body(self.bytes())
        found = {}
        while inside._at < len(inside._data):
            key = inside.text()
            found[key] = inside.text()
        return found


_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class ChunkHead(NamedTuple):
    """What stands before the records of a chunk.

    Attributes:
        start_ns: First log time that it claims.
        end_ns: Last one.
        unpacked: Bytes of its records.
        crc: CRC-32 of its records; 0 if it has none.
        packing: ``""``, ``"zstd"`` or ``"lz4"``.
        begin: Where its records begin in the file, packed or not.
        packed: Bytes that they take there.
    """

    start_ns: int
    end_ns: int
    unpacked: int
    crc: int
    packing: str
    begin: int
    packed: int


def chunk_head(file: McapFile, offset: int, stop: int) -> ChunkHead:
    """Read what stands before the records of the chunk from ``offset`` to ``stop``.

    Raises:
        DataError: If it is damaged, or of a compression that is not known.
    """
    # Opcode, fixed fields, the name of the compression and the size: 64 bytes hold the known ones.
    size = min(64, stop - offset)
    body = Body(file.read(offset, size))
    with file.damage_named():
        if body.take(RECORD) != (CHUNK, stop - offset - RECORD.size):
            raise ValueError(f"there is no chunk of {stop - offset} bytes at {offset}")
        start_ns, end_ns, unpacked, crc = body.take(CHUNK_HEAD)
        packing = body.text()
        (packed,) = body.take(_U64)
    if packing not in ("", "zstd", "lz4"):
        raise file.error(f"has a chunk with compression {packing!r}; zstd and lz4 are known")
    begin = offset + RECORD.size + CHUNK_HEAD.size + _U32.size + len(packing) + _U64.size
    if begin + packed > stop or (not packing and packed != unpacked):
        raise file.error(f"is damaged: the chunk at {offset} claims {packed} bytes of records")
    return ChunkHead(start_ns, end_ns, unpacked, crc, packing, begin, packed)


def unpack(file: McapFile, head: ChunkHead) -> bytes:
    """Read, decompress and check the records of a packed chunk.

    Raises:
        DataError: If they are not what the chunk says.
    """
    if max(head.unpacked, head.packed) > MAX_CHUNK_BYTES:
        raise file.error(
            f"has a chunk that claims {head.unpacked} bytes; at most {MAX_CHUNK_BYTES} are read"
        )
    packed = file.read(head.begin, head.packed)
    with file.damage_named():
        # One byte more than is claimed shows a chunk that claims too little, and no more is made.
        if head.packing == "zstd":
            data = zstd.ZstdDecompressor().decompress(packed, head.unpacked + 1)
        else:
            data = LZ4FrameDecompressor().decompress(packed, head.unpacked + 1)
    if len(data) != head.unpacked:
        raise file.error(f"is damaged: the chunk at {head.begin} does not unpack to its size")
    if head.crc and zlib.crc32(data) != head.crc:
        raise file.error(f"is damaged: the chunk at {head.begin} has a wrong checksum")
    return bytes(data)


def check(file: McapFile, head: ChunkHead) -> None:
    """Check the records of any chunk against its checksum, in pieces of a MiB.

    Raises:
        DataError: If they do not fit it.
    """
    if head.packing:
        unpack(file, head)
        return
    crc, stop = 0, head.begin + head.packed
    for at in range(head.begin, stop if head.crc else head.begin, 2**20):
        crc = zlib.crc32(file.read(at, min(2**20, stop - at)), crc)
    if crc != head.crc:
        raise file.error(f"is damaged: the chunk at {head.begin} has a wrong checksum")
