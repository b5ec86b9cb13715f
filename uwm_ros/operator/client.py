# SPDX-License-Identifier: Apache-2.0
"""One ROS node that calls services and keeps the newest message of the topics it watches.

Callbacks run in a thread of their own, so the caller may simply wait. Time is the system clock, as
in every node of this suite.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import QoSProfile

from uwm_core.errors import UwmError

# A wait looks at its condition after each message and at least this often.
_LOOK_S = 0.02
_WAKE_S = 0.1


class GraphError(UwmError):
    """A service or topic of the graph did not answer as it must."""


class Operator:
    """Calls services and waits for conditions; see :func:`operator_on_graph`."""

    def __init__(self, node: Node, check: Callable[[], None] = lambda: None) -> None:
        """Wrap ``node``, which something else spins.

        Args:
            node: Of this process.
            check: Called while waiting; raises when waiting has become pointless.
        """
        self.node = node
        self._check = check
        self.newest: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._clients: dict[str, Any] = {}

    def watch(
        self,
        topic: str,
        kind: type,
        also: Callable[[Any], None] | None = None,
        depth: int = 10,
    ) -> Any:
        """Keep the newest message of ``topic`` in ``newest``; hand each one to ``also``.

        Returns:
            The subscription, for whoever wants to end it.
        """

        def receive(msg: Any) -> None:
            if also is not None:
                also(msg)
            with self._changed:
                self.newest[topic] = msg
                self._changed.notify_all()

        return self.node.create_subscription(kind, topic, receive, QoSProfile(depth=depth))

    def forget(self, topic: str) -> None:
        """Drop the newest message of ``topic``, so that a wait sees only what comes after."""
        with self._changed:
            self.newest.pop(topic, None)

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until ``condition`` holds, looked at after each message; False when time ran out."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(left_s, _LOOK_S))
                self._check()
            return True

    def call(self, service: str, kind: type, request: Any = None, timeout_s: float = 20.0) -> Any:
        """Call a service and return its response.

        Raises:
            GraphError: the service is not there, did not answer in time, or answered
                ``success: false``; its own message is passed on.
        """
        client = self._clients.get(service)
        if client is None:
            client = self._clients[service] = self.node.create_client(kind, service)
        if not self.wait(client.service_is_ready, timeout_s):
            raise GraphError(f"service {service!r} is not on the graph after {timeout_s:.0f} s")
        response = self._result(client.call_async(request or kind.Request()), service, timeout_s)
        if not getattr(response, "success", True):
            raise GraphError(f"service {service!r} refused: {response.message}")
        return response

    def set_parameters(self, node: str, timeout_s: float = 20.0, **values: Any) -> None:
        """Set parameters of another node.

        Raises:
            GraphError: the node is not there, or refused a value.
        """
        client = self._clients.get(f"{node} parameters")
        if client is None:
            client = self._clients[f"{node} parameters"] = AsyncParameterClient(self.node, node)
        if not self.wait(client.services_are_ready, timeout_s):
            raise GraphError(f"node {node!r} is not on the graph after {timeout_s:.0f} s")
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        response = self._result(client.set_parameters(parameters), node, timeout_s)
        for parameter, result in zip(parameters, response.results, strict=True):
            if not result.successful:
                raise GraphError(
                    f"node {node!r} refused {parameter.name}={parameter.value!r}: {result.reason}"
                )

    def _result(self, future: Any, name: str, timeout_s: float) -> Any:
        if not self.wait(future.done, timeout_s):
            raise GraphError(f"{name!r} did not answer within {timeout_s:.0f} s")
        return future.result()


@contextlib.contextmanager
def operator_on_graph(check: Callable[[], None] = lambda: None) -> Iterator[Operator]:
    """An :class:`Operator` on the graph that the environment names, spun until the block ends.

    Args:
        check: See :class:`Operator`.
    """
    context = Context()
    rclpy.init(context=context, args=[])
    node = Node("operator", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    done = threading.Event()

    def spin() -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not done.is_set():
                executor.spin_once(timeout_sec=_WAKE_S)

    thread = threading.Thread(target=spin, name="operator spin", daemon=True)
    thread.start()
    try:
        yield Operator(node, check)
    finally:
        # First the thread, then what it uses: a callback in flight would find it gone.
        done.set()
        thread.join(2.0)
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        context.try_shutdown()
