# SPDX-License-Identifier: Apache-2.0
"""The policy: observations in, action chunks out; a lifecycle node.

configure loads the checkpoint and warms it up, activate subscribes and starts to plan. Inference
runs on a thread of its own, from the newest complete observation at the moment it begins.

In: the embodiment's cameras and states. Out: `policy/action_chunk`, stamped with the observation's
tick; `policy/status` at 2 Hz; `/diagnostics`. Without a fresh observation no chunk is published,
and both say which stream is missing; what the arm then does is the executor's affair.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from uwm_core.data.stream_buffer import Absent
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.chunks import to_message
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.model import Load, ModelOptions, load_policy, ready_policy
from uwm_ros.bridge.observing import Observing
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.worker import LatestWorker
from uwm_ros.msg import ActionChunk, PolicyStatus

if TYPE_CHECKING:
    from uwm_core.policy import Policy

_DEFAULT_REPLAN_S = 0.5
_STATUS_S = 0.5


class PolicyNode(LifecycleNode):
    """Plans; see the module."""

    def __init__(self, load: Load = load_policy, **options: Any) -> None:
        """Read the parameters; nothing is loaded before configure.

        Args:
            load: Makes the policy from its options.
            **options: Passed to `rclpy.lifecycle.LifecycleNode`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("policy", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._model = ModelOptions.read(read)
        self._replan_s = (
            read.number("replan_s", 0.0, "s between two chunks; 0: 0.5 s", 0.0, 60.0)
            or _DEFAULT_REPLAN_S
        )
        self._task = read.text("task", "", "task sentence")
        self._seed = read.integer("seed", 0, "of the sampler's noise; -1: another one every time")
        self._load = load
        self._policy: Policy | None = None
        self._observing: Observing | None = None
        self._worker: LatestWorker[None] | None = None
        self._planning: Any = None
        self._label, self._reason = "unconfigured", ""
        self._sequence, self._age_s, self._tick_ns = 0, 0.0, 0
        self._latency = Latency()
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._chunks = self.create_publisher(ActionChunk, "policy/action_chunk", reliable(2))
        self._status = self.create_publisher(PolicyStatus, "policy/status", reliable())
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self.create_timer(_STATUS_S, self._report)
        self._first: Any = None
        if read.flag("autostart", False, "configure and activate without being asked"):
            self._first = self.create_timer(0.0, self._start_by_itself)

    def close(self) -> None:
        """Stop planning before the context goes."""
        self._stop_planning()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the checkpoint and answer once about nothing."""
        try:
            self.get_logger().info(f"loading checkpoint {self._model.checkpoint!r}")
            self._policy = ready_policy(self._load, self._model, self._embodiment)
        except Exception as error:  # a lifecycle node answers failure, whatever it was
            expected = isinstance(error, UwmError)
            self._reason = str(error) if expected else f"{type(error).__name__}: {error}"
            self.get_logger().error(f"not configured: {self._reason}")
            return TransitionCallbackReturn.FAILURE
        self._label, self._reason = "inactive", ""
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and plan."""
        assert self._policy is not None
        self._observing = Observing(self, self._embodiment, self._policy.window.history)
        self._worker = LatestWorker(lambda _: self._plan(), self._failed, name="inference")
        self._planning = self.create_timer(self._replan_s, self._ask)
        self._sequence = self._tick_ns = 0
        self._label = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop planning; the executor holds when chunks stop coming."""
        self._stop_planning()
        self._label, self._reason = "inactive", ""
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the checkpoint."""
        self._policy = None
        self._label = "unconfigured"
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        self._stop_planning()
        self._policy = None
        self._label = "finalized"
        return super().on_shutdown(state)

    def _start_by_itself(self) -> None:
        """Configure and activate; where that fails, the process ends with the reason."""
        self.destroy_timer(self._first)
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                raise UwmError(self._reason or "could not be activated")

    def _stop_planning(self) -> None:
        if self._planning is not None:
            self.destroy_timer(self._planning)
        if self._worker is not None:
            self._worker.close()
        if self._observing is not None:
            self._observing.close()
        self._planning = self._worker = self._observing = None

    # Planning

    def _ask(self) -> None:
        if self._worker is not None:
            self._worker.submit(None)

    def _plan(self) -> None:
        """One chunk; on the worker's thread."""
        policy, observing = self._policy, self._observing
        if policy is None or observing is None:
            return
        try:
            tick_ns = observing.newest_tick_ns(now_ns(self))
            if tick_ns == self._tick_ns:
                return
            observation = observing.buffer.observation(tick_ns, self._task)
        except Absent as absent:
            self._say(str(absent))
            return
        begin_s = time.perf_counter()
        seed = None if self._seed < 0 else self._seed + self._sequence
        chunk = policy.act(observation, seed=seed)
        inference_s = time.perf_counter() - begin_s
        message = to_message(chunk)
        message.sequence = self._sequence + 1
        message.inference_s = inference_s
        message.checkpoint = policy.name
        message.embodiment = self._embodiment.name
        self._chunks.publish(message)
        self._sequence, self._tick_ns = self._sequence + 1, tick_ns
        self._age_s = (now_ns(self) - tick_ns) / 1e9
        self._latency.add(inference_s)
        self._say("")

    def _failed(self, error: Exception) -> None:
        self._say(f"inference failed: {error}")

    def _say(self, reason: str) -> None:
        """Keep why no chunk comes; log it when it begins and when it ends."""
        self._reason = reason
        self._edges.update("planning", bad=bool(reason), text=f"no chunk: {reason}")

    def _report(self) -> None:
        status = PolicyStatus(
            state=self._label,
            reason=self._reason,
            sequence=self._sequence,
            inference_s=self._latency.last_s,
            observation_age_s=self._age_s,
            inference_p50_s=self._latency.percentile_s(50),
            inference_p95_s=self._latency.percentile_s(95),
        )
        status.header.stamp = to_stamp(now_ns(self))
        self._status.publish(status)
        slow = self._label == "active" and self._latency.percentile_s(95) > self._replan_s
        late = f"inference is slower than replan_s {self._replan_s:g} s" if slow else ""
        level = Level.ERROR if self._reason else Level.WARN if late else Level.OK
        values = {
            "chunks": self._sequence,
            "inference p50 s": f"{status.inference_p50_s:.3f}",
            "inference p95 s": f"{status.inference_p95_s:.3f}",
            "observation age s": f"{self._age_s:.3f}",
        }
        self._diagnostics.update(level, self._reason or late or self._label, values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(PolicyNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
