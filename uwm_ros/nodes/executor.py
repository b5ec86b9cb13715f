# SPDX-License-Identifier: Apache-2.0
"""The executor: action chunks in, judged commands out; starts without torch and holds alone.

In: `policy/action_chunk`, `teleop/action_chunk` while a human drives, the embodiment's joint
states, `policy/status`, `executor/stop_now` (any message on it stops), `joy` where a deadman button
is asked for. Out: the embodiment's commands, `executor/status`, `executor/safety`,
`executor/chunk_timing`, `/diagnostics`. Services: `executor/run` (also `executor/arm`), `hold`,
`stop` (latched), `reset`, `recover` (the robot's own errors, on request only) and `take_over`.
Nothing is sent before `run`; on SIGINT and SIGTERM the arm is brought to rest first.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import Empty

from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UwmError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.chunks import to_chunk
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.driving import Driving
from uwm_ros.bridge.executor_options import ExecutorOptions, SpeedScale
from uwm_ros.bridge.executor_reports import Reports, Seen
from uwm_ros.bridge.judging import Case, Judging
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.realtime import take_precedence_of_process
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.services import serve_flag, serve_trigger
from uwm_ros.bridge.steady_loop import SteadyLoop, locked
from uwm_ros.bridge.watching import Watching
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.judge import Cause, Rules, Situation, Verdict, judge
from uwm_ros.logic.machine import Status
from uwm_ros.logic.watches import Periods
from uwm_ros.msg import ActionChunk as ActionChunkMessage

_STATUS_S = 0.1
# A loop that paused longer than this does not go on as if nothing had been.
_PAUSE_S = 0.1
_CHUNKS = {"policy": "policy/action_chunk", "human": "teleop/action_chunk"}


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
        # The loop and the ROS thread share the state; whoever touches it holds this.
        self.lock = threading.RLock()
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._options = ExecutorOptions.read(read)
        self._speed = SpeedScale(self)
        self._rules = Rules(self._embodiment)
        self._rules.prepare()
        self._at = Status()
        self._driver = self._options.driver
        self._newest: tuple[ActionChunk, ActionChunkMessage] | None = None
        self._played_ns = 0
        self._ranked = False
        self._looks = 0
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._periods = Periods(1.0 / self._options.rate_hz)
        self._driving = Driving(self, self._rules, self._options)
        self._watching = Watching(self, self._embodiment, self._options.deadman_button)
        self._reports = Reports(self, self._embodiment.name)
        rate_hz, realtime = self._options.rate_hz, self._options.realtime
        self._judging = Judging(self, self._rules, self._judged, self._failed, realtime=realtime)
        self._listen()
        self._serve()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_STATUS_S, self._look_around, clock=steady)
        self._loop = SteadyLoop(self._tick, self._failed, rate_hz, realtime=realtime)

    def close(self) -> None:
        """Leave an arm at rest behind."""
        self._judging.close()
        if self._at.state == "running":
            self.hold()
        self._driving.farewell()
        self._loop.close()

    # What others say

    def _listen(self) -> None:
        for driver, topic in _CHUNKS.items():

            def take(message: ActionChunkMessage, driver: str = driver) -> None:
                if driver == self._driver:
                    self._on_chunk(message)

            self.create_subscription(ActionChunkMessage, topic, take, reliable(2))
        self.create_subscription(Empty, "executor/stop_now", lambda _: self.stop(), reliable())

    def _serve(self) -> None:
        commands = {"run": self.run, "arm": self.run, "hold": self.hold, "stop": self.stop}
        for name, command in (commands | {"reset": self.reset, "recover": self.recover}).items():
            serve_trigger(self, f"executor/{name}", command, lambda: self._at.state)
        serve_flag(self, "executor/take_over", self.take_over, lambda: self._driver)

    # Commands of the operator

    @locked
    def run(self) -> None:
        """Arm; the next good chunk near the measured state moves the arm.

        Raises:
            UwmError: If stopped, unmeasured, far from the first command, or not alone.
        """
        status = self._at.run()
        if status is self._at:
            return
        if trouble := self._driving.not_alone() or self._driving.trouble():
            raise UwmError(trouble)
        if trouble := self._watching.robot.trouble():
            raise UwmError(f"not started: {trouble}")
        situation = dataclasses.replace(self._situation(), plan=None)
        if self._newest is not None:
            verdict = judge(self._newest[0], situation, self._rules)
            if verdict.kind == "hold" and not verdict.cause.transient:
                raise UwmError(f"not started: {verdict.reason}")
        self._driving.begin(self._watching.arm.measured(now_ns(self)))
        self._played_ns = 0
        self._set(status)

    @locked
    def hold(self) -> None:
        """Come to rest and stay until the next run."""
        self._set(self._at.hold())

    @locked
    def stop(self) -> None:
        """Come to rest and stay until reset."""
        self._set(self._at.stop())

    @locked
    def reset(self) -> None:
        """Forget a stop or a hold; commands end.

        Raises:
            UwmError: If running, or still on the way to rest.
        """
        status = self._at.reset()
        if self._driving.moving(now_ns(self)):
            raise UwmError("still coming to rest: try again in a moment")
        self._driving.release()
        self._set(status)

    @locked
    def recover(self) -> None:
        """Ask the robot to leave its reflex.

        Raises:
            UwmError: If running, or the robot cannot be asked.
        """
        self._at.reset()  # refuses where recovering would be refused too
        self._watching.robot.recover()

    @locked
    def take_over(self, human: bool) -> None:
        """Play a human's chunks from now on, or the policy's again; the plan goes on meanwhile."""
        self._driver = "human" if human else "policy"
        self._newest, self._played_ns = None, 0
        self.get_logger().info(f"driven by {self._driver}")

    # Chunks

    @locked
    def _on_chunk(self, message: ActionChunkMessage) -> None:
        now, ours = now_ns(self), self._embodiment.name
        try:
            chunk = to_chunk(message)
        except DataError as error:
            self._trouble(Cause.NAMES, str(error))
            return
        if message.embodiment not in ("", ours):
            self._trouble(Cause.NAMES, f"chunk is for {message.embodiment!r}, the arm is {ours!r}")
            return
        if not self._options.compensate_latency:
            chunk = dataclasses.replace(chunk, stamp_ns=now)
        self._newest = (chunk, message)
        out_of_order = self._at.state == "running" and chunk.stamp_ns <= self._played_ns
        if self._at.wants_chunks and not out_of_order and not self._forbidden(now):
            self._submit(chunk, message, now)

    def _submit(self, chunk: ActionChunk, message: ActionChunkMessage, arrived_ns: int) -> None:
        situation = self._situation(self._judging.lead_ns)
        self._judging.submit(Case(chunk, message, arrived_ns, situation, self._driving.version))

    @locked
    def _judged(self, case: Case, verdict: Verdict) -> None:
        """A verdict is there, on the judge's thread; the plan may have changed since."""
        now = now_ns(self)
        if not self._at.wants_chunks or self._newest is None:
            return
        late = now > case.situation.now_ns + case.situation.lead_ns
        outdated = case.version != self._driving.version
        if (late or outdated) and not (verdict.kind == "hold" and verdict.cause.of_chunk):
            if self._newest[1] is case.message:
                self._submit(case.chunk, case.message, case.arrived_ns)
            return
        if verdict.kind == "hold":
            self._trouble(verdict.cause, verdict.reason)
            return
        self._driving.play(case, verdict, now)
        self._played_ns = case.chunk.stamp_ns
        self._reports.played(case, verdict)
        clipped = verdict.reason if verdict.kind == "clip" else ""
        self._edges.update("limits", bad=bool(clipped), text=clipped)
        self._set(self._at.played(clipped=clipped))

    # Watching

    @locked
    def _tick(self) -> None:
        """One turn of the loop, on its own thread."""
        now = now_ns(self)
        period_s = self._periods.tick(time.monotonic())
        if period_s > _PAUSE_S and self._driving.moving(now - round(period_s * 1e9)):
            self._driving.freeze(now)
            self._trouble(Cause.PERIOD, f"the loop paused for {period_s:.2f} s")
        if commanded := self._driving.tick(now, self._at.state == "running"):
            self._reports.timing(*commanded)
        if self._at.state not in ("armed", "running"):
            return
        trouble = self._forbidden(now)
        if trouble is None and self._at.state == "running":
            trouble = self._on_course(now)
        if trouble is not None:
            self._trouble(*trouble)
        else:
            self._set(self._at.well())

    def _failed(self, error: Exception) -> None:
        """The loop or the judge's thread failed: a defect of ours, nothing moves any more."""
        self.get_logger().error(f"executor failed: {error!r}")
        self._trouble(Cause.DEFECT, f"executor failed: {error!r}")

    def _forbidden(self, now: int) -> tuple[Cause, str] | None:
        return self._watching.forbids(now, self._driver)

    def _on_course(self, now: int) -> tuple[Cause, str] | None:
        """What may go wrong between two chunks of a running arm."""
        if self._played_ns:
            age_s = (now - self._played_ns) / 1e9
            if not self._driving.moving(now) or age_s > self._rules.safety.max_chunk_age_s:
                return Cause.LATE_CHUNK, f"no new chunk; the last is {age_s:.2f} s old"
        error_rad = self._driving.track(self._watching.arm.at(now)[0], now)
        if error_rad > self._rules.safety.tracking_tolerance_rad:
            return Cause.TRACKING, f"the arm is {error_rad:.2f} rad from its plan: is it blocked?"
        return None

    def _look_around(self) -> None:
        """What costs too much for the loop: looking at the graph, and telling how things are."""
        if not self._ranked and self._options.realtime:
            self._ranked = True
            self.get_logger().info(f"runs with {take_precedence_of_process()}")
        self._looks += 1
        if self._at.state == "running":
            # Not locked: the loop need not wait for the graph.
            if trouble := self._driving.not_alone():
                self._trouble(Cause.SECOND_PUBLISHER, trouble)
            elif self._looks % 2 and (trouble := self._driving.trouble()):
                self._trouble(Cause.CONTROLLER, trouble)
        elif self._options.autostart and self._at.state == "idle":
            self._start_by_itself()
        self._report()

    def _start_by_itself(self) -> None:
        trouble = ""
        try:
            self.run()
        except UwmError as error:
            trouble = f"waiting to run: {error}"
        self._edges.update("autostart", bad=bool(trouble), text=trouble)

    def _situation(self, lead_ns: int = 0) -> Situation:
        now = now_ns(self)
        rad, age_s = self._watching.arm.at(now)
        return Situation(
            now_ns=now,
            measured_rad=rad,
            measured_age_s=age_s,
            plan=self._driving.plan,
            join=self._options.join,
            speed_scale=self._speed.value,
            lead_ns=lead_ns,
            pause=self._driving.pause,
        )

    # State

    @locked
    def _trouble(self, cause: Cause, reason: str) -> None:
        self._set(self._at.trouble(cause, reason))

    def _set(self, status: Status) -> None:
        """Take a new state; leaving `running` brings the arm to rest."""
        before, self._at = self._at, status
        if before.state == "running" and status.state != "running":
            give_way = status.cause in (Cause.TRACKING, Cause.ROBOT)
            now = now_ns(self)
            self._driving.rest(now, towards=self._watching.arm.at(now)[0] if give_way else None)
        if before.state != status.state:
            self.get_logger().info(f"{before.state} -> {status.state}. {status.reason}".rstrip())
        if (before.state, before.reason) != (status.state, status.reason):
            self._report()

    def _report(self) -> None:
        now = now_ns(self)
        seen = Seen(
            driver=self._driver,
            speed_scale=self._speed.value,
            deadman=self._watching.deadman(now),
            state_age_s=self._watching.arm.at(now)[1],
            tracking_error_rad=self._driving.tracking_error_rad,
            rate_hz=self._periods.rate_hz if self._driving.streaming else 0.0,
            period_error_p99_s=self._periods.error_p99_s,
            pause=self._driving.pause,
        )
        self._reports.publish(self._at, now, seen)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(ExecutorNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
