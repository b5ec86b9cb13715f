# SPDX-License-Identifier: Apache-2.0
"""A driving graph of real processes that faults are put into: simulated arm, executor, policy.

The arm and the executor are started once and reset between the tests. Chunks come from a stand-in
in this process whose motion is known, or from the real policy with the shipped checkpoint, in a
process of its own. Every command of every test is examined by `command_checker`.
"""

import contextlib
import dataclasses
import functools
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

# Issue: hold or stop within this, by the stamps of the messages.
REACTION_S = 0.25
STATE_AGE_S = 0.18
PATIENCE_S = 15.0
# Parts of the reasons to hold that a slow machine brings about by itself.
LATE = ("the loop paused", "s old, allowed are", "is silent for")
# It must have been seen to be slow for so long, while or just before the fault began.
STALL_S, LATELY_NS = 0.05, 1_000_000_000
# A reset puts the arm near home, each seed a little elsewhere.
HOME_RAD = 0.06
STILL_RAD_S = 0.01
# Seconds from each fault to the hold, shown after the tests.
REACTIONS = {}


def pytest_terminal_summary(terminalreporter):
    for name, reaction_s in REACTIONS.items():
        terminalreporter.line(f"{reaction_s:6.3f} s from the fault to the hold: {name}")


class FakePolicy:
    """Publishes chunks of a known slow motion, and whatever else a test wants, as a real node."""

    # Joints 1 and 4 swing between home and SWING_RAD, once in SWING_S: wider than what an executor
    # takes for the arm's lag, slower than any limit.
    SWING_RAD, SWING_S = 0.6, 6.0

    PERIOD_S = 0.25

    def __init__(self, witness):
        from uwm_ros.bridge.qos import reliable
        from uwm_ros.msg import ActionChunk, PolicyStatus

        self.witness, self.embodiment = witness, witness.embodiment
        node = witness.operator.node
        self._status_type = PolicyStatus
        self._chunks = node.create_publisher(ActionChunk, "policy/action_chunk", reliable(2))
        self._status = node.create_publisher(PolicyStatus, "policy/status", reliable())
        self.active = False
        self.sequence = 0
        self.begin_ns = 0
        # What every chunk is made wrong by, until it is put right again.
        self.age_s, self.change, self.names = 0.0, None, None
        node.create_timer(0.05, self._beat)
        node.create_timer(self.PERIOD_S, self._publish)

    def start(self):
        """Move from home on; the same function of time in every chunk."""
        self.go_right()
        self.begin_ns, self.sequence, self.active = self.witness.now_ns(), 0, True

    def stop(self):
        self.active = False

    def go_wrong(self, age_s=0.0, change=None, names=None):
        """Such chunks at once and from now on: a busy judge leaves out single ones."""
        self.age_s, self.change, self.names = age_s, change, names
        self.chunk(age_s, change, names)

    def go_right(self):
        self.age_s, self.change, self.names = 0.0, None, None

    def targets(self, moments_ns):
        """The motion, (M, 7) rad."""
        t = np.maximum((np.asarray(moments_ns) - self.begin_ns) / 1e9, 0)
        swing = self.SWING_RAD / 2 * (1 - np.cos(2 * np.pi * t / self.SWING_S))
        return np.array(self.embodiment.home_rad) + np.outer(swing, [1, 0, 0, 1, 0, 0, 0])

    def chunk(self, age_s=0.0, change=None, names=None):
        """Publish one chunk now, whatever the others are.

        Args:
            age_s: Of its stamp.
            change: Takes and returns the actions (12, 8).
            names: In place of the embodiment's.
        """
        from uwm_core.records import ActionChunk
        from uwm_ros.bridge.chunks import to_message
        from uwm_ros.bridge.clock import to_stamp

        now_ns = self.witness.now_ns()
        stamp_ns = now_ns - round(age_s * 1e9)
        period_ns = self.embodiment.period_ns
        arm = self.targets(stamp_ns + np.arange(12) * period_ns)
        actions = np.column_stack([arm, np.full(12, 0.04)]).astype(np.float32)
        actions = actions if change is None else change(actions)
        columns = self.embodiment.action_names if names is None else names
        message = to_message(ActionChunk(stamp_ns, period_ns, actions, tuple(columns)))
        self.sequence += 1
        message.sequence, message.embodiment = self.sequence, self.embodiment.name
        for field in ("received", "assembled", "inferred"):
            setattr(message, field, to_stamp(now_ns))
        self._chunks.publish(message)

    def _beat(self):
        if self.active:
            status = self._status_type(state="active", sequence=self.sequence)
            status.header.stamp = self.witness.operator.node.get_clock().now().to_msg()
            self._status.publish(status)

    def _publish(self):
        if self.active:
            self.chunk(self.age_s, self.change, self.names)


