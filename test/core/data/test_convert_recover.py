# SPDX-License-Identifier: Apache-2.0
"""Laws of recordings that were cut off: named, left alone, on request taken as far as they go."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uwm_core.data.bag import BagWriter
from uwm_core.data.bag_types import standard_types
from uwm_core.data.convert import ConvertConfig, convert
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError


@pytest.fixture
def killed(bags: SimpleNamespace, tmp_path: Path) -> Path:
    """A folder with a whole bag and one whose recorder was killed after some two seconds."""
    folder = tmp_path / "bags"
    bags.write_bag(folder / "ep_1", bags.streams(0.5))
    labels = {"uwm.embodiment": Embodiment.load("fr3_sim").to_yaml(), "uwm.task": "lift"}
    writer = BagWriter(tmp_path / "ep_2", metadata=labels)

    def large(index: int, ns: int) -> tuple[str, Any]:
        """What is held back in memory is lost with the recorder; large images push it out."""
        return "sensor_msgs/msg/Image", bags.image_msg(bags.picture(index, 240, 320), ns)

    for row in bags.streams(2.0, image=large):
        writer.add_topic(row.topic, row.type)
        data = bytes(standard_types().serialize_cdr(row.msg, row.type))
        writer.write(row.topic, data, row.receive_ns)
    shutil.copytree(tmp_path / "ep_2.part", folder / "ep_2.part")
    writer.abort()
    return folder


def test_a_recording_that_was_cut_off_is_named_and_left_alone(killed: Path, tmp_path: Path) -> None:
    report = convert([killed], tmp_path / "s.zarr")
    assert [result.state for result in report.results] == ["converted", "cut off"]
    assert "--recover" in report.results[1].reason
    assert len(Store.open(tmp_path / "s.zarr")) == 1


def test_it_is_taken_as_far_as_it_goes_with_the_outcome_that_is_asked_for(
    killed: Path, tmp_path: Path, bags: SimpleNamespace
) -> None:
    config = ConvertConfig(recover=True, outcome="failure", holes="split")
    report = convert([killed], tmp_path / "s.zarr", config)
    assert [result.state for result in report.results] == ["converted", "converted"]
    record = Store.open(tmp_path / "s.zarr").episodes[1]
    assert (record.source, record.task, record.outcome) == ("ep_2", "lift", "failure")
    assert "of a recording that was cut off" in record.notes
    assert 10 <= record.steps <= 20
    again = convert([killed], tmp_path / "s.zarr", config)
    assert again.unchanged == 2


def test_a_damaged_bag_gives_what_is_before_the_damage(
    good_bag: Path, tmp_path: Path, bags: SimpleNamespace
) -> None:
    path = bags.write_bag(tmp_path / "bag", bags.streams(4.0))
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    with pytest.raises(DataError, match=str(path)):
        convert([path], tmp_path / "s.zarr")
    config = ConvertConfig(recover=True, holes="split")
    convert([path], tmp_path / "s.zarr", config)
    (record,) = Store.open(tmp_path / "s.zarr").episodes
    assert 15 <= record.steps < 40
    assert "of a recording that was cut off" in record.notes
