# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node as its manager sees it: asked and told, never waited for."""

from __future__ import annotations

import time
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from uwm_ros.logic.bringing_up import Kind, Member

_ASK_S = 0.5
# A policy under load answers late; a dead one never.
_MUTE_S = 3.0
_TRANSITIONS: dict[Kind, int] = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class Managed:
    """One lifecycle node."""

    def __init__(self, node: Node, name: str) -> None:
        """Watch `name`, relative to the manager's namespace; nothing is asked yet."""
        self.name = name
        self.full_name = f"{node.get_namespace().rstrip('/')}/{name}"
        self._change = node.create_client(ChangeState, f"{name}/change_state")
        self._get = node.create_client(GetState, f"{name}/get_state")
        self._present = self._seen = False
        self._state, self._refused = "", ""
        self._answered_s = self._asked_s = self._began_s = 0.0
        self._asking: Any = None
        self._changing: Any = None
        self._kind: Kind | None = None

    @property
    def changing(self) -> Kind | None:
        """The transition that is on its way."""
        return self._kind

    def member(self) -> Member:
        """How it is now."""
        return Member(
            name=self.name,
            present=self._present,
            seen=self._seen,
            state=self._state,
            refused=self._refused,
        )

    def look(self, names: set[str], reason: str) -> None:
        """Take note of what has come, and ask again.

        Args:
            names: Full names of all nodes on the graph.
            reason: What the node says of its own health, for a transition that failed.
        """
        self._present = self.full_name in names
        self._seen = self._seen or self._present
        if not self._present:
            self._forget()
            return
        self._take(reason)
        now_s = time.monotonic()
        if self._asking is not None and self._asking.done():
            self._heard(self._asking.result().current_state.label, now_s)
            self._asking = None
        if self._kind is None and now_s - self._answered_s > _MUTE_S:
            self._state = ""
        patience_s = _ASK_S if self._asking is None else _MUTE_S
        if now_s - self._asked_s > patience_s and self._get.service_is_ready():
            if self._asking is not None:
                self._get.remove_pending_request(self._asking)
            self._asking, self._asked_s = self._get.call_async(GetState.Request()), now_s

    def begin(self, kind: Kind) -> None:
        """Ask for a transition; `look` notices how it went."""
        request = ChangeState.Request(transition=Transition(id=_TRANSITIONS[kind]))
        self._kind, self._refused, self._began_s = kind, "", time.monotonic()
        self._changing = self._change.call_async(request)

    def forgive(self) -> None:
        """Let a transition that failed be tried again."""
        self._refused = ""

    def _heard(self, state: str, now_s: float) -> None:
        # One that answers again, but never to the transition, is not the process that was asked.
        if self._changing is None or self._asked_s - self._began_s > _MUTE_S:
            self._kind = self._changing = None
        if state == "unconfigured" and self._state not in ("", "unconfigured"):
            self._refused = ""  # another process has taken the name
        self._state, self._answered_s = state, now_s

    def _take(self, reason: str) -> None:
        """Notice the answer to a transition."""
        if self._changing is None or not self._changing.done():
            return
        if not self._changing.result().success:
            self._refused = reason or f"could not {self._kind}; its log says why"
        # The state that was known is the one before; the next answer tells the new one.
        self._changing, self._state, self._asking, self._asked_s = None, "", None, 0.0
        self._answered_s = time.monotonic()

    def _forget(self) -> None:
        """A node that left takes its transition and its refusals along."""
        self._state, self._refused = "", ""
        self._asking = self._changing = self._kind = None
