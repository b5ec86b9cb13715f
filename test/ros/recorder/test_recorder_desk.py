# SPDX-License-Identifier: Apache-2.0
"""Laws of operating the recorder: undone, relabelled, noted, marked, by service, pedal and keys."""

import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_labels import read_labels
from uwm_ros.srv import CheckStreams, NoteEpisode, RelabelEpisode


def outcomes(tmp_path):
    """Outcome by place of every bag."""
    bags = (path.parent for path in (tmp_path / "bags").rglob("metadata.yaml"))
    root = tmp_path / "bags"
    return {b.relative_to(root).parts[:-1]: read_labels(b)["uwm.outcome"] for b in bags}


def record(desk, robot, status, outcome="success"):
    """One episode of a few messages; its folder."""
    robot.alive(status)
    answer = desk.start()
    assert answer.success, answer.message
    status.clear()
    desk.heard(status, 2, robot.publish)
    answer = desk.stop(outcome)
    assert answer.success, answer.message
    return Path(answer.path)


def test_undo_relabel_and_note_change_labels_and_never_the_data(
    graph, desk, make, status, sending_robot, tmp_path
):
    make()
    path = record(desk, sending_robot(graph), status)
    data = (next(path.glob("*.mcap"))).read_bytes()
    undone = graph.call(Trigger, "recorder/undo")
    assert undone.success, undone.message
    assert outcomes(tmp_path) == {("trash",): "discard"}
    assert graph.call(Trigger, "recorder/undo").success
    assert outcomes(tmp_path) == {(): "success"}
    request = RelabelEpisode.Request(outcome="failure", task="push the cube")
    assert graph.call(RelabelEpisode, "recorder/relabel", request).path == str(path)
    note = NoteEpisode.Request(text="the cube slipped")
    assert graph.call(NoteEpisode, "recorder/note", note).noted == path.name
    with BagReader(path) as bag:
        assert bag.metadata["uwm.outcome"] == "failure"
        assert bag.metadata["uwm.task"] == "push the cube"
        assert json.loads(bag.metadata["uwm.remarks"]) == ["the cube slipped"]
    assert next(path.glob("*.mcap")).read_bytes() == data


def test_marks_are_published_and_in_the_bag(graph, desk, make, status, sending_robot):
    heard = graph.listen(String, "recorder/mark")
    make()
    robot = sending_robot(graph)
    robot.alive(status)
    assert desk.start("lift").success
    assert graph.call(NoteEpisode, "recorder/note", NoteEpisode.Request(text="hm")).success
    path = desk.stop("failure").path
    with BagReader(path) as bag:
        marks = [json.loads(m.data) for _, m, _ in bag.messages(["/recorder/mark"])]
        figures = json.loads(bag.metadata["uwm.streams"])
    assert [mark["event"] for mark in marks] == ["start", "note", "stop"]
    assert (marks[0]["task"], marks[0]["role"]) == ("lift", "expert")
    assert (marks[1]["text"], marks[2]["outcome"]) == ("hm", "failure")
    assert all(mark["episode"] == Path(path).name for mark in marks)
    graph.wait(lambda: len(heard) == 3, "marks")
    assert [json.loads(message.data) for message in heard] == marks
    assert figures["/franka/joint_states"]["lost"] == 0


def test_check_says_what_a_start_would_refuse(graph, desk, make, status, sending_robot):
    make()
    robot = sending_robot(graph, skip=("wrist/color/image_raw",))
    robot.connected()
    robot.publish()
    check = graph.call(CheckStreams, "recorder/check")
    answer = desk.start()
    assert not check.success
    assert "/wrist/color/image_raw" in check.message
    assert "/wrist/color/image_raw" in answer.message
    failed = [s for s, level in zip(check.subjects, check.levels, strict=True) if level == "fail"]
    assert all(subject.split(" ")[0] in answer.message for subject in failed if "/" in subject)
    assert {"disk", "disk speed", "middleware", "clock"} <= set(check.subjects)


def test_pedal_starts_keeps_and_undoes(graph, make, status, sending_robot, tmp_path):
    make(buttons=["0:toggle", "1:undo"], task="lift the cube")
    robot = sending_robot(graph)
    pedal = graph.node.create_publisher(Joy, "joy", 10)
    graph.connected(pedal)
    robot.alive(status)

    def press(button):
        pedal.publish(Joy(buttons=[0, 0]))
        pedal.publish(Joy(buttons=[int(button == 0), int(button == 1)]))
        pedal.publish(Joy(buttons=[0, 0]))

    press(0)
    graph.wait(lambda: status[-1].state == "recording", "a start by the pedal")
    assert status[-1].task == "lift the cube"
    robot.publish()
    time.sleep(0.4)  # longer than a contact bounces
    press(0)
    graph.wait(lambda: status[-1].last_outcome == "success", "an end by the pedal")
    assert outcomes(tmp_path) == {(): "success"}
    press(1)
    graph.wait(lambda: status[-1].last_outcome == "discard", "an undo by the pedal")
    assert outcomes(tmp_path) == {("trash",): "discard"}


def test_keys_of_uwm_record_drive_the_recorder(graph, make, status, sending_robot, tmp_path):
    make()
    robot = sending_robot(graph)
    robot.alive(status)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "uwm_core.cli.main", "record", "lift the cube"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, env=dict(os.environ))
    try:
        graph.wait(lambda: b"idle" in os.read(ours, 4096), "the status line")

        def pressed(key, reached, what):
            os.write(ours, key)
            graph.wait(lambda: robot.publish() or (os.read(ours, 4096) and reached()), what)

        pressed(b"s", lambda: status[-1].state == "recording", "a start")
        pressed(b"nhello\n", lambda: list(status[-1].notes) == ["hello"], "a note")
        pressed(b"s", lambda: status[-1].last_outcome == "success", "an end")
        pressed(b"u", lambda: status[-1].last_outcome == "discard", "an undo")
        os.write(ours, b"q")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert outcomes(tmp_path) == {("trash",): "discard"}


def test_uwm_record_without_a_terminal_says_what_to_do():
    command = [sys.executable, "-m", "uwm_core.cli.main", "record"]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "recorder/start" in done.stderr
