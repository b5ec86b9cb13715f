# SPDX-License-Identifier: Apache-2.0
"""Laws of recording without a graph."""

import json
import threading

import pytest

from uwm_core.errors import UwmError
from uwm_ros.logic.recording import EpisodeRecording, Inbox, Raw, Take, check_name


class Bag:
    """A writer that can be slow or broken."""

    def __init__(self, path, gate=None, error=None):
        self.path, self.gate, self.error = path, gate, error
        self.written, self.metadata = [], {}

    def write(self, topic, data, receive_ns):
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        self.written.append(Raw(topic, data, receive_ns))

    def set_metadata(self, key, value):
        self.metadata[key] = value

    def close(self):
        self.path.mkdir()
        return self.path


def test_overflow_is_dropped_and_counted_by_topic():
    inbox = Inbox(max_bytes=10)
    assert inbox.put(Raw("a", b"12345678", 1))
    assert not inbox.put(Raw("b", b"123", 2))
    assert inbox.put(Raw("a", b"12", 3))
    assert inbox.dropped == {"b": 1}
    assert [message.receive_ns for message in inbox.take()] == [1, 3]
    assert inbox.put(Raw("b", b"1234567890", 4))


def test_slow_disk_never_makes_the_wire_wait(tmp_path):
    gate = threading.Event()
    bag = Bag(tmp_path / "bag", gate)
    episode = EpisodeRecording("bag", bag, 0, max_bytes=100)
    results = [episode.add(Raw("a", b"x" * 10, i)) for i in range(50)]
    assert not all(results)
    gate.set()
    episode.finish({"uwm.outcome": "success"})
    assert len(bag.written) == sum(results)
    assert episode.dropped["a"] == 50 - sum(results)
    assert json.loads(bag.metadata["uwm.dropped"]) == {"a": 50 - sum(results)}


def test_queue_counts_what_was_taken_in_small_parts_only():
    """A taken batch is still in memory: were it the whole queue, the bound would be doubled."""
    inbox = Inbox(max_bytes=100 * 2**20)
    for i in range(40):
        assert inbox.put(Raw("a", bytes(2**20), i))
    taken = inbox.take()
    assert len(taken) == 8
    assert inbox.waiting_bytes == 32 * 2**20


def test_writing_that_lags_is_told_before_anything_is_dropped(tmp_path):
    gate = threading.Event()
    episode = EpisodeRecording("bag", Bag(tmp_path / "bag", gate), 0, max_bytes=100)
    take = Take(episode, "", "expert")
    assert take.alarms() == []
    for i in range(5):
        episode.add(Raw("a", b"x" * 10, i))
    assert [alarm.key for alarm in take.alarms()] == ["lag"]
    for i in range(20):
        episode.add(Raw("a", b"x" * 10, i))
    assert [alarm.key for alarm in take.alarms()] == ["a dropped", "lag"]
    gate.set()
    episode.finish({})


def test_everything_added_before_the_end_is_written_in_order(tmp_path):
    bag = Bag(tmp_path / "bag")
    episode = EpisodeRecording("bag", bag, 0)
    for i in range(100):
        episode.add(Raw("a", b"x", i))
    episode.finish({"uwm.outcome": "failure"})
    assert [message.receive_ns for message in bag.written] == list(range(100))
    assert bag.metadata["uwm.outcome"] == "failure"
    assert episode.bytes_written == 100
    assert not episode.add(Raw("a", b"x", 200))


def test_full_disk_is_told_at_the_end_and_not_hidden(tmp_path):
    bag = Bag(tmp_path / "bag", error=OSError("no space left"))
    episode = EpisodeRecording("bag", bag, 0)
    episode.add(Raw("a", b"x", 1))
    with pytest.raises(UwmError, match="no space left"):
        episode.finish({})
    assert not bag.path.exists()


def test_unknown_role_names_the_known():
    with pytest.raises(UwmError, match="expert, play"):
        check_name("role", "pilot", ("expert", "play"))
