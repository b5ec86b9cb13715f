# SPDX-License-Identifier: Apache-2.0
"""Laws of the cadence, in simulated time."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uwm_ros.logic.cadence import MARGIN_S, Cadence

NS = 1_000_000_000
STEP_S = 0.004


class World:
    """A camera, a model and a clock."""

    def __init__(self, cadence, chunk_s, camera_s, age_s, inference_s, start_s=1000.0):
        self.cadence, self.chunk_s = cadence, chunk_s
        self.camera_s, self.age_s, self.inference_s = camera_s, age_s, inference_s
        self.now_s = self.picture_s = start_s
        self.camera_alive = True
        self.begun, self.arrived, self.stamps, self.fresh = [], [], [], []
        self.until_s = None

    def run(self, seconds, between=lambda world: None):
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            now_ns = round(self.now_s * NS)
            if self.until_s is not None and self.now_s >= self.until_s:
                self.until_s = None
                self.arrived.append(self.now_s)
                self.cadence.answered(now_ns, round(self.stamps[-1] * NS))
            fresh = self.camera_alive and self.now_s >= self.picture_s + self.camera_s
            if fresh:
                self.picture_s += self.camera_s * ((self.now_s - self.picture_s) // self.camera_s)
            if self.cadence.start(now_ns, fresh=fresh):
                assert self.until_s is None, "two inferences at once"
                assert self.cadence.busy
                self.begun.append(self.now_s)
                self.fresh.append(fresh)
                self.stamps.append(self.picture_s - self.age_s)
                self.until_s = self.now_s + self.inference_s()
            between(self)
        return self

    @property
    def late(self):
        """Chunks that arrived after the one before had run out."""
        ends = np.array(self.stamps[: len(self.arrived)])[:-1] + self.chunk_s
        return int((np.array(self.arrived)[1:] > ends).sum())


def world(replan_s=0.5, chunk_s=1.1, camera_s=1 / 30, age_s=0.03, inference_s=lambda: 0.1):
    cadence = Cadence(replan_s=replan_s, chunk_s=chunk_s, wait_s=camera_s)
    return World(cadence, chunk_s, camera_s, age_s, inference_s)


@settings(max_examples=30, deadline=None)
@given(
    base_s=st.floats(0.005, 1.0),
    jitter=st.floats(0, 0.8),
    chunk_s=st.floats(0.3, 2.5),
    replan_s=st.floats(0.05, 3.0),
    camera_s=st.floats(0.01, 0.1),
    age_s=st.floats(0, 0.1),
    seed=st.integers(0, 2**32 - 1),
)
def test_chunk_arrives_before_the_old_one_runs_out_and_never_two_at_once(
    base_s, jitter, chunk_s, replan_s, camera_s, age_s, seed
):
    """Whenever inference times are stationary and two of them fit into a chunk."""
    most_s = base_s + jitter * MARGIN_S
    # A step of the simulation may pass at each of the moments.
    assume(2 * most_s + age_s + 3 * camera_s + MARGIN_S + 5 * STEP_S < chunk_s)
    rng = np.random.default_rng(seed)
    cameras = world(replan_s, chunk_s, camera_s, age_s, lambda: rng.uniform(base_s, most_s))
    cameras.run(10 * chunk_s)
    assert cameras.late == cameras.cadence.missed == 0
    assert cameras.cadence.slack_s >= 0
    assert len(cameras.arrived) >= 8


@pytest.mark.parametrize("replan_s", [0.1, 0.3, 0.5])
def test_replan_period_is_kept_although_pictures_come_when_they_come(replan_s):
    cameras = world(replan_s, camera_s=0.037, inference_s=lambda: 0.02).run(20)
    assert len(cameras.begun) == pytest.approx(20 / replan_s, abs=2)
    assert np.diff(cameras.begun).max() < replan_s + 0.037 + 2 * STEP_S
    assert all(cameras.fresh[1:])  # the first one waits for nothing


def test_a_long_replan_period_gives_way_to_the_end_of_the_chunk():
    cameras = world(replan_s=5.0, inference_s=lambda: 0.2).run(10)
    assert cameras.late == cameras.cadence.missed == 0
    # No earlier than needed either: the lead and the wait for a picture.
    assert 0 <= cameras.cadence.slack_s < 0.2 + MARGIN_S + 2 / 30
    assert cameras.cadence.lead_s == pytest.approx(0.2 + MARGIN_S, abs=0.01)


def test_too_slow_a_model_runs_without_pause_and_every_miss_is_counted():
    cameras = world(inference_s=lambda: 0.8).run(12)
    gaps = np.array(cameras.begun[1:]) - np.array(cameras.arrived[: len(cameras.begun) - 1])
    assert gaps.max() < 1 / 30 + 2 * STEP_S
    assert cameras.cadence.missed == cameras.late == len(cameras.arrived) - 1
    assert cameras.cadence.slack_s < 0


def test_what_is_due_waits_one_period_for_a_picture_and_no_longer():
    cameras = world(inference_s=lambda: 0.1)
    cameras.run(1.0)
    cameras.camera_alive = False
    before = len(cameras.begun)
    cameras.run(1.0)
    assert len(cameras.begun) > before
    assert not any(cameras.fresh[before:])
    planned = cameras.begun[before - 1] + 0.5
    assert cameras.begun[before] < planned + 1 / 30 + 2 * STEP_S


def test_where_nothing_could_be_seen_the_next_picture_is_taken():
    cadence = Cadence(replan_s=0.5, chunk_s=1.1, wait_s=0.03)
    assert cadence.start(NS, fresh=True)
    cadence.dropped(NS + 1)
    assert not cadence.start(NS + 2, fresh=False)  # asked on every message: not every one tries
    assert cadence.start(NS + 3, fresh=True)
    cadence.dropped(NS + 4)
    assert cadence.start(NS + 4 + 30_000_000, fresh=False)


def test_a_clock_that_is_set_back_does_not_stop_the_inferences():
    cameras = world().run(5)
    cameras.now_s = cameras.picture_s = 10.0
    cameras.until_s = 10.1 if cameras.cadence.busy else None
    begun = len(cameras.begun)
    cameras.run(2)
    assert len(cameras.begun) >= begun + 3


def test_running_time_of_a_hanging_inference_is_told():
    cadence = Cadence(replan_s=0.5, chunk_s=1.1, wait_s=0.03)
    assert cadence.running_s(NS) == 0
    assert cadence.start(NS, fresh=True)
    assert cadence.running_s(3 * NS) == 2
    assert not cadence.due(9 * NS)
    cadence.answered(4 * NS, 3 * NS)
    assert cadence.running_s(5 * NS) == 0
