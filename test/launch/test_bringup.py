# SPDX-License-Identifier: Apache-2.0
"""Laws of starting and stopping without launch_ros, with small programs in place of the nodes."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import yaml

from uwm_core.errors import UwmError
from uwm_ros.bringup import Bringup, NodeDiedError, Patience, node_command
from uwm_ros.description import PolicyOptions, Process, policy_stack

QUICK = Patience(interrupt_s=1.0, terminate_s=1.0)
UP = "print('up', os.getpid(), flush=True)\n"
POLITE = f"try:\n    {UP}    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('bye')\n"
DEAF = f"signal.signal(signal.SIGINT, signal.SIG_IGN)\n{UP}time.sleep(60)\n"
DEAF_TO_ALL = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{DEAF}"
PATIENT = Patience(interrupt_s=20.0, terminate_s=20.0)


def bringup(folder, patience=PATIENT, **programs):
    """A bringup whose nodes are Python programs."""

    def command(process, parameter_file):
        # -S: without site-packages, whose start-up hooks would run before the program does.
        program = "import os, signal, sys, time\n" + programs[process.node]
        return [sys.executable, "-S", "-c", program]

    processes = [Process(node=name) for name in programs]
    return Bringup(processes, folder, patience=patience, command=command)


def pid_once_up(graph, name):
    """Wait for the program's first line; its process id."""
    while not graph.log(name).read_text().endswith("\n"):
        time.sleep(0.02)
    return int(graph.log(name).read_text().split()[1])


def gone(pid):
    """Whether a process has ended; one that nobody has collected yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait_until_gone(pid):
    while not gone(pid):
        time.sleep(0.02)


def test_sigint_lets_a_node_say_its_last_word(tmp_path):
    with bringup(tmp_path, first=POLITE, second=POLITE) as graph:
        for name in ("first", "second"):
            pid_once_up(graph, name)
    assert "bye" in graph.log("first").read_text()
    assert "bye" in graph.log("second").read_text()


@pytest.mark.parametrize(
    ("program", "ended_by"), [(DEAF, signal.SIGTERM), (DEAF_TO_ALL, signal.SIGKILL)]
)
def test_a_deaf_node_meets_the_next_stronger_signal(tmp_path, program, ended_by):
    graph = bringup(tmp_path, QUICK, deaf=program)
    graph.start()
    pid_once_up(graph, "deaf")
    assert graph.stop() == {"/deaf": -ended_by}


def test_a_node_that_died_is_an_error_with_the_end_of_its_log(tmp_path):
    crash = "print('the reason')\nsys.exit(3)"
    with pytest.raises(NodeDiedError) as death, bringup(tmp_path, bad=crash, good=POLITE) as graph:
        while True:
            graph.check()
            time.sleep(0.02)
    assert "/bad ended by itself with exit code 3" in str(death.value)
    assert "the reason" in str(death.value)


def test_a_death_that_nobody_looked_for_is_told_on_the_way_out(tmp_path):
    with pytest.raises(NodeDiedError), bringup(tmp_path, bad=UP) as graph:
        wait_until_gone(pid_once_up(graph, "bad"))


def test_an_error_in_the_block_is_not_hidden_by_a_dead_node(tmp_path):
    with pytest.raises(ZeroDivisionError), bringup(tmp_path, bad=UP) as graph:
        wait_until_gone(pid_once_up(graph, "bad"))
        raise ZeroDivisionError


def test_nothing_is_left_running_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), bringup(tmp_path, one=POLITE) as graph:
        pid = pid_once_up(graph, "one")
        raise ZeroDivisionError
    assert gone(pid)


def test_nothing_is_left_running_when_the_starter_is_killed(tmp_path):
    starter = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from uwm_ros.bringup import Bringup
        from uwm_ros.description import PolicyOptions, Process, policy_stack
        program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        graph = Bringup([Process(node="one")], Path({str(tmp_path)!r}),
                        command=lambda *_: [sys.executable, "-S", "-c", program])
        graph.start()
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", starter]) as parent:
        log = tmp_path / "one.log"
        while not (log.is_file() and log.read_text().endswith("\n")):
            assert parent.poll() is None
            time.sleep(0.02)
        parent.kill()
    wait_until_gone(int(log.read_text().split()[0]))


def test_a_program_that_cannot_be_started_is_one_line_and_stops_the_others(tmp_path):
    def command(process, parameter_file):
        return ["env" if process.node == "good" else str(tmp_path / "nowhere"), "sleep", "60"]

    graph = Bringup([Process(node="good"), Process(node="bad")], tmp_path, command=command)
    with pytest.raises(UwmError) as refusal, graph:
        while True:
            graph.check()
    assert "/bad" in str(refusal.value)
    assert graph.stop() == {}


def test_what_only_ros2_launch_can_start_is_refused_before_anything_runs(tmp_path):
    stack = policy_stack(PolicyOptions(franka="plain", robot_ip="172.16.0.2"))
    with pytest.raises(UwmError, match="franka:=plain needs `ros2 launch`"):
        Bringup(stack, tmp_path)


def test_parameters_keep_their_types_and_texts(tmp_path):
    values = {"task": "1", "empty": "", "rate": 2.0, "count": 3, "on": True, "said": "a: 'b' #c"}
    path = tmp_path / "policy.yaml"
    line = node_command(Process(node="policy", parameters=values), path)
    read = yaml.safe_load(path.read_text())["/**"]["ros__parameters"]
    assert read == values
    assert {name: type(value) for name, value in read.items()} == {
        name: type(value) for name, value in values.items()
    }
    assert str(path) in line


def test_command_line_carries_name_namespace_and_remappings(tmp_path):
    process = Process(node="policy", namespace="left", remappings=(("a", "b"),))
    line = " ".join(node_command(process, tmp_path / "p.yaml"))
    assert "-m uwm_ros.nodes.policy --ros-args" in line
    assert line.endswith("-r __node:=policy -r __ns:=/left -r a:=b")
