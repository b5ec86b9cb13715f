# SPDX-License-Identifier: Apache-2.0
"""Laws of the figures of driving, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from uwm_ros.operator.commanded import CommandLog, Piece, Sample
from uwm_ros.operator.drive_figures import (
    GRID_NS,
    STAGES,
    drift,
    jerk,
    jumps_rad,
    percentile,
    periods_s,
    stages_s,
)

START_NS = 1_800_000_000_000_000_000
MS = 1_000_000


def test_a_stream_that_ends_early_has_a_gap_at_its_end():
    stamps = START_NS + np.arange(10) * GRID_NS
    (longest,) = np.sort(periods_s(stamps, [(START_NS, START_NS + 150 * MS)], 0.01))[-1:]
    assert longest == pytest.approx(0.06)
    assert periods_s(stamps, [(START_NS + 10**9, START_NS + 2 * 10**9)], 0.01).tolist() == [1.0]


def test_a_pause_between_two_spans_is_no_gap():
    first = START_NS + np.arange(5) * GRID_NS
    stamps = np.concatenate([first, first + 10**9])
    spans = [(START_NS, START_NS + 4 * GRID_NS), (START_NS + 10**9, START_NS + 10**9 + 4 * GRID_NS)]
    assert periods_s(stamps, spans, 0.01).tolist() == pytest.approx([0.01] * 8)


def cubic(t):
    return np.outer(np.asarray(t) ** 3, np.arange(1, 8))


def test_jerk_of_a_cubic_is_six_times_its_factor_streamed_and_planned():
    t = np.arange(100) * 0.01
    stream = CommandLog(
        [f"j{i}" for i in range(7)],
        samples=[Sample(START_NS + i * GRID_NS, START_NS, row) for i, row in enumerate(cubic(t))],
    )
    slopes = np.outer(3 * t**2, np.arange(1, 8))
    times_ns = START_NS + np.arange(100) * GRID_NS
    plan = CommandLog(stream.joints, pieces=[Piece(START_NS, times_ns, cubic(t), slopes)])
    for log in (stream, plan):
        found = jerk(log, [(START_NS, START_NS + 90 * GRID_NS)])
        np.testing.assert_allclose(found, np.tile(6 * np.arange(1, 8), (len(found), 1)), rtol=1e-4)


def test_stages_add_up_and_what_is_not_known_is_left_out():
    moments = {name: np.array([START_NS + 10 * MS * i, START_NS]) for i, name in enumerate(STAGES)}
    moments["received"][1] = 0
    found = stages_s(moments)
    assert found["without_model"][0] == pytest.approx(0.05)
    assert found["after_receipt_without_model"][0] == pytest.approx(0.04)
    assert np.isnan(found["captured_to_received"][1])
    assert percentile(found["captured_to_received"], 50) == pytest.approx(0.01)


def test_jump_is_the_distance_of_the_lines_where_the_newer_is_first_due():
    period_ns = 100 * MS
    old = np.outer(np.arange(12) * 0.1, np.ones(7))
    new = old + 0.5 + 0.03  # the same line five periods later, 0.03 rad aside
    stamps = [START_NS, START_NS + 5 * period_ns]
    commanded = {0: START_NS + 50 * MS, 1: START_NS + 5 * period_ns + 130 * MS}
    assert jumps_rad(stamps, period_ns, [old, new], commanded) == pytest.approx([0.03])


def test_drift_is_the_slope_after_the_warm_up():
    moments = np.arange(100) * 60.0
    values = np.where(moments < 1000, 500.0, 100 + 2 * moments / 3600)
    assert drift(moments, values) == pytest.approx(2.0)
