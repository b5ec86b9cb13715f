# SPDX-License-Identifier: Apache-2.0
"""The executor's states: `idle -> armed -> running -> holding -> stopped`.

Pure: every event gives a new status. `stopped` is latched: only `reset` leaves it. `holding` goes
on by itself only where its cause was a transient one.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from uwm_core.errors import UwmError
from uwm_ros.logic.judge import Cause

State = Literal["idle", "armed", "running", "holding", "stopped"]

# Causes that are looked at all the time, and not only when a chunk comes.
_WATCHED = (Cause.STALE_STATE, Cause.HEARTBEAT, Cause.DEADMAN, Cause.ROBOT)


class RefusedError(UwmError):
    """The command does not fit the state; the message says which one would."""


@dataclasses.dataclass(frozen=True)
class Status:
    """Where the executor stands.

    Attributes:
        state: The state.
        cause: Why it holds, or why it is armed and does not yet run.
        reason: The same as a sentence; empty while all is well.
        holds: Holds by trouble since the last run.
        clipped: Chunks clipped since the last run.
    """

    state: State = "idle"
    cause: Cause = Cause.NONE
    reason: str = ""
    holds: int = 0
    clipped: int = 0

    @property
    def wants_chunks(self) -> bool:
        """Whether a good chunk would be played."""
        return self.state in ("armed", "running") or (
            self.state == "holding" and self.cause.transient
        )

    def run(self) -> Status:
        """Operator: go.

        Raises:
            RefusedError: If stopped.
        """
        if self.state == "stopped":
            raise RefusedError("stopped: call executor/reset before executor/run")
        if self.state in ("armed", "running"):
            return self
        return Status("armed")

    def hold(self) -> Status:
        """Operator: stand still until the next run; without effect where nothing moves."""
        if self.state in ("idle", "stopped"):
            return self
        return dataclasses.replace(
            self, state="holding", cause=Cause.OPERATOR, reason="held by the operator"
        )

    def stop(self, reason: str = "stopped by the operator") -> Status:
        """Operator: stand still until reset."""
        return dataclasses.replace(self, state="stopped", cause=Cause.OPERATOR, reason=reason)

    def reset(self) -> Status:
        """Operator: forget the stop or the hold.

        Raises:
            RefusedError: If running.
        """
        if self.state == "running":
            raise RefusedError("running: call executor/hold or executor/stop before reset")
        return Status()

    def played(self, *, clipped: str = "") -> Status:
        """A chunk passed the judge and was sent.

        Args:
            clipped: What was clipped; empty where nothing was.

        Raises:
            RefusedError: If no chunk was wanted.
        """
        if not self.wants_chunks:
            raise RefusedError(f"{self.state}: no chunk may be played")
        return Status("running", Cause.NONE, "", self.holds, self.clipped + bool(clipped))

    def well(self) -> Status:
        """Armed, and what was watched is well again: only the chunk is still waited for."""
        if self.state == "armed" and self.cause in _WATCHED:
            return dataclasses.replace(self, cause=Cause.NONE, reason="")
        return self

    def trouble(self, cause: Cause, reason: str) -> Status:
        """Something is wrong: running holds, armed says why it waits, a lasting cause stays."""
        if self.state == "running":
            return dataclasses.replace(
                self, state="holding", cause=cause, reason=reason, holds=self.holds + 1
            )
        if self.state == "armed" or (self.state == "holding" and self.cause.transient):
            return dataclasses.replace(self, cause=cause, reason=reason)
        return self
