# SPDX-License-Identifier: Apache-2.0
"""The imagination: what the cameras will show when the chunk that drives has been played.

A lifecycle node: configure loads the checkpoint and warms it up, activate listens and imagines.

In: cameras, states, `policy/action_chunk`, `executor/safety`. Out: `imagination/<camera>/image`,
stamped with the moment that is predicted, so that it can be laid beside what the camera then sees
(of a chunk that answers an arm at rest: counted from when the arm begins); `/diagnostics`.
It looks at the observation that the chunk answered, resampled at the chunk's own stamp. Forward
dynamics run at low priority and only for the newest chunk: the policy never waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sensor_msgs.msg import Image

from uwm_core.data.stream_buffer import Absent
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.chunks import pause_of, to_chunk
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Level
from uwm_ros.bridge.images import to_image
from uwm_ros.bridge.model import Load, load_policy
from uwm_ros.bridge.model_node import ModelNode
from uwm_ros.bridge.observing import Observing
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.pause import LONG_AGO
from uwm_ros.logic.worker import LatestWorker
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus

if TYPE_CHECKING:
    from uwm_core.policy import Policy

_NICENESS = 10
_REPORT_S = 1.0


class ImaginationNode(ModelNode):
    """Imagines; see the module."""

    imagines = True

    def __init__(self, load: Load = load_policy, **options: Any) -> None:
        """Read the parameters; nothing is loaded before configure.

        Args:
            load: Makes the policy from its options.
            **options: Passed to `rclpy.lifecycle.LifecycleNode`.

        Raises:
            UwmError: If a parameter or the embodiment is not usable.
        """
        super().__init__("imagination", load, **options)
        self._every_n = self._read.integer("every_n", 1, "imagine every n-th chunk", 1, 1000)
        self._seed = self._read.integer(
            "seed", 0, "of the sampler's noise; -1: another one every time"
        )
        self._observing: Observing | None = None
        self._worker: LatestWorker[ActionChunk] | None = None
        self._chunks: Any = None
        self._pause = LONG_AGO
        self._images = {
            camera: self.create_publisher(Image, f"imagination/{camera}/image", reliable(2))
            for camera in self._embodiment.camera_names
        }
        self._latency = Latency()
        self._count = 0
        self.create_subscription(SafetyStatus, "executor/safety", self._on_safety, reliable(1))
        self.create_timer(_REPORT_S, self._report)

    def _begin(self, policy: Policy) -> None:
        """Listen and imagine."""
        self._observing = Observing(self, self._embodiment, policy.window.history)
        self._worker = LatestWorker(
            self._imagine, self._failed, name="imagination", niceness=_NICENESS
        )
        self._chunks = self.create_subscription(
            ActionChunkMessage, "policy/action_chunk", self._on_chunk, reliable(2)
        )

    def _stop(self) -> None:
        if self._chunks is not None:
            self.destroy_subscription(self._chunks)
        if self._worker is not None:
            self._worker.close()
        if self._observing is not None:
            self._observing.close()
        self._chunks = self._worker = self._observing = None

    # Imagining

    def _on_safety(self, message: SafetyStatus) -> None:
        self._pause = pause_of(message)

    def _on_chunk(self, message: ActionChunkMessage) -> None:
        self._count += 1
        if self._worker is None or self._observing is None or self._count % self._every_n:
            return
        self._observing.poll()
        try:
            self._worker.submit(to_chunk(message))
        except UwmError as error:
            self._say(str(error))

    def _imagine(self, chunk: ActionChunk) -> None:
        """Images after one chunk; on the worker's thread."""
        policy, observing = self._policy, self._observing
        if policy is None or observing is None:
            return
        begin_s = time.perf_counter()
        try:
            observation = observing.buffer.observation(chunk.stamp_ns)
        except Absent as absent:
            self._say(str(absent))
            return
        seed = None if self._seed < 0 else self._seed
        future = policy.imagine(observation, chunk, seed=seed)
        waited_ns = self._pause.counted_ns(chunk.stamp_ns, now_ns(self)) - chunk.stamp_ns
        for camera, images in future.images.items():
            for stamp_ns, image in zip(future.stamps_ns, images, strict=True):
                self._images[camera].publish(to_image(image, int(stamp_ns) + waited_ns, camera))
        self._latency.add(time.perf_counter() - begin_s)
        self._say("")

    def _failed(self, error: Exception) -> None:
        self._say(f"imagining failed: {error}")

    def _say(self, reason: str) -> None:
        self._reason = reason
        self._edges.update("imagining", bad=bool(reason), text=f"no image: {reason}")

    def _report(self) -> None:
        values = {
            "chunks": self._count,
            "skipped": 0 if self._worker is None else self._worker.replaced,
            "inference p50 s": f"{self._latency.percentile_s(50):.3f}",
            "inference p95 s": f"{self._latency.percentile_s(95):.3f}",
        }
        level = Level.ERROR if self._refused else Level.WARN if self._reason else Level.OK
        self._diagnostics.update(level, self._reason or self._label, values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(ImaginationNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
