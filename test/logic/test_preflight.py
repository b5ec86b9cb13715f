# SPDX-License-Identifier: Apache-2.0
"""Laws of the preflight: what forbids a policy to drive is named, with what to do."""

import pytest

from uwm_ros.logic.preflight import (
    CommandFacts,
    RobotFacts,
    check_command,
    check_executor,
    check_robot,
    check_robot_name,
    summary,
)

NEVER_S = float("inf")
OURS = "/left/executor"


def command(listeners=1, publishers=(OURS,), arm=True):
    return CommandFacts(topic="/t", arm=arm, listeners=listeners, publishers=publishers)


@pytest.mark.parametrize(
    ("line", "level", "named"),
    [
        (check_executor(OURS, 0.1), "ok", OURS),
        (check_executor(OURS, NEVER_S), "fail", "is not there"),
        (check_executor(OURS, 3.0), "fail", "is silent for 3.0 s"),
        (check_robot_name("fr3", {"/policy": "fr3"}), "ok", "fr3"),
        (check_robot_name("fr3", {"/policy": "droid"}), "fail", "/policy has droid"),
        (check_command(command(), OURS), "ok", "listens"),
        (check_command(command(publishers=()), OURS), "ok", "listens"),
        (check_command(command(publishers=(OURS, "/gello")), OURS), "fail", "/gello too"),
        (check_command(command(publishers=("/right/executor",)), OURS), "fail", "/right/executor"),
        (check_command(command(listeners=0), OURS), "fail", "nobody listens"),
        (check_command(command(listeners=0, arm=False), OURS), "warn", "nobody listens"),
        (check_robot(None), "ok", "does not tell"),
        (check_robot(RobotFacts(mode=1)), "ok", "idle"),
        (check_robot(RobotFacts(mode=4)), "fail", "reflex"),
        (check_robot(RobotFacts(mode=5)), "fail", "user stopped"),
        (check_robot(RobotFacts(mode=2, errors=("joint reflex",))), "fail", "joint reflex"),
        (check_robot(RobotFacts(mode=99)), "fail", "unknown mode 99"),
    ],
)
def test_each_item_is_judged_and_a_failure_says_what_to_do(line, level, named):
    assert line.level == level
    assert named in line.to_text()
    assert bool(line.advice) == (level != "ok")


def test_the_summary_holds_every_failure_and_nothing_else():
    lines = [check_executor(OURS, NEVER_S), check_command(command(listeners=0, arm=False), OURS)]
    assert summary(lines) == f"{OURS} is not there (start it; without it nothing can move)"
    assert summary([check_robot(None)]) == ""
