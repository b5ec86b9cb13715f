# SPDX-License-Identifier: Apache-2.0
"""The policy: observations in, action chunks out; a lifecycle node.

configure loads the checkpoint and warms it up, activate subscribes and starts to plan. Inference
runs on a thread of its own, from the newest complete observation at the moment it begins, and early
enough for its chunk to be there before the one before has run out.

In: the embodiment's cameras and states; `executor/safety`, for `join: inpaint`. Out:
`policy/action_chunk`, stamped with the observation's tick; `policy/status` at 20 Hz, also while
inference runs; `/diagnostics`. Without a fresh observation no chunk is published, and both say
which stream is missing; what the arm then does is the executor's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.model import Load, ModelOptions, load_policy, ready_policy
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.planning import Planning, PlanOptions
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.msg import ActionChunk, PolicyStatus

if TYPE_CHECKING:
    from uwm_core.policy import Policy

# The executor holds when the policy is silent for four of these.
_STATUS_S = 0.05
_HANGS_S = 0.3
_HANGS_TIMES = 3
"""An inference hangs that takes longer than this, and than this many times the usual."""


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
        self._options = PlanOptions.read(read)
        self._load = load
        self._policy: Policy | None = None
        self._planning: Planning | None = None
        self._label, self._reason = "unconfigured", ""
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
        self._planning = Planning(
            self, self._embodiment, self._policy, self._options, self._chunks.publish, self._say
        )
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
            self._planning.close()
        self._planning = None

    def _say(self, reason: str) -> None:
        """Keep why no chunk comes; log it when it begins and when it ends."""
        self._reason = reason
        self._edges.update("planning", bad=bool(reason), text=f"no chunk: {reason}")

    def _report(self) -> None:
        """Tell how it goes; on the node's thread, so that it is told while inference runs too."""
        status = PolicyStatus(state=self._label, reason=self._reason, join=self._options.join)
        status.header.stamp = to_stamp(now_ns(self))
        late = ""
        if self._planning is not None:
            self._planning.look()
            late = self._tell(status, self._planning)
        self._status.publish(status)
        level = Level.ERROR if status.reason else Level.WARN if late else Level.OK
        values = {
            "chunks": status.sequence,
            "inference p50 s": f"{status.inference_p50_s:.3f}",
            "inference p95 s": f"{status.inference_p95_s:.3f}",
            "observation age s": f"{status.observation_age_s:.3f}",
            "lead s": f"{status.lead_s:.3f}",
            "slack s": f"{status.slack_s:.3f}",
            "missed": status.missed,
        }
        self._diagnostics.update(level, status.reason or late or self._label, values)

    def _tell(self, status: PolicyStatus, planning: Planning) -> str:
        """Fill in the figures of the planning; returns what is to be warned of."""
        cadence, latency = planning.cadence, planning.latency
        status.sequence, status.observation_age_s = planning.sequence, planning.age_s
        status.inference_s = latency.last_s
        status.inference_p50_s = latency.percentile_s(50)
        status.inference_p95_s = latency.percentile_s(95)
        status.lead_s, status.slack_s = cadence.lead_s, cadence.slack_s
        status.missed = cadence.missed
        running_s = cadence.running_s(now_ns(self))
        status.reason = status.reason or planning.stale()
        if not status.reason and running_s > max(_HANGS_S, _HANGS_TIMES * cadence.lead_s):
            status.reason = f"inference has been running for {running_s:.1f} s"
        if cadence.slack_s >= 0:
            return ""
        return (
            f"the newest chunk came {-cadence.slack_s:.2f} s after the one before had run out"
            f" (inference p95 {status.inference_p95_s:.2f} s)"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(PolicyNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
