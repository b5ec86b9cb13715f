# SPDX-License-Identifier: Apache-2.0
"""The five questions that one set of weights answers, as a table.

A mode gives each modality (action, next observation) a role. The sampler, the training loss and
the policy read the table; none of them has a branch per mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar

from uwm_core.errors import UnknownNameError

Item = TypeVar("Item")


class Pair(NamedTuple, Generic[Item]):
    """One thing per modality, always in this order."""

    action: Item
    next_obs: Item


class Role(Enum):
    """What a modality is in a mode."""

    GIVEN = "given"  # known: kept clean, timestep 0
    NOISE = "noise"  # neither known nor wanted: stays pure noise, last timestep
    SOLVE = "solve"  # the answer: walks from noise to clean


@dataclass(frozen=True)
class Mode:
    """One question: the role of each modality.

    Attributes:
        action: Role of the action chunk.
        next_obs: Role of the next observation.
    """

    action: Role
    next_obs: Role

    @property
    def roles(self) -> Pair[Role]:
        """Both roles, in the order of every other pair."""
        return Pair(self.action, self.next_obs)


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        "policy": Mode(action=Role.SOLVE, next_obs=Role.NOISE),
        "video": Mode(action=Role.NOISE, next_obs=Role.SOLVE),
        "forward_dynamics": Mode(action=Role.GIVEN, next_obs=Role.SOLVE),
        "inverse_dynamics": Mode(action=Role.SOLVE, next_obs=Role.GIVEN),
        "joint": Mode(action=Role.SOLVE, next_obs=Role.SOLVE),
    }
)


def mode(name: str) -> Mode:
    """Return the mode of that name.

    Raises:
        UnknownNameError: There is none; the message lists those that exist.
    """
    if name not in MODES:
        raise UnknownNameError("mode", name, MODES)
    return MODES[name]
