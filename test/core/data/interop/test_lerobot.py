# SPDX-License-Identifier: Apache-2.0
"""LeRobot v3.0 and v2.1 against readers and writers made here from the formats' description alone.

``read_v3`` knows nothing of this project: it follows ``info.json`` and the episodes' table to rows
and pictures as LeRobot's own reader does (nearest picture to ``from_timestamp + timestamp``, at
most 1e-4 s away).
"""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from uwm_core.cli.main import main
from uwm_core.data.interop.exporting import Selection
from uwm_core.data.interop.importing import ImportConfig, import_source
from uwm_core.data.interop.lerobot import LerobotSource
from uwm_core.data.interop.lerobot_export import LerobotOptions, export_lerobot
from uwm_core.data.store import Store
from uwm_core.errors import DataError

av = pytest.importorskip("av")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PSNR_DB = 30.0  # of pictures of 16 x 16 with hard, coloured edges, at the default quality
TOLERANCE_S = 1e-4


def read_v3(root):
    """Episodes of a data set: task, rows as dicts with pictures, as LeRobot reads them."""
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    tasks = {row["task_index"]: row["task"] for row in rows_of(root / "meta/tasks.parquet")}
    data = {}
    for path in sorted((root / "data").glob("*/*.parquet")):
        for row in rows_of(path):
            data[row["index"]] = row
    assert sorted(data) == list(range(info["total_frames"]))
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):
        for episode in rows_of(path):
            span = range(episode["dataset_from_index"], episode["dataset_to_index"])
            rows = [data[i] for i in span]
            assert len(rows) == episode["length"]
            assert [row["frame_index"] for row in rows] == list(range(len(rows)))
            assert {row["episode_index"] for row in rows} == {episode["episode_index"]}
            where = (episode["data/chunk_index"], episode["data/file_index"])
            file = root / info["data_path"].format(chunk_index=where[0], file_index=where[1])
            assert {r["index"] for r in rows} <= {r["index"] for r in rows_of(file)}
            for key, feature in info["features"].items():
                if feature["dtype"] == "video":
                    pictures = from_video(root, info, episode, key, rows)
                elif feature["dtype"] == "image":
                    pictures = [np.asarray(Image.open(io.BytesIO(r[key]["bytes"]))) for r in rows]
                else:
                    continue
                for row, picture in zip(rows, pictures, strict=True):
                    assert list(picture.shape) == feature["shape"]
                    row[key] = picture
            assert {tasks[row["task_index"]] for row in rows} == set(episode["tasks"])
            yield episode, rows


def rows_of(path):
    return parquet.read_table(path).to_pylist()


def from_video(root, info, episode, key, rows):
    where = {n: episode[f"videos/{key}/{n}"] for n in ("chunk_index", "file_index")}
    frames = frames_of(root / info["video_path"].format(video_key=key, **where))
    moments = np.array([moment for moment, _ in frames])
    for row in rows:
        due = episode[f"videos/{key}/from_timestamp"] + row["timestamp"]
        nearest = np.abs(moments - due).argmin()
        assert abs(moments[nearest] - due) < TOLERANCE_S
        yield frames[nearest][1]


def frames_of(path):
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return [
            (float(frame.pts * stream.time_base), frame.to_ndarray(format="rgb24"))
            for frame in file.decode(stream)
        ]


def psnr_db(one, other):
    error = np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)
    return 10 * np.log10(255**2 / error)


def test_rows_and_pictures_are_the_stores(store, tmp_path):
    export_lerobot(Selection.of(store), tmp_path / "d", LerobotOptions(images="image"))
    for number, (episode, rows) in enumerate(read_v3(tmp_path / "d")):
        truth = store.episode(number)
        assert episode["tasks"] == [truth.record.task]
        state = np.concatenate([truth.state[key] for key in store.embodiment.state], 1)
        assert [row["observation.state"] for row in rows] == state.tolist()
        assert [row["action"] for row in rows] == truth.action.tolist()
        assert [row["stamp_ns"] for row in rows] == truth.stamp_ns.tolist()
        for name, images in truth.images.items():
            pictures = np.stack([row[f"observation.images.{name}"] for row in rows])
            assert pictures.tobytes() == images.tobytes()


def test_features_are_named_and_files_counted(store, tmp_path):
    export_lerobot(Selection.of(store), tmp_path / "d")
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    assert (info["fps"], info["robot_type"]) == (10, "fr3_sim")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 20, 2)
    assert info["splits"] == {"train": "0:3"}
    assert info["features"]["action"] == {
        "dtype": "float32",
        "shape": [8],
        "names": [*store.embodiment.arm_joints, "gripper_width"],
    }
    front = info["features"]["observation.images.front"]
    assert (front["dtype"], front["shape"]) == ("video", [24, 32, 3])
    video = tmp_path / "d/videos/observation.images.front/chunk-000/file-000.mp4"
    with av.open(str(video)) as file:
        stream = file.streams.video[0]
        assert stream.codec.canonical_name == front["info"]["video.codec"]
        assert stream.pix_fmt == front["info"]["video.pix_fmt"]
        assert stream.base_rate == front["info"]["video.fps"]


