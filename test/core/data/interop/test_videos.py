# SPDX-License-Identifier: Apache-2.0
"""Videos as episodes: which picture is seen at which tick, and what is said of bad ones.

Each picture carries its number in pixels, so that the picture at a tick can be compared with the
plain rule, the last one at or before it.
"""

from __future__ import annotations

import json
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_core.cli.main import main
from uwm_core.data.interop.importing import ImportConfig, import_source
from uwm_core.data.interop.video import VideoCoding, VideoWriter, read_video
from uwm_core.data.interop.videos import CLOCK_S, VideoFolder, VideosOptions, cropped, resampled
from uwm_core.data.mixture import Source, mix
from uwm_core.data.store import Store
from uwm_core.data.windows import ROLES, cut_windows
from uwm_core.errors import DataError, UnknownNameError

av = pytest.importorskip("av")

SIZE = (48, 64)


def write_video(path, draw, moments_ms, size=SIZE, options=None):
    """A video whose picture ``k``, with ``k`` in it, is shown at ``moments_ms[k]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as file:
        stream = file.add_stream("libx264", rate=1000, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for k, moment in enumerate(moments_ms):
            frame = av.VideoFrame.from_ndarray(draw(k, size), format="rgb24")
            frame.pts, frame.time_base = int(moment), Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@given(
    st.lists(st.floats(0.001, 0.7), min_size=1, max_size=30),
    st.floats(-1, 5),
    st.floats(1, 30),
)
def test_at_every_tick_the_last_picture_at_or_before_it(gaps_s, start_s, rate_hz):
    moments = start_s + np.cumsum([0.0, *gaps_s])
    frames = [(moment, np.full((1, 1, 3), k, np.uint8)) for k, moment in enumerate(moments)]
    seen = [int(image[0, 0, 0]) for image in resampled(iter(frames), rate_hz)]
    ticks, k = [], 0
    while start_s + k / rate_hz <= moments[-1] + CLOCK_S:
        tick = start_s + k / rate_hz
        ticks.append(max(n for n, moment in enumerate(moments) if moment <= tick + CLOCK_S))
        k += 1
    assert seen == ticks


@pytest.mark.parametrize(
    "moments_ms",
    [
        range(0, 2000, 33),  # constant, faster than the grid
        range(0, 2000, 250),  # slower: a picture is seen several times
        np.cumsum([0, 5, 300, 20, 20, 90, 400, 10, 100, 15]),  # as a phone records
    ],
)
def test_pictures_are_seen_when_they_were_shown(tmp_path, robot, numbered, moments_ms):
    draw, read = numbered
    write_video(tmp_path / "v/a.mp4", draw, moments_ms)
    source = VideoFolder([tmp_path / "v"], robot, VideosOptions(camera="front"))
    store = Store.open(import_source(source, tmp_path / "s.zarr").store)
    moments = np.array(moments_ms)
    ticks = np.arange(0, moments[-1] + 1, 100)
    wanted = [int(np.flatnonzero(moments <= tick)[-1]) for tick in ticks]
    assert [read(picture) for picture in store.array("obs.front")[:]] == wanted
    assert np.array_equal(store.array("stamp_ns")[:], ticks * 1_000_000)


def test_all_but_the_camera_is_absent(tmp_path, robot, numbered):
    write_video(tmp_path / "v/a.mp4", numbered[0], range(0, 500, 50))
    source = VideoFolder([tmp_path / "v"], robot, VideosOptions(camera="front"))
    report = import_source(source, tmp_path / "s.zarr", ImportConfig(role="expert"))
    store = Store.open(report.store)
    record = store.episodes[0]
    assert (record.role, record.has_action, record.source) == ("video", False, "v/a.mp4")
    assert store.mask("obs.front").all()
    for key in ("obs.wrist", "obs.joint_pos", "obs.gripper_width", "action"):
        assert not store.mask(key).any()
    assert np.isnan(store.array("action")[:]).all()
    assert "wrist is absent in every step" in report.notes


def test_films_give_video_windows_beside_a_robots_own(tmp_path, robot, numbered, make_store):
    lift = make_store(tmp_path / "lift.zarr")
    write_video(tmp_path / "v/a.mp4", numbered[0], range(0, 1000, 50))
    folder = VideoFolder([tmp_path / "v"], robot, VideosOptions(camera="front"))
    films = Store.open(import_source(folder, tmp_path / "films.zarr").store)
    both = mix([Source.of_store(store, views=["front"]) for store in (lift, films)])
    windows = cut_windows(
        both.steps.episodes, history=1, chunk=2, hold=False, valid=both.steps.validity
    )
    of_films = windows.store == 1
    assert {ROLES[role] for role in windows.role[of_films]} == {"video"}
    # A window of 2 * 1 + 2 - 1 = 3 steps begins at any but the last two.
    assert of_films.sum() == films.steps - 2


def test_the_task_is_beside_the_video_else_in_its_name(tmp_path, robot, numbered):
    for name in ("open_drawer/a.mp4", "open_drawer/b.mp4", "wipe-table.mp4"):
        write_video(tmp_path / "v" / name, numbered[0], (0, 100, 200))
    (tmp_path / "v/open_drawer/a.txt").write_text("open the\ndrawer\n")
    (tmp_path / "v/open_drawer/b.json").write_text(json.dumps({"task": "close it"}))
    for task, last in (("none", ""), ("name", "wipe table"), ("folder", "v")):
        source = VideoFolder([tmp_path / "v"], robot, VideosOptions(camera="front", task=task))
        tasks = [episode.record.task for episode in source.episodes(())]
        assert tasks == ["open the drawer", "close it", last]


def turned(path, a, b, c, d):
    """Write a rotation into the track's header, as phones do."""
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16
    fixed = [struct.pack(">i", value << 16) for value in (a, b, c, d)]
    data = bytearray(data)
    for place, value in zip((0, 4, 12, 16), fixed, strict=True):
        data[matrix + place : matrix + place + 4] = value
    path.write_bytes(data)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2)])
