# SPDX-License-Identifier: Apache-2.0
"""Laws of going on: however often interrupted and by however many workers, the same bytes.

The oracle is one undisturbed conversion by one process.
"""

import contextlib
import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uwm_core.data.convert import BagResult, ConvertConfig, Progress, convert
from uwm_core.data.store import Store
from uwm_core.data.store_format import ImageCoding
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

MARK = "/recorder/mark"


def marked(bags: SimpleNamespace, path: Path, marks: list[tuple[float, dict[str, Any]]]) -> Path:
    """A recording of three seconds with marks at given seconds."""
    text = "std_msgs/msg/String"
    rows = list(bags.streams(3.0))
    for second, mark in marks:
        msg = bags.make(text, data=json.dumps(mark))
        rows.append(bags.Message(MARK, text, msg, bags.START_NS + int(second * bags.NS)))
    labels = {"uwm.embodiment": Embodiment.load("fr3_sim").to_yaml(), "uwm.task": path.name}
    rows.sort(key=lambda row: row.receive_ns)
    return Path(bags.write_bag(path, rows, metadata=labels))


EPISODES = [
    (0.3, {"event": "start"}),
    (0.9, {"event": "stop", "outcome": "success"}),
    (1.2, {"event": "start"}),
    (1.8, {"event": "stop", "outcome": "failure"}),
    (2.1, {"event": "start"}),
    (2.7, {"event": "stop", "outcome": "success"}),
]


@pytest.fixture(scope="module")
def three(bags: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bags of three episodes each."""
    folder = tmp_path_factory.mktemp("three")
    for number in range(3):
        marked(bags, folder / f"ep_{number}", EPISODES)
    return folder


@pytest.fixture(scope="module")
def whole(three: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed conversion makes of them."""
    path = tmp_path_factory.mktemp("whole") / "s.zarr"
    assert convert([three], path).episodes == 9
    return path


def assert_same_files(left: Path, right: Path) -> None:
    files = sorted(p.relative_to(left) for p in left.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(right) for p in right.rglob("*") if p.is_file())
    _, differ, broken = filecmp.cmpfiles(left, right, files, shallow=False)
    assert (differ, broken) == ([], [])


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    three: Path, whole: Path, tmp_path: Path, workers: int
) -> None:
    convert([three], tmp_path / "s.zarr", ConvertConfig(workers=workers))
    assert_same_files(whole, tmp_path / "s.zarr")


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moments=st.lists(st.integers(1, 30), max_size=4), workers=st.sampled_from([1, 1, 2]))
def test_interrupted_at_any_step_and_gone_on_with_is_as_if_undisturbed(
    three: Path,
    whole: Path,
    tmp_path_factory: pytest.TempPathFactory,
    moments: list[int],
    workers: int,
) -> None:
    path = tmp_path_factory.mktemp("resumed") / "s.zarr"
    config = ConvertConfig(workers=workers)
    for moment in moments:
        told = iter(range(moment))

        def interrupt(_: Progress, told: Any = told) -> None:
            if next(told, None) is None:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            convert([three], path, config, interrupt)
    convert([three], path, config)
    assert_same_files(whole, path)


def test_a_bag_that_is_in_the_store_is_not_read_again(three: Path, whole: Path) -> None:
    told: list[Progress] = []
    results: list[BagResult] = []
    report = convert([three], whole, None, told.append, results.append)
    assert [result.state for result in results] == ["unchanged"] * 3
    assert (report.episodes, report.unchanged) == (0, 3)
    assert len(told) == 3  # once per bag, never within one


def test_a_new_bag_is_appended(
    three: Path, whole: Path, bags: SimpleNamespace, tmp_path: Path
) -> None:
    convert([three / "ep_0", three / "ep_1"], tmp_path / "s.zarr")
    report = convert([three], tmp_path / "s.zarr")
    assert [result.state for result in report.results] == ["unchanged", "unchanged", "converted"]
    assert_same_files(whole, tmp_path / "s.zarr")


