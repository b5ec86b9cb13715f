# SPDX-License-Identifier: Apache-2.0
"""Laws of `uwm store`: each action does what it says, a mistake is one line and exit 2."""

import json
from pathlib import Path

import numpy as np
import pytest

from uwm_core.cli.main import main
from uwm_core.cli.store_select import parse_numbers
from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step


@pytest.fixture
def store(tmp_path: Path, tiny_embodiment: Embodiment) -> Path:
    """Three episodes of two steps."""
    cameras = {name: camera.size for name, camera in tiny_embodiment.cameras.items()}
    with StoreWriter(tmp_path / "s.zarr", tiny_embodiment) as writer:
        for number in range(3):
            for row in range(2):
                writer.add(
                    Step(
                        stamp_ns=10 * number + row,
                        images={
                            n: np.full((*hw, 3), number, np.uint8) for n, hw in cameras.items()
                        },
                        state={
                            key: np.full(vector.size, number, np.float32)
                            for key, vector in tiny_embodiment.state.items()
                        },
                        action={},
                    )
                )
            writer.end_episode(EpisodeRecord(task=f"t{number}", has_action=False))
    return tmp_path / "s.zarr"


def tasks(path: Path) -> list[str]:
    return [record.task for record in Store.open(path).episodes]


def test_the_actions_do_what_they_say(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def uwm(*words: object) -> str:
        assert main(["store", *map(str, words)]) == 0
        return capsys.readouterr().out

    uwm(
        "split",
        store,
        "--episodes",
        "1-2",
        "-o",
        tmp_path / "b.zarr",
        "--rest",
        tmp_path / "a.zarr",
    )
    assert (tasks(tmp_path / "a.zarr"), tasks(tmp_path / "b.zarr")) == (["t0"], ["t1", "t2"])
    uwm("merge", tmp_path / "b.zarr", tmp_path / "a.zarr", "-o", tmp_path / "m.zarr")
    assert tasks(tmp_path / "m.zarr") == ["t1", "t2", "t0"]
    assert "2 were there already" in uwm("merge", tmp_path / "b.zarr", "-o", store, "--append")
    uwm("relabel", store, "--with-task", "t1", "--outcome", "failure", "--task", "push")
    uwm("drop", store, "--with-outcome", "failure")
    assert (tasks(store), tasks(tmp_path / "s.trash.zarr")) == (["t0", "t2"], ["push"])
    assert "every checksum is right" in uwm("verify", store, "--decode", "-q")
    stats = json.loads(uwm("stats", store, "--json"))
    assert (stats["episodes"], stats["steps"]) == (2, 4)
    absent = {array["name"]: array["absent"] for array in stats["arrays"]}
    assert absent["action"] == 4 and absent["obs.front"] == 0
    assert {(c["low"], c["high"], c["mean"], c["std"]) for c in stats["columns"]} == {(0, 2, 1, 1)}
    assert "4 steps" in uwm("stats", store)


def test_a_damaged_store_is_named_and_exits_with_one(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = store / "data/obs.joint_pos/c/0/0"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert main(["store", "verify", str(store), "-q"]) == 1
    said = capsys.readouterr()
    assert "data/obs.joint_pos/c/0/0, episodes 0 to 2: has a wrong checksum" in said.out
    assert said.err.strip().endswith("1 faults; damaged episodes: 0, 1, 2")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("verify nowhere", "there is no such store"),
        ("drop STORE", "which episodes?"),
        ("drop STORE --episodes 0-2", "none would remain"),
        ("drop STORE --episodes one", "expected numbers and ranges, as in 0-3,7"),
        ("relabel STORE --episodes 0", "what shall they become?"),
        ("split STORE --episodes 5 -o new", "has 3 episodes, there is no 5"),
        ("merge STORE -o STORE", "exists already"),
        ("merge STORE -o x --images jpeg:900", "quality must be 1 to 100, as in jpeg:90"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    store: Path, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", *words.replace("STORE", str(store)).split()]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert tasks(store) == ["t0", "t1", "t2"]


def test_ranges_include_their_ends() -> None:
    assert parse_numbers("0-3,7,9-9") == (0, 1, 2, 3, 7, 9)
