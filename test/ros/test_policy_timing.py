# SPDX-License-Identifier: Apache-2.0
"""Laws of when the policy node answers, and of chunks that go on from the one that plays."""

import itertools
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from builtin_interfaces.msg import Time

from uwm_core.policy import Policy
from uwm_ros.bridge.chunks import to_chunk
from uwm_ros.bridge.clock import to_ns
from uwm_ros.msg import ActionChunk, PolicyStatus, SafetyStatus
from uwm_ros.nodes.policy import PolicyNode

NS = 1_000_000_000


class Seat:
    """Watches an active policy node on a still robot; plays the executor that is followed."""

    def __init__(self, graph, robot, tiny):
        self.graph, self.robot, self.tiny = graph, robot, tiny
        self.chunks = graph.listen(ActionChunk, "policy/action_chunk")
        self.status = graph.listen(PolicyStatus, "policy/status")
        self.safety = SafetyStatus(
            state="running",
            driver="policy",
            verdict="clip",
            verdict_cause="limit",
            speed_scale=1.0,
            resumed=Time(nanosec=1),  # driven ever since
        )
        publisher = graph.node.create_publisher(SafetyStatus, "executor/safety", 10)

        def tell():
            self.safety.header.stamp = graph.node.get_clock().now().to_msg()
            publisher.publish(self.safety)

        graph.node.create_timer(0.05, tell)

    def add(self, *load, **parameters):
        settings = {
            "embodiment": self.tiny.spec,
            "checkpoint": self.tiny.checkpoint,
            "autostart": True,
            "sample_steps": 2,
            **parameters,
        }
        return self.graph.add(PolicyNode, *load, parameters=settings)

    def more_chunks(self, count):
        wanted = len(self.chunks) + count
        self.graph.wait(lambda: len(self.chunks) >= wanted, "chunks")
        return self.chunks[wanted - count : wanted]


@pytest.fixture
def seat(graph, still_robot, tiny):
    return Seat(graph, still_robot(graph, tiny.embodiment), tiny)


def test_stages_of_a_chunk_are_stamped_in_their_order_and_a_delay_is_waited_for(seat):
    seat.add(replan_s=0.1, inference_delay_s=0.15, join="blend")
    for message in seat.more_chunks(4):
        captured = to_ns(message.header.stamp)
        received, assembled, inferred = (
            to_ns(stamp) for stamp in (message.received, message.assembled, message.inferred)
        )
        assert 0 < captured <= received <= assembled
        assert inferred - assembled >= 0.15 * NS
        assert message.inference_s >= 0.15
        assert message.prefix == 0


def test_no_two_inferences_at_once_and_each_is_in_time_though_slow(seat):
    """Two of them fit into a chunk of 1.1 s; the period alone would ask for one in 5 s."""
    running, most = [], []

    class WatchedPolicy(Policy):
        def act(self, observation, *args, **options):
            running.append(threading.get_ident())
            most.append(len(running))
            answer = super().act(observation, *args, **options)
            running.pop()
            return answer

    def load(options):
        return WatchedPolicy.load(options.checkpoint, sample_steps=options.sample_steps)

    seat.add(load, replan_s=5.0, inference_delay_s=0.2)
    messages = seat.more_chunks(5)
    assert max(most) == 1
    ends = [to_ns(message.header.stamp) + 1.1 * NS for message in messages]
    late = sum(
        to_ns(after.inferred) > end for end, after in zip(ends[:-1], messages[1:], strict=True)
    )
    seat.status.clear()
    seat.graph.wait(lambda: seat.status, "status")
    status = seat.status[-1]
    assert status.join == "inpaint"
    assert status.lead_s > 0.2
    # On a machine so loaded that one is late, it is at least counted.
    assert status.missed >= late
    if not status.missed:
        assert 0 <= status.slack_s < 0.9


def test_heart_beats_while_inference_hangs_and_says_that_it_does(seat):
    hang, go = threading.Event(), threading.Event()

    class HangingPolicy(Policy):
        def act(self, observation, *args, **options):
            if hang.is_set():
                assert go.wait(60)
            return super().act(observation, *args, **options)

    def load(options):
        return HangingPolicy.load(options.checkpoint, sample_steps=options.sample_steps)

    seat.add(load, replan_s=0.1)
    seat.more_chunks(1)
    hang.set()
    said = "inference has been running for"
    seat.graph.wait(lambda: seat.status and said in seat.status[-1].reason, "the reason")
    stamps = np.array([to_ns(status.header.stamp) for status in seat.status[-8:]])
    assert np.median(np.diff(stamps)) < 0.2 * NS
    hang.clear()
    go.set()
    seat.more_chunks(2)
    seat.graph.wait(lambda: seat.status[-1].reason == "", "no reason")


def test_inpainted_chunk_goes_on_from_the_one_that_plays(seat):
    """What is certain is the chunk before, at the moments of the new one."""
    seat.add(join="inpaint", replan_s=0.2)
    seat.graph.wait(lambda: sum(message.prefix > 0 for message in seat.chunks) > 3, "prefixes")
    checked = 0
    for before, after in itertools.pairwise(list(seat.chunks)):
        old, new = to_chunk(before), to_chunk(after)
        dues = new.stamp_ns + np.arange(after.prefix) * new.period_ns
        times = old.stamp_ns + np.arange(len(old.actions)) * old.period_ns
        for column, name in enumerate(new.names):
            if name == "gripper_width":
                continue
            oracle = np.interp(dues - times[0], times - times[0], old.actions[:, column])
            np.testing.assert_allclose(new.actions[: after.prefix, column], oracle, atol=1e-5)
            checked += after.prefix
    assert checked
    assert seat.status[-1].join == "inpaint"


def test_a_chunk_that_may_be_moving_a_resting_arm_already_is_known_from_its_beginning(seat):
    """The executor was armed when it last spoke: believed once, then the answer is free again."""
    seat.safety.state, seat.safety.resumed = "armed", Time()
    seat.add(join="inpaint", replan_s=0.1)
    seat.graph.wait(lambda: sum(message.prefix > 0 for message in seat.chunks) > 2, "prefixes")
    for before, after in itertools.pairwise(list(seat.chunks)):
        assert not (before.prefix and after.prefix)
        known = slice(after.prefix)
        old, new = to_chunk(before).actions[known], to_chunk(after).actions[known]
        np.testing.assert_allclose(new, old, atol=1e-5)


@pytest.mark.parametrize(
    "untrue",
    [
        {"state": "holding"},
        {"driver": "human"},
        {"verdict_cause": "workspace"},
        {"speed_scale": 0.0},
    ],
)
def test_what_the_arm_does_not_follow_is_not_known(seat, untrue):
    for field, value in untrue.items():
        setattr(seat.safety, field, value)
    seat.add(join="inpaint", replan_s=0.1)
    assert [message.prefix for message in seat.more_chunks(4)] == [0, 0, 0, 0]
