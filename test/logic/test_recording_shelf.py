# SPDX-License-Identifier: Apache-2.0
"""Laws of finished episodes: undone, relabelled and noted without touching their data."""

import pytest
import yaml

from uwm_core.data.bag_labels import read_labels, write_labels
from uwm_core.errors import DataError, UnknownNameError, UwmError
from uwm_ros.logic.recording_shelf import Shelf, remarks_of


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "episodes")


def finished(shelf, name, outcome="success", task="lift"):
    """A bag as the recorder leaves it, on the shelf."""
    path = shelf.directory / name
    path.mkdir(parents=True)
    (path / "data.mcap").write_bytes(name.encode())
    labels = {"uwm.outcome": outcome, "uwm.task": task, "uwm.role": "expert"}
    content = {"rosbag2_bagfile_information": {"version": 8, "custom_data": labels}}
    (path / "metadata.yaml").write_text(yaml.safe_dump(content))
    return shelf.put(path, outcome)


def content(shelf):
    """Outcome by place of every episode, and whether its data are what they were."""
    found = {}
    for path in shelf.directory.rglob("metadata.yaml"):
        bag = path.parent
        assert (bag / "data.mcap").read_bytes() == bag.name.encode()
        place = bag.relative_to(shelf.directory).as_posix()
        found[place] = read_labels(bag)["uwm.outcome"]
    return found


def test_undo_takes_back_the_last_decision_and_itself(shelf):
    finished(shelf, "a")
    finished(shelf, "b", "failure")
    assert shelf.undo().path == shelf.directory / "trash" / "b"
    assert content(shelf) == {"a": "success", "trash/b": "discard"}
    assert shelf.kept == 1
    shelf.undo()
    assert content(shelf) == {"a": "success", "b": "failure"}
    assert shelf.kept == 2


def test_undone_discard_comes_back_as_a_failure(shelf):
    """Nobody has judged it, and a failure harms a data set least."""
    finished(shelf, "a", "discard")
    assert content(shelf) == {"trash/a": "discard"}
    shelf.undo()
    assert content(shelf) == {"a": "failure"}
    assert shelf.kept == 1


def test_relabel_changes_what_is_said_and_where_it_lies(shelf):
    finished(shelf, "a")
    finished(shelf, "b")
    shelf.relabel("a", outcome="discard")
    assert content(shelf) == {"trash/a": "discard", "b": "success"}
    shelf.relabel("a", outcome="failure", task="push", role="play")
    assert content(shelf) == {"a": "failure", "b": "success"}
    assert read_labels(shelf.find("a").path) == {
        "uwm.outcome": "failure",
        "uwm.task": "push",
        "uwm.role": "play",
    }


def test_new_task_of_an_older_episode_leaves_undo_to_the_last(shelf):
    finished(shelf, "a")
    finished(shelf, "b")
    shelf.relabel("a", task="push")
    assert shelf.undo().name == "b"


def test_notes_add_up_and_survive_a_relabel(shelf):
    finished(shelf, "a")
    shelf.note("gripper slipped")
    shelf.note('light "off"', "a")
    shelf.relabel("a", outcome="failure")
    assert remarks_of(read_labels(shelf.find("a").path)) == ["gripper slipped", 'light "off"']


def test_names_are_never_used_twice(shelf):
    names = []
    for suffix in ("", ".part", ""):
        names.append(shelf.free_name("take"))
        (shelf.directory / f"{names[-1]}{suffix}").mkdir(parents=True)
    (shelf.directory / "trash").mkdir()
    (shelf.directory / names[0]).rename(shelf.directory / "trash" / names[0])
    names.append(shelf.free_name("take"))
    assert len(set(names)) == 4


def test_refusals_name_what_would_have_worked(shelf):
    with pytest.raises(UwmError, match="no episode has ended"):
        shelf.undo()
    finished(shelf, "a")
    with pytest.raises(UnknownNameError, match=r"'b'.*a"):
        shelf.relabel("b", outcome="success")
    with pytest.raises(UwmError, match="success, failure, discard; got 'fine'"):
        shelf.relabel("a", outcome="fine")
    with pytest.raises(UwmError, match="nothing to change in a"):
        shelf.relabel("a")
    with pytest.raises(UnknownNameError):
        shelf.find("../a")


def test_labels_of_something_that_is_no_bag_are_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match=r"has no readable metadata\.yaml"):
        read_labels(tmp_path)
    (tmp_path / "metadata.yaml").write_text("a: [")
    with pytest.raises(DataError) as refused:
        write_labels(tmp_path, {"uwm.task": "lift"})
    assert "\n" not in str(refused.value)
    assert (tmp_path / "metadata.yaml").read_text() == "a: ["
