# SPDX-License-Identifier: Apache-2.0
"""Laws of the flight recorder's memory, of what it takes for an event, and of its bags."""

import itertools
import random

import hypothesis.strategies as st
from hypothesis import given, settings

from uwm_ros.logic.flight import (
    ASKED,
    NS,
    SILENT,
    Event,
    FlightMemory,
    Flights,
    Watch,
    surplus,
)
from uwm_ros.logic.recording import Raw

ARM, EYE = "/arm", "/eye"


def fly(memory, seconds, *, arm_hz=100, eye_hz=30, picture=1000):
    """What two streams bring in so many seconds, in order of arrival."""
    arm = [(i * NS // arm_hz, ARM, 50) for i in range(int(seconds * arm_hz))]
    eye = [(i * NS // eye_hz, EYE, picture) for i in range(int(seconds * eye_hz))]
    sent = [Raw(topic, bytes(size), moment) for moment, topic, size in sorted(arm + eye)]
    for message in sent:
        memory.add(message, picture=message.topic == EYE)
    return sent


def of(topic, messages):
    return [message for message in messages if message.topic == topic]


def test_with_room_the_memory_is_the_last_seconds_and_nothing_else():
    memory = FlightMemory(5.0, 10**9)
    sent = fly(memory, 20)
    newest_ns = sent[-1].receive_ns
    wanted = [m for m in sent if m.receive_ns >= newest_ns - 5 * NS]
    assert memory.between(newest_ns - 5 * NS, newest_ns) == wanted
    assert memory.between(0, 2 * newest_ns)[-1] == sent[-1]
    assert not memory.thinned.total() + memory.dropped.total()
    assert memory.held_bytes <= sum(len(m.data) for m in wanted) + 1050
    assert 4.9 < memory.held_s <= 5.1


def test_without_room_pictures_give_way_first_and_the_older_ones_more():
    memory = FlightMemory(10.0, 60_000)  # a tenth of the pictures' bytes would not fit
    sent = fly(memory, 12)
    newest_ns = sent[-1].receive_ns
    held = memory.between(newest_ns - 10 * NS, newest_ns)
    assert of(ARM, held) == [m for m in of(ARM, sent) if m.receive_ns >= newest_ns - 10 * NS]
    assert not memory.dropped
    assert memory.held_bytes <= 60_000
    moments = [m.receive_ns for m in of(EYE, held)]
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    half = len(gaps) // 2
    assert sum(gaps[half:]) / len(gaps[half:]) <= sum(gaps[:half]) / len(gaps[:half])
    assert moments[-1] > newest_ns - NS // 10
    born = [m for m in of(EYE, sent)]
    aged = sum(m.receive_ns < newest_ns - 10 * NS for m in born)
    assert len(born) - aged - len(moments) <= memory.thinned[EYE] <= len(born) - len(moments)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(200, 20_000), st.integers(1, 2000))
def test_bytes_stay_bounded_and_order_kept_whatever_comes(seed, most, largest):
    rng = random.Random(seed)
    memory, now_ns, count = FlightMemory(2.0, most), 0, 0
    for _ in range(300):
        now_ns += rng.randrange(NS // 20)
        topic = rng.choice((ARM, EYE, "/other"))
        memory.add(Raw(topic, bytes(rng.randrange(largest)), now_ns), picture=topic == EYE)
        assert memory.held_bytes <= most
        count += 1
    held = memory.between(0, now_ns)
    assert sum(len(m.data) for m in held) == memory.held_bytes
    moments = [m.receive_ns for m in held]
    assert moments == sorted(moments)
    assert len(held) + memory.thinned.total() + memory.dropped.total() <= count


def test_clock_that_is_set_back_begins_a_new_memory():
    memory = FlightMemory(5.0, 10**9)
    fly(memory, 20)
    late = Raw(ARM, b"new", 1)
    memory.add(late)
    assert memory.between(0, 100 * NS) == [late]
    assert memory.held_bytes == 3


def heard(watch, *words):
    return [watch.heard(state, cause, "why", i * NS) for i, (state, cause) in enumerate(words)]


def test_trouble_and_stops_are_events_and_the_operators_hold_is_not():
    good = [("armed", "none"), ("running", "none")]
    assert heard(Watch(1.0), *good, ("holding", "late_chunk"), ("holding", "late_chunk"))[2:] == [
        Event(2 * NS, "late_chunk", "why"),
        None,
    ]
    assert heard(Watch(1.0), *good, ("holding", "operator"), ("stopped", "operator"))[2:] == [
        None,
        Event(3 * NS, "stopped", "why"),
    ]
    again = heard(Watch(1.0), *good, ("holding", "jump"), ("armed", "none"), ("running", "none"))
    assert [bool(event) for event in again] == [False, False, True, False, False]
    assert heard(Watch(1.0), ("holding", "jump")) == [None]  # so it was before we came


def test_silence_is_an_event_only_of_an_executor_that_ran_and_only_once():
    watch = Watch(1.0)
    heard(watch, ("idle", "none"), ("running", "none"))
    assert watch.silence(2 * NS) is None
    event = watch.silence(2 * NS + 1)
    assert (event.cause, event.moment_ns) == (SILENT, 2 * NS + 1)
    assert watch.silence(9 * NS) is None
    assert watch.heard("holding", "jump", "", 10 * NS) is None
    still = Watch(1.0)
    heard(still, ("idle", "none"), ("armed", "none"))
    assert still.silence(100 * NS) is None


def test_bag_spans_its_events_and_is_taken_once_when_its_end_is_past():
    flights = Flights(before_s=30.0, after_s=3.0)
    assert flights.take(100 * NS) is None
    first = flights.add(Event(100 * NS, "jump", ""), "a")
    assert flights.add(Event(102 * NS, "limit", ""), "b") is first
    assert flights.is_open
    assert flights.take(105 * NS - 1) is None
    assert flights.take(105 * NS) is first
    assert (first.name, first.start_ns, first.end_ns) == ("a", 70 * NS, 105 * NS)
    assert [event.cause for event in first.events] == ["jump", "limit"]
    assert flights.take(1000 * NS) is None


def test_trouble_without_end_makes_bags_that_meet_and_never_overlap():
    flights, bags = Flights(before_s=30.0, after_s=3.0), []
    for tick in range(1000, 1600):
        flights.add(Event(tick * NS // 10, "late_chunk", ""), str(tick))
        if flight := flights.take(tick * NS // 10):
            bags.append(flight)
    assert len(bags) > 3
    assert all(a.end_ns == b.start_ns for a, b in itertools.pairwise(bags))
    # All that a bag may hold is still in a memory of `span_s` when it is taken.
    assert all(bag.end_ns - bag.start_ns <= flights.span_s * NS for bag in bags)


def test_whoever_asks_gets_all_even_right_after_another_bag():
    flights = Flights(before_s=30.0, after_s=3.0)
    flights.add(Event(100 * NS, "jump", ""), "a")
    flights.take(103 * NS)
    assert flights.add(Event(104 * NS, ASKED, ""), "b").start_ns == 74 * NS


def test_the_oldest_names_are_too_many():
    names = ["flight_20260102_000000_b", "flight_20260101_000000_z", "flight_20260103_000000_a"]
    assert surplus(names, 2) == ["flight_20260101_000000_z"]
    assert surplus(names, 3) == surplus([], 0) == []
