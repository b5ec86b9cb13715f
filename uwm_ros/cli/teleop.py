# SPDX-License-Identifier: Apache-2.0
"""``uwm teleop``: drive the arm by the keys of a terminal, over ssh too.

Publishes what a SpaceMouse and a joystick would, `spacenav/twist` and `joy`, to the nodes of
`ros2 launch uwm_ros teleop.launch.py`. ``--sim`` starts those itself, with the simulated arm.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from geometry_msgs.msg import Twist
from rclpy.duration import Duration
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bringup import Bringup
from uwm_ros.description import TeleopOptions, environment, teleop_stack
from uwm_ros.logic.key_wishes import HELP, KeyWishes
from uwm_ros.msg import ExecutorStatus
from uwm_ros.operator.client import Operator, operator_on_graph
from uwm_ros.operator.keyboard import keys

_PERIOD_S = 0.05
_ANSWER_S = 3.0
_FAREWELL_S = 1.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the verb's arguments."""
    parser = subparsers.add_parser(
        "teleop",
        description=f"{__doc__}\nkeys:\n{HELP}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--namespace", default="", help="of the nodes, e.g. left")
    parser.add_argument("--gripper-button", type=int, default=0, help="of joy, pressed by space")
    parser.add_argument("--deadman-button", type=int, default=-1, help="of joy, pressed by any key")
    parser.add_argument("--sim", action="store_true", help="start the nodes and a simulated arm")
    parser.add_argument("-e", "--embodiment", default="fr3_sim", help="of the nodes started here")


def run(args: argparse.Namespace) -> int:
    """Read keys until q; hold the arm on the way out, however that is."""
    with (
        keys("uwm teleop", _PERIOD_S, "publish spacenav/twist") as read,
        _nodes(args) as check,
        operator_on_graph(check) as operator,
    ):
        print(HELP)
        desk = Desk(operator, args)
        try:
            while (key := read()) != "q":
                check()
                said = desk.press(key) if key else ""
                if said:
                    print(f"\r\x1b[K{said}")
                print(f"\r\x1b[K{desk.line()}", end="", flush=True)
                desk.speak()
        finally:
            print(f"\r\x1b[K{desk.leave()}")
    return 0


class Desk:
    """What the keys do."""

    def __init__(self, operator: Operator, args: argparse.Namespace) -> None:
        """Speak to the nodes of `args.namespace`."""
        space = args.namespace.strip("/")
        self._prefix = f"/{space}/" if space else "/"
        self._operator = operator
        self._gripper, self._deadman = args.gripper_button, args.deadman_button
        self._wishes = KeyWishes()
        self._twist = operator.node.create_publisher(Twist, f"{self._prefix}spacenav/twist", 10)
        self._joy = operator.node.create_publisher(Joy, f"{self._prefix}joy", 10)
        self._status = f"{self._prefix}executor/status"
        self._spoken_s = 0.0
        operator.watch(self._status, ExecutorStatus)

    def press(self, key: str) -> str:
        """Do what a key stands for; what came of it, if there is something to say."""
        if key in "gh":
            self._wishes.release()
            self.speak(at_once=True)
            return self._call("run" if key == "g" else "hold")
        self._wishes.press(key, now_ns(self._operator.node))
        return ""

    def speak(self, *, at_once: bool = False) -> None:
        """Publish what the keys want now; not more often than a device would."""
        if time.monotonic() - self._spoken_s < _PERIOD_S and not at_once:
            return
        self._spoken_s = time.monotonic()
        now = now_ns(self._operator.node)
        twist, deflection = Twist(), self._wishes.twist(now).tolist()
        twist.linear.x, twist.linear.y, twist.linear.z = deflection[:3]
        twist.angular.x, twist.angular.y, twist.angular.z = deflection[3:]
        self._twist.publish(twist)
        buttons = self._wishes.buttons(
            now, gripper_button=self._gripper, deadman_button=self._deadman
        )
        joy = Joy(buttons=buttons.tolist())
        joy.header.stamp = to_stamp(now)
        self._joy.publish(joy)

    def line(self) -> str:
        """How the executor is, in one line."""
        status = self._operator.newest.get(self._status)
        state = "executor is silent" if status is None else f"executor {status.state}"
        reason = f" | {status.reason}" if status is not None and status.reason else ""
        return f"{state} | speed {self._wishes.share:.0%}{reason}"[
            : shutil.get_terminal_size((100, 24)).columns - 1
        ]

    def leave(self) -> str:
        """Want nothing more, and hold."""
        self._wishes.release()
        self.speak(at_once=True)
        # Its publisher goes with the node: what was not delivered by then never is.
        self._twist.wait_for_all_acked(Duration(seconds=_FAREWELL_S))
        return self._call("hold") if self._status in self._operator.newest else "left"

    def _call(self, name: str) -> str:
        try:
            answer = self._operator.call(
                f"{self._prefix}executor/{name}", Trigger, timeout_s=_ANSWER_S
            )
            return f"executor: {answer.message}"
        except UwmError as error:
            return str(error)


@contextlib.contextmanager
def _nodes(args: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """The nodes that were asked for, for the length of a block; gives a check that they live."""
    os.environ.update(environment())
    if not args.sim:
        yield lambda: None
        return
    options = TeleopOptions(
        embodiment=args.embodiment,
        namespace=args.namespace.strip("/"),
        gripper_button=args.gripper_button,
        deadman_button=args.deadman_button,
        sim=True,
    )
    with (
        TemporaryDirectory(prefix="uwm_teleop_") as logs,
        Bringup(teleop_stack(options), Path(logs)) as graph,
    ):
        graph.wait_until_alive()
        yield graph.check
