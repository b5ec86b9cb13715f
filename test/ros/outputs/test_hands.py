# SPDX-License-Identifier: Apache-2.0
"""Laws of gripper actions against a real server with franka_gripper's manners."""

import dataclasses
import time

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.streams import FRANKA_GRIPPER, GRIPPER_COMMAND


def with_gripper(command_type, topic, **changes):
    """fr3_sim whose gripper is commanded through an action."""
    fr3 = Embodiment.load("fr3_sim")
    channel = dataclasses.replace(
        fr3.action["gripper_width"], command_type=command_type, command_topic=topic
    )
    gripper = dataclasses.replace(fr3.gripper, **changes)
    return dataclasses.replace(
        fr3, action={**fr3.action, "gripper_width": channel}, gripper=gripper
    )


class Driver:
    """Ticks an output at 100 Hz in the graph's thread, and remembers the slowest tick."""

    def __init__(self, graph, embodiment):
        from uwm_ros.bridge.outputs import make_value_outputs

        self.node = graph.node
        self.output = make_value_outputs(graph.node, embodiment)["gripper_width"]
        self.ticks_s = []
        graph.node.create_timer(0.01, self.tick)

    def wish(self, width_m):
        now_ns = self.node.get_clock().now().nanoseconds
        self.output.play(now_ns, 100_000_000, np.full(12, width_m))

    def tick(self):
        now_ns = self.node.get_clock().now().nanoseconds
        begin_s = time.perf_counter()
        self.output.tick(now_ns)
        self.ticks_s.append(time.perf_counter() - begin_s)


@pytest.mark.parametrize("namespace", ["franka_gripper", "fr3_gripper"])
def test_it_opens_with_move_and_closes_with_grasp_wherever_the_gripper_is(graph, hand, namespace):
    fingers = hand(namespace)
    driver = Driver(graph, with_gripper(FRANKA_GRIPPER, "franka_gripper"))
    graph.wait(lambda: driver.output.check() == "", "the gripper to be found")
    driver.wish(0.08)
    graph.wait(lambda: fingers.width_m > 0.079, "open fingers")
    driver.wish(0.0)
    graph.wait(lambda: fingers.width_m < 0.001, "closed fingers")
    assert fingers.goals == [("move", 0.08), ("grasp", 0.0)]
    assert np.median(driver.ticks_s) < 0.001


def test_a_wish_that_turns_round_stops_the_goal_in_flight(graph, hand):
    fingers = hand()
    driver = Driver(graph, with_gripper(FRANKA_GRIPPER, "franka_gripper"))
    graph.wait(lambda: driver.output.check() == "", "the gripper to be found")
    driver.wish(0.0)
    graph.wait(lambda: fingers.goals, "a goal")
    driver.wish(0.08)
    graph.wait(lambda: fingers.width_m > 0.079, "open fingers")
    assert fingers.goals == [("grasp", 0.0), ("move", 0.08)]
    assert (fingers.stops, fingers.most_at_once) == (1, 1)
    assert driver.output.check() == ""


def test_an_object_stays_held_while_the_wish_trembles(graph, hand):
    fingers = hand(object_m=0.03)
    driver = Driver(graph, with_gripper(FRANKA_GRIPPER, "franka_gripper"))
    graph.wait(lambda: driver.output.check() == "", "the gripper to be found")
    driver.wish(0.0)
    graph.wait(lambda: fingers.width_m == 0.03, "a grasp")
    for width_m in (0.012, 0.006, 0.015, 0.0):
        driver.wish(width_m)
        time.sleep(0.4)  # long enough for a steady wish to count
    assert fingers.goals == [("grasp", 0.0)]


def test_a_gripper_that_hangs_is_stopped_and_named(graph, hand):
    fingers = hand(hangs=True)
    driver = Driver(graph, with_gripper(FRANKA_GRIPPER, "franka_gripper", timeout_s=0.5))
    graph.wait(lambda: driver.output.check() == "", "the gripper to be found")
    driver.wish(0.0)
    said = []
    graph.wait(lambda: said.append(driver.output.check()) or said[-1], "the trouble")
    assert "took too long" in said[-1]
    assert "franka_gripper" in said[-1]
    graph.wait(lambda: fingers.stops == 1, "a stop")
    assert driver.output.check() == ""


def test_without_a_gripper_it_says_where_it_looked(graph, interfaces):
    driver = Driver(graph, with_gripper(FRANKA_GRIPPER, "my_gripper"))
    assert "/my_gripper, /franka_gripper, /fr3_gripper, /panda_gripper" in driver.output.check()


@pytest.mark.parametrize("franka", [True, False])
def test_gripper_command_halves_the_width_for_franka_alone(graph, serve, franka):
    from control_msgs.action import GripperCommand

    heard = []

    def run(handle):
        position = handle.request.command.position
        heard.append(position)
        handle.succeed()
        return GripperCommand.Result(position=2 * position if franka else position)

    name = "fr3_gripper/gripper_action" if franka else "robotiq/gripper_cmd"
    serve(GripperCommand, name, run)
    asked = "franka_gripper/gripper_action" if franka else name
    embodiment = with_gripper(GRIPPER_COMMAND, asked)
    scale = embodiment.action["gripper_width"].scale
    driver = Driver(graph, embodiment)
    graph.wait(lambda: driver.output.check() == "", "the gripper to be found")
    driver.wish(0.06)
    graph.wait(lambda: heard, "a goal")
    assert heard == [pytest.approx(0.03 if franka else 0.06 / scale)]
