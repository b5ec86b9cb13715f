# SPDX-License-Identifier: Apache-2.0
"""Judges whether a policy may be activated: facts about the graph in, one line per item out.

Streams are judged as for a recording (`doctor.check_stream`); here is what driving needs beside
them: an executor that lives, one robot for all, a controller that listens, nobody else who
commands, and a robot that is willing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uwm_ros.logic.alarms import NEVER_S
from uwm_ros.logic.doctor import Line

_ALIVE_S = 1.0
_MODES = ("other", "idle", "move", "guiding", "reflex", "user stopped", "automatic error recovery")
_WILLING = ("idle", "move")


@dataclass(frozen=True, kw_only=True)
class CommandFacts:
    """What was seen of one command topic or action.

    Attributes:
        topic: Resolved name.
        arm: Whether the arm is commanded there, and not one value.
        listeners: How many controllers listen.
        publishers: Full names of the nodes that publish there.
    """

    topic: str
    arm: bool
    listeners: int
    publishers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RobotFacts:
    """What the robot said of itself: its mode as a number, and the names of its errors."""

    mode: int
    errors: tuple[str, ...] = ()


def check_executor(name: str, silent_s: float) -> Line:
    """Whether the executor lives.

    Args:
        name: Its full name.
        silent_s: Since its last status; infinity for never.
    """
    if silent_s <= _ALIVE_S:
        return Line(name, "ok", "alive")
    found = "is not there" if silent_s == NEVER_S else f"is silent for {silent_s:.1f} s"
    return Line(name, "fail", found, "start it; without it nothing can move")


def check_robot_name(ours: str, others: Mapping[str, str]) -> Line:
    """Whether all nodes were started for the same robot.

    Args:
        ours: Name of the manager's embodiment.
        others: Name of each other node's, by the node.
    """
    wrong = [f"{node} has {name}" for node, name in sorted(others.items()) if name != ours]
    if wrong:
        advice = "start all of them with one embodiment"
        return Line("embodiment", "fail", f"is {ours} here; {', '.join(wrong)}", advice)
    return Line("embodiment", "ok", ours)


def check_command(facts: CommandFacts, executor: str) -> Line:
    """Whether a controller listens and nobody but the executor commands.

    Args:
        facts: What was seen.
        executor: Full name of the executor.
    """
    if strangers := sorted(set(facts.publishers) - {executor}):
        found = f"is published by {', '.join(strangers)} too"
        return Line(facts.topic, "fail", found, "stop it: two cannot command one arm")
    if not facts.listeners:
        what = "controller" if facts.arm else "gripper"
        advice = f"start the {what}, or correct command_topic in the embodiment"
        return Line(facts.topic, "fail" if facts.arm else "warn", "nobody listens", advice)
    return Line(facts.topic, "ok", "a controller listens")


def check_robot(facts: RobotFacts | None) -> Line:
    """Whether the robot would move; None where it says nothing of itself."""
    if facts is None:
        return Line("robot", "ok", "does not tell its mode")
    known = 0 <= facts.mode < len(_MODES)
    mode = _MODES[facts.mode] if known else f"unknown mode {facts.mode}"
    if facts.errors or mode not in _WILLING:
        errors = f", errors: {', '.join(facts.errors)}" if facts.errors else ""
        advice = "look at the arm, release the stop, then call executor/recover"
        return Line("robot", "fail", f"is in mode {mode}{errors}", advice)
    return Line("robot", "ok", f"mode {mode}")


def summary(lines: Sequence[Line]) -> str:
    """What fails, in one sentence; empty where nothing does."""
    return "; ".join(
        f"{line.subject} {line.found} ({line.advice})" for line in lines if line.level == "fail"
    )
