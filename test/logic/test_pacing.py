# SPDX-License-Identifier: Apache-2.0
"""Laws of the simulation's pacing."""

from uwm_ros.logic.pacing import Beat, Pacer

MS = 1_000_000
START = 1_700_000_000_000 * MS


def run(pacer, now_ns):
    steps = pacer.due(now_ns)
    for _ in range(steps):
        pacer.stepped()
    return steps


def test_steps_add_up_to_the_clock():
    pacer = Pacer(2 * MS, START)
    total = sum(run(pacer, START + now * MS) for now in (3, 5, 6, 11, 30, 30, 31))
    assert total == 15 and pacer.moment_ns == START + 30 * MS


def test_a_stall_is_skipped_and_counted_instead_of_raced_through():
    pacer = Pacer(2 * MS, START, most_behind_ns=200 * MS)
    assert run(pacer, START + 1000 * MS) == 1
    assert pacer.moment_ns == START + 1000 * MS and pacer.skipped_ns == 998 * MS


def test_clock_set_back_stops_nothing():
    pacer = Pacer(2 * MS, START)
    run(pacer, START + 10 * MS)
    assert run(pacer, START - 10_000 * MS) == 0
    assert run(pacer, START - 9_990 * MS) == 5


def test_realtime_factor_is_simulated_time_over_the_last_second():
    pacer = Pacer(2 * MS, START)
    for now in range(5, 2001, 5):
        run(pacer, START + now * MS)
    assert abs(pacer.realtime_factor - 1) < 0.01
    run(pacer, START + 2500 * MS)  # half a second lost
    assert 0.4 < pacer.realtime_factor < 0.8


def test_beat_keeps_its_rate_whatever_the_steps():
    beat = Beat(30.0, START)
    assert sum(beat.due(START + i * 2 * MS) for i in range(500)) == 30


def test_beat_does_not_make_up_for_what_it_missed():
    beat = Beat(100.0, START)
    assert beat.due(START) and beat.due(START + 95 * MS)
    assert not beat.due(START + 99 * MS) and beat.due(START + 100 * MS)


def test_beat_survives_a_clock_set_back():
    beat = Beat(100.0, START)
    assert beat.due(START)
    assert beat.due(START - 1000 * MS) and not beat.due(START - 995 * MS)
