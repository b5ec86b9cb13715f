# SPDX-License-Identifier: Apache-2.0
"""The last time in which the arm was not driven, and what it means for a chunk's due times.

Action k of a chunk is due k periods after its observation, since the world goes on while the model
computes. But while the arm is not driven, its world stands still: a chunk that answers an
observation of that time has missed nothing, and begins when the arm does. Played by its stamp, the
first chunk of a slow model would rush to where the arm would have been, and the next one, whose
observation shows it still near its start, would take it back.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from uwm_core.records import ActionChunk


class Pause(NamedTuple):
    """A time in which no chunk was played.

    Attributes:
        began_ns: When the arm was told to rest; 0 where it has not moved yet.
        ended_ns: When it was first driven again; 0 while it is not.
    """

    began_ns: int = 0
    ended_ns: int = 0

    def counted_ns(self, stamp_ns: int, now_ns: int) -> int:
        """The moment that action 0 counts from.

        Args:
            stamp_ns: Of the observation.
            now_ns: When a chunk would be in force, if the pause still goes on.

        Returns:
            The stamp, later by as much of the pause as came after it.
        """
        ended_ns = self.ended_ns or now_ns
        return stamp_ns + max(0, ended_ns - max(stamp_ns, self.began_ns))

    def counted(self, chunk: ActionChunk, now_ns: int) -> ActionChunk:
        """The chunk as if it answered an observation of the moment that it counts from."""
        return dataclasses.replace(chunk, stamp_ns=self.counted_ns(chunk.stamp_ns, now_ns))

    def over(self, now_ns: int) -> Pause:
        """The same, ended now if it had not ended before."""
        return self if self.ended_ns else self._replace(ended_ns=now_ns)


LONG_AGO = Pause(ended_ns=1)
"""Of an arm that has been driven ever since."""
