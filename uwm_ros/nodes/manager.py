# SPDX-License-Identifier: Apache-2.0
"""The manager: brings policy and imagination up in order, and down in order.

Up: configure (a model loads and warms), preflight (every stream, one robot, an executor, a
controller that listens, nobody else who commands), activate. The preflight is repeated while it
fails. A node that died is told, and brought up again when it is back. Down, also on SIGINT and
SIGTERM: `executor/hold`, deactivate, clean up.

Out: `manager/status` (JSON in std_msgs/String, latched), `/diagnostics`. Services: `manager/up`,
`manager/down`. A node that refuses its model at the start ends this process with the reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.around import Around
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.managed import Managed
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.logic.alarms import NEVER_S
from uwm_ros.logic.bringing_up import Step, step_down, step_up
from uwm_ros.logic.doctor import Line
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.preflight import check_executor, check_robot_name, summary
from uwm_ros.msg import ExecutorStatus

_TICK_S = 0.1
_STATUS_S = 1.0
# A rate needs a second to be measured, an offer another moment to be matched.
_LISTEN_S = 2.0
_LOOK_AGAIN_S = 1.0
_EXECUTOR = "executor"
# `ros2 launch` sends SIGTERM after 5 s: everything on the way down must be over by then.
_FAREWELL_S = 4.0
_HOLD_S = 1.0
_DOING = {
    "configure": "configuring",
    "activate": "activating",
    "deactivate": "going down",
    "cleanup": "going down",
}


class ManagerNode(Node):
    """Brings up; see the module."""

    def __init__(self, **options: Any) -> None:
        """Begin, unless told to wait for `manager/up`.

        Args:
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("manager", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        names = read.texts("nodes", ("policy", "imagination"), "in the order of activation")
        self._wanted_up = read.flag("autostart", True, "bring up without a call of manager/up")
        self._members = {name: Managed(self, name) for name in names}
        self._executor_name = f"{self.get_namespace().rstrip('/')}/{_EXECUTOR}"
        self._executor_s = -NEVER_S
        self._checked = self._was_up = False
        self._around: Around | None = None
        self._looked_s = 0.0
        self._lines: list[Line] = []
        self._holding: Any = None
        self._holding_s = 0.0
        self._state, self._reason, self._reported_s = "starting", "", 0.0
        self._health: dict[str, DiagnosticStatus] = {}
        self._log = SideLog(self)
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        latched = reliable(1)
        latched.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self._status = self.create_publisher(String, "manager/status", latched)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._hold = self.create_client(Trigger, f"{_EXECUTOR}/hold")
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, reliable(20))
        self.create_subscription(
            ExecutorStatus, f"{_EXECUTOR}/status", self._on_executor, reliable()
        )
        self.create_service(Trigger, "manager/up", self._up)
        self.create_service(Trigger, "manager/down", self._down)
        self.create_timer(_TICK_S, self._tick)

    def close(self) -> None:
        """Hold the arm, then take everything down, before the context goes."""
        self._go_down()
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self)
        end_s = time.monotonic() + _FAREWELL_S
        while time.monotonic() < end_s and self._state != "down":
            executor.spin_once(timeout_sec=_TICK_S)
        executor.remove_node(self)
        executor.shutdown()
        self._log.close()

    # What is asked

    def _up(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        for member in self._members.values():
            member.forgive()
        self._wanted_up = True
        response.success, response.message = True, "coming up; manager/status tells how far"
        return response

    def _down(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._go_down()
        response.success, response.message = True, "going down; manager/status tells how far"
        return response

    def _go_down(self) -> None:
        """Hold first: an arm that is in motion ends it by the executor, not by silence."""
        self._wanted_up = False
        self._stop_listening()
        self._holding_s = time.monotonic()
        ready = self._hold.service_is_ready()
        self._holding = self._hold.call_async(Trigger.Request()) if ready else None

    # What is seen

    def _on_health(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._health[f"/{status.name}"] = status

    def _on_executor(self, _: ExecutorStatus) -> None:
        self._executor_s = time.monotonic()

    def _names(self) -> set[str]:
        pairs = self.get_node_names_and_namespaces()
        return {f"{namespace.rstrip('/')}/{name}" for name, namespace in pairs}

    # What is done

    def _tick(self) -> None:
        names = self._names()
        for member in self._members.values():
            health = self._health.get(member.full_name)
            bad = health is not None and health.level == DiagnosticStatus.ERROR
            member.look(names, str(health.message) if bad else "")
        busy = [member for member in self._members.values() if member.changing]
        if busy:
            self._say(_DOING[busy[0].changing or ""], f"{busy[0].name}")
        elif self._wanted_up:
            self._rise()
        else:
            self._descend()

    def _rise(self) -> None:
        members = [member.member() for member in self._members.values()]
        step = step_up(members, checked=self._checked)
        if step.kind == "check":
            self._check()
            return
        self._stop_listening()
        if step.kind == "failed":
            self._say("failed", step.reason)
            if not self._was_up:
                raise UwmError(step.reason)
        elif step.kind == "done":
            self._was_up = True
            silent = check_executor(self._executor_name, self._executor_silent_s())
            self._say("up", summary([silent]))
        elif step.kind == "wait":
            self._say("waiting", step.reason)
        else:
            self._begin(step)

    def _descend(self) -> None:
        if self._holding is not None and not self._holding.done():
            if time.monotonic() - self._holding_s < _HOLD_S:
                self._say("going down", "waiting for executor/hold")
                return
            self._hold.remove_pending_request(self._holding)
        self._holding = None
        step = step_down([member.member() for member in self._members.values()])
        if step.kind == "done":
            self._say("down", "")
        else:
            self._begin(step)

    def _begin(self, step: Step) -> None:
        # Whatever changes, what was seen before it says nothing any more.
        if step.kind != "activate":
            self._checked = False
        self.get_logger().info(f"{step.kind} {step.node}")
        self._members[step.node].begin(step.kind)
        self._say(_DOING[step.kind], step.node)

    # Preflight

    def _check(self) -> None:
        if self._around is None:
            self._around = Around(self, self._embodiment, self._log)
        now_s = time.monotonic()
        if self._around.age_s < _LISTEN_S:
            self._say("preflight", "listening")
            return
        if now_s - self._looked_s < _LOOK_AGAIN_S:
            return
        self._looked_s = now_s
        known = [*(m.full_name for m in self._members.values()), self._executor_name]
        robots = {n: str(self._health[n].hardware_id) for n in known if n in self._health}
        self._lines = [
            *self._around.check(self._executor_name),
            check_executor(self._executor_name, self._executor_silent_s()),
            check_robot_name(self._embodiment.name, robots),
        ]
        reason = summary(self._lines)
        self._edges.update("preflight", bad=bool(reason), text=f"preflight: {reason}")
        self._checked = not reason
        self._say("preflight", reason)

    def _executor_silent_s(self) -> float:
        return time.monotonic() - self._executor_s

    def _stop_listening(self) -> None:
        if self._around is not None:
            self._around.close()
        self._around = None

    # What is said

    def _say(self, state: str, reason: str) -> None:
        """Keep how far it is; publish on change, and once a second."""
        changed = (state, reason) != (self._state, self._reason)
        self._state, self._reason = state, reason
        if not changed and time.monotonic() - self._reported_s < _STATUS_S:
            return
        self._reported_s = time.monotonic()
        if changed:
            self.get_logger().info(f"{state}: {reason}" if reason else state)
        states = {name: managed.member().state for name, managed in self._members.items()}
        status = {
            "state": state,
            "reason": reason,
            "nodes": states,
            "preflight": [line._asdict() for line in self._lines],
        }
        self._status.publish(String(data=json.dumps(status)))
        # On the way up it is as it should be, unless something has to be done about it.
        bad = state == "failed" or bool(reason and state == "up")
        stuck = bool(reason) and state in ("waiting", "preflight")
        level = Level.ERROR if bad else Level.WARN if stuck else Level.OK
        self._diagnostics.update(level, reason or state, {"state": state, **states})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(ManagerNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
