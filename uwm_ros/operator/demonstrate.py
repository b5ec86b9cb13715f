# SPDX-License-Identifier: Apache-2.0
"""Demonstrations through the ROS graph, recorded exactly as a human's would be.

The scripted teleoperation commands the arm on the same topics as a person with a leader arm, and
the recorder knows no difference. Each episode: reset, teleoperate, record, stop with the outcome.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.types import message_class
from uwm_ros.msg import SimTask
from uwm_ros.operator.client import GraphError, Operator
from uwm_ros.srv import ResetSim, StartEpisode, StopEpisode

_HEAR_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What to record.

    Attributes:
        role: ``expert`` ends with success or the time limit; ``play`` runs for the whole time.
        seed: Of the scene and of the motion.
        limit_s: Longest duration, seconds.
        task: Task sentence that goes into the bag.
    """

    role: Literal["expert", "play"]
    seed: int
    limit_s: float
    task: str = "lift the cube"


@dataclass(frozen=True)
class Recorded:
    """Where one demonstration went and how it ended."""

    demonstration: Demonstration
    outcome: Literal["success", "failure"]
    path: str


def record(
    operator: Operator, embodiment: Embodiment, demonstrations: Iterator[Demonstration]
) -> Iterator[Recorded]:
    """Record one demonstration after the other, yielding each as it is written.

    Args:
        operator: On the graph where simulation, teleoperation and recorder live.
        embodiment: Names the topics of the labels.
        demonstrations: What to record.

    Raises:
        GraphError: a node refused or did not answer; the episode in flight is discarded.
    """
    operator.watch("sim/task", SimTask)
    labels = [channel.topic for channel in embodiment.action.values()]
    for channel in embodiment.action.values():
        operator.watch(channel.topic, message_class(channel.type))
    for demonstration in demonstrations:
        yield _record_one(operator, labels, demonstration)


def _record_one(
    operator: Operator, labels: Sequence[str], demonstration: Demonstration
) -> Recorded:
    operator.call("scripted_teleop/stop", Trigger)
    operator.call("sim/reset", ResetSim, ResetSim.Request(seed=demonstration.seed))
    operator.set_parameters("scripted_teleop", mode=demonstration.role, seed=demonstration.seed)
    operator.wait(lambda: _reset_is_seen(operator, demonstration.seed), 5.0)
    for topic in labels:
        operator.forget(topic)
    _start_teleoperation(operator)
    # The recorder refuses to start while a topic is silent, and the labels come with the motion.
    operator.wait(lambda: all(topic in operator.newest for topic in labels), 5.0)
    operator.call(
        "recorder/start",
        StartEpisode,
        StartEpisode.Request(task=demonstration.task, role=demonstration.role),
    )
    finished = False
    try:
        expert = demonstration.role == "expert"
        success = operator.wait(
            lambda: expert and bool(operator.newest["sim/task"].success), demonstration.limit_s
        )
        # A play episode has no goal: it is what it should be when it has run its time.
        outcome: Literal["success", "failure"] = "success" if success or not expert else "failure"
        response = operator.call("recorder/stop", StopEpisode, StopEpisode.Request(outcome=outcome))
        finished = True
    finally:
        if not finished:
            operator.call("recorder/discard", Trigger)
    return Recorded(demonstration, outcome, response.path)


def _start_teleoperation(operator: Operator) -> None:
    """Start it as soon as it has heard the arm, which may be later than this process has.

    Raises:
        GraphError: It still refuses after a while.
    """
    end_s = time.monotonic() + _HEAR_S
    while True:
        try:
            operator.call("scripted_teleop/start", Trigger)
        except GraphError:
            if time.monotonic() > end_s:
                raise
            operator.wait(lambda: False, 0.2)
        else:
            return


def _reset_is_seen(operator: Operator, seed: int) -> bool:
    task = operator.newest.get("sim/task")
    return task is not None and task.seed == seed and not task.success
