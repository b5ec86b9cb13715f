# SPDX-License-Identifier: Apache-2.0
"""The imagination: what the cameras will show when the chunk that drives has been played.

In: cameras, states, `policy/action_chunk`. Out: `imagination/<camera>/image`, stamped with the
moment that is predicted, so that it can be laid beside what the camera then sees; `/diagnostics`.
It looks at the observation that the chunk answered, resampled at the chunk's own stamp. Forward
dynamics run at low priority and only for the newest chunk: the policy never waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image

from uwm_core.data.stream_buffer import Absent
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk
from uwm_ros.bridge.chunks import to_chunk
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.images import to_image
from uwm_ros.bridge.model import Load, ModelOptions, load_policy, ready_policy
from uwm_ros.bridge.observing import Observing
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.worker import LatestWorker
from uwm_ros.msg import ActionChunk as ActionChunkMessage

_NICENESS = 10
_REPORT_S = 1.0


class ImaginationNode(Node):
    """Imagines; see the module."""

    def __init__(self, load: Load = load_policy, **options: Any) -> None:
        """Load the checkpoint and listen for chunks.

        Args:
            load: Makes the policy from its options.
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter, the embodiment or the checkpoint is not usable.
        """
        super().__init__("imagination", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._every_n = read.integer("every_n", 1, "imagine every n-th chunk", 1, 1000)
        self._seed = read.integer("seed", 0, "of the sampler's noise; -1: another one every time")
        self._policy = ready_policy(load, ModelOptions.read(read), self._embodiment)
        self._images = {
            camera: self.create_publisher(Image, f"imagination/{camera}/image", reliable(2))
            for camera in self._embodiment.camera_names
        }
        self._latency = Latency()
        self._count = 0
        self._reason = ""
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._observing = Observing(self, self._embodiment, self._policy.window.history)
        self._worker: LatestWorker[ActionChunk] = LatestWorker(
            self._imagine, self._failed, name="imagination", niceness=_NICENESS
        )
        self.create_subscription(
            ActionChunkMessage, "policy/action_chunk", self._on_chunk, reliable(2)
        )
        self.create_timer(_REPORT_S, self._report)

    def close(self) -> None:
        """Stop imagining before the context goes."""
        self._worker.close()

    def _on_chunk(self, message: ActionChunkMessage) -> None:
        self._count += 1
        if self._count % self._every_n:
            return
        try:
            self._worker.submit(to_chunk(message))
        except UwmError as error:
            self._say(str(error))

    def _imagine(self, chunk: ActionChunk) -> None:
        """Images after one chunk; on the worker's thread."""
        begin_s = time.perf_counter()
        try:
            observation = self._observing.buffer.observation(chunk.stamp_ns)
        except Absent as absent:
            self._say(str(absent))
            return
        seed = None if self._seed < 0 else self._seed
        future = self._policy.imagine(observation, chunk, seed=seed)
        for camera, images in future.images.items():
            for stamp_ns, image in zip(future.stamps_ns, images, strict=True):
                self._images[camera].publish(to_image(image, int(stamp_ns), camera))
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
            "skipped": self._worker.replaced,
            "inference p50 s": f"{self._latency.percentile_s(50):.3f}",
            "inference p95 s": f"{self._latency.percentile_s(95):.3f}",
        }
        level = Level.WARN if self._reason else Level.OK
        self._diagnostics.update(level, self._reason or "ok", values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(ImaginationNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