def test_a_video_held_sideways_is_seen_upright(tmp_path, numbered, matrix, turns):
    """A matrix (0, 1, -1, 0) is what a phone held upright writes: turn clockwise by 90 degrees."""
    path = write_video(tmp_path / "a.mp4", numbered[0], (0, 100))
    plain = [image for _, image in read_video(path)]
    turned(path, *matrix)
    upright = [image for _, image in read_video(path)]
    for one, other in zip(plain, upright, strict=True):
        assert np.array_equal(np.rot90(one, turns), other)


@pytest.mark.parametrize(("size", "kept"), [((10, 10), (40, 40)), ((5, 10), (30, 60))])
def test_a_crop_keeps_the_middle_in_the_right_shape(size, kept):
    y, x = np.mgrid[:40, :60]
    image = np.stack([y, x, y], -1).astype(np.uint8)
    part = cropped(image, size)
    assert part.shape[:2] == kept
    assert abs(part[..., 0].mean() - y.mean()) <= 0.5
    assert abs(part[..., 1].mean() - x.mean()) <= 0.5


def test_bad_videos_are_named_or_skipped_and_a_rerun_reads_only_new_ones(
    tmp_path, robot, numbered, capsys
):
    folder, out = tmp_path / "v", tmp_path / "s.zarr"
    (tmp_path / "robot.yaml").write_text(robot.to_yaml())
    write_video(folder / "a.mp4", numbered[0], range(0, 500, 50))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    (folder / "empty.mp4").write_bytes(b"")
    options = {"movflags": "faststart"}
    cut = write_video(folder / "half.mp4", numbered[0], range(0, 9000, 100), options=options)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    write_video(folder / "short.mp4", numbered[0], (0,))
    command = ["import", "videos", str(folder), "-o", str(out), "-q", "--camera", "front"]
    assert main(command) == 2
    assert "name the one that shall learn" in capsys.readouterr().err
    command += ["-e", str(tmp_path / "robot.yaml")]
    assert main(command) == 2
    assert "v/broken.mp4" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    said = capsys.readouterr().err
    skipped = [line.split(":")[0] for line in said.splitlines() if line.startswith("skipped")]
    assert skipped == [f"skipped v/{name}.mp4" for name in ("broken", "empty", "half", "short")]
    assert [record.source for record in Store.open(out).episodes] == ["v/a.mp4"]

    for name in ("broken", "empty", "half", "short"):
        (folder / f"{name}.mp4").unlink()
    write_video(folder / "b.mp4", numbered[0], range(0, 300, 50))
    assert main(command) == 0
    assert "1 episodes, 3 steps" in (printed := capsys.readouterr().out)
    assert "1 were there already" in printed
    assert [record.source for record in Store.open(out).episodes] == ["v/a.mp4", "v/b.mp4"]


def test_what_cannot_be_is_said(tmp_path, robot, numbered):
    (tmp_path / "v").mkdir()
    with pytest.raises(DataError, match="holds no video"):
        VideoFolder([tmp_path / "v"], robot)
    write_video(tmp_path / "v/a.mp4", numbered[0], (0, 100))
    with pytest.raises(DataError, match="has the cameras front, wrist; say which"):
        VideoFolder([tmp_path / "v"], robot)
    with pytest.raises(UnknownNameError, match="Did you mean 'front'"):
        VideoFolder([tmp_path / "v"], robot, VideosOptions(camera="fornt"))


def test_a_video_that_is_written_is_read_picture_by_picture(tmp_path, numbered):
    draw, read = numbered
    size = (96, 128)
    y, x = np.mgrid[: size[0], : size[1]]
    soft = np.stack([255 * y / 96, 255 * x / 128, 128 + 60 * np.sin(x / 9)], -1).astype(np.uint8)
    writer = VideoWriter(tmp_path / "a.mp4", size, 30, VideoCoding())
    for k in range(20):
        writer.add(draw(k, size) if k < 10 else soft)
    writer.close()
    moments, images = zip(*read_video(tmp_path / "a.mp4"), strict=True)
    assert np.allclose(moments, np.arange(20) / 30, atol=1e-6)
    assert [read(image) for image in images[:10]] == list(range(10))
    error = np.mean((soft.astype(float) - images[-1].astype(float)) ** 2)
    assert 10 * np.log10(255**2 / error) > 40
    with pytest.raises(DataError, match="whose sides must be even"):
        VideoWriter(tmp_path / "b.mp4", (95, 128), 30, VideoCoding())
