# SPDX-License-Identifier: Apache-2.0
"""A real graph for tests: rclpy over DDS in a domain of this test run's own.

`graph` gives one context, one spinning executor, and one node to publish and listen with. Nothing
here is a mock; where a test waits, it waits for a condition and not for a time.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

# Before rclpy is imported: two test runs on one machine must not hear each other.
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
# Some tests kill processes, which may then hold a lock in shared memory for ever.
os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
DOMAIN = int(os.environ.get("ROS_DOMAIN_ID") or 101 + os.getpid() % 100)
os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)

# A machine may be slow; a law does not depend on it.
PATIENCE_S = 60.0


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
        self.closing = threading.Event()
        self.node = self.add(Node, "tester")
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            while not self.closing.is_set():
                self.executor.spin_once(timeout_sec=0.1)

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

        # First the thread, then what it uses: a callback in flight would find it gone.
        self.closing.set()
        self.thread.join(5.0)
        self.executor.shutdown(timeout_sec=5.0)
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


def waited_s():
    """Seconds since boot in which something had to wait for a core, or the host took it away.

    Linux's pressure stall information and its count of stolen ticks; 0 where it has neither.
    """
    total_s = 0.0
    with contextlib.suppress(OSError):
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        total_s += int(some.rpartition("total=")[2]) / 1e6
    with contextlib.suppress(OSError), open("/proc/stat") as stat:
        total_s += int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")
    return total_s


class Stalls:
    """How long this machine itself stood still or was busy: no node can do anything about that."""

    def __init__(self):
        # Moments, and the seconds until then; a thread that wakes late has seen all stand still.
        self._waited = [(time.time_ns(), 0.0)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        total_s = waited_s()
        while not self._over.wait(0.01):
            (before, sum_s), before_s = self._waited[-1], total_s
            now, total_s = time.time_ns(), waited_s()
            late_s = (now - before) / 1e9
            more_s = max(total_s - before_s, late_s if late_s > 0.025 else 0.0)
            self._waited.append((now, sum_s + more_s))

    def waited_s(self, begin_ns, end_ns):
        """Seconds of a span in which something that could run had to wait for a core."""
        moments, totals = zip(*list(self._waited), strict=True)
        begin_s, end_s = np.interp([begin_ns, end_ns], moments, totals)
        return float(end_s - begin_s)

    def close(self):
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def stalls():
    """Watches the machine while a module's tests run."""
    stalls = Stalls()
    yield stalls
    stalls.close()


class StillRobot:
    """Publishes cameras and states of the embodiment at 30 Hz; pictures and joints never change.

    So what a policy sees is known whatever the tick is: `observation(stamp_ns)`.
    """

    def __init__(self, graph, embodiment):
        from sensor_msgs.msg import Image, JointState

        self.graph, self.embodiment = graph, embodiment
        rng = np.random.default_rng(7)
        self.images = {
            name: rng.integers(0, 256, (*camera.size, 3), dtype=np.uint8)
            for name, camera in embodiment.cameras.items()
        }
        self.state = {
            "joint_pos": np.array(embodiment.home_rad, np.float32),
            "gripper_width": np.array([0.05], np.float32),
        }
        self.silent = set()
        self.publishers = {
            key: graph.node.create_publisher(
                Image if key.startswith("camera/") else JointState, spec.topic, 10
            )
            for key, spec in embodiment.observation_streams.items()
        }
        graph.node.create_timer(1 / 30, self.publish)

    def publish(self):
        from sensor_msgs.msg import JointState

        from uwm_ros.bridge.images import to_image

        stamp_ns = self.graph.node.get_clock().now().nanoseconds
        for key, publisher in self.publishers.items():
            if key in self.silent:
                continue
            kind, _, name = key.partition("/")
            if kind == "camera":
                publisher.publish(to_image(self.images[name], stamp_ns, name))
                continue
            spec = self.embodiment.state[name]
            message = JointState(name=list(spec.names))
            message.header = to_image(self.images["front"], stamp_ns, "").header
            value = self.state[name].astype(float)
            message.position = (value if len(value) > 1 else value.repeat(2) / 2).tolist()
            publisher.publish(message)

    def observation(self, stamp_ns):
        from uwm_core.records import Observation

        return Observation(
            stamp_ns=stamp_ns,
            images={name: image[None] for name, image in self.images.items()},
            state={name: value[None] for name, value in self.state.items()},
        )


@pytest.fixture
def still_robot():
    """The class: `still_robot(graph, embodiment)`."""
    return StillRobot


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A real checkpoint of a real embodiment, 24 px images and random weights, as two paths."""
    import dataclasses
    from types import SimpleNamespace

    import numpy as np
    import torch

    from uwm_core.checkpoint import Checkpoint, save_checkpoint
    from uwm_core.data.normalize import Affine, Normalizer
    from uwm_core.embodiment import Embodiment
    from uwm_core.training.config import fit_preset
    from uwm_core.world_model import WorldModel

    full = Embodiment.load("fr3_sim")
    side = fit_preset("sim_small", full).codec.factor * fit_preset("sim_small", full).patch[1]
    cameras = {
        name: dataclasses.replace(camera, size=(side, side), max_age_s=2.0)
        for name, camera in full.cameras.items()
    }
    # A loaded test machine is slow; the laws tested here are not about its ages.
    state = {key: dataclasses.replace(spec, max_age_s=2.0) for key, spec in full.state.items()}
    safety = dataclasses.replace(full.safety, max_observation_age_s=2.0)
    embodiment = dataclasses.replace(full, cameras=cameras, state=state, safety=safety)
    middle = np.array([*full.home_rad, 0.04])
    affine = {"low": middle - 0.02, "high": middle + 0.02}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = WorldModel(fit_preset("sim_small", embodiment))
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    checkpoint = Checkpoint(
        config=model.config,
        embodiment=embodiment,
        normalizer=Normalizer(
            Affine(embodiment.action_names, **affine), Affine(embodiment.state_names, **affine)
        ),
        weights=model.state_dict(),
        name="tiny",
    )
    folder = tmp_path_factory.mktemp("tiny")
    path = save_checkpoint(folder / "tiny", checkpoint)
    spec = folder / "fr3_tiny.yaml"
    spec.write_text(embodiment.to_yaml())
    return SimpleNamespace(checkpoint=str(path), spec=str(spec), embodiment=embodiment)
