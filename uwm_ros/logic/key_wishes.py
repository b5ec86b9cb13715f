# SPDX-License-Identifier: Apache-2.0
"""Keys as the deflections of a device: pure decisions.

A terminal tells of presses and repeats, never of a release: a key counts as held for a short while
after it was last heard of. So a tap is a small step, and a dropped ssh line lets the arm rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Key -> (column of the twist, direction).
MOTION = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "o": (3, 1), "u": (3, -1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1),
}  # fmt: skip
HELP = (
    "w/s forward back   a/d left right   r/f up down   u/o roll   i/k pitch   j/l yaw\n"
    "space gripper   +/- speed   g run the executor   h hold   q hold and quit"
)
_HELD_NS = 150_000_000
_SHARES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


class KeyWishes:
    """What the keys of the last moment want."""

    def __init__(self) -> None:
        """Want nothing, at half speed."""
        self._speed = _SHARES.index(0.5)
        self._pressed: dict[str, int] = {}

    @property
    def share(self) -> float:
        """Deflection of a held key."""
        return _SHARES[self._speed]

    def press(self, key: str, now_ns: int) -> None:
        """A key was heard of; one that means nothing here is ignored."""
        if key in "+=":
            self._speed = min(self._speed + 1, len(_SHARES) - 1)
        elif key in "-_":
            self._speed = max(self._speed - 1, 0)
        elif key in MOTION or key == " ":
            self._pressed[key] = now_ns

    def release(self) -> None:
        """Want nothing."""
        self._pressed.clear()

    def twist(self, now_ns: int) -> npt.NDArray[np.float64]:
        """Deflections (6,) of -1 to 1."""
        twist = np.zeros(6)
        for key, (column, way) in MOTION.items():
            twist[column] += self.share * way * self._held(key, now_ns)
        return twist

    def buttons(
        self, now_ns: int, *, gripper_button: int, deadman_button: int
    ) -> npt.NDArray[np.int64]:
        """Buttons of a Joy: the gripper's while space is held, the deadman's with any key."""
        buttons = np.zeros(max(gripper_button, deadman_button, 0) + 1, np.int64)
        held = {key for key in self._pressed if self._held(key, now_ns)}
        if deadman_button >= 0:
            buttons[deadman_button] = bool(held)
        if gripper_button >= 0:
            buttons[gripper_button] = " " in held
        return buttons

    def _held(self, key: str, now_ns: int) -> bool:
        return key in self._pressed and now_ns - self._pressed[key] <= _HELD_NS
