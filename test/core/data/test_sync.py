# SPDX-License-Identifier: Apache-2.0
"""Laws of the sync report's numbers: each against the closed form of streams made on purpose."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.sync import StreamSync, SyncMeter
from uwm_core.embodiment import Embodiment

NS = 1_000_000_000
START = 1_700_000_000 * NS
STREAMS = Embodiment.load("fr3_sim").streams
KEY = "state/joint_pos"


def measured(stamps_ns, logs_ns, key=KEY):
    meter = SyncMeter(STREAMS)
    for stamp, log in zip(stamps_ns, logs_ns, strict=True):
        meter.saw(key, int(stamp), int(log))
    return meter


def sync_of(meter, key=KEY):
    return meter.streams(START, START + 10**12)[key]


def regular(rate_hz, seconds):
    return START + np.round(np.arange(round(rate_hz * seconds)) / rate_hz * NS).astype(np.int64)


@pytest.mark.parametrize("rate_hz", [7.5, 30.0, 1000.0])
def test_a_regular_stream_has_its_rate_and_one_period_as_gap(rate_hz):
    stamps = regular(rate_hz, 10)
    sync = sync_of(measured(stamps, stamps + 2_000_000))
    assert sync.messages == len(stamps)
    assert sync.rate_hz == pytest.approx(rate_hz, rel=1e-6)
    assert sync.gap_max_s == pytest.approx(1 / rate_hz, abs=1e-8)
    assert sync.offset_s == pytest.approx(0.002, abs=1e-9)
    assert sync.offset_drift_s == pytest.approx(0.0, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3_000_000_000), min_size=2, max_size=200, unique=True),
    st.integers(1, 50),
)
def test_numbers_equal_a_plain_calculation_over_all_stamps(offsets, delay_ms):
    stamps = START + np.sort(np.array(offsets, np.int64))
    sync = sync_of(measured(stamps, stamps + delay_ms * 1_000_000))
    gaps = np.diff(stamps)
    assert sync.gap_max_s == pytest.approx(gaps.max() / NS)
    assert sync.gap_at_s == pytest.approx((stamps[gaps.argmax()] - stamps[0]) / NS)
    assert sync.rate_hz == pytest.approx(len(gaps) / (stamps[-1] - stamps[0]) * NS)
    assert sync.offset_s == pytest.approx(delay_ms / 1000)


def test_the_size_of_a_batch_does_not_show():
    stamps = regular(1000, 12)  # more than two batches
    stamps = np.delete(stamps, slice(4090, 4190))  # a gap across the first one's end
    sync = sync_of(measured(stamps, stamps))
    assert sync.gap_max_s == pytest.approx(0.101)
    assert sync.gap_at_s == pytest.approx(4.089)
    assert sync.messages == 11_900
    assert sync.slowest_hz == 900


def test_a_clock_that_runs_away_is_seen_as_drift():
    stamps = regular(100, 20)
    logs = stamps + ((stamps - START) * 0.01).astype(np.int64)
    sync = sync_of(measured(stamps, logs))
    assert sync.offset_drift_s == pytest.approx(0.2, abs=0.015)
    assert any("drifts" in sentence for sentence in sync.warnings(STREAMS[KEY]))


def test_latency_is_no_clock_offset():
    streams = {
        KEY: type(STREAMS[KEY])(**{**vars(STREAMS[KEY]), "latency_s": 0.5}),
    }
    meter = SyncMeter(streams)
    for stamp in regular(100, 2):
        meter.saw(KEY, int(stamp) - NS // 2, int(stamp))
    assert sync_of(meter).offset_s == pytest.approx(0.0)


def test_what_lies_outside_the_stretch_does_not_count():
    stamps = np.array([START, START + 365 * 86_400 * NS], np.int64)
    meter = measured(stamps, stamps)
    assert len(meter.over_time(START, START + 10 * NS)[KEY].messages) == 1
    assert meter.streams(START, START + 10 * NS)[KEY].messages == 1


def test_warnings_name_what_is_outside_the_embodiment_and_nothing_else():
    spec = STREAMS["camera/front"]
    good = StreamSync(messages=300, rate_hz=29.9, gap_max_s=0.05)
    assert good.warnings(spec) == []
    slow = StreamSync(messages=150, rate_hz=15.0, gap_max_s=0.4, gap_at_s=3.0)
    told = slow.warnings(spec)
    assert len(told) == 2 and "15.0 Hz" in told[0] and "0.400 s" in told[1]


def test_json_is_a_round_trip():
    sync = StreamSync(messages=3, rate_hz=1.25, gap_max_s=0.5)
    assert StreamSync.from_json(sync.to_json() | {"of_tomorrow": 1}) == sync
