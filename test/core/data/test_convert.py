# SPDX-License-Identifier: Apache-2.0
"""Laws of conversion: closed forms on the grid, all or nothing, every broken bag named."""

import dataclasses
import filecmp
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uwm_core.data.convert import ConvertConfig, Progress, convert, find_bags
from uwm_core.data.messages import resize
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError

FRONT = "/front/color/image_raw"
JOINTS = "/franka/joint_states"
GELLO = "/gello/joint_states"


@pytest.fixture(scope="module")
def good_store(good_bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("stores") / "good.zarr"
    convert([good_bag], path)
    return Store.open(path)


def test_steps_hold_the_closed_form_of_their_tick(
    good_store: Store, bags: SimpleNamespace, embodiment: Embodiment
) -> None:
    episode = good_store.episode(0)
    # The wrist camera is the last stream to begin, 11 ms after the joints.
    first = bags.START_NS + 11_000_000
    ticks = first + np.arange(len(episode.stamp_ns)) * embodiment.period_ns
    np.testing.assert_array_equal(episode.stamp_ns, ticks)
    for row, tick in enumerate(ticks):
        seconds = (tick - bags.START_NS) / bags.NS
        joints = bags.joints_at(int(tick))
        np.testing.assert_allclose(episode.state["joint_pos"][row], joints, atol=1e-6)
        np.testing.assert_allclose(episode.action[row, :7], joints + 0.1, atol=1e-6)
        np.testing.assert_allclose(
            episode.state["gripper_width"][row], bags.width_at(int(tick)), atol=1e-6
        )
        wanted = 0.08 if seconds < 1.007 else 0.0
        assert episode.action[row, 7] == pytest.approx(wanted)
        index = int(np.floor((seconds - 0.004) * 30 + 1e-6))
        np.testing.assert_array_equal(
            episode.images["front"][row], resize(bags.picture(index), (96, 96))
        )


def test_the_grid_ends_where_the_first_stream_ends(good_store: Store) -> None:
    """The slowest last stamps lie a little before 2 s; from 0.011 s that is 20 ticks."""
    assert [record.steps for record in good_store.episodes] == [20]


def test_what_the_recorder_wrote_is_kept(good_store: Store) -> None:
    (record,) = good_store.episodes
    assert (record.task, record.role, record.outcome) == ("lift the cube", "expert", "success")
    assert record.source == "good"
    assert record.counts[FRONT] == 60 and record.counts[JOINTS] == 400
    assert record.notes == () and record.has_action


def test_the_same_bags_give_the_same_bytes(good_bag: Path, tmp_path: Path) -> None:
    for name in ("a.zarr", "b.zarr"):
        convert([good_bag], tmp_path / name)
    files = sorted(p.relative_to(tmp_path / "a.zarr") for p in (tmp_path / "a.zarr").rglob("*"))
    files = [file for file in files if (tmp_path / "a.zarr" / file).is_file()]
    same, differ, broken = filecmp.cmpfiles(tmp_path / "a.zarr", tmp_path / "b.zarr", files, False)
    assert len(same) == len(files) and not differ and not broken


def test_joints_follow_their_names_through_a_whole_conversion(
    good_store: Store, bags: SimpleNamespace, tmp_path: Path
) -> None:
    order = tuple(np.random.default_rng(0).permutation(bags.ARM))
    path = bags.write_bag(tmp_path / "bag", bags.streams(joint_order=order))
    convert([path], tmp_path / "s.zarr")
    permuted = Store.open(tmp_path / "s.zarr")
    np.testing.assert_array_equal(permuted.state(), good_store.state())
    np.testing.assert_array_equal(permuted.array("action")[:], good_store.array("action")[:])


def test_every_order_of_bags_in_a_folder_is_the_natural_one(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    for name in ("ep_10", "ep_2", "ep_1"):
        bags.write_bag(tmp_path / "bags" / name, bags.streams(0.4))
    assert [path.name for path in find_bags([tmp_path / "bags"])] == ["ep_1", "ep_2", "ep_10"]
    report = convert([tmp_path / "bags"], tmp_path / "s.zarr")
    assert (report.bags, report.episodes) == (3, 3)
    sources = [record.source for record in Store.open(tmp_path / "s.zarr").episodes]
    assert sources == ["ep_1", "ep_2", "ep_10"]


def test_a_namespace_is_found(bags: SimpleNamespace, tmp_path: Path, good_store: Store) -> None:
    rows = [dataclasses.replace(r, topic=f"/left{r.topic}") for r in bags.streams()]
    convert([bags.write_bag(tmp_path / "bag", rows)], tmp_path / "s.zarr")
    np.testing.assert_array_equal(Store.open(tmp_path / "s.zarr").state(), good_store.state())


def test_discarded_takes_stay_out(good_bag: Path, bags: SimpleNamespace, tmp_path: Path) -> None:
    meta = {"uwm.outcome": "discard", "uwm.embodiment": Embodiment.load("fr3_sim").to_yaml()}
    bad = bags.write_bag(tmp_path / "bag", bags.streams(0.5), metadata=meta)
    report = convert([good_bag, bad], tmp_path / "s.zarr")
    assert report.episodes == 1
    assert [path for path, _ in report.skipped] == [bad]


def test_video_needs_no_action_topics(bags: SimpleNamespace, tmp_path: Path) -> None:
    meta = {"uwm.role": "video", "uwm.embodiment": Embodiment.load("fr3_sim").to_yaml()}
    rows = [r for r in bags.streams() if "gello" not in r.topic and "client" not in r.topic]
    convert([bags.write_bag(tmp_path / "bag", rows, metadata=meta)], tmp_path / "s.zarr")
    store = Store.open(tmp_path / "s.zarr")
    assert np.isnan(store.array("action")[:]).all() and not store.episodes[0].has_action


def silent(rows: Any, topic: str, low_s: float, high_s: float, start_ns: int) -> list[Any]:
    """The rows without those of one topic between two moments."""
    low, high = start_ns + low_s * 1e9, start_ns + high_s * 1e9
    return [r for r in rows if r.topic != topic or not low < r.receive_ns < high]


@pytest.mark.parametrize("topic", [FRONT, JOINTS, GELLO])
def test_a_hole_is_refused_with_its_place_and_reason(
    bags: SimpleNamespace, tmp_path: Path, topic: str
) -> None:
    rows = silent(bags.streams(), topic, 0.8, 1.5, bags.START_NS)
    path = bags.write_bag(tmp_path / "bag", rows)
    with pytest.raises(DataError, match=r"has a hole \d\.\d+ s after its first step") as caught:
        convert([path], tmp_path / "s.zarr")
    assert topic[1:] in str(caught.value) and str(path) in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag"]


@pytest.mark.parametrize("topic", [FRONT, JOINTS, GELLO])
def test_a_hole_may_split_an_episode_and_nothing_in_it_is_kept(
    bags: SimpleNamespace, tmp_path: Path, topic: str
) -> None:
    rows = silent(bags.streams(), topic, 0.8, 1.5, bags.START_NS)
    path = bags.write_bag(tmp_path / "bag", rows)
    report = convert([path], tmp_path / "s.zarr", ConvertConfig(holes="split"))
    store = Store.open(tmp_path / "s.zarr")
    assert report.episodes == len(store) == 2
    seconds = [(store.episode(i).stamp_ns - bags.START_NS) / bags.NS for i in range(2)]
    assert seconds[0][-1] < 0.8 + 0.2 and seconds[1][0] >= 1.5
    assert all(np.allclose(np.diff(part), 0.1) for part in seconds)
    assert any("cut" in note for _, note in report.notes)


def test_a_stream_that_dies_early_is_a_hole_not_a_short_episode(
    bags: SimpleNamespace, tmp_path: Path
) -> None:
    path = bags.write_bag(tmp_path / "bag", silent(bags.streams(), JOINTS, 1, 9, bags.START_NS))
    with pytest.raises(DataError, match=r"/franka/joint_states stops 0\.\d+ s before the end"):
        convert([path], tmp_path / "s.zarr")


def without(topic: str) -> Callable[[Any], list[Any]]:
    return lambda rows: [r for r in rows if r.topic != topic]


def changed(topic: str, change: Callable[[Any, Any], Any]) -> Callable[..., list[Any]]:
    def apply(rows: Any, bags: Any) -> list[Any]:
        return [change(r, bags) if r.topic == topic else r for r in rows]

    return apply


def bad_encoding(row: Any, bags: Any) -> Any:
    return dataclasses.replace(row, msg=bags.image_msg(bags.picture(0), row.receive_ns, "yuv9"))


def other_type(row: Any, bags: Any) -> Any:
    msg = bags.compressed_msg(bags.picture(0), row.receive_ns)
    return dataclasses.replace(row, type="sensor_msgs/msg/CompressedImage", msg=msg)


def no_stamp(row: Any, bags: Any) -> Any:
    return dataclasses.replace(row, msg=bags.image_msg(bags.picture(0), 0))


def since_boot(row: Any, bags: Any) -> Any:
    stamp = row.receive_ns - bags.START_NS + bags.NS
    return dataclasses.replace(row, msg=bags.image_msg(bags.picture(0), stamp))


def nan_joint(row: Any, bags: Any) -> Any:
    msg = bags.joint_msg(bags.ARM, np.full(7, np.nan), row.receive_ns)
    return dataclasses.replace(row, msg=msg)


def renamed_joint(row: Any, bags: Any) -> Any:
    names = ("panda_joint1", *bags.ARM[1:])
    return dataclasses.replace(row, msg=bags.joint_msg(names, np.zeros(7), row.receive_ns))


def no_pixels(row: Any, bags: Any) -> Any:
    msg = bags.image_msg(np.zeros((0, 0, 3), np.uint8), row.receive_ns)
    return dataclasses.replace(row, msg=msg)


BROKEN: dict[str, tuple[Callable[..., list[Any]], str]] = {
    "missing topic": (
        lambda rows, _: without(FRONT)(rows),
        "no topic /front/color/image_raw. Did you mean '/wrist/color/image_raw'?",
    ),
    "wrong encoding": (changed(FRONT, bad_encoding), "image encoding 'yuv9' is not supported"),
    "wrong type": (changed(FRONT, other_type), "/front/color/image_raw is sensor_msgs/msg/Compr"),
    "header never filled": (changed(FRONT, no_stamp), "60 x header stamp 0"),
    "stamps since boot": (changed(FRONT, since_boot), "the streams have no moment in common"),
    "joint not a number": (changed(JOINTS, nan_joint), "not finite"),
    "joint renamed": (changed(JOINTS, renamed_joint), "lacks the joints ['fr3_joint1']"),
    "no pixels": (changed(FRONT, no_pixels), "image is 0x0 pixels"),
    "too short": (lambda rows, _: list(rows)[:30], "is too short: fewer than 2 steps"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_bag_is_one_line_that_names_it_and_leaves_no_row(
    bags: SimpleNamespace, tmp_path: Path, good_bag: Path, good_store: Store, fault: str
) -> None:
    breaks, says = BROKEN[fault]
    path = bags.write_bag(tmp_path / "broken", breaks(bags.streams(), bags))
    with pytest.raises(DataError) as caught:
        convert([good_bag, path], tmp_path / "s.zarr")
    message = str(caught.value)
    assert says in message and str(path) in message and "\n" not in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken", "s.zarr"]
    assert Store.open(tmp_path / "s.zarr").episodes == good_store.episodes


def test_bad_bags_may_be_skipped_and_leave_no_row(
    bags: SimpleNamespace, tmp_path: Path, good_bag: Path, good_store: Store
) -> None:
    def spoiled(rows: list[Any]) -> list[Any]:
        """The last second's pictures cannot be decoded: many steps are written before that."""
        late = bags.START_NS + bags.NS
        return [
            bad_encoding(r, bags) if r.topic == FRONT and r.receive_ns > late else r for r in rows
        ]

    bad = bags.write_bag(tmp_path / "bad", spoiled(list(bags.streams())))
    report = convert([bad, good_bag, bad], tmp_path / "s.zarr", ConvertConfig(skip_bad=True))
    assert [path for path, _ in report.skipped] == [bad]
    store = Store.open(tmp_path / "s.zarr")
    assert (report.episodes, report.steps) == (1, store.steps) == (1, good_store.steps)
    np.testing.assert_array_equal(store.array("obs.front")[:], good_store.array("obs.front")[:])


def test_only_bad_bags_make_no_store(bags: SimpleNamespace, tmp_path: Path) -> None:
    rows = without(FRONT)(bags.streams(0.5))
    path = bags.write_bag(tmp_path / "bad", rows)
    with pytest.raises(DataError, match="none of 1 bags gave an episode"):
        convert([path], tmp_path / "s.zarr", ConvertConfig(skip_bad=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad"]


def test_another_embodiment_is_refused_by_its_difference(
    bags: SimpleNamespace, tmp_path: Path, good_bag: Path
) -> None:
    text = Embodiment.load("fr3_sim").to_yaml().replace("rate_hz: 10.0", "rate_hz: 20.0", 1)
    other = bags.write_bag(tmp_path / "b", bags.streams(0.5), metadata={"uwm.embodiment": text})
    with pytest.raises(DataError, match="is of another embodiment: rate_hz: 20"):
        convert([good_bag, other], tmp_path / "s.zarr")


def test_a_bag_that_names_no_embodiment_asks_for_one(bags: SimpleNamespace, tmp_path: Path) -> None:
    path = bags.write_bag(tmp_path / "bag", bags.streams(0.5), metadata={})
    with pytest.raises(DataError, match="does not say its embodiment"):
        convert([path], tmp_path / "s.zarr")
    named = ConvertConfig(embodiment=Embodiment.load("fr3_sim"), task="push", role="play")
    convert([path], tmp_path / "s.zarr", named)
    record = Store.open(tmp_path / "s.zarr").episodes[0]
    assert (record.task, record.role) == ("push", "play")


def test_a_bag_that_is_in_the_store_is_passed_over(good_bag: Path, tmp_path: Path) -> None:
    convert([good_bag], tmp_path / "s.zarr")
    again = convert([good_bag], tmp_path / "s.zarr")
    assert [result.state for result in again.results] == ["unchanged"]
    anew = convert([good_bag], tmp_path / "s.zarr", ConvertConfig(overwrite=True))
    assert [result.state for result in anew.results] == ["converted"]
    assert len(Store.open(tmp_path / "s.zarr")) == 1


def test_progress_rises_to_the_whole(good_bag: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    convert([good_bag, good_bag], tmp_path / "s.zarr", None, seen.append)
    done = [progress.bytes_done for progress in seen]
    assert done == sorted(done) and done[-1] == seen[-1].bytes_total
    assert len(seen) > 10


def test_ctrl_c_leaves_nothing(good_bag: Path, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.steps > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert([good_bag], tmp_path / "s.zarr", None, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_action_may_be_the_state_of_the_next_step(
    bags: SimpleNamespace, tmp_path: Path, good_bag: Path
) -> None:
    """The last step has no next one and is left out."""
    robot = Embodiment.load("fr3_sim")
    reached = dataclasses.replace(
        robot.action["joint_target"], topic="franka/joint_states", at="next_tick"
    )
    robot = dataclasses.replace(robot, action={**robot.action, "joint_target": reached})
    convert([good_bag], tmp_path / "s.zarr", ConvertConfig(embodiment=robot))
    episode = Store.open(tmp_path / "s.zarr").episode(0)
    assert len(episode.stamp_ns) == 19
    state = episode.state["joint_pos"]
    np.testing.assert_array_equal(episode.action[:-1, :7], state[1:])
    last = bags.joints_at(int(episode.stamp_ns[-1]) + robot.period_ns)
    np.testing.assert_allclose(episode.action[-1, :7], last, atol=1e-6)
    with pytest.raises(DataError, match=r"joint_target is the state of the next tick"):
        config = ConvertConfig(embodiment=robot, holes="mask")
        convert([good_bag], tmp_path / "masked.zarr", config)
