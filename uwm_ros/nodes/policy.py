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

from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Level
from uwm_ros.bridge.model import Load, load_policy
from uwm_ros.bridge.model_node import ModelNode
from uwm_ros.bridge.planning import Planning, PlanOptions
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.msg import ActionChunk, PolicyStatus

if TYPE_CHECKING:
    from uwm_core.policy import Policy

# The executor holds when the policy is silent for four of these.
_STATUS_S = 0.05
_HANGS_S = 0.3
_HANGS_TIMES = 3
"""An inference hangs that takes longer than this, and than this many times the usual."""


class PolicyNode(ModelNode):
    """Plans; see the module."""

    def __init__(self, load: Load = load_policy, **options: Any) -> None:
        """Read the parameters; nothing is loaded before configure.

        Args:
            load: Makes the policy from its options.
            **options: Passed to `rclpy.lifecycle.LifecycleNode`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("policy", load, **options)
        self._options = PlanOptions.read(self._read)
        self._planning: Planning | None = None
        self._chunks = self.create_publisher(ActionChunk, "policy/action_chunk", reliable(2))
        self._status = self.create_publisher(PolicyStatus, "policy/status", reliable())
        self.create_timer(_STATUS_S, self._report)

    def _begin(self, policy: Policy) -> None:
        """Subscribe and plan."""
        self._planning = Planning(
            self, self._embodiment, policy, self._options, self._chunks.publish, self._say
        )

    def _stop(self) -> None:
        """Stop planning; the executor holds when chunks stop coming."""
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
