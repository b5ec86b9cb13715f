# SPDX-License-Identifier: Apache-2.0
"""Feeds a reel from the graph: camera images and imagined images, each at its own moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import Image

from uwm_core.data.messages import header_ns, image_rgb
from uwm_core.embodiment import Embodiment
from uwm_ros.operator.client import Operator
from uwm_ros.operator.film import FPS, Reel

# A camera image more often than the film shows one would only cost memory; the margin keeps a
# 30 Hz camera's every second image, which arrives with some jitter.
_SPACING_NS = 800_000_000 // FPS


def feed(reel: Reel, operator: Operator, embodiment: Embodiment) -> None:
    """Subscribe ``reel`` to every camera of ``embodiment`` and to what is imagined of it."""
    for camera in embodiment.camera_names:
        operator.watch(embodiment.cameras[camera].topic, Image, _seen(reel, camera), depth=2)
        operator.watch(f"imagination/{camera}/image", Image, _imagined(reel, camera))


def _seen(reel: Reel, camera: str) -> Callable[[Any], None]:
    def receive(msg: Any) -> None:
        track = reel.seen[camera]
        stamp_ns = header_ns(msg)
        if not track.stamps_ns or stamp_ns - track.stamps_ns[-1] >= _SPACING_NS:
            track.add(stamp_ns, image_rgb(msg))

    return receive


def _imagined(reel: Reel, camera: str) -> Callable[[Any], None]:
    def receive(msg: Any) -> None:
        reel.imagined[camera].add(header_ns(msg), image_rgb(msg))

    return receive
