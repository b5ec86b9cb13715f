# SPDX-License-Identifier: Apache-2.0
"""Laws of the flight recorder, on a real graph with real bags."""

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from diagnostic_msgs.msg import DiagnosticArray
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from uwm_core.data.bag import BagReader
from uwm_core.embodiment import Embodiment
from uwm_ros.msg import SafetyStatus
from uwm_ros.nodes.flight_recorder import FlightRecorder

JOINTS, COMMAND = "/franka/joint_states", "/fr3_arm_controller/joint_trajectory"


class Flown:
    """A recorder in flight: a robot that sends, an executor that says what we let it say."""

    def __init__(self, graph, still_robot, folder, **parameters):
        about = {"directory": str(folder), "before_s": 3.0, "after_s": 0.3, "min_free_gib": 0.0}
        self.node = graph.add(FlightRecorder, parameters={**about, **parameters})
        self.graph, self.folder = graph, folder
        self.says = graph.node.create_publisher(SafetyStatus, "executor/safety", 10)
        self.command = graph.node.create_publisher(JointTrajectory, COMMAND, 10)
        self.sent = []  # bytes: serialized twice, a message may differ in its unused last ones
        graph.node.create_subscription(JointState, JOINTS, self.sent.append, 200, raw=True)
        self.robot = still_robot(graph, Embodiment.load("fr3_sim"))
        for key, publisher in self.robot.publishers.items():
            if parameters.get("images", True) or not key.startswith("camera/"):
                graph.connected(publisher)
        graph.connected(self.says, 2)  # the recorder's own ear and its memory's
        graph.connected(self.command)
        graph.wait(lambda: len(self.sent) > 10, "joint states")

    def say(self, *states, cause="none", reason=""):
        for state in states:
            self.says.publish(SafetyStatus(state=state, cause=cause, reason=reason))

    def bags(self):
        whole = (path.parent for path in self.folder.glob("*/metadata.yaml"))
        return sorted(path for path in whole if path.suffix != ".part")

    def bag(self, count=1):
        self.graph.wait(lambda: len(self.bags()) >= count, f"bag {count}")
        return self.bags()[-1]


@pytest.fixture
def flown(graph, still_robot, tmp_path):
    """Builds one: `flown(**parameters)`."""
    return lambda **parameters: Flown(graph, still_robot, tmp_path / "flights", **parameters)


def test_hold_by_trouble_leaves_a_bag_of_what_was_sent_before_and_after(graph, flown):
    flight = flown()
    flight.command.publish(JointTrajectory(joint_names=["fr3_joint1"]))
    flight.say("armed", "running")
    before = len(flight.sent)
    flight.say("holding", cause="late_chunk", reason="no new chunk")
    path = flight.bag()
    assert path.name.startswith("flight_2") and path.name.endswith("_late_chunk")
    with BagReader(path) as bag:
        about = json.loads(bag.metadata["uwm.flight"])
        assert Embodiment.parse(bag.metadata["uwm.embodiment"]) == Embodiment.load("fr3_sim")
        causes = [m.cause for _, m, _ in bag.messages(["/executor/safety"])]
    assert [event["cause"] for event in about["events"]] == ["late_chunk"]
    assert about["events"][0]["reason"] == "no new chunk"
    assert causes == ["none", "none", "late_chunk"]
    written, moments = {}, []
    with Reader(path) as raw:
        for connection, moment_ns, data in raw.messages():
            written.setdefault(connection.topic, []).append(bytes(data))
            moments.append(moment_ns)
    assert moments == sorted(moments)
    assert about["start_ns"] <= moments[0] and moments[-1] <= about["end_ns"]
    sent, mine = list(flight.sent), written[JOINTS]
    first = sent.index(mine[0])
    assert mine == sent[first : first + len(mine)]  # a run without a gap ...
    assert first + len(mine) > before > first  # ... from before the event to after it
    assert len(written[COMMAND]) == 1
    pictures = {"/front/color/image_raw", "/wrist/color/image_raw"}
    assert pictures | {"/rosout"} <= set(written)
    assert not list(flight.folder.glob("*.part"))


def test_operators_hold_writes_nothing_and_a_stop_and_a_dead_executor_do(graph, flown):
    flight = flown(images=False)
    flight.say("armed", "running")
    flight.say("holding", cause="operator")
    flight.say("stopped", cause="operator", reason="stopped by the operator")
    assert flight.bag().name.endswith("_stopped")
    flight.say("idle", "armed", "running")  # and never again
    assert flight.bag(2).name.endswith("_executor_silent")
    with BagReader(flight.bags()[-1]) as bag:
        assert not any("image" in topic for topic in bag.topics)
        assert "/executor/safety" in bag.topics


def test_save_names_the_bag_that_comes_and_takes_topics_whose_type_was_found(graph, flown):
    odd = graph.node.create_publisher(String, "odd", 10)
    flown(extra_topics=["odd"])
    graph.connected(odd)
    odd.publish(String(data="kept"))
    answer = graph.call(Trigger, "flight_recorder/save")
    assert answer.success
    graph.wait(lambda: Path(answer.message, "metadata.yaml").exists(), "the bag that was named")
    with BagReader(answer.message) as bag:
        assert [m.data for _, m, _ in bag.messages(["/odd"])] == ["kept"]
    # A second one while none is open is another bag, of another name.
    again = graph.call(Trigger, "flight_recorder/save").message
    assert again != answer.message
    graph.wait(lambda: Path(again, "metadata.yaml").exists(), "the second bag")


def test_so_many_bags_are_kept_and_nothing_else_is_touched(graph, flown, tmp_path):
    mine = tmp_path / "flights" / "my_flight"
    mine.mkdir(parents=True)
    flight, names = flown(max_bags=2, images=False, after_s=0.0), []
    for _ in range(4):
        names.append(Path(graph.call(Trigger, "flight_recorder/save").message).name)
        graph.wait((flight.folder / names[-1] / "metadata.yaml").exists, names[-1])
    left = [path.name for path in flight.bags()]
    assert len(left) == 2 and names[-1] in left
    assert mine.is_dir()


def test_full_disk_is_said_and_nothing_is_written(graph, flown):
    said = graph.listen(DiagnosticArray, "/diagnostics")
    flight = flown(min_free_gib=1e6, after_s=0.0)
    graph.call(Trigger, "flight_recorder/save")

    def told():
        return any("make room" in s.message for array in said for s in array.status)

    graph.wait(told, "diagnostics")
    assert not flight.bags()


def test_bag_that_is_asked_for_is_written_on_the_way_out(graph, flown):
    flight = flown(after_s=60.0)
    answer = graph.call(Trigger, "flight_recorder/save")
    graph.executor.remove_node(flight.node)
    flight.node.close()
    assert Path(answer.message, "metadata.yaml").exists()
    flight.node.close = lambda: None
