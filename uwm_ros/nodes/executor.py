# SPDX-License-Identifier: Apache-2.0
"""The executor: action chunks in, judged commands out; starts without torch and holds alone.

In: `policy/action_chunk` and the embodiment's joint states. Out: the embodiment's command topics
(one stamped multi-point trajectory per chunk; single values at their due times), `executor/status`
at 10 Hz and on change, `/diagnostics`. Services: `executor/run`, `executor/hold`, `executor/stop`
(latched), `executor/reset`. Nothing is sent before `run`; on SIGTERM the arm is brought to rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.node import Node
from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.arm_state import ArmState
from uwm_ros.bridge.chunks import to_chunk
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.commands import Commands
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.judge import Cause, Rules, Situation, Verdict, judge
from uwm_ros.logic.machine import Status
from uwm_ros.logic.trajectory import Trajectory, stop
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import ExecutorStatus

_TICK_S = 0.02
_STATUS_TICKS = 5
_GRAPH_TICKS = 25
_FAREWELL_S = 0.5


class ExecutorNode(Node):
    """Plays chunks; see the module."""

    def __init__(self, **options: Any) -> None:
        """Listen, and wait for `executor/run`.

        Args:
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("executor", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._autostart = read.flag("autostart", False, "run as soon as the arm is measured")
        self._rules = Rules(self._embodiment)
        self._at = Status()
        self._plan: Trajectory | None = None
        self._playing: ActionChunk | None = None
        self._newest: ActionChunk | None = None
        self._sequence = 0
        self._ticks = 0
        self._stale_ticks = 0
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._commands = Commands(self, self._embodiment)
        self._arm = ArmState(self, self._embodiment)
        self._status = self.create_publisher(ExecutorStatus, "executor/status", reliable())
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self.create_subscription(
            ActionChunkMessage, "policy/action_chunk", self._on_chunk, reliable(2)
        )
        for name in ("run", "hold", "stop", "reset"):
            self.create_service(Trigger, f"executor/{name}", self._answer(getattr(self, name)))
        self.create_timer(_TICK_S, self._tick)

    # Commands of the operator

    def run(self) -> None:
        """Arm; the next good chunk near the measured state moves the arm.

        Raises:
            UwmError: If stopped, unmeasured, far from the first command, or not alone.
        """
        status = self._at.run()
        if status is self._at:
            return
        self._commands.check_alone()
        situation = self._situation(plan=None)
        if situation.measured_rad is None or situation.measured_age_s > self._arm.max_age_s:
            why = f": {self._arm.trouble}" if self._arm.trouble else ""
            raise UwmError(f"no fresh joint state on {self._arm.topic}{why}")
        if self._newest is not None:
            verdict = judge(self._newest, situation, self._rules)
            if verdict.kind == "hold" and not verdict.cause.transient:
                raise UwmError(f"not started: {verdict.reason}")
        self._plan = self._playing = None
        self._commands.forget()
        self._set(status)

    def hold(self) -> None:
        """Come to rest and stay until the next run."""
        self._set(self._at.hold())

    def stop(self) -> None:
        """Come to rest and stay until reset."""
        self._set(self._at.stop())

    def reset(self) -> None:
        """Forget a stop or a hold.

        Raises:
            UwmError: If running.
        """
        self._set(self._at.reset())

    def close(self) -> None:
        """Leave an arm at rest behind."""
        if self._at.state == "running":
            self._set(self._at.hold())
            self._commands.wait_until_sent(_FAREWELL_S)

    # Chunks

    def _on_chunk(self, message: ActionChunkMessage) -> None:
        ours = self._embodiment.name
        try:
            chunk = to_chunk(message)
        except DataError as error:
            self._trouble(Cause.NAMES, str(error))
            return
        if message.embodiment not in ("", ours):
            self._trouble(Cause.NAMES, f"chunk is for {message.embodiment!r}, the arm is {ours!r}")
            return
        self._newest = chunk
        if not self._at.wants_chunks:
            return
        late = self._playing is not None and chunk.stamp_ns <= self._playing.stamp_ns
        if late and self._at.state == "running":
            return  # out of order: a newer one is being played
        verdict = judge(chunk, self._situation(self._plan), self._rules)
        if verdict.kind == "hold":
            self._trouble(verdict.cause, verdict.reason)
            return
        self._play(chunk, verdict, int(message.sequence))

    def _play(self, chunk: ActionChunk, verdict: Verdict, sequence: int) -> None:
        clipped = verdict.reason if verdict.kind == "clip" else ""
        self._commands.play(chunk, verdict.trajectory, verdict.values)
        self._plan = verdict.trajectory
        self._playing, self._sequence = chunk, sequence
        self._edges.update("limits", bad=bool(clipped), text=clipped)
        self._set(self._at.played(clipped=clipped))
        self._commands.send_due(now_ns(self))

    def _come_to_rest(self) -> None:
        """Replace what is left of the plan by a stop as fast as the limits allow."""
        now = now_ns(self)
        self._commands.drop_due()
        if self._plan is not None and now < self._plan.end_ns:
            self._plan = stop(self._plan.sample(now), now, self._rules.limits)
            self._commands.move(self._plan)

    # Watching

    def _tick(self) -> None:
        self._ticks += 1
        if self._at.state == "running":
            self._commands.send_due(now_ns(self))
            self._watch()
        elif self._autostart and self._at.state == "idle":
            self._start_by_itself()
        if self._ticks % _STATUS_TICKS == 0:
            self._report()

    def _watch(self) -> None:
        """What may go wrong between two chunks."""
        situation, playing = self._situation(self._plan), self._playing
        stale = situation.measured_age_s > self._arm.max_age_s
        # Twice in a row: after a pause of this process the message may wait behind the timer.
        self._stale_ticks = self._stale_ticks + 1 if stale else 0
        if self._stale_ticks > 1:
            why = self._arm.trouble or f"joint state is {situation.measured_age_s:.2f} s old"
            self._trouble(Cause.STALE_STATE, why)
        if playing is not None:
            age_s = (situation.now_ns - playing.stamp_ns) / 1e9
            ended = self._plan is not None and situation.now_ns > self._plan.end_ns
            if ended or age_s > self._rules.safety.max_chunk_age_s:
                self._trouble(Cause.LATE_CHUNK, f"no new chunk; the last is {age_s:.2f} s old")
        if self._ticks % _GRAPH_TICKS == 0:
            try:
                self._commands.check_alone()
            except UwmError as error:
                self._trouble(Cause.SECOND_PUBLISHER, str(error))

    def _start_by_itself(self) -> None:
        try:
            self.run()
            self._edges.update("autostart", bad=False)
        except UwmError as error:
            self._edges.update("autostart", bad=True, text=f"waiting to run: {error}")

    def _situation(self, plan: Trajectory | None) -> Situation:
        now = now_ns(self)
        rad, age_s = self._arm.at(now)
        return Situation(now_ns=now, measured_rad=rad, measured_age_s=age_s, plan=plan)

    # State

    def _trouble(self, cause: Cause, reason: str) -> None:
        self._set(self._at.trouble(cause, reason))

    def _set(self, status: Status) -> None:
        """Take a new state; leaving `running` brings the arm to rest."""
        before, self._at = self._at, status
        if before.state == "running" and status.state != "running":
            self._stale_ticks = 0
            self._come_to_rest()
        if before.state != status.state:
            self.get_logger().info(f"{before.state} -> {status.state}. {status.reason}".rstrip())
        if (before.state, before.reason) != (status.state, status.reason):
            self._report()

    def _report(self) -> None:
        now, at, playing = now_ns(self), self._at, self._playing
        _, age_s = self._arm.at(now)
        status = ExecutorStatus(
            state=at.state,
            reason=at.reason,
            chunk_sequence=self._sequence,
            chunk_age_s=(now - playing.stamp_ns) / 1e9 if playing is not None else -1.0,
            observation_age_s=age_s if np.isfinite(age_s) else -1.0,
            holds=at.holds,
            clipped=at.clipped,
        )
        status.header.stamp = to_stamp(now)
        self._status.publish(status)
        trouble = at.state == "holding" and at.cause is not Cause.OPERATOR
        level = Level.ERROR if trouble else Level.WARN if at.reason else Level.OK
        values = {"state": at.state, "cause": at.cause.value, "holds": at.holds}
        self._diagnostics.update(level, at.reason or at.state, values | {"clipped": at.clipped})

    def _answer(self, command: Callable[[], None]) -> Callable[[Any, Any], Any]:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                command()
                response.success, response.message = True, self._at.state
            except UwmError as error:
                response.success, response.message = False, str(error)
                self.get_logger().warning(str(error))
            return response

        return answer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(ExecutorNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
