# SPDX-License-Identifier: Apache-2.0
"""Laws of bags: what is written is read back, whole or absent, and broken files say so."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer

from uwm_core.data.bag import BagReader, BagWriter, LazyMessage
from uwm_core.data.bag_types import standard_types
from uwm_core.data.topics import resolve_topics
from uwm_core.errors import DataError

JOINT_STATE = "sensor_msgs/msg/JointState"
IMAGE = "sensor_msgs/msg/Image"


def raw(bags: SimpleNamespace, stamp: int) -> bytes:
    msg = bags.joint_msg(bags.ARM, bags.joints_at(stamp), stamp)
    return bytes(standard_types().serialize_cdr(msg, JOINT_STATE))


@pytest.mark.parametrize("compress", [False, True])
def test_messages_come_back_in_log_order(
    tmp_path: Path, bags: SimpleNamespace, compress: bool
) -> None:
    rows = list(bags.streams(0.5))
    path = bags.write_bag(tmp_path / "bag", rows, compress=compress)
    with BagReader(path) as reader:
        found = list(reader.messages(reader.topics))
        assert reader.start_ns == rows[0].receive_ns
        assert reader.end_ns == rows[-1].receive_ns
    assert [(t, ns) for t, _, ns in found] == [(r.topic, r.receive_ns) for r in rows]
    for row, (_, msg, _) in zip(rows, found, strict=True):
        if hasattr(row.msg, "header"):
            assert msg.header.stamp.sec == row.msg.header.stamp.sec
            assert msg.header.stamp.nanosec == row.msg.header.stamp.nanosec
        if row.type == JOINT_STATE:
            assert list(msg.name) == list(row.msg.name)
            np.testing.assert_array_equal(msg.position, row.msg.position)


def test_sqlite_bags_are_read_too(tmp_path: Path, bags: SimpleNamespace) -> None:
    with Writer(tmp_path / "old", version=8, storage_plugin=StoragePlugin.SQLITE3) as writer:
        link = writer.add_connection(
            "/franka/joint_states", JOINT_STATE, typestore=standard_types()
        )
        for stamp in (bags.START_NS, bags.START_NS + 5):
            writer.write(link, stamp, raw(bags, stamp))
    with BagReader(tmp_path / "old") as reader:
        found = [ns for _, _, ns in reader.messages(["/franka/joint_states"])]
    assert found == [bags.START_NS, bags.START_NS + 5]


def test_metadata_comes_back(good_bag: Path) -> None:
    with BagReader(good_bag) as reader:
        assert reader.metadata["uwm.task"] == "lift the cube"
        assert reader.topics["/front/color/image_raw"] == (IMAGE, 60)


def test_text_of_any_kind_survives_as_metadata(tmp_path: Path, bags: SimpleNamespace) -> None:
    text = 'Wörter: "quoted"\n\ttab, # no comment\n'
    with BagWriter(tmp_path / "bag", {"/j": JOINT_STATE}) as writer:
        writer.write("/j", raw(bags, bags.START_NS), bags.START_NS)
        writer.set_metadata("uwm.note", text)
    with BagReader(tmp_path / "bag") as reader:
        assert reader.metadata["uwm.note"] == text


def test_the_layout_is_that_of_rosbag2(good_bag: Path) -> None:
    info = yaml.safe_load((good_bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["storage_identifier"] == "mcap"
    assert info["relative_file_paths"] == ["good.mcap"]
    assert (good_bag / "good.mcap").read_bytes()[:8] == b"\x89MCAP0\r\n"
    assert (
        sum(t["message_count"] for t in info["topics_with_message_count"])
        == (info["message_count"])
    )


@pytest.mark.parametrize(
    "type_name", [IMAGE, JOINT_STATE, "uwm_ros/msg/ActionChunk", "uwm_ros/msg/SimTask"]
)
def test_definitions_are_embedded_so_that_any_tool_can_read(tmp_path: Path, type_name: str) -> None:
    with BagWriter(tmp_path / "bag", {"/x": type_name}) as writer:
        writer.write("/x", b"\0\1\0\0" + b"\0" * 64, 1)
    # Without a typestore of its own the library must take the definitions from the file.
    with AnyReader([tmp_path / "bag"]) as reader:
        (connection,) = reader.connections
        assert connection.msgtype == type_name
        assert "Header header" in connection.msgdef.data
        assert type_name in reader.typestore.types


def test_a_type_that_nobody_defines_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no definition of strange_msgs/msg/Thing"):
        BagWriter(tmp_path / "bag", {"/x": "strange_msgs/msg/Thing"})
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_whole_or_absent(tmp_path: Path, bags: SimpleNamespace) -> None:
    writer = BagWriter(tmp_path / "bag", {"/j": JOINT_STATE})
    writer.write("/j", raw(bags, bags.START_NS), 1)
    assert not (tmp_path / "bag").exists()
    assert writer.close() == tmp_path / "bag"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag"]


def test_an_aborted_bag_leaves_nothing(tmp_path: Path, bags: SimpleNamespace) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "bag", {"/j": JOINT_STATE}) as writer:
        writer.write("/j", raw(bags, bags.START_NS), 1)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_never_overwritten(good_bag: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        BagWriter(good_bag)


def test_what_was_not_announced_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", {"/j": JOINT_STATE}) as writer:
        writer.write("/j", b"\0\1\0\0" + b"\0" * 32, 1)
        with pytest.raises(DataError, match="/k was not announced"):
            writer.write("/k", b"", 1)


def test_threads_may_write_at_once(tmp_path: Path, bags: SimpleNamespace) -> None:
    topics = {f"/j{i}": JOINT_STATE for i in range(4)}
    writer = BagWriter(tmp_path / "bag", topics)

    def work(topic: str) -> None:
        for k in range(200):
            writer.write(topic, raw(bags, bags.START_NS + k), bags.START_NS + k)

    threads = [threading.Thread(target=work, args=(topic,)) for topic in topics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    with BagReader(tmp_path / "bag") as reader:
        assert {t: info.messages for t, info in reader.topics.items()} == dict.fromkeys(topics, 200)
        assert len(list(reader.messages(topics))) == 800


def test_a_big_endian_stamp_is_read(bags: SimpleNamespace) -> None:
    msg = bags.joint_msg(bags.ARM, bags.joints_at(bags.START_NS), bags.START_NS + 5)
    data = bytes(standard_types().serialize_cdr(msg, JOINT_STATE, little_endian=False))
    lazy = LazyMessage(data, JOINT_STATE)
    assert lazy.header.stamp.sec * bags.NS + lazy.header.stamp.nanosec == bags.START_NS + 5
    np.testing.assert_array_equal(lazy.position, msg.position)


@pytest.mark.parametrize("size", [0, 3, 11, 30])
def test_a_message_that_is_cut_off_is_refused(bags: SimpleNamespace, size: int) -> None:
    lazy = LazyMessage(raw(bags, bags.START_NS)[:size], JOINT_STATE)
    with pytest.raises(DataError, match=JOINT_STATE):
        _ = lazy.position


def test_no_bag_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such bag"), BagReader(tmp_path / "no"):
        pass
    with pytest.raises(DataError, match=r"no metadata\.yaml"), BagReader(tmp_path):
        pass


def test_an_empty_bag_is_said(tmp_path: Path) -> None:
    BagWriter(tmp_path / "bag", {"/j": JOINT_STATE}).close()
    with pytest.raises(DataError, match="bag is empty"), BagReader(tmp_path / "bag"):
        pass


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_bag_is_one_line_that_names_it(
    tmp_path: Path, bags: SimpleNamespace, share: float
) -> None:
    path = bags.write_bag(tmp_path / "bag", bags.streams(0.3))
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises(DataError) as caught, BagReader(path) as reader:
        for _, msg, _ in reader.messages(reader.topics):
            _ = msg.header
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_turned_over_never_crash_the_reader(tmp_path: Path, bags: SimpleNamespace) -> None:
    path = bags.write_bag(tmp_path / "bag", bags.streams(0.1, image_hz=10))
    file = path / "bag.mcap"
    good = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(15):
        bad = bytearray(good)
        for place in rng.integers(0, len(bad), 8):
            bad[place] ^= int(rng.integers(1, 256))
        file.write_bytes(bad)
        try:
            with BagReader(path) as reader:
                for topic, msg, _ in reader.messages(reader.topics):
                    _ = msg.data if "client" in topic else msg.header
        except DataError as error:
            assert "\n" not in str(error)


TOPICS = ["front/color/image_raw", "franka/joint_states"]


def test_topics_are_found_under_a_namespace() -> None:
    present = ["/left/front/color/image_raw", "/left/franka/joint_states", "/tf"]
    assert resolve_topics(TOPICS, present) == {t: f"/left/{t}" for t in TOPICS}


def test_an_absolute_topic_is_taken_literally() -> None:
    assert resolve_topics(["/tf"], ["/tf", "/left/tf"]) == {"/tf": "/tf"}


def test_two_robots_need_a_choice() -> None:
    present = [f"/{side}/{topic}" for side in ("left", "right") for topic in TOPICS]
    with pytest.raises(DataError, match=r"several namespaces \(/left, /right\)"):
        resolve_topics(TOPICS, present)
    assert resolve_topics(TOPICS, present, "right")[TOPICS[0]] == f"/right/{TOPICS[0]}"


def test_a_missing_topic_is_named_with_what_is_there() -> None:
    with pytest.raises(DataError, match=r"no topic /franka/joint_states\.") as caught:
        resolve_topics(TOPICS, ["/front/color/image_raw", "/franka/joint_state"])
    assert "Did you mean '/franka/joint_state'" in str(caught.value)
