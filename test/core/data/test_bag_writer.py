# SPDX-License-Identifier: Apache-2.0
"""Laws of written bags: others read them (``mcap`` and rosbags are the oracles), kills lose little.

A copy of the part while the writer works is what a kill at that moment leaves: nothing is buffered
in the process but the chunk that is being gathered. One real kill checks that.
"""

import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mcap.reader import make_reader
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader

from uwm_core.cli.main import main
from uwm_core.data.bag import BagReader, BagWriter
from uwm_core.data.bag_recover import recover_bag
from uwm_core.data.bag_types import Definition, standard_types
from uwm_core.errors import DataError

FLOAT = "std_msgs/msg/Float32"
IMAGE = "sensor_msgs/msg/Image"
STEP_NS = 10_000_000
Found = tuple[str, int, bytes]


def rows(count: int, seed: int = 0) -> list[Found]:
    """Small and large messages, 10 ms apart."""
    rng = random.Random(seed)
    return [
        (f"/t{k % 3}", (k + 1) * STEP_NS, b"\0\1\0\0" + rng.randbytes(rng.choice([4, 500, 60_000])))
        for k in range(count)
    ]


def written(path: Path, messages: list[Found], **options: bool) -> Path:
    topics = dict.fromkeys(("/t0", "/t1", "/t2"), FLOAT)
    with BagWriter(path, topics, metadata={"uwm.task": "lift"}, **options) as writer:
        for topic, log_ns, data in messages:
            writer.write(topic, data, log_ns)
    return path


def read(path: Path, *, recover: bool = False) -> list[Found]:
    with BagReader(path, recover=recover) as reader:
        return [(t, ns, m.raw) for t, m, ns in reader.messages(reader.topics)]


@pytest.mark.parametrize("compress", [False, True])
def test_the_mcap_package_reads_what_is_written_and_finds_every_checksum_right(
    tmp_path: Path, compress: bool
) -> None:
    messages = rows(300)
    path = written(tmp_path / "bag", messages, compress=compress)
    with (path / "bag.mcap").open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        found = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
        assert found == messages
        some = reader.iter_messages(topics=["/t1"], start_time=STEP_NS * 50, end_time=STEP_NS * 90)
        wanted = [r for r in messages if r[0] == "/t1" and STEP_NS * 50 <= r[1] < STEP_NS * 90]
        assert [(c.topic, m.log_time, m.data) for _, c, m in some] == wanted
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == 300
        assert summary.statistics.chunk_count == len(summary.chunk_indexes)
        assert {"uwm", "rosbag2"} == {record.name for record in reader.iter_metadata()}
    with BagReader(path) as ours:
        ours.verify()


@pytest.mark.parametrize("compress", [False, True])
def test_rosbags_reads_what_is_written(tmp_path: Path, compress: bool) -> None:
    messages = rows(200)
    path = written(tmp_path / "bag", messages, compress=compress)
    with Reader(path) as reader:
        found = [(c.topic, ns, bytes(data)) for c, ns, data in reader.messages()]
        assert found == messages
        assert {c.digest for c in reader.connections} == {standard_types().hash_rihs01(FLOAT)}


