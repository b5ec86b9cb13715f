# SPDX-License-Identifier: Apache-2.0
"""Laws of playing an episode: what arrives is what is stored, and never on a robot's topics."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from uwm_core.cli.main import main
from uwm_core.data.messages import header_ns, image_rgb, vector
from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import Step
from uwm_core.streams import Vector
from uwm_ros.bridge.playing import Player
from uwm_ros.bridge.types import message_class
from uwm_ros.cli.store_play import play

STEPS = 4


def written(path, embodiment):
    """A store with one episode of random numbers."""
    rng = np.random.default_rng(5)
    with StoreWriter(path, embodiment) as writer:
        for k in range(STEPS):
            writer.add(
                Step(
                    stamp_ns=k * embodiment.period_ns,
                    images={
                        name: rng.integers(0, 256, (*camera.size, 3), dtype=np.uint8)
                        for name, camera in embodiment.cameras.items()
                    },
                    state={
                        key: rng.uniform(0.01, 0.08, spec.size).astype(np.float32)
                        for key, spec in embodiment.state.items()
                    },
                    action={
                        key: rng.uniform(0.01, 0.08, channel.size).astype(np.float32)
                        for key, channel in embodiment.action.items()
                    },
                )
            )
        writer.end_episode(EpisodeRecord(task="any"))
    return path


@pytest.fixture
def embodiment():
    """The simulated arm, with a velocity beside the position on one topic."""
    fr3 = Embodiment.load("fr3_sim")
    position = fr3.state["joint_pos"]
    velocity = dataclasses.replace(position, field="velocity", unit="rad/s")
    # Another order: joints are known by their names.
    velocity = dataclasses.replace(velocity, names=position.names[::-1])
    return dataclasses.replace(fr3, state={**fr3.state, "joint_vel": velocity})


def test_what_arrives_is_what_is_stored(graph, tmp_path, embodiment):
    store = Store.open(written(tmp_path / "store.zarr", embodiment))
    episode = store.episode(0)
    heard = {
        topic: graph.listen(message_class(kind), f"/play/{topic}")
        for topic, kind in embodiment.topics.items()
    }
    player = Player(graph.node, store.embodiment, "play")
    assert player.left_out == []
    for publisher in player.publishers:
        graph.connected(publisher)
    moments = iter(range(1, STEPS + 1))
    play(player, episode, store.embodiment, lambda: next(moments), rate=20.0)
    graph.wait(lambda: all(len(messages) == STEPS for messages in heard.values()), "every message")
    for name, camera in embodiment.cameras.items():
        for k, message in enumerate(heard[camera.topic]):
            assert message.encoding == "rgb8"
            assert header_ns(message) == k + 1
            assert image_rgb(message).tobytes() == episode.images[name][k].tobytes()
    columns = np.split(
        episode.action, np.cumsum([c.size for c in embodiment.action.values()])[:-1], axis=1
    )
    stored = {
        **{f"state/{key}": value for key, value in episode.state.items()},
        **{f"action/{key}": v for key, v in zip(embodiment.action, columns, strict=True)},
    }
    for key, rows in stored.items():
        spec = embodiment.streams[key]
        assert isinstance(spec, Vector)
        for message, row in zip(heard[spec.topic], rows, strict=True):
            assert np.allclose(vector(message, spec), row, rtol=1e-6)


def test_the_verb_plays_an_episode_below_its_namespace(tmp_path, embodiment, capfd):
    path = written(tmp_path / "store.zarr", embodiment)
    code = main(["store", "play", str(path), "--namespace", "look", "--rate", "5"])
    said = capfd.readouterr()
    assert code == 0, said.err
    assert f"{STEPS} steps at 50 Hz under /look" in said.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--episode", "7"], "there is no 7"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--namespace", "/"], "namespace must not be empty"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(tmp_path, embodiment, words, named, capfd):
    path = written(tmp_path / "store.zarr", embodiment)
    assert main(["store", "play", str(path), *words]) == 2
    said = capfd.readouterr().err.strip()
    assert named in said
    assert "\n" not in said


def test_an_absolute_topic_stays_below_the_namespace_too(graph, embodiment):
    cameras = {
        name: dataclasses.replace(camera, topic=f"/{camera.topic}")
        for name, camera in embodiment.cameras.items()
    }
    player = Player(graph.node, dataclasses.replace(embodiment, cameras=cameras), "play")
    assert all(publisher.topic_name.startswith("/play/") for publisher in player.publishers)


def test_streams_that_cannot_be_played_are_named(graph):
    player = Player(graph.node, Embodiment.load("fr3_states"), "play")
    assert any("one tick later" in reason for reason in player.left_out)
    with pytest.raises(UwmError, match="namespace"):
        Player(graph.node, Embodiment.load("fr3_sim"), "")