class Stage:
    """The graph, and what a test of a fault does with it."""

    def __init__(self, operator, embodiment, nodes, stalls):
        from std_srvs.srv import Trigger

        from uwm_ros.operator.witness import Witness

        self.trigger = Trigger
        self.operator, self.nodes = operator, nodes
        self.witness = Witness(operator, embodiment)
        self.fake = FakePolicy(self.witness)
        self.stalls = stalls

    def wait(self, condition, what, timeout_s=PATIENCE_S):
        if not self.operator.wait(condition, timeout_s):
            pytest.fail(f"waited {timeout_s:g} s for {what}; {self.witness.statuses[-1:]}")

    def pass_s(self, seconds):
        end_ns = self.witness.now_ns() + round(seconds * 1e9)
        self.wait(lambda: self.witness.now_ns() > end_ns, "time to pass")

    def never_held(self):
        """Nothing was held against the chunks; a busy machine may have been late with states."""
        held = [s.reason for s in self.witness.statuses if s.state in ("holding", "stopped")]
        assert [reason for reason in held if not reason.startswith("joint state is")] == []
        self.no_limit_is_broken()

    def call(self, name):
        return self.operator.call(f"executor/{name}", self.trigger)

    def refused(self, name):
        from uwm_ros.operator.client import GraphError

        with pytest.raises(GraphError) as refusal:
            self.call(name)
        return str(refusal.value)

    def retry(self, name):
        """Call a service until it does not refuse: discovery and rest take their moment."""
        from uwm_ros.operator.client import GraphError

        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.call(name)
            except GraphError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.1)

    def fault(self, name):
        """Let the simulated arm have a fault, "" for none; the moment before it has it."""
        since_ns = self.witness.now_ns()
        self.operator.set_parameters("sim_robot", fault=name)
        return since_ns

    def go_home(self, seed=1):
        """Everything well, the arm at home and at rest, the executor idle, nothing remembered."""
        from uwm_ros.srv import ResetSim

        self.fake.stop()
        self.fault("")
        self.retry("hold")
        self.retry("reset")
        self.operator.call("sim/reset", ResetSim, ResetSim.Request(seed=seed))
        self.wait(self.is_home, "the arm at home")
        self.wait(lambda: self.witness.state == "idle", "an idle executor")
        self.witness.clear()

    def is_home(self):
        measured = self.witness.measured
        home = np.array(self.witness.embodiment.home_rad)
        return bool(measured) and np.abs(measured[-1].position - home).max() < HOME_RAD

    def drive(self, moved_rad=0.08):
        """Run by the stand-in, and it alone, until the arm is well on its way."""
        self.nodes["policy"].stop()
        self.fake.start()
        self.retry("run")
        self.is_driving(moved_rad)

    def is_driving(self, moved_rad=0.08):
        """Wait until the arm runs, has been commanded away from home and moves."""
        self.wait(lambda: self.moves(moved_rad), "a moving arm")

    def moves(self, moved_rad=0.08):
        home = np.array(self.witness.embodiment.home_rad)
        newest = list(self.witness.measured)[-1:]
        return (
            self.witness.state == "running"
            and newest
            and np.abs(newest[0].position - home).max() > moved_rad
            and np.abs(newest[0].velocity).max() > STILL_RAD_S
        )

    def expect_hold(self, since_ns, word, states=("holding",), name=""):
        """Held within the time, the reason said, no limit broken, the arm at rest.

        Args:
            since_ns: When the fault began.
            word: Part of the reason.
            states: What counts as held.
            name: Of the fault, in the summary.
        """
        from uwm_ros.bridge.clock import to_ns

        held = functools.partial(self.witness.first, states, since_ns, word)
        self.wait(lambda: held() or self.was_late(since_ns), f"a hold that says {word!r}")
        if not held():
            pytest.skip(self.was_late(since_ns))
        status = held()
        held_ns = to_ns(status.header.stamp)
        reaction_s = (held_ns - since_ns) / 1e9
        REACTIONS[name or word] = reaction_s
        waited_s = self.stalls.waited_s(since_ns, held_ns)
        assert reaction_s <= REACTION_S + waited_s, f"held after {reaction_s:.3f} s"
        self.wait(
            lambda: any(
                said.node.endswith("executor") and word in said.message
                for said in list(self.witness.said)
            ),
            f"{word!r} on /diagnostics",
        )
        self.wait(self.is_still, "an arm at rest")
        self.no_limit_is_broken()
        return status

    def is_still(self):
        """The command rests: nothing is planned any more, nothing streamed moves."""
        log, now_ns = self.witness.log, self.witness.now_ns()
        if log.samples:
            last = [sample.position for sample in log.samples[-5:]]
            return bool(np.ptp(last, axis=0).max() < 1e-6)
        return not log.pieces or log.pieces[-1].end_ns < now_ns

    def no_limit_is_broken(self):
        assert self.witness.violations() == []

    def goes_on_by_itself(self):
        """After the fault is over: running again, without an operator."""
        since_ns = self.witness.now_ns()
        self.wait(lambda: self.witness.first(("running",), since_ns), "running again")
        self.no_limit_is_broken()

    def was_late(self, since_ns):
        """What was held for because this machine was late, or empty: no law is about that.

        An inference or a message may wait half a second for a core, and the executor then rightly
        holds before it meets the fault.
        """
        first = self.witness.first(("holding",), since_ns)
        if first is None or not any(words in first.reason for words in LATE):
            return ""
        waited_s = self.stalls.waited_s(since_ns - LATELY_NS, self.witness.now_ns())
        if waited_s < STALL_S:
            return ""
        return f"this machine was late, {waited_s:.2f} s without a core: {first.reason}"

    def waits_for_the_operator(self):
        """Holding although good chunks come, until run is called."""
        self.fake.go_right()
        since_ns = self.witness.now_ns()
        self.pass_s(0.6)
        assert self.witness.first(("running", "armed"), since_ns) is None
        self.retry("run")
        self.goes_on_by_itself()


