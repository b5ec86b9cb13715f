# SPDX-License-Identifier: Apache-2.0
"""Laws of driving when chunks are wrong: what a policy may send, and what then reaches the arm."""

import numpy as np
import pytest


def poke(column, value, row=5):
    """One number of a chunk replaced."""

    def change(actions):
        actions[row, column] = value
        return actions

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (poke(2, np.nan), "nan"),
        (poke(3, np.inf), "inf"),
        (poke(1, 1e6), "limit"),
        (lambda actions: actions * np.float32(1e6), "rad"),
    ],
    ids=["nan", "inf", "one 1e6", "all 1e6"],
)
def test_actions_out_of_their_mind_hold_for_the_operator(driving, change, word):
    since_ns = driving.witness.now_ns()
    driving.fake.go_wrong(change=change)
    driving.expect_hold(since_ns, word)
    driving.waits_for_the_operator()


def test_names_of_another_arm_hold_for_the_operator(driving):
    since_ns = driving.witness.now_ns()
    driving.fake.go_wrong(names=[f"panda_joint{i}" for i in range(1, 8)] + ["gripper_width"])
    driving.expect_hold(since_ns, "names")
    driving.waits_for_the_operator()


def test_columns_in_another_order_are_found_by_their_names(driving):
    order = np.random.default_rng(0).permutation(8)
    names = [driving.witness.embodiment.action_names[i] for i in order]
    driving.fake.go_wrong(change=lambda actions: actions[:, order], names=names)
    driving.pass_s(1.0)
    driving.fake.go_right()
    assert len(driving.witness.timings) > 2
    driving.never_held()


def test_observations_five_seconds_old_hold_and_heal(driving):
    since_ns = driving.witness.now_ns()
    driving.fake.go_wrong(age_s=5.0)
    driving.wait(lambda: driving.witness.first(("holding",), since_ns), "a hold")
    driving.wait(driving.is_still, "an arm at rest")
    driving.no_limit_is_broken()
    driving.fake.go_right()
    driving.goes_on_by_itself()


def test_a_first_observation_five_seconds_old_does_not_start_the_arm(home):
    home.fake.start()
    home.fake.age_s = 5.0
    home.retry("run")
    home.wait(lambda: "old" in home.witness.statuses[-1].reason, "the reason")
    assert home.witness.state == "armed"
    assert not home.witness.log.pieces


def test_a_stamp_an_hour_ahead_holds_and_heals(driving):
    since_ns = driving.witness.now_ns()
    driving.fake.go_wrong(age_s=-3600.0)
    driving.expect_hold(since_ns, "future", name="chunk an hour ahead")
    driving.fake.go_right()
    driving.goes_on_by_itself()


def test_a_chunk_out_of_order_is_left_aside(driving):
    sent = len(driving.witness.timings)
    driving.fake.chunk(age_s=0.4)
    late = driving.fake.sequence
    driving.wait(lambda: len(driving.witness.timings) > sent, "the next chunk")
    assert late not in [timing.sequence for timing in driving.witness.timings]
    driving.never_held()


def test_silence_of_the_policy_holds_and_heals(driving):
    since_ns = driving.witness.now_ns()
    driving.fake.stop()
    driving.expect_hold(since_ns, "silent", name="policy silent")
    driving.fake.active = True
    driving.goes_on_by_itself()