def test_a_copy_of_a_bag_under_another_name_is_the_same_bag(
    good_bag: Path, bags: SimpleNamespace, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in good_bag.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    report = convert([good_bag, copy], tmp_path / "s.zarr")
    assert [result.state for result in report.results] == ["converted", "unchanged"]


def test_a_bag_that_changed_under_its_name_is_refused_or_replaced_and_never_lost(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    for name in ("ep_0", "ep_1"):
        bags.write_bag(tmp_path / "bags" / name, bags.streams(0.5 if name == "ep_0" else 0.6))
    store = tmp_path / "s.zarr"
    convert([tmp_path / "bags"], store)
    for file in (tmp_path / "bags" / "ep_0").iterdir():
        file.unlink()
    (tmp_path / "bags" / "ep_0").rmdir()
    bags.write_bag(tmp_path / "bags" / "ep_0", bags.streams(0.9))
    with pytest.raises(DataError, match=r"is not what was converted as 'ep_0' .* --replace"):
        convert([tmp_path / "bags"], store)
    report = convert([tmp_path / "bags"], store, ConvertConfig(replace=True))
    assert [result.state for result in report.results] == ["converted", "unchanged"]
    records = Store.open(store).episodes
    assert [(record.source, record.steps) for record in records] == [("ep_1", 6), ("ep_0", 9)]
    (trashed,) = Store.open(tmp_path / "s.trash.zarr").episodes
    assert (trashed.source, trashed.steps) == ("ep_0", 5)


def test_the_only_bag_may_be_replaced_too(bags: SimpleNamespace, tmp_path: Path) -> None:
    for seconds in (0.5, 0.9):
        path = bags.write_bag(tmp_path / str(seconds) / "ep", bags.streams(seconds))
        convert([path], tmp_path / "s.zarr", ConvertConfig(replace=True))
    assert [record.steps for record in Store.open(tmp_path / "s.zarr").episodes] == [9]


def test_images_may_be_coded_with_loss_and_stay_so(
    three: Path, tmp_path: Path, whole: Path
) -> None:
    config = ConvertConfig(images=ImageCoding(kind="jpeg", quality=90))
    convert([three / "ep_0"], tmp_path / "s.zarr", config)
    convert([three], tmp_path / "s.zarr", ConvertConfig(workers=2))
    assert str(Store.open(tmp_path / "s.zarr").coding) == "jpeg:90"
    assert len(Store.open(tmp_path / "s.zarr")) == 9


def test_ctrl_c_ends_with_130_and_keeps_what_was_committed(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    """The signal goes to the whole group, as a terminal sends it; no worker says a word."""
    for number in range(40):
        marked(bags, tmp_path / "bags" / f"ep_{number}", EPISODES)
    command = ["convert", str(tmp_path / "bags"), "-o", str(tmp_path / "s.zarr"), "-j", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uwm_core.cli.main", *command],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = process.stderr
    assert lines is not None
    read = ""
    while "converted" not in read:
        read += lines.read(1)
    os.killpg(process.pid, signal.SIGINT)
    rest = lines.read()
    assert process.wait(timeout=30) == 130
    assert "interrupted" in rest and "Traceback" not in read + rest
    kept = len(Store.open(tmp_path / "s.zarr"))
    assert 3 <= kept < 120


def test_workers_end_with_a_converter_that_was_killed(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    for number in range(20):
        marked(bags, tmp_path / "bags" / f"ep_{number}", EPISODES)
    command = ["convert", str(tmp_path / "bags"), "-o", str(tmp_path / "s.zarr"), "-j", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "uwm_core.cli.main", *command, "-q"], start_new_session=True
    )
    while not (tmp_path / "s.zarr").exists() or not members(process.pid) - {process.pid}:
        time.sleep(0.02)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert members(process.pid) == set()


def members(session: int) -> set[int]:
    """Processes of a session that run."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, group = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(group) == session and state != "Z":
            found.add(int(stat.parent.name))
    return found


def test_neighbouring_episodes_are_the_same_for_any_number_of_workers(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    """With workers the bag is read ahead of what is written; no record may tell of that."""
    marks = [(second, {}) for second in (0.55, 0.95, 1.35, 1.75, 2.15)]
    bag = marked(bags, tmp_path / "bag", marks)
    for workers in (1, 2):
        config = ConvertConfig(by_topic=MARK, workers=workers)
        convert([bag], tmp_path / f"{workers}.zarr", config)
    one, two = (Store.open(tmp_path / f"{workers}.zarr").episodes for workers in (1, 2))
    assert len(one) == 6
    assert one == two
