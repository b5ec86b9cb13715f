# SPDX-License-Identifier: Apache-2.0
"""A real graph for tests: rclpy over DDS in a domain of this test run's own.

`graph` gives one context, one spinning executor, and one node to publish and listen with. Nothing
here is a mock; where a test waits, it waits for a condition and not for a time.
"""

import contextlib
import os
import threading
import time

import pytest

# Before rclpy is imported: two test runs on one machine must not hear each other.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
DOMAIN = int(os.environ.get("ROS_DOMAIN_ID") or 101 + os.getpid() % 100)
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)

# A machine may be slow; a law does not depend on it.
PATIENCE_S = 20.0


def pytest_collection_modifyitems(items):
    """Everything in this folder needs ROS; where it is missing that is said, not hidden."""
    try:
        import rclpy  # noqa: F401

        import uwm_ros.msg  # noqa: F401
    except ImportError as error:
        missing = pytest.mark.skip(reason=f"needs rclpy and the built messages: {error}")
    else:
        missing = None
    for item in items:
        if os.sep + os.path.join("test", "ros") + os.sep in str(item.path):
            item.add_marker(pytest.mark.ros)
            if missing is not None:
                item.add_marker(missing)


class Graph:
    """A context whose nodes are spun by one thread."""

    def __init__(self):
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node

        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN, args=[])
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes = []
        self.heard = {}
        self.node = self.add(Node, "tester")
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self.executor.spin()

    def add(self, build, *args, parameters=None, **options):
        """Build a node in this context and spin it."""
        from rclpy.parameter import Parameter

        if parameters:
            options["parameter_overrides"] = [
                Parameter(name, value=value) for name, value in parameters.items()
            ]
        node = build(*args, context=self.context, **options)
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def listen(self, kind, topic, depth=200):
        """Collect the messages of a topic; returns the list that they are appended to."""
        heard = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, heard.append, depth)
        return heard

    def wait(self, condition, what="the condition", timeout_s=PATIENCE_S):
        """Wait until a condition is true; fail by name if it never is."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                pytest.fail(f"waited {timeout_s:.0f} s for {what}")
            time.sleep(0.005)

    def connected(self, publisher, count=1):
        """Wait until a publisher has subscribers."""
        self.wait(lambda: publisher.get_subscription_count() >= count, publisher.topic_name)

    def call(self, kind, name, request=None):
        """Call a service and return its response."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(timeout_sec=PATIENCE_S), name
        future = client.call_async(request or kind.Request())
        self.wait(future.done, f"an answer of {name}")
        return future.result()

    def close(self):
        """Let every node say its last word, then take all of it down."""
        import rclpy

        self.executor.shutdown(timeout_sec=5.0)
        self.thread.join(5.0)
        for node in reversed(self.nodes):
            getattr(node, "close", lambda: None)()
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def graph():
    """One graph per test."""
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def stranger():
    """A second context, as another process has: one context cannot disagree with itself."""
    graph = Graph()
    yield graph
    graph.close()
