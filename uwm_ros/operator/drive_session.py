# SPDX-License-Identifier: Apache-2.0
"""A driving graph in one variant, for a benchmark: attempts at the task, and all that was heard."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import to_ns
from uwm_ros.description import PolicyOptions, Process, policy_stack
from uwm_ros.msg import ActionChunk
from uwm_ros.operator.attempt import Attempt, AttemptRunner
from uwm_ros.operator.client import Operator
from uwm_ros.operator.private_graph import private_graph
from uwm_ros.operator.witness import Witness, arm_channel

Say = Callable[[str], None]
_JOINT_STATE = "sensor_msgs/msg/JointState"
STREAM_TOPIC = "target_joint"


def _silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How the graph is started.

    Attributes:
        name: Of the variant, in figures and logs.
        embodiment: Name or path.
        checkpoint: Name or folder.
        device: Torch device.
        imagination: Whether the imagination runs beside.
        parameters: More parameters by node.
    """

    name: str
    embodiment: str = "fr3_sim"
    checkpoint: str = "sim_lift"
    device: str = "cpu"
    imagination: bool = False
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def processes(self) -> tuple[Process, ...]:
        """What is started."""
        stack = policy_stack(
            PolicyOptions(
                embodiment=self.embodiment,
                checkpoint=self.checkpoint,
                device=self.device,
                imagination=self.imagination,
                sim=True,
            )
        )
        return tuple(
            dataclasses.replace(
                process,
                parameters={**process.parameters, **self.parameters.get(process.node, {})},
            )
            for process in stack
        )


@dataclass
class Session:
    """A graph that is up.

    Attributes:
        variant: How it was started.
        operator: On the graph.
        witness: What was heard of the driving, over all attempts.
        runner: Runs attempts.
        chunks: ``policy/action_chunk``, over all attempts.
        spans_ns: (begin, end) of the executor's running in each attempt.
        attempts: What they gave.
    """

    variant: Variant
    operator: Operator
    witness: Witness
    runner: AttemptRunner
    chunks: list[Any] = field(default_factory=list)
    spans_ns: list[tuple[int, int]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def run(self, count: int, first_seed: int, say: Say = _silent) -> list[Attempt]:
        """Run attempts on seeds one after the other.

        Raises:
            GraphError: A node refused, died or did not answer.
        """
        for number in range(count):
            begin_ns = self.witness.now_ns()
            attempt = self.runner.run(len(self.attempts) + 1, first_seed + number)
            self.attempts.append(attempt)
            self.spans_ns += running_spans(self.witness.statuses, begin_ns, self.witness.now_ns())
            outcome = "lifted" if attempt.success else f"NOT lifted {attempt.hold_reason}".rstrip()
            say(f"{self.variant.name}: attempt {len(self.attempts)}: {outcome}")
        return self.attempts

    @property
    def success(self) -> float:
        """Share of the attempts that succeeded."""
        return sum(attempt.success for attempt in self.attempts) / max(1, len(self.attempts))


@contextlib.contextmanager
def drive_session(
    variant: Variant, folder: Path, say: Say = lambda line: None
) -> Iterator[Session]:
    """Start a variant on a private graph, wait until it is ready, stop it in the end.

    Raises:
        UwmError: A process died or did not appear.
    """
    say(f"{variant.name}: starting")
    embodiment = Embodiment.load(variant.embodiment)
    with private_graph(variant.processes(), folder / "log" / variant.name) as operator:
        witness = Witness(operator, embodiment)

        def put_home() -> None:
            """A reset of the simulation between two attempts."""
            witness.log.begun_ns.append(witness.now_ns())

        runner = AttemptRunner(operator, on_start=put_home)
        session = Session(variant, operator, witness, runner)
        operator.watch("policy/action_chunk", ActionChunk, session.chunks.append, 50)
        session.runner.wait_until_ready()
        yield session


def streaming_embodiment(known: Embodiment, folder: Path) -> Path:
    """The embodiment with its arm commanded by streamed joint targets; the file it is written to.

    As an impedance controller wants it (crisp's ``target_joint``); what a policy sees and answers
    is the same, so every checkpoint of the embodiment fits.
    """
    arm = arm_channel(known)
    action = {
        key: dataclasses.replace(channel, command_topic=STREAM_TOPIC, command_type=_JOINT_STATE)
        if channel is arm
        else channel
        for key, channel in known.action.items()
    }
    return _written(dataclasses.replace(known, action=action), folder / "streaming.yaml")


def slow_embodiment(known: Embodiment, folder: Path, delay_s: float) -> Path:
    """The embodiment with observations that may be older by a delay; the file it is written to.

    A model that is slower than an arm's owner allows holds, as it should; to see how its chunks
    are joined it must be allowed.
    """
    age_s = known.safety.max_observation_age_s + delay_s
    safety = dataclasses.replace(known.safety, max_observation_age_s=age_s)
    return _written(dataclasses.replace(known, safety=safety), folder / f"slow_{delay_s:g}.yaml")


def _written(embodiment: Embodiment, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(embodiment.to_yaml(), encoding="utf-8")
    return path


def running_spans(statuses: list[Any], begin_ns: int, end_ns: int) -> list[tuple[int, int]]:
    """When the executor was running between two moments, by its own statuses."""
    spans, since = [], 0
    for status in statuses:
        stamp_ns = to_ns(status.header.stamp)
        if not begin_ns <= stamp_ns <= end_ns:
            continue
        if status.state == "running":
            since = since or stamp_ns
        elif since:
            spans.append((since, stamp_ns))
            since = 0
    return [*spans, (since, end_ns)] if since else spans
