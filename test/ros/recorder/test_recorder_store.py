# SPDX-License-Identifier: Apache-2.0
"""Laws of the Zarr sink: the store beside the bags is the one that a conversion makes of them."""

import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from std_srvs.srv import Trigger

from uwm_core.data.convert import convert
from uwm_core.data.store import Store
from uwm_core.embodiment import Embodiment
from uwm_ros.nodes.recorder import RecorderNode
from uwm_ros.srv import RelabelEpisode

# Converting starts a Python of its own at the lowest priority.
PATIENCE_S = 180.0


@pytest.fixture
def store(graph, status, tmp_path):
    """The store of a recorder whose streams may be as slow as a loaded machine makes them."""
    spec = tmp_path / "patient.yaml"
    text = Embodiment.load("fr3_sim").to_yaml()
    spec.write_text(re.sub(r"max_age_s: .*", "max_age_s: 60.0", text))
    values = {"embodiment": str(spec), "directory": str(tmp_path / "bags")}
    values |= {"sinks": ["bag", "zarr"], "store": str(tmp_path / "grown.zarr")}
    graph.add(RecorderNode, parameters={**values, "min_free_gib": 0.0, "reserve_gib": 0.0})
    return tmp_path / "grown.zarr"


def in_step(graph, status):
    """Wait until the store has everything."""
    status.clear()
    graph.wait(lambda: status and not status[-1].store_waiting, "the store", PATIENCE_S)
    assert status[-1].store == "idle"


def files(store: Path):
    """Content by name of every file of a store."""
    found = (path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def converted(bags, tmp_path, name):
    convert(bags, tmp_path / name)
    return files(tmp_path / name)


def test_grown_store_is_byte_for_byte_the_converted_one(
    graph, desk, store, status, sending_robot, tmp_path
):
    robot = sending_robot(graph)
    graph.node.create_timer(1 / 30, robot.publish)
    bags = []
    for outcome in ("success", "failure"):
        robot.connected()
        status.clear()
        graph.wait(lambda: status and min(status[-1].rates_hz) > 0, "every stream")
        answer = desk.start()
        assert answer.success, answer.message
        graph.wait(lambda: status[-1].elapsed_s > 1.0, "a second of recording")
        bags.append(Path(desk.stop(outcome).path))
        status.clear()
    in_step(graph, status)
    assert files(store) == converted(bags, tmp_path, "both.zarr")

    relabel = RelabelEpisode.Request(episode=bags[0].name, task="push the cube")
    assert graph.call(RelabelEpisode, "recorder/relabel", relabel).success
    in_step(graph, status)
    assert [record.task for record in Store.open(store).episodes] == [
        "push the cube",
        "lift the cube",
    ]
    assert files(store) == converted(bags, tmp_path, "relabelled.zarr")

    assert graph.call(Trigger, "recorder/undo").success
    in_step(graph, status)
    assert [record.source for record in Store.open(store).episodes] == [bags[0].name]
    assert graph.call(Trigger, "recorder/undo").success
    in_step(graph, status)
    assert files(store) == converted(bags, tmp_path, "again.zarr")
