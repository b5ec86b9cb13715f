# SPDX-License-Identifier: Apache-2.0
"""Which episodes train and which validate: whole ones, of every store's roles the same share.

Two windows of one episode differ by a tenth of a second, so a split by window would validate on
what was trained. A store that joins a mixture later does not change the split of those before it;
an episode that joins a store draws the split of its role anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uwm_core.data.windows import ROLES, EpisodeSpan


@dataclass(frozen=True, kw_only=True)
class Split:
    """Episode numbers of both parts, ascending.

    Attributes:
        train: Episodes that train, and that statistics may see.
        validation: Episodes that only measure.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]


def split_episodes(episodes: Sequence[EpisodeSpan], *, validation: float, seed: int) -> Split:
    """Draw the validation episodes, role by role in each store.

    Every role with at least two episodes gives at least one; a role with one episode trains.
    Discarded episodes are in neither part.

    Args:
        episodes: All episodes of a store, or of a mixture.
        validation: Share of each role's episodes, in [0, 1); 0 validates nothing.
        seed: Draws the same split again.

    Raises:
        ValueError: ``validation`` is outside [0, 1).
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a share in [0, 1), got {validation}")
    groups: dict[tuple[int, str], list[int]] = {}
    for number, span in enumerate(episodes):
        if span.teaches is not None:
            groups.setdefault((span.store, span.teaches), []).append(number)
    held: set[int] = set()
    for store, role in sorted(groups):
        members = groups[store, role]
        position = sorted(name for of, name in groups if of == store).index(role)
        wanted = max(round(validation * len(members)), 1) if validation > 0 else 0
        wanted = min(wanted, len(members) - 1)
        generator = np.random.default_rng((seed, position + len(ROLES) * store))
        held.update(int(i) for i in generator.permutation(members)[:wanted])
    everyone = sorted(number for members in groups.values() for number in members)
    return Split(train=tuple(i for i in everyone if i not in held), validation=tuple(sorted(held)))
