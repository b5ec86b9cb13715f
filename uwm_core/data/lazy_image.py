# SPDX-License-Identifier: Apache-2.0
"""A camera message that a tick chose and that nobody has decoded yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from uwm_core.streams import Camera


class LazyImage:
    """Stands in a ``Step`` where the pixels would be, with the shape that they will have.

    Conversion chooses images in one process and decodes them in others.

    Args:
        msg: The message, not decoded.
        spec: Its camera.
    """

    __slots__ = ("msg", "spec")

    dtype = np.dtype(np.uint8)

    def __init__(self, msg: Any, spec: Camera) -> None:
        self.msg = msg
        self.spec = spec

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3) on the grid."""
        return (*self.spec.size, 3)
