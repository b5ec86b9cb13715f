# SPDX-License-Identifier: Apache-2.0
"""Laws of the watch over an observation's streams, on messages as they come from the wire."""

import itertools

import numpy as np
import pytest

from uwm_ros.logic.freshness import Freshness

NS = 1_000_000_000
MS = 1_000_000


class Streams:
    """Plays an undisturbed robot into the watch, with one thing wrong from a moment on."""

    def __init__(self, bags, embodiment):
        self.bags, self.embodiment = bags, embodiment
        self.watch = Freshness(embodiment)
        self.now = bags.START_NS
        self.pictures = itertools.count()

    def play(self, seconds, *, silent=(), frozen=(), ahead_ns=0, still=False):
        """Advance at 200 Hz; the reason of each look (every 20 ms)."""
        reasons = []
        for k in range(round(seconds * 200)):
            self.now += 5 * MS
            stamp = self.now - 2 * MS
            for key, spec in self.embodiment.observation_streams.items():
                if key in silent or (key.startswith("camera/") and k % 6):
                    continue
                shifted = stamp + (ahead_ns if key == "camera/front" else 0)
                if key.startswith("camera/"):
                    index = 0 if key in frozen else next(self.pictures)
                    message = self.bags.image_msg(self.bags.picture(index), shifted)
                else:
                    moment = self.bags.START_NS if still else stamp
                    arm = self.bags.joints_at(moment) * (1 + (0 if still else k * 0.002))
                    value = arm if key == "state/joint_pos" else np.full(2, 0.02)
                    message = self.bags.joint_msg(spec.names, value, shifted)
                self.watch.saw(key, message, self.now)
            if k % 4 == 0:
                reasons.append((self.now, self.watch.trouble(self.now)))
        return reasons


@pytest.fixture
def streams(bags, embodiment):
    streams = Streams(bags, embodiment)
    streams.play(0.3)
    return streams


def test_an_undisturbed_robot_is_fresh_all_the_time(streams):
    assert {reason for _, reason in streams.play(2.0)} == {""}


def test_before_the_first_message_the_missing_topic_is_named(embodiment):
    topics = {spec.topic for spec in embodiment.observation_streams.values()}
    assert any(topic in Freshness(embodiment).trouble(NS) for topic in topics)


@pytest.mark.parametrize("key", ["camera/front", "camera/wrist", "state/joint_pos"])
def test_a_silent_stream_is_named_as_soon_as_it_is_too_old(streams, key):
    begin = streams.now
    spec = streams.embodiment.observation_streams[key]
    found = next((now, why) for now, why in streams.play(1.0, silent={key}) if why)
    assert spec.topic in found[1] and "silent" in found[1]
    assert spec.max_age_s - 0.04 < (found[0] - begin) / NS < spec.max_age_s + 0.05
    assert streams.play(0.5)[-1][1] == ""


def test_a_frozen_camera_is_named_while_the_arm_moves_and_not_while_it_rests(streams):
    streams.play(0.1, still=True)
    assert {why for _, why in streams.play(1.0, frozen={"camera/wrist"}, still=True)} == {""}
    streams.play(0.3)
    begin = streams.now
    found = next((t, why) for t, why in streams.play(1.0, frozen={"camera/wrist"}) if why)
    assert "wrist" in found[1] and "same picture" in found[1]
    assert (found[0] - begin) / NS < 0.25


def test_an_arm_that_stopped_is_not_taken_for_one_that_moves(bags, embodiment):
    """Joint states that arrive a tenth of a second late, and a scene that stands still at last.

    Pictures were compared with the newest joint state: one that was late, or that came before a
    reset of the scene, made a camera frozen for as long as the arm rested.
    """
    watch, reasons = Freshness(embodiment), set()
    states = []
    for k in range(400):
        now = bags.START_NS + k * 5 * MS
        moving = min(k, 100)
        value = np.full(7, moving * 0.005)
        arm = embodiment.state["joint_pos"].names
        states.append(bags.joint_msg(arm, value, now))
        if k >= 20:
            watch.saw("state/joint_pos", states[k - 20], now)
        if k % 6 == 0:
            for camera in ("front", "wrist"):
                picture = bags.image_msg(bags.picture(moving), now)
                watch.saw(f"camera/{camera}", picture, now)
            fingers = embodiment.state["gripper_width"].names
            watch.saw("state/gripper_width", bags.joint_msg(fingers, np.zeros(2), now), now)
        if k > 40:
            reasons.add(watch.trouble(now).split(" for ")[0])
    assert not [reason for reason in reasons if "same picture" in reason]


@pytest.mark.parametrize("gap_ms", [1, 4])
def test_an_arm_that_was_put_elsewhere_between_two_states_is_not_taken_for_one_that_moves(
    bags, embodiment, gap_ms
):
    """A reset of the simulation, and the first picture after it before the first state after it.

    The camera counted as frozen for as long as the arm then rested: without chunks, for ever.
    """
    watch, reasons = Freshness(embodiment), set()
    for k in range(300):
        now = bags.START_NS + k * 5 * MS
        arm = embodiment.state["joint_pos"].names
        watch.saw("state/joint_pos", bags.joint_msg(arm, np.full(7, 0.4 * (k < 60)), now), now)
        if k % 6 == 5:
            # Of a moment right after the last state before the reset, when k is 59.
            moment = now + gap_ms * MS
            for camera in ("front", "wrist"):
                watch.saw(f"camera/{camera}", bags.image_msg(bags.picture(k >= 59), moment), moment)
            fingers = embodiment.state["gripper_width"].names
            watch.saw("state/gripper_width", bags.joint_msg(fingers, np.zeros(2), now), now)
            reasons.add(watch.trouble(moment).split(" for ")[0])
    assert not [reason for reason in reasons if "same picture" in reason]


@pytest.mark.parametrize(("hours", "word"), [(1, "future"), (-1, "after its stamp")])
def test_stamps_of_another_hour_are_named(streams, hours, word):
    reasons = [why for _, why in streams.play(0.2, ahead_ns=hours * 3600 * NS) if why]
    assert reasons
    assert all("front" in why and word in why for why in reasons)
