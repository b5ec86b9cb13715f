# SPDX-License-Identifier: Apache-2.0
"""What counts as success: the cube lifted 10 cm and held for a second, within 12 seconds."""

from uwm_core.sim import mjcf

TASK_SENTENCE = "lift the cube"
LIFT_M = 0.10
HOLD_NS = 1_000_000_000
LIMIT_NS = 12_000_000_000


class LiftTask:
    """Judge of one attempt; fed with the cube's height, it remembers how long it was up."""

    def __init__(self) -> None:
        self._up_since_ns: int | None = None
        self._now_ns = 0
        self._lifted_m = 0.0
        self._success_ns: int | None = None

    def update(self, time_ns: int, cube_height_m: float) -> None:
        """Take the height of the cube's middle above the table ``time_ns`` after the reset."""
        self._now_ns = time_ns
        self._lifted_m = cube_height_m - mjcf.CUBE_HALF_M
        if self._lifted_m < LIFT_M:
            self._up_since_ns = None
            return
        if self._up_since_ns is None:
            self._up_since_ns = time_ns
        if self._success_ns is None and self.held_ns >= HOLD_NS and time_ns <= LIMIT_NS:
            self._success_ns = time_ns

    @property
    def elapsed_ns(self) -> int:
        """Time of the last update."""
        return self._now_ns

    @property
    def lifted_m(self) -> float:
        """How far the cube is above where it lay."""
        return self._lifted_m

    @property
    def held_ns(self) -> int:
        """For how long the cube has been up without a break."""
        return 0 if self._up_since_ns is None else self._now_ns - self._up_since_ns

    @property
    def success(self) -> bool:
        """Whether the attempt succeeded; stays true until the next attempt."""
        return self._success_ns is not None

    @property
    def success_ns(self) -> int | None:
        """When it succeeded, or None."""
        return self._success_ns

    @property
    def over(self) -> bool:
        """Whether the attempt is decided: it succeeded, or its time is up."""
        return self.success or self._now_ns >= LIMIT_NS
