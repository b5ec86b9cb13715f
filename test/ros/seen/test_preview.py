# SPDX-License-Identifier: Apache-2.0
"""Laws of the preview: what is drawn is where the arm would be, when it would be there."""

from pathlib import Path as FilePath

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from visualization_msgs.msg import Marker, MarkerArray

from uwm_core.embodiment import Embodiment
from uwm_core.records import ActionChunk
from uwm_core.sim import kinematics
from uwm_ros.bridge.chunks import to_message
from uwm_ros.bridge.clock import to_ns, to_stamp
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus
from uwm_ros.nodes.preview import Preview

ROOT = FilePath(__file__).resolve().parents[3]
SPEC = Embodiment.load("fr3_sim")
HOME = np.array(SPEC.home_rad)


def chunk(now_ns, rows=8, widths=None):
    """From home away, one joint after another; the gripper closes halfway."""
    joints = HOME + 0.02 * np.arange(1, rows + 1)[:, None] * np.cos(np.arange(7))
    widths = np.where(np.arange(rows) < rows // 2, 0.08, 0.0) if widths is None else widths
    actions = np.column_stack([joints, widths]).astype(np.float32)
    return ActionChunk(now_ns, SPEC.period_ns, actions, SPEC.action_names)


class Sight:
    """A preview, a robot that stands at home, and whoever sends chunks."""

    def __init__(self, graph, still_robot):
        self.graph = graph
        self.arrays = graph.listen(MarkerArray, "preview/markers")
        self.paths = graph.listen(Path, "preview/path")
        self.node = graph.add(Preview)
        self.robot = still_robot(graph, SPEC)
        self.senders = {
            who: graph.node.create_publisher(ActionChunkMessage, f"{who}/action_chunk", 10)
            for who in ("policy", "teleop")
        }
        self.says = graph.node.create_publisher(SafetyStatus, "executor/safety", 10)
        for publisher in (*self.senders.values(), self.says):
            graph.connected(publisher)
        graph.connected(self.robot.publishers["state/joint_pos"])
        graph.wait(lambda: graph.node.count_publishers("/preview/path"), "the preview")
        graph.wait(lambda: self.arrays, "the first markers")

    def now_ns(self):
        return self.graph.node.get_clock().now().nanoseconds

    def send(self, chunk, who="policy", later_ns=0):
        """Send until the path of this chunk, due so much later, has come; returns it."""
        last_ns = chunk.due_ns(len(chunk.actions) - 1) + later_ns

        def found():
            ends = ((path, path.poses[-1]) for path in self.paths if path.poses)
            return [path for path, pose in ends if to_ns(pose.header.stamp) == last_ns]

        def came():
            self.senders[who].publish(to_message(chunk))
            return found()

        self.graph.wait(came, "a path")
        return found()[0]

    def newest(self, name):
        """The newest marker of a name."""
        return [m for array in self.arrays for m in array.markers if m.ns == name][-1]


@pytest.fixture
def sight(graph, still_robot):
    return Sight(graph, still_robot)


def test_path_has_the_forward_kinematics_of_every_action_to_come_at_its_due(sight):
    wanted = chunk(sight.now_ns() + 1_000_000_000)
    path = sight.send(wanted)
    assert path.header.frame_id == "fr3_link0"
    assert [to_ns(p.header.stamp) for p in path.poses] == [wanted.due_ns(k) for k in range(8)]
    for stamped, action in zip(path.poses, wanted.actions, strict=True):
        at, turn = stamped.pose.position, stamped.pose.orientation
        truth = kinematics.tcp_pose(action[:7].astype(float))
        assert np.allclose([at.x, at.y, at.z], truth[:3, 3], atol=1e-6)
        quaternion = kinematics.quaternion(truth[:3, :3])
        assert abs(np.dot([turn.w, turn.x, turn.y, turn.z], quaternion)) > 1 - 1e-9


def test_way_begins_at_the_measured_hand_fades_and_tells_the_gripper(sight):
    sight.send(chunk(sight.now_ns() + 1_000_000_000))
    sight.graph.wait(lambda: any(m.ns == "way" for a in sight.arrays for m in a.markers), "a way")
    way = sight.newest("way")
    first = way.points[0]
    hand = kinematics.tcp_pose(HOME)[:3, 3]
    assert np.allclose([first.x, first.y, first.z], hand, atol=1e-6)
    fades = [color.a for color in way.colors]
    assert fades == sorted(fades, reverse=True) and fades[0] == 1.0 and fades[-1] > 0.1
    assert way.colors[0].g > way.colors[0].r  # open
    assert way.colors[-1].r > way.colors[-1].g  # closed
    beads = sight.newest("actions")
    assert len(beads.points) == len(beads.colors) == 8
    ends = [(p.x, p.y, p.z) for p in (way.points[-1], beads.points[-1])]
    assert ends[0] == ends[1]
    frames = sight.newest("tcp")
    tips = np.array([(p.x, p.y, p.z) for p in frames.points]).reshape(-1, 2, 3)
    assert np.allclose(np.linalg.norm(tips[:, 1] - tips[:, 0], axis=1), 0.035)


def test_what_is_over_is_taken_away_and_past_actions_are_not_drawn(sight):
    half_past = chunk(sight.now_ns() - 350_000_000)
    path = sight.send(half_past)
    assert 0 < len(path.poses) < 8
    assert to_ns(path.poses[0].header.stamp) > to_ns(path.header.stamp)
    sight.graph.wait(lambda: not sight.paths[-1].poses, "an empty path")
    sight.graph.wait(lambda: sight.newest("way").action == Marker.DELETE, "the way to be deleted")
    assert {sight.newest(name).id for name in ("way", "actions", "tcp")} == {0}


def test_what_answers_an_arm_at_rest_is_due_from_when_the_arm_began(sight):
    told = chunk(sight.now_ns() - 500_000_000)
    began_ns = sight.now_ns() + 1_000_000_000
    safety = SafetyStatus(state="running", driver="policy", resumed=to_stamp(began_ns))
    sight.says.publish(safety)
    path = sight.send(told, later_ns=began_ns - told.stamp_ns)
    seen_ns = [to_ns(pose.header.stamp) for pose in path.poses]
    assert seen_ns == [began_ns + k * told.period_ns for k in range(8)]


def test_only_the_driver_is_drawn_and_what_the_executor_says_is_written(sight):
    sight.says.publish(SafetyStatus(state="holding", reason="no new chunk", driver="human"))
    sight.graph.wait(
        lambda: sight.newest("executor").text == "holding: no new chunk", "the executor's words"
    )
    begin_ns = sight.now_ns() + 1_000_000_000
    sight.send(chunk(begin_ns), "teleop")
    sight.senders["policy"].publish(to_message(chunk(begin_ns + 8_000_000_000)))
    sight.send(chunk(begin_ns + 100_000_000), "teleop")
    moments = [to_ns(path.poses[0].header.stamp) for path in sight.paths if path.poses]
    assert {begin_ns, begin_ns + 100_000_000} == set(moments)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda c: ActionChunk(c.stamp_ns, c.period_ns, c.actions * np.nan, c.names), "finite"),
        (lambda c: ActionChunk(c.stamp_ns, c.period_ns, c.actions[:, 1:], c.names[1:]), "joint1"),
    ],
)
def test_chunk_that_cannot_be_drawn_is_said_in_diagnostics(sight, wrong, why):
    said = sight.graph.listen(DiagnosticArray, "/diagnostics")

    def told():
        sight.senders["policy"].publish(to_message(wrong(chunk(sight.now_ns()))))
        mine = [s for array in said for s in array.status if s.name == "preview"]
        return any(why in status.message for status in mine)

    sight.graph.wait(told, "the reason")


def test_rviz_shows_every_marker_and_the_path_in_the_frame_they_are_in(sight):
    sight.send(chunk(sight.now_ns() + 1_000_000_000))
    config = yaml.safe_load((ROOT / "config/rviz/uwm.rviz").read_text())["Visualization Manager"]
    shown = {entry["Topic"]["Value"]: entry for entry in config["Displays"] if "Topic" in entry}
    names = {m.ns for array in sight.arrays for m in array.markers}
    assert names <= set(shown["preview/markers"]["Namespaces"])
    assert shown["preview/path"]["Class"].endswith("/Path")
    frames = {m.header.frame_id for array in sight.arrays for m in array.markers}
    assert frames == {config["Global Options"]["Fixed Frame"]}
