# SPDX-License-Identifier: Apache-2.0
"""Laws of a gripper's goals, on a hand that moves at its own pace."""

from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_ros.logic.gripper import Goal, GripperDrive, Stop

TRAVEL_M = 0.08
TICK_NS = 10_000_000
SPEED_M_S = 0.1


class Fingers:
    """Serve one goal at a time, tell where they are, stop when told."""

    def __init__(self, object_m=0.0, width_m=0.08):
        self.drive = GripperDrive(TRAVEL_M, timeout_s=2.0)
        self.object_m, self.width_m, self.now_ns = object_m, width_m, 0
        self.goal, self.goals, self.stops = None, [], 0

    def tick(self, wish):
        self.now_ns += TICK_NS
        self._move()
        order = self.drive.step(wish, self.now_ns)
        if isinstance(order, Goal):
            assert self.goal is None, "two goals in flight"
            if order.kind == "grasp":
                assert order.to <= self.width_m + 1e-9
            self.goal = order
            self.goals.append((order.kind, round(order.to, 4)))
        elif isinstance(order, Stop):
            assert self.goal is not None
            self.stops += 1
            ended, self.goal = self.goal, None
            self.drive.ended(ended, "aborted")

    def _move(self):
        if self.goal is None:
            return
        step = SPEED_M_S * TICK_NS / 1e9
        way = self.goal.to - self.width_m
        self.width_m += max(-step, min(step, way))
        blocked = way < 0 and self.width_m <= self.object_m
        if blocked:
            self.width_m = self.object_m
        self.drive.felt(self.width_m)
        if blocked or abs(self.goal.to - self.width_m) < 1e-9:
            ended, self.goal = self.goal, None
            self.drive.ended(ended, "")

    def run(self, wishes):
        for wish in wishes:
            self.tick(wish)
        return self


widths = st.floats(0.0, TRAVEL_M)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(widths, st.integers(1, 80)), min_size=1, max_size=8))
def test_the_last_wish_is_reached_with_one_goal_at_a_time(stretches):
    fingers = Fingers().run(wish for wish, ticks in stretches for _ in range(ticks))
    last = stretches[-1][0]
    fingers.run([last] * 400)
    assert abs(fingers.width_m - last) <= 0.0125 * TRAVEL_M + 1e-9
    assert fingers.drive.take_trouble() == ""


@settings(max_examples=60, deadline=None)
@given(widths, st.lists(st.floats(-0.0004, 0.0004), min_size=300, max_size=300))
def test_a_trembling_wish_is_few_goals(wish, noise):
    fingers = Fingers().run(wish + tremble for tremble in noise)
    assert len(fingers.goals) <= 2


def test_opening_moves_and_closing_grasps():
    fingers = Fingers().run([0.02] * 150).run([0.07] * 150).run([0.0] * 150)
    assert fingers.goals == [("grasp", 0.02), ("move", 0.07), ("grasp", 0.0)]


def test_what_is_held_is_not_let_go_of_by_any_wish_that_is_narrower():
    fingers = Fingers(object_m=0.04).run([0.0] * 150)
    assert fingers.width_m == 0.04
    fingers.run(0.0002 * k for k in range(200))
    assert fingers.goals == [("grasp", 0.0)]
    fingers.run([0.08] * 100)
    assert fingers.goals[1:] == [("move", 0.08)]
    assert fingers.width_m > 0.0799


def test_a_goal_that_the_wish_turned_away_from_is_stopped_at_once():
    fingers = Fingers().run([0.0] * 20).run([0.08] * 3)
    assert (fingers.stops, fingers.goals) == (1, [("grasp", 0.0), ("move", 0.08)])


def test_a_goal_that_hangs_is_stopped_once_said_once_and_not_tried_again():
    drive = GripperDrive(TRAVEL_M, timeout_s=2.0)
    orders = [(t, drive.step(0.0, t * TICK_NS)) for t in range(1, 600)]
    sent = [(t, order) for t, order in orders if order is not None]
    assert [type(order) for _, order in sent] == [Goal, Stop]
    assert 2.0 <= (sent[1][0] - sent[0][0]) / 100 <= 2.05
    assert "does not answer" in drive.take_trouble()
    assert drive.take_trouble() == ""
    assert isinstance(drive.step(0.08, 600 * TICK_NS), Goal), "another wish is tried"


def test_a_late_answer_to_a_goal_that_was_given_up_changes_nothing():
    drive = GripperDrive(TRAVEL_M, timeout_s=0.1)
    first = drive.step(0.0, 1)
    assert isinstance(drive.step(0.0, 200_000_000), Stop)
    assert drive.step(0.0, 2_000_000_000) is None
    second = drive.step(0.08, 2_100_000_000)
    drive.ended(first, "too late")
    assert drive.step(0.0, 2_110_000_000) == Stop(), "the second is still in flight"
    assert isinstance(second, Goal)


def test_after_forgetting_the_same_wish_is_a_goal_again():
    fingers = Fingers().run([0.02] * 150)
    fingers.drive.forget()
    fingers.run([0.02] * 10)
    assert len(fingers.goals) == 2
