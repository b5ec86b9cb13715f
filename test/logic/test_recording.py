# SPDX-License-Identifier: Apache-2.0
"""Laws of recording without a graph."""

import threading

import pytest

from uwm_core.errors import UwmError
from uwm_ros.logic.recording import (
    EpisodeRecording,
    Inbox,
    Rates,
    Raw,
    check_name,
    episode_name,
    move_to_trash,
)


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
    episode.finish("success")
    assert len(bag.written) == sum(results)
    assert episode.dropped["a"] == 50 - sum(results)
    assert bag.metadata["uwm.dropped"] == f"a: {50 - sum(results)}"


def test_everything_added_before_the_end_is_written_in_order_after_the_lead_in(tmp_path):
    bag = Bag(tmp_path / "bag")
    lead_in = [Raw("b", b"", 2), Raw("a", b"", 1)]
    episode = EpisodeRecording("bag", bag, 3, lead_in)
    for i in range(3, 100):
        episode.add(Raw("a", b"x", i))
    episode.finish("failure")
    assert [message.receive_ns for message in bag.written] == list(range(1, 100))
    assert bag.metadata["uwm.outcome"] == "failure"
    assert not episode.add(Raw("a", b"x", 200))


def test_full_disk_is_told_at_the_end_and_not_hidden(tmp_path):
    bag = Bag(tmp_path / "bag", error=OSError("no space left"))
    episode = EpisodeRecording("bag", bag, 0)
    episode.add(Raw("a", b"x", 1))
    with pytest.raises(UwmError, match="no space left"):
        episode.finish("success")
    assert not bag.path.exists()


def test_rate_is_messages_of_the_last_second():
    rates = Rates(("a",))
    assert rates.silent_s("a", 0) == float("inf")
    for i in range(60):
        rates.add("a", i * 33_333_333)
    now_ns = 59 * 33_333_333
    assert abs(rates.rate_hz("a", now_ns) - 30) <= 1
    assert rates.silent_s("a", now_ns + 10**9) == pytest.approx(1.0)
    assert rates.rate_hz("a", now_ns + 2 * 10**9) == 0


def test_names_are_never_used_twice(tmp_path):
    names = []
    for suffix in ("", ".part", ""):
        names.append(episode_name(tmp_path, "take"))
        (tmp_path / f"{names[-1]}{suffix}").mkdir()
    move_to_trash(tmp_path / names[0], tmp_path / "trash")
    names.append(episode_name(tmp_path, "take"))
    assert len(set(names)) == 4


def test_unknown_role_names_the_known():
    with pytest.raises(UwmError, match="expert, play"):
        check_name("role", "pilot", ("expert", "play"))
