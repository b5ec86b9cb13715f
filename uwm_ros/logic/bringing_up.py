# SPDX-License-Identifier: Apache-2.0
"""In which order lifecycle nodes are brought up and down: what is seen in, the next step out.

Up: every node is configured first (a model loads and warms), then one look at everything around
(preflight), then all are activated in order. Nothing is activated before each node was seen once,
so that none of them loads while another one drives; a node that dies later keeps nobody waiting.
Down: deactivated, then cleaned up, in reverse order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["wait", "configure", "check", "activate", "deactivate", "cleanup", "failed", "done"]


@dataclass(frozen=True, kw_only=True)
class Member:
    """A lifecycle node as it is seen now.

    Attributes:
        name: Relative name, e.g. `policy`.
        present: Whether it is on the graph.
        seen: Whether it ever was.
        state: Lifecycle state as it says itself; empty while it does not answer.
        refused: Why its last transition failed; empty where none did since it started.
    """

    name: str
    present: bool = False
    seen: bool = False
    state: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Step:
    """What to do next.

    Attributes:
        kind: `wait` and `failed` do nothing and say why; `check` is the preflight.
        node: The node that a transition is for.
        reason: One sentence; empty where there is nothing to explain.
    """

    kind: Kind
    node: str = ""
    reason: str = ""


def step_up(members: Sequence[Member], *, checked: bool) -> Step:
    """The next step on the way up.

    Args:
        members: In the order in which they are activated.
        checked: Whether the preflight has passed since a node was last configured.
    """
    willing = [m for m in members if m.present and not m.refused]
    for member in willing:
        if member.state == "unconfigured":
            return Step("configure", member.name)
    if late := [m.name for m in members if not m.seen]:
        return Step("wait", late[0], f"{late[0]} is not on the graph yet")
    if refused := [m for m in members if m.refused]:
        first = refused[0]
        return Step("failed", first.name, f"{first.name} refused: {first.refused}")
    for member in willing:
        if member.state == "inactive":
            return Step("activate", member.name) if checked else Step("check")
    for member in members:
        if not member.present:
            return Step("wait", member.name, f"{member.name} has left the graph; start it again")
        if member.state != "active":
            what = f"is {member.state}" if member.state else "does not answer"
            return Step("wait", member.name, f"{member.name} {what}")
    return Step("done")


def step_down(members: Sequence[Member]) -> Step:
    """The next step on the way down; a node that is gone, mute or refusing is passed over.

    Args:
        members: In the order in which they are activated.
    """
    for kind, state in (("deactivate", "active"), ("cleanup", "inactive")):
        for member in reversed(members):
            if member.present and not member.refused and member.state == state:
                return Step("deactivate" if kind == "deactivate" else "cleanup", member.name)
    return Step("done")
