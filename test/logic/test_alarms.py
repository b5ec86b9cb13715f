# SPDX-License-Identifier: Apache-2.0
"""Laws of the alarms of a recording: closed forms, with time as an argument."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uwm_ros.logic.alarms import Expectation, TopicHealth
from uwm_ros.logic.peek import image_size, stamp_ns

S = 1_000_000_000
EPOCH = 1_700_000_000 * S


def message(stamp, frame_id="camera", size=None, little=True):
    """Serialized header, and height and width where there is an image."""
    order, text = "<" if little else ">", frame_id.encode() + b"\0"
    data = bytes([0, little, 0, 0]) + struct.pack(f"{order}iII", stamp // S, stamp % S, len(text))
    data += text
    data += b"\0" * (-len(data) % 4)
    return data + (struct.pack(f"{order}II", *size) if size else b"")


def health(**expected):
    return TopicHealth(Expectation(topic="/t", **expected))


def keys(watched, now_ns):
    return [alarm.key for alarm in watched.alarms(now_ns)]


def feed(watched, rate_hz, seconds, begin_ns=EPOCH, offset_ns=0):
    """Messages at an exact rate; the time of the last one."""
    for i in range(round(rate_hz * seconds)):
        now = begin_ns + round(i * S / rate_hz)
        watched.add(message(now - offset_ns), now)
    return now


@given(
    st.integers(0, 2**31 - 1),
    st.integers(0, S - 1),
    st.text(max_size=9),
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.booleans(),
)
def test_peeked_stamp_and_size_are_those_that_were_written(sec, nanosec, frame_id, size, little):
    data = message(sec * S + nanosec, frame_id.replace("\0", ""), size, little)
    assert stamp_ns(data) == sec * S + nanosec
    assert image_size(data) == size


@given(st.binary(max_size=40))
def test_peeking_into_any_bytes_raises_nothing(data):
    stamp_ns(data)
    image_size(data)


def test_rate_is_messages_of_the_last_second_and_silence_the_time_since():
    watched = health(rate_hz=30.0)
    assert watched.silent_s(EPOCH) == float("inf")
    now = feed(watched, 30, 3)
    assert watched.rate_hz(now) == pytest.approx(30, abs=1)
    assert watched.silent_s(now + S) == pytest.approx(1.0)
    assert watched.rate_hz(now + 2 * S) == 0


def test_healthy_stream_raises_no_alarm():
    watched = health(rate_hz=30.0, max_gap_s=0.1, stamped=True)
    now = feed(watched, 30, 2)
    watched.begin(now)
    now = feed(watched, 30, 3, now + S // 30)
    assert watched.alarms(now) == []
    assert watched.gap_s == pytest.approx(1 / 30, abs=1e-6)


def test_stopped_topic_is_told_after_a_second_and_not_as_slow_too():
    watched = health(rate_hz=30.0)
    now = feed(watched, 30, 3)
    assert keys(watched, now + S // 2) == ["/t slow"]
    assert keys(watched, now + 2 * S) == ["/t stopped"]


def test_slow_topic_is_told_below_four_fifths_of_its_rate():
    for rate_hz, told in ((25, []), (22, ["/t slow"])):
        watched = health(rate_hz=30.0)
        assert keys(watched, feed(watched, rate_hz, 4)) == told


def test_command_stream_may_begin_late_but_not_stop():
    watched = health(rate_hz=30.0, starts_late=True)
    assert keys(watched, EPOCH) == []
    assert keys(watched, feed(watched, 30, 2) + 2 * S) == ["/t stopped"]
    assert keys(health(rate_hz=30.0), EPOCH) == ["/t stopped"]


def test_gap_of_a_take_stays_told_until_the_next_begins():
    watched = health(rate_hz=30.0, max_gap_s=0.15)
    now = feed(watched, 30, 1)
    watched.begin(now)
    now = feed(watched, 30, 3, now + round(0.2 * S))
    assert watched.gap_s == pytest.approx(0.2)
    assert keys(watched, now) == ["/t gap"]
    watched.begin(now)
    assert keys(watched, now) == []


@pytest.mark.parametrize(
    ("shift_ns", "told"),
    [(-S // 10, "/t clock back"), (5 * S, "/t clock ahead"), (-3600 * S, "/t clock back")],
)
def test_jump_of_the_header_clock_is_told(shift_ns, told):
    watched = health(stamped=True)
    now = feed(watched, 30, 1)
    assert watched.alarms(now) == []
    watched.add(message(now + S // 30 + shift_ns), now + S // 30)
    assert told in keys(watched, now)


def test_pause_of_a_topic_is_no_jump_of_its_clock():
    watched = health(stamped=True)
    now = feed(watched, 30, 1)
    assert watched.alarms(feed(watched, 30, 1, now + 60 * S)) == []


def test_stamps_of_another_epoch_and_missing_ones_are_told():
    watched = health(stamped=True)
    now = feed(watched, 30, 1, offset_ns=EPOCH - 5 * S)
    assert keys(watched, now) == ["/t epoch"]
    watched = health(stamped=True)
    watched.add(message(0), EPOCH)
    assert keys(watched, EPOCH) == ["/t zero stamp"]


def test_image_that_changes_its_size_is_told():
    watched = health(stamped=True, image=True)
    watched.add(message(EPOCH, size=(480, 640)), EPOCH)
    assert watched.alarms(EPOCH) == []
    watched.add(message(EPOCH + 1, size=(240, 320)), EPOCH + 1)
    assert keys(watched, EPOCH) == ["/t size"]
    assert watched.size == (240, 320)


def test_topic_that_nobody_expects_anything_of_is_never_late():
    watched = health()
    watched.add(b"", EPOCH)
    watched.begin(EPOCH)
    assert watched.alarms(EPOCH + 3600 * S) == []