def test_pandas_takes_the_sentence_for_the_index_of_tasks(store, tmp_path):
    """LeRobot looks a task up by ``tasks.iloc[task_index].name``."""
    export_lerobot(Selection.of(store), tmp_path / "d")
    metadata = parquet.read_schema(tmp_path / "d/meta/tasks.parquet").metadata
    assert json.loads(metadata[b"pandas"])["index_columns"] == ["task"]
    rows = rows_of(tmp_path / "d/meta/tasks.parquet")
    assert [row["task_index"] for row in rows] == [0, 1]


def test_without_video_the_way_back_is_the_same_to_the_byte(store, tmp_path, assert_same):
    out, back = tmp_path / "d", tmp_path / "back.zarr"
    command = ["export", "lerobot", str(store.path), "-o", str(out), "-q", "--images", "image"]
    assert main(command) == 0
    assert main(["import", "lerobot", str(out), "-o", str(back), "-q"]) == 0
    assert_same(store, Store.open(back))


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_video_keeps_every_picture_in_its_place(make_store, tmp_path, assert_same, numbered, codec):
    draw, read = numbered
    store = make_store(tmp_path / "s.zarr", pictures=draw)
    command = ["export", "lerobot", str(store.path), "-o", str(tmp_path / "d"), "-q"]
    assert main([*command, "--codec", codec]) == 0
    back = Store.open(import_source(LerobotSource(tmp_path / "d"), tmp_path / "b.zarr").store)
    assert_same(store, back, images=False)
    theirs = [row for _, rows in read_v3(tmp_path / "d") for row in rows]
    for name in store.embodiment.cameras:
        ours, kept = store.array(f"obs.{name}")[:], back.array(f"obs.{name}")[:]
        assert [read(picture) for picture in kept] == list(range(store.steps))
        assert [read(row[f"observation.images.{name}"]) for row in theirs] == list(
            range(store.steps)
        )
        if codec == "h264":
            assert min(map(psnr_db, ours, kept)) > PSNR_DB


def test_full_files_and_folders_are_followed_by_new_ones(
    make_store, tmp_path, assert_same, numbered
):
    draw, read = numbered
    store = make_store(tmp_path / "s.zarr", pictures=draw)
    options = LerobotOptions(data_mb=0, video_mb=0, chunk_files=2)
    export_lerobot(Selection.of(store), tmp_path / "d", options)
    files = {p.relative_to(tmp_path / "d").as_posix() for p in (tmp_path / "d").rglob("*-00?.*")}
    for kind, end in (("data", "parquet"), ("videos/observation.images.wrist", "mp4")):
        for place in ("chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000"):
            assert f"{kind}/{place}.{end}" in files
    assert len(list(read_v3(tmp_path / "d"))) == 3
    back = Store.open(import_source(LerobotSource(tmp_path / "d"), tmp_path / "b.zarr").store)
    assert_same(store, back, images=False)
    assert [read(picture) for picture in back.array("obs.front")[:]] == list(range(store.steps))


def test_statistics_are_those_of_the_numbers(store, tmp_path):
    export_lerobot(Selection.of(store), tmp_path / "d")
    stats = json.loads((tmp_path / "d/meta/stats.json").read_text())
    action = store.array("action")[:].astype(np.float64)
    front = store.array("obs.front")[:].reshape(-1, 3) / 255
    for key, truth, shape in (
        ("action", action, (8,)),
        ("observation.images.front", front, (3, 1, 1)),
    ):
        for kind in ("min", "max", "mean", "std"):
            value = np.array(stats[key][kind])
            assert value.shape == shape
            assert np.allclose(value.reshape(-1), getattr(truth, kind)(0), atol=1e-9), (key, kind)
    assert stats["action"]["count"] == stats["observation.images.front"]["count"] == [20]
    first, *_ = rows_of(tmp_path / "d/meta/episodes/chunk-000/file-000.parquet")
    quantiles = np.array(first["stats/observation.images.front/q90"]).reshape(-1)
    pixels = store.episode(0).images["front"].reshape(-1, 3)
    exact = np.quantile(pixels, 0.9, axis=0, method="inverted_cdf") / 255
    assert np.allclose(quantiles, exact)


OLD = "chunk-{episode_chunk:03d}"
OLD_VIDEO = f"videos/{OLD}/{{video_key}}/episode_{{episode_index:06d}}.mp4"


