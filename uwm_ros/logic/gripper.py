# SPDX-License-Identifier: Apache-2.0
"""When a gripper that takes goals gets one: a stream of wishes to few goals, one at a time.

Such grippers (Franka's) need half a second and more for every goal, take no second one meanwhile
and let go of an object when they are told to close anew. A policy wishes something slightly new at
every tick. So a wish becomes a goal only when it says enough: at once where it is far from the last
goal, after it was steady for a while where it is near, and never where an object that was grasped
is held already. A goal that the wish has turned away from is stopped, one that takes too long too.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

# Shares of the gripper's whole travel; of a Franka Hand's 8 cm: 4 mm, 1 mm and 16 mm.
_NEAR = 0.05
_SAME = 0.0125
_TURNED = 0.2
_STEADY_NS = 300_000_000
_LOST_NS = 1_000_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Goal:
    """Something that the gripper shall do; two of them are never equal.

    Attributes:
        kind: `move` opens, `grasp` closes and keeps pressing.
        to: Where to, in the unit of the wishes.
    """

    kind: Literal["move", "grasp"]
    to: float


@dataclasses.dataclass(frozen=True)
class Stop:
    """The goal in flight shall end."""


class GripperDrive:
    """Decides; sends nothing and knows no clock. Larger is wider."""

    def __init__(self, travel: float, timeout_s: float, *, keeps: bool = True) -> None:
        """Begin with no goal.

        Args:
            travel: Difference between open and closed, in the unit of the wishes.
            timeout_s: A goal that is not done by then is stopped.
            keeps: Whether an object that was grasped stays grasped until a wider wish.
        """
        self._near, self._same, self._turned = (s * travel for s in (_NEAR, _SAME, _TURNED))
        self._middle = travel / 2
        self._timeout_ns = round(timeout_s * 1e9)
        self._keeps = keeps
        self._flight: Goal | None = None
        self._stopping = False
        self._since_ns = 0
        self._trouble = ""
        self._felt: float | None = None
        self._steady: tuple[float, int] = (float("inf"), 0)
        # Of the last goal: where it was to end; what it holds; where it failed.
        self._asked: float | None = None
        self._held: float | None = None
        self._failed: float | None = None

    def step(self, wish: float | None, now_ns: int) -> Goal | Stop | None:
        """What to send now, if anything; it counts as sent.

        Args:
            wish: Where the gripper should be; None where nobody wishes anything.
            now_ns: The moment, of any clock that does not go back.
        """
        if wish is not None and abs(wish - self._steady[0]) > self._same:
            self._steady = (wish, now_ns)
        if self._flight is not None:
            return self._watch(self._flight, wish, now_ns)
        if wish is None or not self._is_news(wish, now_ns):
            return None
        here = self._here()
        opens = wish > here if here is not None else wish >= self._middle
        self._flight = Goal("move" if opens else "grasp", wish)
        self._asked, self._held, self._failed = wish, None, None
        self._since_ns = now_ns
        return self._flight

    def felt(self, where: float) -> None:
        """The gripper says where its fingers are."""
        self._felt = where

    def ended(self, goal: Goal, failure: str, holds: bool | None = None) -> None:
        """A goal is over; one that was given up before is ignored.

        Args:
            goal: Which.
            failure: Why it was not reached; empty where it was.
            holds: Whether something is between the fingers; None: where they are tells.
        """
        if goal is not self._flight:
            return
        self._flight = None
        if self._stopping:
            self._stopping = False
            self._asked = None
        elif failure:
            self._fail(goal, f"{goal.kind} to {goal.to:.3g} failed: {failure}")
        elif goal.kind == "grasp" and self._keeps and self._felt is not None:
            short = self._felt > goal.to + self._near
            self._held = self._felt if (short if holds is None else holds) else None

    def take_trouble(self) -> str:
        """What went wrong since the last question; empty if nothing did."""
        trouble, self._trouble = self._trouble, ""
        return trouble

    def forget(self) -> None:
        """The next wish becomes a goal, whatever it is; a goal in flight stays there."""
        self._asked = self._held = self._failed = None

    def _watch(self, goal: Goal, wish: float | None, now_ns: int) -> Stop | None:
        """A goal is in flight: nothing but a stop may be sent."""
        if self._stopping:
            if now_ns - self._since_ns > _LOST_NS:
                self._flight, self._stopping = None, False
                self._fail(goal, "does not answer a stop")
            return None
        late = now_ns - self._since_ns > self._timeout_ns
        if not late and not (wish is not None and self._turns(goal, wish)):
            return None
        self._stopping, self._since_ns = True, now_ns
        if late:
            self._fail(goal, f"{goal.kind} to {goal.to:.3g} took too long; stopped")
        return Stop()

    def _turns(self, goal: Goal, wish: float) -> bool:
        """Whether a wish is the other way than a goal."""
        beyond = wish - goal.to if goal.kind == "grasp" else goal.to - wish
        return beyond > self._turned

    def _is_news(self, wish: float, now_ns: int) -> bool:
        if self._failed is not None and abs(wish - self._failed) <= self._near:
            return False  # what failed is not tried again and again
        if self._held is not None and wish <= self._held + self._near:
            return False
        if self._asked is None:
            return True
        far = abs(wish - self._asked)
        if far > self._near:
            return True
        return far > self._same and now_ns - self._steady[1] >= _STEADY_NS

    def _here(self) -> float | None:
        """Where the fingers are, as far as is known."""
        if self._held is not None:
            return self._held
        return self._asked if self._asked is not None else self._felt

    def _fail(self, goal: Goal, text: str) -> None:
        self._trouble = text
        self._failed, self._asked, self._held = goal.to, None, None
