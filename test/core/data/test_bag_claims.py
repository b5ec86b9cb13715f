# SPDX-License-Identifier: Apache-2.0
"""Laws of bags that lie: files of few bytes whose lengths, places and names promise what is not so.

Memory is watched, because a length that is believed before it is checked shows there first.
"""

import contextlib
import struct
import tracemalloc
from pathlib import Path

import pytest
from lz4.frame import compress as lz4_compress
from mcap.writer import CompressionType, Writer

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_mcap import zstd
from uwm_core.errors import DataError

MAGIC = b"\x89MCAP0\r\n"
TEN_GB = 10 * 2**30
FLOAT = "std_msgs/msg/Float32"
Message = tuple[str, int, bytes]


def everything(path: Path, *, recover: bool = False) -> list[Message]:
    """All messages, each looked at as closely as can be."""
    with BagReader(path, recover=recover) as reader:
        found = []
        for topic, message, log_ns in reader.messages(reader.topics):
            found.append((topic, log_ns, message.raw))
            with contextlib.suppress(AttributeError, DataError):
                _ = message.data
        return found


def refusal(path: Path, *, recover: bool = False) -> str:
    """The one line with which a bag is refused."""
    with pytest.raises(DataError) as caught:
        everything(path, recover=recover)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def text(words: str) -> bytes:
    return struct.pack("<I", len(words)) + words.encode()


def message(channel: int, log_ns: int, data: bytes) -> bytes:
    return record(5, struct.pack("<HIQQ", channel, 0, log_ns, log_ns) + data)


def chunk(records: bytes, *, packing: str = "", unpacked: int | None = None) -> bytes:
    size = len(records) if unpacked is None else unpacked
    head = struct.pack("<QQQI", 1, 9, size, 0) + text(packing)
    return record(6, head + struct.pack("<Q", len(records)) + records)


SCHEMA = record(3, struct.pack("<H", 1) + text(FLOAT) + text("ros2msg") + text("float32 data\n"))
CHANNEL = record(4, struct.pack("<HH", 1, 1) + text("/f") + text("cdr") + text(""))
HEADER = record(1, text("ros2") + text("test"))
CDR = b"\0\1\0\0" + struct.pack("<f", 0.5)
END = record(15, bytes(4)) + record(2, bytes(20)) + MAGIC


def write(path: Path, *records: bytes) -> Path:
    path.write_bytes(b"".join([MAGIC, HEADER, *records, END]))
    return path


CLAIMS = {
    "record": struct.pack("<BQ", 6, TEN_GB) + bytes(100),
    "message": CHANNEL + struct.pack("<BQ", 5, TEN_GB) + bytes(100),
    "metadata": struct.pack("<BQ", 12, TEN_GB) + bytes(100),
    "string": record(3, struct.pack("<HI", 1, 0xFFFFFFFF)) + bytes(100),
    "map": record(4, struct.pack("<HH", 1, 1) + text("/f") + text("cdr") + b"\xff\xff\xff\x7f"),
    "chunk": chunk(b"", unpacked=TEN_GB),
    "zstd": chunk(b"\x28\xb5\x2f\xfd" + bytes(50), packing="zstd", unpacked=TEN_GB),
    "lz4": chunk(b"\x04\x22\x4d\x18" + bytes(50), packing="lz4", unpacked=TEN_GB),
    "lzma": chunk(b"\0", packing="lzma"),
    "nested": chunk(struct.pack("<BQ", 5, 2**63) + bytes(40)),
    "short message": SCHEMA + CHANNEL + chunk(record(5, b"\1\0")),
}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("recover", [False, True])
def test_a_claim_of_ten_gigabytes_costs_no_memory(tmp_path: Path, name: str, recover: bool) -> None:
    path = write(tmp_path / "bag.mcap", SCHEMA, CLAIMS[name])
    tracemalloc.start()
    try:
        refusal(path, recover=recover)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("packing", ["zstd", "lz4"])
def test_a_chunk_that_unpacks_to_more_than_it_says_is_stopped(tmp_path: Path, packing: str) -> None:
    bomb = bytes(300 * 2**20)
    packed = zstd.compress(bomb) if packing == "zstd" else lz4_compress(bomb)
    path = write(
        tmp_path / "bag.mcap", SCHEMA, CHANNEL, chunk(packed, packing=packing, unpacked=99)
    )
    del bomb
    tracemalloc.start()
    try:
        assert "does not unpack to its size" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_a_file_without_any_index_is_read_by_its_records(tmp_path: Path) -> None:
    inside = message(1, 3, CDR) + message(1, 2, CDR)
    path = write(tmp_path / "bag.mcap", SCHEMA, CHANNEL, chunk(inside), message(1, 1, CDR))
    assert [(ns, data) for _, ns, data in everything(path)] == [(1, CDR), (2, CDR), (3, CDR)]