def patient(embodiment):
    """The arm with joint states that may be a little older: test machines are busy."""
    spec = dataclasses.replace(embodiment.state["joint_pos"], max_age_s=STATE_AGE_S)
    return dataclasses.replace(embodiment, state={**embodiment.state, "joint_pos": spec})


@pytest.fixture(scope="module")
def stage(tmp_path_factory, stalls):
    """The graph of one module: later tests must not hear its topics."""
    for needed in ("rclpy", "mujoco", "torch"):
        if find_spec(needed) is None:
            pytest.skip(f"needs {needed}")
    from uwm_core.embodiment import Embodiment
    from uwm_ros.description import PolicyOptions
    from uwm_ros.operator.client import operator_on_graph
    from uwm_ros.operator.node_process import NodeProcess

    folder = tmp_path_factory.mktemp("faults")
    embodiment = patient(Embodiment.load("fr3_sim"))
    spec = folder / "fr3_patient.yaml"
    spec.write_text(embodiment.to_yaml())
    options = PolicyOptions(embodiment=str(spec))
    wish = folder / "wish"
    nodes = {
        "sim_robot": NodeProcess(options.process("sim_robot", seed=1), folder),
        "executor": NodeProcess(options.process("executor"), folder),
        "policy": NodeProcess(
            options.process("policy", autostart=True, threads=1),
            folder,
            module=str(Path(__file__).with_name("breakable_policy.py")),
            environ={"UWM_BREAK": str(wish)},
        ),
    }
    with contextlib.ExitStack() as stack:
        for name in ("sim_robot", "executor"):
            stack.enter_context(nodes[name])
        stack.callback(nodes["policy"].stop)
        operator = stack.enter_context(operator_on_graph())
        stage = Stage(operator, embodiment, nodes, stalls)
        stage.wish = wish
        stage.wait(lambda: stage.witness.statuses and stage.is_home(), "arm and executor", 60)
        yield stage


@pytest.fixture
def home(stage):
    """The graph as it is before a drive; put right again afterwards."""
    stage.go_home()
    yield stage
    stage.fake.stop()


@pytest.fixture
def driving(home):
    """The graph while the stand-in drives."""
    home.drive()
    return home
