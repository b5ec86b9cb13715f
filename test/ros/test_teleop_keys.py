# SPDX-License-Identifier: Apache-2.0
"""Laws of `uwm teleop` in a real terminal: keys become a Twist, and the terminal is given back."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from geometry_msgs.msg import Twist
from sensor_msgs.msg import Joy

from uwm_core.cli.main import main


class Terminal:
    """A terminal with `uwm teleop` in it."""

    def __init__(self, graph):
        self.graph = graph
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.twists = graph.listen(Twist, "spacenav/twist")
        self.joys = graph.listen(Joy, "joy")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uwm_core.cli.main", "teleop", "--deadman-button", "2"],
            stdin=self.theirs,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        graph.wait(lambda: self.twists, "uwm teleop")
        assert self.modes() != self.before  # keys come one by one

    def modes(self):
        return termios.tcgetattr(self.theirs)

    def type(self, key):
        os.write(self.ours, key.encode())

    def ended(self):
        return self.process.wait(60)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(graph):
    terminal = Terminal(graph)
    yield terminal
    terminal.close()


def test_a_key_is_a_wish_that_ends_by_itself_and_q_gives_the_terminal_back(graph, terminal):
    terminal.type("w")
    graph.wait(lambda: any(m.linear.x > 0 for m in terminal.twists), "the wish")
    graph.wait(lambda: any(list(m.buttons) == [0, 0, 1] for m in terminal.joys), "the deadman")
    graph.wait(lambda: terminal.twists[-1].linear.x == 0, "its end")
    terminal.type(" ")
    graph.wait(lambda: any(list(m.buttons) == [1, 0, 1] for m in terminal.joys), "the gripper")
    terminal.type("q")
    assert terminal.ended() == 0
    assert terminal.modes() == terminal.before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back_and_wants_nothing_more(graph, terminal, number):
    terminal.type("a")
    graph.wait(lambda: any(m.linear.y > 0 for m in terminal.twists), "the wish")
    terminal.process.send_signal(number)
    assert terminal.ended() == 130
    assert terminal.modes() == terminal.before
    graph.wait(lambda: terminal.twists[-1].linear.y == 0, "the last word")


def test_without_a_terminal_it_is_refused_in_one_line(capfd, monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert main(["teleop"]) == 2
    said = capfd.readouterr().err.strip()
    assert "needs a terminal" in said
    assert "\n" not in said
