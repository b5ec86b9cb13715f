# SPDX-License-Identifier: Apache-2.0
"""Goes through the messages of MCAP files in log order, reading no more than their beginnings.

A ``Section`` (a chunk, or a run of messages outside of any) is walked record by record in file
order; sections whose times overlap are merged. Of a large message in a plain chunk only its first
bytes are read: it knows its place and reads itself when somebody looks.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from uwm_core.data.bag_mcap import (
    MESSAGE,
    MESSAGE_HEAD,
    RECORD,
    WHOLE_BYTES,
    WINDOW_BYTES,
    McapFile,
    chunk_head,
    records,
    unpack,
)
from uwm_core.data.bag_message import HEAD_BYTES, LazyMessage, Place
from uwm_core.data.bag_types import Definitions

Found = tuple[str, LazyMessage, int]

# What overlapping chunks may hold in memory at once.
MAX_HELD_BYTES = 512 * 2**20

# So many sections are asked of the disk before they are walked, so that nobody waits for it, and no
# more of each than a recorder's chunk: its size is a claim.
AHEAD = 32
MAX_AHEAD_BYTES = 4 * 2**20

_BEFORE_DATA = RECORD.size + MESSAGE_HEAD.size
_LOG_NS = itemgetter(2)
_NUMBER = itemgetter(0)


class Section(NamedTuple):
    """A stretch of a file that holds messages.

    Attributes:
        file: The file.
        offset: Where it begins, opcode included.
        stop: Where it ends.
        start_ns: Log time of its first message, as the file says.
        end_ns: Log time of its last.
        channels: Channels that it has; None if that is not known.
        is_chunk: Whether it is one chunk record; else a run of message records.
        is_packed: Whether it is compressed, and so has to be read as a whole.
    """

    file: McapFile
    offset: int
    stop: int
    start_ns: int
    end_ns: int
    channels: frozenset[int] | None
    is_chunk: bool
    is_packed: bool

    def ask(self) -> None:
        """Ask the disk for what walking it reads first."""
        most = MAX_AHEAD_BYTES if self.is_packed else WINDOW_BYTES
        self.file.ask(self.offset, min(self.stop - self.offset, most))


class Wanted(NamedTuple):
    """Which messages of one file are wanted.

    Attributes:
        channels: Topic and type of each wanted channel.
        definitions: How its messages are decoded.
        start_ns: From this log time on.
        stop_ns: Up to, and without, this one.
    """

    channels: Mapping[int, tuple[str, str]]
    definitions: Definitions
    start_ns: int
    stop_ns: int


def in_log_order(sections: Sequence[Section], wanted: Mapping[McapFile, Wanted]) -> Iterator[Found]:
    """Messages of sections in log order; those of one log time in the order of the file.

    Args:
        sections: Of one file or of several.
        wanted: What is wanted of each file.

    Yields:
        Topic, message, log time in ns.

    Raises:
        DataError: If a file is damaged, or chunks overlap so widely that they cannot be merged.
    """
    matter = [s for s in enumerate(sections) if _matters(s[1], wanted[s[1].file])]
    matter.sort(key=lambda entry: entry[1].start_ns)
    held: list[_Held] = []
    for _, section in matter[:AHEAD]:
        section.ask()
    for index, (number, section) in enumerate(matter):
        for _, far in matter[index + AHEAD : index + AHEAD + 1]:
            far.ask()
        next_ns = matter[index + 1][1].start_ns if index + 1 < len(matter) else 2**64
        found, size = messages_of(section, wanted[section.file])
        # Quick where it is in order already, which is how recorders write.
        found.sort(key=_LOG_NS)
        held.append(_Held(number, found, size))
        held.sort(key=_NUMBER)
        ready: list[Found] = []
        for part in held:
            count = bisect.bisect_left(part.found, next_ns, key=_LOG_NS)
            ready += part.found[:count]
            del part.found[:count]
        ready.sort(key=_LOG_NS)
        yield from ready
        held = [part for part in held if part.found]
        if len(held) > 1 and sum(part.size for part in held) > MAX_HELD_BYTES:
            raise section.file.error(
                "has chunks that overlap in time too widely to be merged; sort it first (mcap sort)"
            )


class _Held(NamedTuple):
    """Messages of a section that wait for those of sections that begin before they are due."""

    number: int
    found: list[Found]
    size: int


def _matters(section: Section, wanted: Wanted) -> bool:
    known = section.channels
    return (
        section.start_ns < wanted.stop_ns
        and section.end_ns >= wanted.start_ns
        and (known is None or not known.isdisjoint(wanted.channels))
    )


def messages_of(section: Section, wanted: Wanted) -> tuple[list[Found], int]:
    """Wanted messages of one section in the order of the file, and the memory that they hold.

    Raises:
        DataError: If it is damaged.
    """
    file, data, packing = section.file, b"", ""
    begin, stop = section.offset, section.stop
    if section.is_chunk:
        head = chunk_head(file, begin, stop)
        packing = head.packing
        if packing:
            data = unpack(file, head)
            begin, stop = 0, len(data)
        else:
            begin, stop = head.begin, head.begin + head.packed
    with file.damage_named():
        found = _walk(file, (begin, stop), data, wanted)
    if found:
        low, high = min(found, key=_LOG_NS)[2], max(found, key=_LOG_NS)[2]
        if low < section.start_ns or high > section.end_ns:
            raise file.error(
                f"is damaged: the chunk at {section.offset} says {section.start_ns} to "
                f"{section.end_ns} ns and has messages of {low} to {high} ns"
            )
    return found, max(len(data), len(found) * WHOLE_BYTES)


def _walk(file: McapFile, span: tuple[int, int], packed: bytes, wanted: Wanted) -> list[Found]:
    """Messages among the records of a span of the file, or of what a chunk unpacked to.

    The inner loop of every conversion, so a few names are looked up before it.
    """
    channels, definitions, start_ns, stop_ns = wanted
    path, message_head, before = file.path, MESSAGE_HEAD.unpack_from, RECORD.size
    found: list[Found] = []
    for opcode, at, stop, window, here in records(file, *span, packed):
        if opcode != MESSAGE:
            continue
        channel, _, log_ns, _ = message_head(window, here + before)
        named = channels.get(channel)
        if named is None or not start_ns <= log_ns < stop_ns:
            continue
        first, size, place = here + _BEFORE_DATA, stop - at - _BEFORE_DATA, None
        if size < 0:
            raise ValueError(f"the message at {at} has only {stop - at} bytes")
        if stop - at <= WHOLE_BYTES:
            data: bytes | memoryview = window[first : first + size]
        elif packed:
            data = memoryview(packed)[first : first + size]
        else:
            data = window[first : first + HEAD_BYTES]
            place = Place(path, at + _BEFORE_DATA, size)
        found.append((named[0], LazyMessage(data, named[1], definitions, place), log_ns))
    return found