def lying(path: Path, **lies: int) -> Path:
    """A file whose only chunk index lies about one of its fields, or that is listed twice."""
    data = SCHEMA + CHANNEL + message(1, 5, CDR)
    begin = len(MAGIC + HEADER)
    body = MAGIC + HEADER + chunk(data) + record(15, bytes(4))
    index = {
        "start": 1,
        "end": 9,
        "offset": begin,
        "length": len(chunk(data)),
        "map": 0,
        "behind": 0,
    } | {key: value for key, value in lies.items() if key not in ("times", "foot")}
    entry = struct.pack("<QQQQIQ", *index.values()) + text("") + struct.pack("<QQ", 1, 1)
    times = lies.get("times", 1)
    statistics = struct.pack("<QHIIIIQQI", 1, 1, 1, 0, 0, times, 5, 5, 10) + struct.pack(
        "<HQ", 1, 1
    )
    summary = SCHEMA + CHANNEL + record(8, entry) * times + record(11, statistics)
    foot = record(2, struct.pack("<QQI", lies.get("foot", len(body)), 0, 0)) + MAGIC
    path.write_bytes(body + summary + foot)
    return path


def test_the_liar_tells_the_truth_when_asked(tmp_path: Path) -> None:
    assert everything(lying(tmp_path / "bag.mcap")) == [("/f", 5, CDR)]


@pytest.mark.parametrize(
    "lie",
    [
        {"offset": TEN_GB},
        {"offset": 0},
        {"offset": 30},
        {"length": TEN_GB},
        {"length": 12},
        {"length": 2**64 - 1},
        {"behind": TEN_GB},
        {"map": 2**31},
        {"start": 6},
        {"end": 4},
        {"times": 2},
        {"foot": TEN_GB},
        {"foot": 9},
    ],
    ids=str,
)
def test_an_index_that_points_elsewhere_is_refused_and_recovered(
    tmp_path: Path, lie: dict[str, int]
) -> None:
    path = lying(tmp_path / "bag.mcap", **lie)
    refusal(path)
    if not lie.keys() & {"start", "end"}:  # its summary is then well-formed, and believed
        assert everything(path, recover=True) == [("/f", 5, CDR)]


def test_a_channel_without_schema_is_an_error_only_when_decoded(tmp_path: Path) -> None:
    nameless = record(4, struct.pack("<HH", 2, 0) + text("/n") + text("cdr") + text(""))
    path = write(
        tmp_path / "bag.mcap", SCHEMA, CHANNEL, nameless, message(1, 1, CDR), message(2, 2, CDR)
    )
    with BagReader(path) as reader:
        assert [m.data for _, m, _ in reader.messages(["/f"])] == [0.5]
        ((_, found, _),) = reader.messages(["/n"])
        with pytest.raises(DataError, match="no definition of a message without a type"):
            _ = found.data


def test_a_type_without_definition_is_an_error_only_when_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.ZSTD)
        writer.start("ros2")
        for name, definition in (
            ("strange_msgs/msg/Named", ""),
            ("strange_msgs/msg/Bad", "no field at all ]["),
            (
                "strange_msgs/msg/Good",
                "float32 data\nstrange_msgs/Inner inner\n"
                + "=" * 80
                + "\nMSG: strange_msgs/Inner\nbuiltin_interfaces/Time when\n",
            ),
        ):
            schema = writer.register_schema(name, "ros2msg", definition.encode())
            channel = writer.register_channel(f"/{name[-4:].strip('/')}", "cdr", schema)
            writer.add_message(channel, 1, CDR + struct.pack("<iI", 7, 8), 1)
        writer.register_channel("/json", "json", 0)
        writer.finish()
    with BagReader(path) as reader:
        found = {topic: m for topic, m, _ in reader.messages(reader.topics.keys() - {"/json"})}
        assert found["/Good"].data == 0.5
        assert found["/Good"].inner.when.sec == 7
        with pytest.raises(DataError, match="no definition of strange_msgs/msg/Named"):
            _ = found["/amed"].data
        with pytest.raises(DataError, match="the bag's definition of strange_msgs/msg/Bad is bad"):
            _ = found["/Bad"].data
        with pytest.raises(DataError, match="/json is serialized as 'json'"):
            list(reader.messages(["/json"]))


def test_a_file_with_a_header_and_nothing_else_is_empty(tmp_path: Path) -> None:
    assert "has no messages" in refusal(write(tmp_path / "bag.mcap"))
