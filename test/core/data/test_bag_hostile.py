# SPDX-License-Identifier: Apache-2.0
"""Laws of broken and hostile bags: one line that names the bag, or a correct prefix; nothing else.

What lies by intent is in ``test_bag_claims``; here is what disks, kills and other programs do.
"""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_recover import recover_bag
from uwm_core.errors import DataError, UwmError

MAGIC = b"\x89MCAP0\r\n"
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


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, bags: SimpleNamespace
) -> Iterator[SimpleNamespace]:
    """Small whole bags, plain and packed, and what is in them."""
    folder = tmp_path_factory.mktemp("made")
    found = {}
    for name in ("plain", "packed"):
        rows = bags.streams(1.2, image_hz=10)
        path = bags.write_bag(folder / name, rows, compress=name == "packed")
        found[name] = SimpleNamespace(
            data=(path / f"{name}.mcap").read_bytes(), messages=everything(path)
        )
    yield SimpleNamespace(**found)


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_a_bag_cut_anywhere_is_refused_or_gives_its_beginning(
    made: SimpleNamespace, tmp_path: Path, kind: str
) -> None:
    whole = getattr(made, kind)
    rng = random.Random(3)
    path = tmp_path / "cut.mcap"
    lengths = []
    for size in sorted(rng.sample(range(len(whole.data)), 50)):
        path.write_bytes(whole.data[:size])
        refusal(path)
        try:
            saved = everything(path, recover=True)
        except DataError as error:
            assert "\n" not in str(error)
            saved = []
        assert saved == whole.messages[: len(saved)]
        lengths.append(len(saved))
    # Chunks are small enough for a cut to cost little: half a second at most.
    assert lengths == sorted(lengths)
    assert lengths[-1] > 0.5 * len(whole.messages)


@pytest.mark.parametrize("kind", ["plain", "packed"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(draw=st.data())
def test_turned_bytes_raise_nothing_but_our_own_errors(
    made: SimpleNamespace, tmp_path: Path, kind: str, draw: st.DataObject
) -> None:
    whole = getattr(made, kind)
    size = len(whole.data)
    # Half of them where the structure is dense: at both ends.
    near = st.one_of(
        st.integers(0, size - 1), st.integers(0, 800), st.integers(size - 4000, size - 1)
    )
    bad = bytearray(whole.data)
    for place, byte in draw.draw(st.lists(st.tuples(near, st.integers(0, 255)), min_size=1)):
        bad[place] = byte
    path = tmp_path / "bad.mcap"
    path.write_bytes(bad)
    for recover in (False, True):
        try:
            everything(path, recover=recover)
        except UwmError as error:
            assert "\n" not in str(error)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(junk=st.binary(max_size=300), recover=st.booleans())
def test_junk_behind_the_magic_raises_nothing_but_our_own_errors(
    tmp_path: Path, junk: bytes, recover: bool
) -> None:
    path = tmp_path / "junk.mcap"
    path.write_bytes(MAGIC + junk + MAGIC)
    refusal(path, recover=recover)


def test_a_turned_byte_in_a_packed_chunk_is_never_read_as_data(
    made: SimpleNamespace, tmp_path: Path
) -> None:
    path, rng = tmp_path / "bad.mcap", random.Random(1)
    for place in rng.sample(range(2000, len(made.packed.data) - 4000), 30):
        bad = bytearray(made.packed.data)
        bad[place] ^= 0x10
        path.write_bytes(bad)
        try:
            assert everything(path) == made.packed.messages  # an index that nobody needs
        except DataError as error:
            assert "\n" not in str(error)


def test_verify_finds_what_reading_does_not_look_at(made: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "bad.mcap"
    bad = bytearray(made.plain.data)
    place = bad.index(bytes(made.plain.messages[5][2][-60:])) + 30
    bad[place] ^= 1
    path.write_bytes(bad)
    with BagReader(path) as reader, pytest.raises(DataError, match="wrong checksum"):
        reader.verify()
    path.write_bytes(made.plain.data)
    with BagReader(path) as reader:
        reader.verify()


def test_a_file_of_no_bytes_or_of_another_kind_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bag.mcap"
    for content, words in (
        (b"", "is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "not an MCAP file"),
        (MAGIC, "cut off"),
    ):
        path.write_bytes(content)
        assert words in refusal(path)
    (tmp_path / "bag.txt").write_bytes(b"")
    assert "is not a bag" in refusal(tmp_path / "bag.txt")


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + bytes(4096), b"\xff" * 5000])
def test_a_sqlite_file_of_garbage_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bag.db3"
    path.write_bytes(content)
    refusal(path)
    refusal(path, recover=True)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "[]",
        "rosbag2_bagfile_information: 3",
        "rosbag2_bagfile_information: {relative_file_paths: 7}",
        "rosbag2_bagfile_information: {relative_file_paths: [../../etc/passwd]}",
        "rosbag2_bagfile_information: {storage_identifier: mcap, relative_file_paths: [no.mcap]}",
        "rosbag2_bagfile_information: {storage_identifier: mcap, relative_file_paths: []}",
        "a: !!python/object/apply:os.system [true]",
        "a: [",
        "\xff\0",
    ],
)
def test_metadata_of_garbage_is_one_line(tmp_path: Path, words: str) -> None:
    (tmp_path / "metadata.yaml").write_text(words, encoding="latin-1")
    refusal(tmp_path)
    with pytest.raises(DataError, match="holds no bag file to recover"):
        recover_bag(tmp_path)
