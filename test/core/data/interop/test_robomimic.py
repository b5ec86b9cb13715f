# SPDX-License-Identifier: Apache-2.0
"""robomimic and LIBERO files, built here with h5py from the formats' own definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from uwm_core.cli.main import main
from uwm_core.data.interop.importing import ImportConfig, import_source
from uwm_core.data.interop.robomimic import RobomimicOptions, RobomimicSource
from uwm_core.data.store import EpisodeRecord, Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError

h5py = pytest.importorskip("h5py")

LENGTHS = (5, 3, 4)
SIZE = (12, 16)


def demo_arrays(length: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "agentview_image": rng.integers(0, 256, (length, *SIZE, 3), dtype=np.uint8),
        "wrist_image": rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8),
        "joint_pos": rng.normal(size=(length, 7)),
        "gripper": rng.normal(size=length),
        "actions": rng.normal(size=(length, 4)),
    }


@pytest.fixture
def robomimic_file(tmp_path):
    path = tmp_path / "low_dim.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        env = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(env)
        data.attrs["total"] = sum(LENGTHS)
        # Numbers of two digits, so that the order of names is not the order of demos.
        for number, length in zip((2, 9, 10), LENGTHS, strict=True):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            for key, array in demo_arrays(length, number).items():
                demo.create_dataset(key if key == "actions" else f"obs/{key}", data=array)
            demo.create_dataset("obs/depth", data=np.zeros((length, *SIZE, 1)))
            demo.create_dataset("rewards", data=np.zeros(length))
        file.create_dataset("mask/train", data=np.array([b"demo_10", b"demo_2"]))
    return path


def libero_file(path, sentence):
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": 20}})
        data.attrs["problem_info"] = json.dumps({"language_instruction": sentence})
        demo = data.create_group("demo_0")
        pictures = np.arange(3 * 4 * 6 * 3, dtype=np.uint8).reshape(3, 4, 6, 3)
        demo.create_dataset("obs/agentview_rgb", data=pictures)
        demo.create_dataset("obs/ee_states", data=np.ones((3, 6)))
        demo.create_dataset("actions", data=np.zeros((3, 7)))
    return pictures


def test_every_number_of_a_file_is_in_the_store(robomimic_file, tmp_path):
    report = import_source(RobomimicSource([robomimic_file]), tmp_path / "x.zarr")
    store = Store.open(report.store)
    assert store.embodiment.name == "lift"
    assert store.embodiment.rate_hz == 20
    assert len(store) == 3
    for i, number in enumerate((2, 9, 10)):
        episode, truth = store.episode(i), demo_arrays(LENGTHS[i], number)
        assert episode.record.source == f"low_dim.hdf5/demo_{number}"
        assert np.array_equal(episode.images["agentview_image"], truth["agentview_image"])
        assert np.array_equal(episode.images["wrist_image"], truth["wrist_image"])
        assert np.array_equal(episode.state["joint_pos"], truth["joint_pos"].astype(np.float32))
        assert np.array_equal(episode.state["gripper"][:, 0], truth["gripper"].astype(np.float32))
        assert np.array_equal(episode.action, truth["actions"].astype(np.float32))
        assert np.array_equal(episode.stamp_ns, np.arange(LENGTHS[i]) * 50_000_000)


def test_what_a_store_has_no_place_for_is_named(robomimic_file, tmp_path):
    report = import_source(RobomimicSource([robomimic_file]), tmp_path / "x.zarr")
    assert report.notes == ("depth is left out: it is float64 (5, 12, 16, 1)",)


def test_a_mask_chooses_demos_in_natural_order(robomimic_file, tmp_path):
    source = RobomimicSource([robomimic_file], RobomimicOptions(mask="train"))
    store = Store.open(import_source(source, tmp_path / "x.zarr").store)
    assert [r.source for r in store.episodes] == ["low_dim.hdf5/demo_2", "low_dim.hdf5/demo_10"]
    with pytest.raises(UnknownNameError, match="Did you mean 'train'"):
        RobomimicSource([robomimic_file], RobomimicOptions(mask="trian"))


@pytest.mark.parametrize(
    "sentence", ["open the drawer", list("open the drawer"), '"open the drawer"']
)
def test_libero_pictures_are_turned_upright_and_its_sentence_is_the_task(tmp_path, sentence):
    pictures = libero_file(tmp_path / "task.hdf5", sentence)
    store = Store.open(import_source(RobomimicSource([tmp_path]), tmp_path / "x.zarr").store)
    episode = store.episode(0)
    assert episode.record.task == "open the drawer"
    assert np.array_equal(episode.images["agentview_rgb"], pictures[:, ::-1])


def test_a_robot_takes_what_it_knows_by_name_and_refuses_other_sizes(robomimic_file, tmp_path):
    source = RobomimicSource([robomimic_file], RobomimicOptions(rate_hz=10.0))
    with pytest.raises(DataError, match=r"actions have 4 columns .* of fr3_sim 8"):
        import_source(
            source, tmp_path / "x.zarr", ImportConfig(embodiment=Embodiment.load("fr3_sim"))
        )
    assert not (tmp_path / "x.zarr").exists()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (b"not HDF5", "is not a readable HDF5 file"),
        (b"", "is not a readable HDF5 file"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, capsys, broken, says):
    path = tmp_path / "bad.hdf5"
    path.write_bytes(broken)
    assert main(["import", "robomimic", str(path), "-o", str(tmp_path / "x.zarr")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert str(path) in error
    assert error.count("\n") == 1


def test_a_bad_demo_is_refused_or_listed_and_leaves_no_row(robomimic_file, tmp_path, capsys):
    with h5py.File(robomimic_file, "a") as file:
        file["data/demo_9/obs/joint_pos"][1, 2] = np.nan
    out = tmp_path / "x.zarr"
    assert main(["import", "robomimic", str(robomimic_file), "-o", str(out), "-q"]) == 2
    assert "low_dim.hdf5/demo_9: joint_pos is not finite" in capsys.readouterr().err
    command = ["import", "robomimic", str(robomimic_file), "-o", str(out), "-q", "--overwrite"]
    assert main([*command, "--skip-bad", "--write-embodiment", str(tmp_path / "robot.yaml")]) == 0
    store = Store.open(out)
    assert [record.steps for record in store.episodes] == [5, 4]
    assert (tmp_path / "robot.yaml").read_text() == store.embodiment.to_yaml()


def test_a_store_goes_out_and_comes_back_the_same(store, tmp_path, assert_same, capsys):
    out, back = tmp_path / "out.hdf5", tmp_path / "back.zarr"
    assert main(["export", "robomimic", str(store.path), "-o", str(out), "-q"]) == 0
    assert main(["import", "robomimic", str(out), "-o", str(back), "-q"]) == 0
    assert_same(store, Store.open(back))
    assert "note" not in capsys.readouterr().err


def test_what_is_written_is_what_robomimic_reads(store, tmp_path):
    """By its own description: demos with sample counts, a total, the environment, masks by name."""
    out = tmp_path / "out.hdf5"
    assert main(["export", "robomimic", str(store.path), "-o", str(out), "-q"]) == 0
    with h5py.File(out) as file:
        assert sorted(file["data"]) == ["demo_0", "demo_1", "demo_2"]
        assert file["data"].attrs["total"] == store.steps
        env = json.loads(file["data"].attrs["env_args"])
        assert (env["env_name"], env["env_kwargs"]["control_freq"]) == ("fr3_sim", 10.0)
        demo, episode = file["data/demo_1"], store.episode(1)
        assert demo.attrs["num_samples"] == len(episode.action)
        assert demo["actions"][:].tobytes() == episode.action.tobytes()
        assert demo["obs/front_image"][:].tobytes() == episode.images["front"].tobytes()
        assert demo["dones"][:].tolist() == [0] * (len(episode.action) - 1) + [1]
        assert list(file["mask/failure"]) == [b"demo_1"]
        assert list(file["mask/success"]) == [b"demo_0", b"demo_2"]


def test_episodes_that_a_format_cannot_hold_stay_behind(make_store, tmp_path, capsys):
    records = [
        EpisodeRecord(task="drive"),
        EpisodeRecord(role="video", has_action=False),
        EpisodeRecord(outcome="discard"),
    ]
    store, out = make_store(tmp_path / "s.zarr", episodes=records), tmp_path / "out.hdf5"
    assert main(["export", "robomimic", str(store.path), "-o", str(out), "-q"]) == 0
    assert "1 episodes stay behind: they have no actions" in capsys.readouterr().err
    with h5py.File(out) as file:
        assert list(file["data"]) == ["demo_0"]
