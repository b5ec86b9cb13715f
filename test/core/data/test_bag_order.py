# SPDX-License-Identifier: Apache-2.0
"""Laws of reading: the order, the selection and the layouts of bags, with rosbags as the oracle.

Bags are written by the ``mcap`` package and by rosbags, as other recorders would write them.
"""

import os
import random
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType, IndexType, Writer
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    Reader,
    StoragePlugin,
)
from rosbags.rosbag2 import Writer as RosbagsWriter

from uwm_core.data.bag import BagReader, LazyMessage
from uwm_core.data.bag_types import definition, standard_types
from uwm_core.errors import DataError

IMAGE = "sensor_msgs/msg/Image"
FLOAT = "std_msgs/msg/Float32"
Found = tuple[str, int, bytes]


def read(path: Path, topics: list[str] | None = None, **span: int) -> list[Found]:
    with BagReader(path) as reader:
        wanted = reader.topics if topics is None else topics
        return [(t, ns, m.raw) for t, m, ns in reader.messages(wanted, **span)]


def oracle(path: Path) -> list[Found]:
    with Reader(path) as reader:
        return [(c.topic, ns, bytes(data)) for c, ns, data in reader.messages()]


def number(value: int, size: int = 4) -> bytes:
    """A message of its own kind for each value."""
    return b"\0\1\0\0" + struct.pack("<I", value) + bytes(size - 4)


def write_mcap(path: Path, rows: list[Found], **options: object) -> Path:
    with path.open("wb") as stream:
        writer = Writer(stream, **options)  # type: ignore[arg-type]
        writer.start("ros2")
        schema = writer.register_schema(FLOAT, "ros2msg", definition(FLOAT)[0].encode())
        channels = {
            topic: writer.register_channel(topic, "cdr", schema)
            for topic in sorted({topic for topic, _, _ in rows})
        }
        for topic, log_ns, data in rows:
            writer.add_message(channels[topic], log_ns, data, log_ns)
        writer.finish()
    return path


KINDS = [CompressionType.NONE, CompressionType.LZ4, CompressionType.ZSTD]


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stamps=st.lists(st.integers(0, 300), min_size=1, max_size=120),
    chunk=st.sampled_from([100, 400, 10_000]),
    sizes=st.randoms(use_true_random=False),
)
def test_chunks_that_overlap_are_merged_as_rosbags_does(
    tmp_path: Path, kind: CompressionType, stamps: list[int], chunk: int, sizes: random.Random
) -> None:
    rows = [
        (f"/t{i % 3}", ns, number(i, sizes.choice([4, 60, 5000, 40_000])))
        for i, ns in enumerate(stamps)
    ]
    path = write_mcap(tmp_path / "bag.mcap", rows, compression=kind, chunk_size=chunk)
    # Sorting is stable: messages of one moment keep the order in which they were recorded.
    assert read(path) == sorted(rows, key=lambda row: row[1])
    assert [row[1] for row in read(path)] == [row[1] for row in oracle(path)]
    assert sorted(read(path)) == sorted(oracle(path))


@pytest.mark.parametrize(
    "options",
    [
        {"use_chunking": False},
        {"index_types": IndexType.NONE},
        {"index_types": IndexType.MESSAGE},
        {"index_types": IndexType.CHUNK},
        {"use_statistics": False},
        {"use_summary_offsets": False, "repeat_channels": False, "repeat_schemas": False},
        {"enable_crcs": False},
    ],
    ids=str,
)
def test_what_a_writer_may_leave_out_is_not_missed(
    tmp_path: Path, options: dict[str, object]
) -> None:
    rng = random.Random(0)
    rows = [
        (f"/t{k % 2}", rng.randrange(1000), number(k, rng.choice([4, 9000]))) for k in range(400)
    ]
    path = write_mcap(tmp_path / "bag.mcap", rows, chunk_size=4000, **options)
    assert read(path) == sorted(rows, key=lambda row: row[1])
    with BagReader(path) as reader:
        assert {t: info.messages for t, info in reader.topics.items()} == {"/t0": 200, "/t1": 200}
        stamps = [ns for _, ns, _ in rows]
        assert (reader.start_ns, reader.end_ns) == (min(stamps), max(stamps))


@pytest.mark.parametrize("kind", KINDS)
def test_a_span_and_topics_select_what_a_filter_would(
    tmp_path: Path, kind: CompressionType
) -> None:
    rng = random.Random(1)
    rows = sorted(
        [(f"/t{k % 3}", rng.randrange(500), number(k)) for k in range(600)], key=lambda row: row[1]
    )
    path = write_mcap(tmp_path / "bag.mcap", rows, compression=kind, chunk_size=700)
    everything = read(path)
    for start, stop in ((0, 500), (100, 101), (250, 400), (499, 10**9), (0, 0), (600, 700)):
        found = read(path, ["/t0", "/t2", "/absent"], start_ns=start, stop_ns=stop)
        wanted = [r for r in everything if start <= r[1] < stop and r[0] in ("/t0", "/t2")]
        assert found == wanted