def foreign_v21(root, frames=6, fps=5):
    """A v2.1 data set of two episodes as others write it: nested names, channels first."""
    features = {
        "observation.images.top": {"dtype": "video", "shape": [3, 16, 24], "names": ["channels"]},
        "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "action": {"dtype": "float32", "shape": [2], "names": {"motors": ["a", "b"]}},
        "next.reward": {"dtype": "float32", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v2.1",
        "fps": fps,
        "robot_type": "so100",
        "chunks_size": 1,
        "features": features,
        "data_path": f"data/{OLD}/episode_{{episode_index:06d}}.parquet",
        "video_path": OLD_VIDEO,
    }
    for name in ("meta", "data/chunk-000", "data/chunk-001"):
        (root / name).mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    lines = [json.dumps({"episode_index": i, "tasks": ["t"], "length": frames}) for i in (0, 1)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines))
    (root / "meta/tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "pick"}) + "\n")
    for i in (0, 1):
        columns = {
            "observation.state": [[k + i, 0.5] for k in range(frames)],
            "action": [[k + i, -0.5] for k in range(frames)],
            "next.reward": [0.0] * frames,
            "frame_index": list(range(frames)),
            "episode_index": [i] * frames,
            "task_index": [0] * frames,
        }
        path = root / f"data/chunk-00{i}/episode_00000{i}.parquet"
        parquet.write_table(pa.table(columns), path)
        video = root / f"videos/chunk-00{i}/observation.images.top/episode_00000{i}.mp4"
        video.parent.mkdir(parents=True)
        with av.open(str(video), "w") as file:
            stream = file.add_stream("libx264", rate=fps, options={"crf": "1", "bf": "2"})
            stream.height, stream.width, stream.pix_fmt = 16, 24, "yuv420p"
            for k in range(frames):
                picture = np.full((16, 24, 3), 40 * k, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            file.mux(stream.encode(None))


def test_a_foreign_set_of_version_2_1_is_read(tmp_path):
    foreign_v21(tmp_path / "d")
    report = import_source(LerobotSource(tmp_path / "d"), tmp_path / "s.zarr")
    store = Store.open(report.store)
    assert (store.embodiment.name, store.embodiment.rate_hz) == ("so100", 5)
    assert store.embodiment.action_names == ("a", "b")
    assert store.episode_ends.tolist() == [6, 12]
    assert store.episodes[1].task == "pick"
    assert store.array("action")[:].tolist() == [[k + i, -0.5] for i in (0, 1) for k in range(6)]
    grey = store.array("obs.top")[:].mean(axis=(1, 2, 3))
    assert np.abs(grey - np.tile(40 * np.arange(6), 2)).max() < 4
    assert report.notes == ("next.reward is left out: it is float32 (1,)",)


def test_an_episode_that_is_there_is_not_read_again(tmp_path):
    foreign_v21(tmp_path / "d")
    import_source(LerobotSource(tmp_path / "d"), tmp_path / "s.zarr")
    for video in (tmp_path / "d").rglob("*.mp4"):
        video.unlink()
    report = import_source(LerobotSource(tmp_path / "d"), tmp_path / "s.zarr")
    assert (report.episodes, report.known) == (0, 2)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda d: (d / "meta/info.json").write_text("{"), "info.json: cannot be read"),
        (lambda d: (d / "meta/tasks.jsonl").unlink(), "tasks.jsonl: cannot be read"),
        (lambda d: cut(next(d.rglob("*.parquet"))), "parquet: cannot be read"),
        (lambda d: cut(next(d.rglob("*.mp4"))), "is not a readable video"),
        (lambda d: next(d.rglob("*.mp4")).unlink(), "there is no such video"),
        (lambda d: edit(d, "v2.1", "v1.6"), "is LeRobot v1.6; v3.0 and v2.1 can be read"),
        (lambda d: edit(d, '"fps": 5', '"fps": 9'), "has no picture at"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path, capsys, damage, says):
    foreign_v21(tmp_path / "d")
    damage(tmp_path / "d")
    assert main(["import", "lerobot", str(tmp_path / "d"), "-o", str(tmp_path / "s"), "-q"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def edit(root, old, new):
    path = root / "meta/info.json"
    path.write_text(path.read_text().replace(old, new))


def test_a_rate_that_is_no_whole_number_is_refused(store, tmp_path):
    object.__setattr__(store.embodiment, "rate_hz", 12.5)
    with pytest.raises(DataError, match=r"whole frames per second only, the store has 12\.5"):
        export_lerobot(Selection.of(store), tmp_path / "d")
    assert not list(tmp_path.glob("d*"))


def test_a_robot_with_its_own_keys_cuts_the_one_state_vector(store, tmp_path, robot, assert_same):
    export_lerobot(Selection.of(store), tmp_path / "d", LerobotOptions(images="image"))
    (tmp_path / "d/meta/uwm.json").unlink()
    config = ImportConfig(embodiment=robot, task="unused")
    back = Store.open(import_source(LerobotSource(tmp_path / "d"), tmp_path / "b", config).store)
    for key in store.keys:
        assert back.array(key)[:].tobytes() == store.array(key)[:].tobytes(), key
