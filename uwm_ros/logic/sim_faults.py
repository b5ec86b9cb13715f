# SPDX-License-Identifier: Apache-2.0
"""Faults that the simulated robot has on request: what each does to what is published.

For tests of whatever watches a robot, and for a look at what it does when something breaks.
"""

from __future__ import annotations

from collections.abc import Sequence

from uwm_core.errors import UnknownNameError

CAMERA_STOPS = "camera_stops"
CAMERA_FREEZES = "camera_freezes"
JOINT_STATES_STOP = "joint_states_stop"
STAMPS_AHEAD = "stamps_ahead"
STAMPS_BEHIND = "stamps_behind"
WRONG_JOINT_ORDER = "wrong_joint_order"
WRONG_JOINT_NAMES = "wrong_joint_names"
CONTROLLER_STOPS = "controller_stops"
OBSTACLE = "obstacle"

FAULTS: dict[str, str] = {
    CAMERA_STOPS: "the first camera by name publishes nothing",
    CAMERA_FREEZES: "the first camera by name publishes the same picture with new stamps",
    JOINT_STATES_STOP: "no state is published, pictures are",
    STAMPS_AHEAD: "stamps of states and pictures are an hour ahead",
    STAMPS_BEHIND: "stamps of states and pictures are an hour behind",
    WRONG_JOINT_ORDER: "joint states list the joints in another order, names and values alike",
    WRONG_JOINT_NAMES: "joint states carry names of another arm",
    CONTROLLER_STOPS: "the controller leaves its command topics and the arm stays where it is",
    OBSTACLE: "something that cannot be pushed blocks the arm",
}

_HOUR_NS = 3_600_000_000_000
_SHIFT_NS = {STAMPS_AHEAD: _HOUR_NS, STAMPS_BEHIND: -_HOUR_NS}


class Faults:
    """The fault of this moment, or none.

    Args:
        cameras: All cameras, by name.
    """

    def __init__(self, cameras: Sequence[str]) -> None:
        self._first = min(cameras, default="")
        self.name = ""

    def set(self, name: str) -> None:
        """Have this fault from now on; "" clears it.

        Raises:
            UnknownNameError: There is no such fault.
        """
        if name and name not in FAULTS:
            raise UnknownNameError("fault", name, FAULTS)
        self.name = name

    def stops(self, camera: str) -> bool:
        """Whether this camera publishes nothing."""
        return self.name == CAMERA_STOPS and camera == self._first

    def freezes(self, camera: str) -> bool:
        """Whether this camera repeats its last picture."""
        return self.name == CAMERA_FREEZES and camera == self._first

    @property
    def silences_states(self) -> bool:
        """Whether no state is published."""
        return self.name == JOINT_STATES_STOP

    @property
    def silences_controller(self) -> bool:
        """Whether the controller takes no commands."""
        return self.name == CONTROLLER_STOPS

    @property
    def blocks_arm(self) -> bool:
        """Whether something is in the arm's way."""
        return self.name == OBSTACLE

    def stamp_ns(self, moment_ns: int) -> int:
        """The stamp that a message of this moment carries."""
        return moment_ns + _SHIFT_NS.get(self.name, 0)

    def joints(self, names: Sequence[str]) -> tuple[list[str], list[int]]:
        """Names that a joint state carries, and the place of each one's value among ours."""
        order = list(range(len(names)))
        if self.name == WRONG_JOINT_ORDER:
            order = [*order[1:][::-1], 0]  # no joint is where it was, whatever their number
        shown = [names[place] for place in order]
        if self.name == WRONG_JOINT_NAMES:
            shown = [f"other_{name}" for name in shown]
        return shown, order
