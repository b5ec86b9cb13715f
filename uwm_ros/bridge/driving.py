# SPDX-License-Identifier: Apache-2.0
"""The plan in force, and everything that carries it to the robot.

A streaming controller is sent the plan's sample at every tick, also at rest, so that it hears that
somebody holds. A trajectory controller is sent the next `horizon_s` of it, ten times a second, each
time with a stop at the end: where this process dies, the arm comes to rest by itself soon after. It
hears nothing more once it was told the end of the plan.
"""

from __future__ import annotations

import math
import time

import numpy as np
from rclpy.node import Node

from uwm_ros.bridge.executor_options import ExecutorOptions
from uwm_ros.bridge.judging import Case
from uwm_ros.bridge.outputs import make_arm_output, make_value_outputs
from uwm_ros.bridge.outputs.graph import Listener, second_publisher
from uwm_ros.logic.judge import Rules, Verdict, measured_by
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.pause import Pause
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.stops import halted, led
from uwm_ros.logic.watches import tracking_error

_RESEND_NS = 100_000_000
_FAREWELL_S = 1.5
_LOOK_S = 0.02


class Driving:
    """Publishers of everything that moves the robot, and what they are told.

    Attributes:
        plan: What the arm does and will do; None while it is not commanded.
        version: Counts the plans.
        tracking_error_rad: Of the last `track`; NaN before.
        pause: When the arm was last not driven.
    """

    def __init__(self, node: Node, rules: Rules, options: ExecutorOptions) -> None:
        """Create the publishers; nothing is sent."""
        self._node, self._rules = node, rules
        self._horizon_ns = round(options.horizon_s * 1e9)
        self._arm = make_arm_output(node, rules.embodiment, options.rate_hz)
        self._values = make_value_outputs(node, rules.embodiment)
        commanded = self._arm.topics if self._arm is not None else ()
        self._listener = Listener(node, commanded, measured_by(rules.embodiment).topic)
        self._outputs = [*([self._arm] if self._arm else []), *self._values.values()]
        self.plan: Plan | None = None
        self.version = 0
        self.tracking_error_rad = math.nan
        self.pause = Pause()
        self._near: Plan | None = None
        self._sent_ns = 0
        self._commanded: Floats | None = None
        self._judged_ns = 0

    @property
    def streaming(self) -> bool:
        """Whether a command goes out at every tick now."""
        return self.plan is not None and self._arm is not None and self._arm.streams

    def moving(self, now_ns: int) -> bool:
        """Whether the plan is not at its end yet."""
        return self.plan is not None and now_ns < self.plan.end_ns

    def begin(self, measured_rad: Floats) -> None:
        """Make ready to move from a measured (J,) rad: a plan that rests far from it is dropped."""
        if self.plan is not None:
            rests, _, _ = self.plan.sample(self.plan.end_ns)
            if np.abs(rests - measured_rad).max() > self._rules.safety.tracking_tolerance_rad:
                self._take(None)
        self._listener.forget()
        for value in self._values.values():
            value.forget()

    def play(self, case: Case, verdict: Verdict, now_ns: int) -> None:
        """Put a judged chunk in force."""
        self._judged_ns, self.pause = now_ns, self.pause.over(verdict.begun_ns)
        self._take(verdict.plan, now_ns)
        for key, value in self._values.items():
            value.play(verdict.counted_ns, verdict.period_ns, verdict.values[key])

    def tick(self, now_ns: int, running: bool) -> tuple[int, int] | None:
        """Send what is due.

        Args:
            now_ns: The moment.
            running: Whether single values may go out too.

        Returns:
            When the chunk in force was judged, and the moment of its first command; else None.
        """
        sent = False
        if self.plan is not None and self._arm is not None:
            if self._arm.streams:
                sent = self._arm.tick(now_ns)
                self._commanded, _, _ = self.plan.sample(now_ns)
            elif self._near is not self.plan and now_ns - self._sent_ns >= _RESEND_NS:
                self._send(now_ns)
                sent = True
        for value in self._values.values():
            if running:
                value.tick(now_ns)
        if self._judged_ns and (sent or self._arm is None or self._sent_ns >= self._judged_ns):
            judged_ns, self._judged_ns = self._judged_ns, 0
            commanded_ns = now_ns if self._arm is None or self._arm.streams else self._sent_ns
            return judged_ns, commanded_ns
        return None

    def rest(self, now_ns: int, towards: Floats | None = None) -> None:
        """Come to rest as fast as the limits allow.

        Args:
            now_ns: The moment.
            towards: Where the arm is measured, if that is where it is to rest: pushing on against
                what is in its way would only wind the controller up.
        """
        self.pause = Pause(now_ns)
        for value in self._values.values():
            value.drop()
        if self.plan is None:
            return
        if towards is None:
            self._take(halted(self.plan, now_ns, self._rules), now_ns)
            return
        self._take(led(self.plan, towards, now_ns, self._rules), now_ns)

    def freeze(self, now_ns: int) -> None:
        """Take for the plan what the controller has made of a pause of this process.

        A streaming one rests where the last command was; one of trajectories stops as it was told.
        """
        assert self.plan is not None and self._arm is not None
        if self._arm.streams and self._commanded is not None:
            self._take(Plan.at_rest(self._commanded, now_ns, self.plan.smoothing_ns), now_ns)
        elif self._near is not None:
            self._take(self._near, now_ns)

    def release(self) -> None:
        """Send nothing any more."""
        self._take(None)
        for value in self._values.values():
            value.drop()

    def farewell(self) -> None:
        """Wait until the loop has brought the arm to rest, before this process goes."""
        end_s = time.monotonic() + _FAREWELL_S
        while self.streaming and self.moving(self._now_ns()) and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
        if self._arm is not None:
            self._arm.wait_until_sent(0.5)

    def track(self, measured_rad: Floats | None, now_ns: int) -> float:
        """How far the arm is from its plan, rad; 0 where either is not known."""
        if self.plan is None or measured_rad is None:
            return 0.0
        self.tracking_error_rad = tracking_error(self.plan, measured_rad, now_ns)
        return self.tracking_error_rad

    def not_alone(self) -> str:
        """Who else commands the robot, one sentence; empty where nobody does."""
        topics = (topic for output in self._outputs for topic in output.topics)
        return next((text for topic in topics if (text := second_publisher(self._node, topic))), "")

    def trouble(self) -> str:
        """What is wrong with a controller, one sentence; empty where all is well."""
        first = next((text for output in self._outputs if (text := output.check())), "")
        return first or self._listener.trouble()

    def _take(self, plan: Plan | None, now_ns: int = 0) -> None:
        self.plan, self.version = plan, self.version + 1
        if self._arm is None:
            return
        if plan is None:
            self._arm.release()
            self._commanded = self._near = None
            self.tracking_error_rad = math.nan
        elif self._arm.streams:
            self._arm.plan(plan, now_ns)
        else:
            self._send(now_ns)

    def _send(self, now_ns: int) -> None:
        """Tell a trajectory controller the near future, and to stop after it."""
        assert self.plan is not None and self._arm is not None
        near = self.plan
        if near.end_ns > now_ns + self._horizon_ns:
            near = halted(near, now_ns, self._rules, self._horizon_ns)
        self._arm.plan(near, now_ns)
        self._near, self._sent_ns = near, now_ns

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