def split(folder: Path, rows: list[Found], plugin: StoragePlugin) -> Path:
    """A bag of three files, cut as a recorder cuts: the joints overlap a little."""
    folder.mkdir()
    names = []
    for part in range(3):
        bag = folder / f"part{part}"
        with RosbagsWriter(bag, version=8, storage_plugin=plugin) as writer:
            links = {
                topic: writer.add_connection(topic, FLOAT, typestore=standard_types())
                for topic in ("/t0", "/t1")
            }
            for topic, log_ns, data in rows[part * 100 : part * 100 + 100]:
                writer.write(links[topic], log_ns, data)
        (file,) = [p for p in bag.iterdir() if p.suffix != ".yaml"]
        names.append(file.name)
        os.replace(file, folder / file.name)
        info = yaml.safe_load((bag / "metadata.yaml").read_text())
    root = info["rosbag2_bagfile_information"]
    root["relative_file_paths"] = names
    root["custom_data"] = {"uwm.task": "stack"}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(info))
    return folder


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_split_bag_is_one_bag_in_order_of_time(tmp_path: Path, plugin: StoragePlugin) -> None:
    rows = [(f"/t{k % 2}", k * 10 + 55 * (k % 7), number(k)) for k in range(300)]
    path = split(tmp_path / "bag", rows, plugin)
    assert [ns for _, ns, _ in read(path)] == sorted(ns for _, ns, _ in rows)
    assert sorted(read(path)) == sorted(rows)
    with BagReader(path) as reader:
        assert reader.metadata == {"uwm.task": "stack"}
        assert reader.topics["/t0"].messages == 150
        assert reader.end_ns == max(ns for _, ns, _ in rows)
    (path / next(iter(path.glob("part1*"))).name).unlink()
    with pytest.raises(DataError, match="lacks its files part1"), BagReader(path):
        pass


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_files_and_messages_that_rosbag2_compressed_are_read(
    tmp_path: Path, mode: CompressionMode, plugin: StoragePlugin
) -> None:
    rows = [("/t", k, number(k)) for k in range(50)]
    writer = RosbagsWriter(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        link = writer.add_connection("/t", FLOAT, typestore=standard_types())
        for _, log_ns, data in rows:
            writer.write(link, log_ns, data)
    assert read(tmp_path / "bag") == rows


@pytest.mark.parametrize("version", [5, 6, 7, 8, 9])
@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_metadata_of_every_release_since_humble_is_read(
    tmp_path: Path, version: int, plugin: StoragePlugin
) -> None:
    path = tmp_path / "bag"
    with RosbagsWriter(path, version=9 if version == 9 else 8, storage_plugin=plugin) as writer:
        link = writer.add_connection("/t", FLOAT, typestore=standard_types())
        writer.write(link, 7, number(7))
        writer.set_custom_data("uwm.task", "stack")
    info = yaml.safe_load((path / "metadata.yaml").read_text())
    root = info["rosbag2_bagfile_information"]
    root["version"] = version
    added = {6: "custom_data", 8: "ros_distro"}
    for key in [key for since, key in added.items() if version < since]:
        del root[key]
    if version < 7:
        for topic in root["topics_with_message_count"]:
            del topic["topic_metadata"]["type_description_hash"]
    (path / "metadata.yaml").write_text(yaml.safe_dump(info))
    assert read(path) == [("/t", 7, number(7))]
    with BagReader(path) as reader:
        known = plugin is StoragePlugin.MCAP or version >= 6  # MCAP says it inside too
        assert reader.metadata == ({"uwm.task": "stack"} if known else {})


def test_a_large_message_is_read_from_its_place_in_any_process(
    good_bag: Path, bags: SimpleNamespace
) -> None:
    with BagReader(good_bag) as reader:
        found = [m for _, m, _ in reader.messages(["/front/color/image_raw"])]
    # After the reader is closed, as in another process.
    for message in found:
        message.ask()
        place = message.place
        assert place is not None
        with open(place.path, "rb") as file:
            file.seek(place.offset)
            assert file.read(place.size) == message.raw
        other = LazyMessage.at(place, IMAGE)
        assert other.header == message.header
        assert bytes(other.data) == bytes(message.data)


def test_messages_that_are_packed_or_small_have_no_place(
    tmp_path: Path, bags: SimpleNamespace, good_bag: Path
) -> None:
    packed = bags.write_bag(tmp_path / "bag", bags.streams(0.2), compress=True)
    with BagReader(packed) as reader:
        assert all(m.place is None for _, m, _ in reader.messages(reader.topics))
    with BagReader(good_bag) as reader:
        assert all(m.place is None for _, m, _ in reader.messages(["/franka/joint_states"]))


def test_a_message_whose_file_is_gone_is_said(tmp_path: Path, bags: SimpleNamespace) -> None:
    path = bags.write_bag(tmp_path / "bag", bags.streams(0.2))
    with BagReader(path) as reader:
        (first, *_) = [m for _, m, _ in reader.messages(["/front/color/image_raw"])]
    file = path / "bag.mcap"
    os.truncate(file, 500)
    with pytest.raises(DataError, match="ends within the message"):
        _ = first.data
    file.unlink()
    first.ask()  # only a hint: it is the reading that fails
    with pytest.raises(DataError, match="cannot be read: No such file"):
        _ = first.data


def test_identity_follows_content_and_not_names_or_labels(
    tmp_path: Path, bags: SimpleNamespace
) -> None:
    def identity(path: Path) -> str:
        with BagReader(path) as reader:
            return reader.identity

    path = bags.write_bag(tmp_path / "bag", bags.streams(1.0), metadata={})
    before = identity(path)
    assert before == identity(path)
    with (path / "metadata.yaml").open("a") as file:
        file.write("# relabelled\n")
    moved = path.rename(tmp_path / "elsewhere")
    assert identity(moved) == before == identity(moved / "bag.mcap")
    other = bags.write_bag(tmp_path / "other", bags.streams(1.0, start_ns=bags.START_NS + 1))
    assert identity(other) != before
