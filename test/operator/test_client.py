# SPDX-License-Identifier: Apache-2.0
"""Laws of the operator's seat, over real DDS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from std_msgs.msg import Float32  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from uwm_core.errors import UwmError  # noqa: E402
from uwm_ros.operator.client import GraphError, Operator, operator_on_graph  # noqa: E402
from uwm_ros.operator.private_graph import free_domain  # noqa: E402


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    for name, value in free_domain().items():
        monkeypatch.setenv(name, value)
    with operator_on_graph() as operator:
        yield operator


@pytest.fixture
def robot(operator: Operator) -> Iterator[rclpy.node.Node]:
    """A node with a service that refuses, one that agrees and a value from 1 upward."""
    context = rclpy.context.Context()
    rclpy.init(context=context, args=[])
    node = rclpy.node.Node("robot", context=context)
    node.declare_parameter("mode", "expert")
    refusal = Trigger.Response(success=False, message="the gripper is open")
    node.create_service(Trigger, "refuse", lambda request, response: refusal)
    node.create_service(Trigger, "agree", lambda request, response: Trigger.Response(success=True))
    publisher = node.create_publisher(Float32, "value", 10)
    values = iter(range(1, 1_000_000))
    node.create_timer(0.02, lambda: publisher.publish(Float32(data=float(next(values)))))
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown(timeout_sec=1.0)
    thread.join(2.0)
    node.destroy_node()
    context.try_shutdown()


def test_a_refusal_carries_the_nodes_own_words(operator: Operator, robot: object) -> None:
    assert operator.call("agree", Trigger).success
    with pytest.raises(GraphError, match=r"'refuse' refused: the gripper is open"):
        operator.call("refuse", Trigger)


def test_a_missing_service_is_named(operator: Operator) -> None:
    with pytest.raises(GraphError, match="'nowhere/run' is not on the graph"):
        operator.call("nowhere/run", Trigger, timeout_s=0.3)


def test_a_wait_sees_what_comes_after_forgetting(operator: Operator, robot: object) -> None:
    operator.watch("value", Float32)
    assert operator.wait(lambda: "value" in operator.newest, 10.0)
    before = operator.newest["value"].data
    operator.forget("value")
    assert operator.wait(lambda: "value" in operator.newest, 10.0)
    assert operator.newest["value"].data > before


def test_parameters_of_another_node_are_set_or_refused(
    operator: Operator, robot: rclpy.node.Node
) -> None:
    operator.set_parameters("robot", mode="play")
    assert robot.get_parameter("mode").value == "play"
    with pytest.raises(GraphError, match="refused"):
        operator.set_parameters("robot", no_such_parameter=1)


def test_a_wait_ends_when_its_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in free_domain().items():
        monkeypatch.setenv(name, value)

    def check() -> None:
        raise UwmError("the simulation has died")

    with operator_on_graph(check) as operator, pytest.raises(UwmError, match="has died"):
        operator.wait(lambda: False, 5.0)


def test_a_domain_in_use_is_not_chosen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 7400 + 250 * 60 + 10))
        chosen = {free_domain(range(60, 62))["ROS_DOMAIN_ID"] for _ in range(10)}
    assert chosen == {"61"}