def test_the_same_messages_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (written(tmp_path / name / "bag", rows(50)) for name in ("one", "two"))
    for name in ("bag.mcap", "metadata.yaml"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_memory_that_the_caller_uses_again_is_copied(tmp_path: Path) -> None:
    buffer = bytearray(50_000)
    with BagWriter(tmp_path / "bag", {"/t": FLOAT}) as writer:
        for k in range(5):
            buffer[:8] = struct.pack("<II", 256, k)
            writer.write("/t", memoryview(buffer), k)
    assert [struct.unpack("<II", data[:8])[1] for _, _, data in read(tmp_path / "bag")] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(("reliable", "latched"), [(True, True), (False, False), (False, True)])
def test_quality_of_service_is_kept_through_recovery(
    tmp_path: Path, reliable: bool, latched: bool
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/t", FLOAT, reliable=reliable, latched=latched)
        writer.write("/t", bytes(8), 1)
    for path in (tmp_path / "bag", recover_bag(tmp_path / "bag")):
        with Reader(path) as reader:
            (connection,) = reader.connections
            (qos,) = connection.ext.offered_qos_profiles
        assert (qos.reliability is QosReliability.RELIABLE) == reliable
        assert (qos.durability is QosDurability.TRANSIENT_LOCAL) == latched


@pytest.mark.parametrize("compress", [False, True])
def test_a_kill_at_any_moment_loses_half_a_second_at_most(tmp_path: Path, compress: bool) -> None:
    messages = rows(400)
    topics = dict.fromkeys(("/t0", "/t1", "/t2"), FLOAT)
    writer = BagWriter(tmp_path / "bag", topics, metadata={"uwm.task": "a"}, compress=compress)
    moments = set(random.Random(2).sample(range(100, 400), 20))
    for k, (topic, log_ns, data) in enumerate(messages):
        writer.write(topic, data, log_ns)
        if k == 200:
            writer.set_metadata("uwm.task", "b")
        if k not in moments:
            continue
        left = tmp_path / "left.part"
        shutil.copytree(tmp_path / "bag.part", left)
        saved = read(left, recover=True)
        assert saved == messages[: len(saved)]
        assert saved[-1][1] >= log_ns - 500_000_000
        with BagReader(left, recover=True) as reader:
            assert reader.metadata["uwm.task"] == ("b" if k >= 200 else "a")
        shutil.rmtree(left)
    writer.abort()


def test_a_real_kill_leaves_what_recover_makes_a_bag_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys; from uwm_core.data.bag import BagWriter\n"
        f"w = BagWriter(sys.argv[1], {{'/t': {FLOAT!r}}}, metadata={{'uwm.task': 'lift'}})\n"
        "for k in range(10**9):\n"
        "    w.write('/t', k.to_bytes(2000, 'little'), k * 10**7)\n"
        "    k == 5000 and print('go', flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bag")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    part = tmp_path / "bag.part"
    before = {file.name: file.stat().st_size for file in part.iterdir()}
    with pytest.raises(DataError, match="a recording that was cut off"), BagReader(part):
        pass
    assert main(["bag", "recover", str(part)]) == 0
    whole = tmp_path / "bag_recovered"
    assert capsys.readouterr().out == f"{whole}\n"
    assert {file.name: file.stat().st_size for file in part.iterdir()} == before
    found = read(whole)
    assert len(found) > 4900
    assert found == [("/t", k * 10**7, k.to_bytes(2000, "little")) for k in range(len(found))]
    with BagReader(whole) as reader:
        assert reader.metadata == {"uwm.task": "lift", "uwm.recovered": "bag.part"}
    with Reader(whole) as oracle:
        assert oracle.message_count == len(found)
    assert main(["bag", "verify", str(whole)]) == 0
    assert capsys.readouterr().out == f"{whole}: whole, {len(found)} messages\n"
    assert main(["bag", "recover", str(part)]) == 2


def test_a_full_disk_is_said_and_keeps_what_was_written(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / "bag", {"/t": IMAGE})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 2**20, hard))
    try:
        with pytest.raises(DataError, match="cannot be written: File too large"):
            for k in range(100):
                writer.write("/t", bytes(300_000), k)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = read(tmp_path / "bag.part", recover=True)
    assert [log_ns for _, log_ns, _ in kept] == list(range(15))
    # With room again it goes on where it was.
    writer.write("/t", bytes(300_000), 100)
    writer.close()
    assert len(read(tmp_path / "bag")) == 16


def test_a_recovered_bag_keeps_definitions_that_are_installed_nowhere(
    tmp_path: Path, bags: SimpleNamespace
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/x", "odd_msgs/msg/Odd", known=Definition("float32 odd\n"))
        writer.write("/x", b"\0\1\0\0" + struct.pack("<f", 0.25), 1)
    with BagReader(recover_bag(tmp_path / "bag")) as reader:
        assert [m.odd for _, m, _ in reader.messages(["/x"])] == [0.25]
