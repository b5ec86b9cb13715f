# SPDX-License-Identifier: Apache-2.0
"""Which part of a foreign row becomes which part of an embodiment's step.

Cameras and state are matched by name (``front`` is also ``front_image`` and ``front_rgb``) or as
the caller says; a state that the source keeps in one vector of the right length is cut in the
embodiment's order, and so is the action; columns that bear the embodiment's own names are put in
its order first. What the source has not is left out of the step: the store masks it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from uwm_core.data.interop.source import Layout, Row, key_of
from uwm_core.data.messages import resize
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, UnknownNameError
from uwm_core.records import Step
from uwm_core.streams import Vector

_SUFFIXES = ("_image", "_rgb", "_img")


@dataclasses.dataclass(frozen=True)
class Fit:
    """A source's names for the parts of an embodiment.

    Attributes:
        embodiment: What steps are made for.
        cameras: Source key by camera.
        state: Source key by state key; empty if ``joined`` is set.
        joined: Source key of a vector that holds all the state side by side.
        joined_order: Which of its columns come in which order.
        action_order: The same for the action; empty if the source has none.
        notes: Columns that were taken as they come, because their names are others.
    """

    embodiment: Embodiment
    cameras: dict[str, str]
    state: dict[str, str]
    joined: str | None
    joined_order: tuple[int, ...]
    action_order: tuple[int, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, layout: Layout, embodiment: Embodiment, names: Mapping[str, str]) -> Fit:
        """Match a source with an embodiment.

        Args:
            layout: What the source holds.
            embodiment: What steps are made for.
            names: Source key by camera or state key, where names do not agree by themselves.

        Raises:
            UnknownNameError: If ``names`` names what neither of them has.
            DataError: If sizes differ, or rates, or nothing at all fits.
        """
        parts = (*embodiment.cameras, *embodiment.state)
        for ours, theirs in names.items():
            if ours not in parts:
                raise UnknownNameError("camera or state key", ours, parts)
            if theirs not in (known := [*layout.cameras, *layout.state]):
                raise UnknownNameError(f"key of {layout.name}", theirs, known)
        if abs(layout.rate_hz - embodiment.rate_hz) > 1e-3:
            raise DataError(
                f"{layout.name}: has {layout.rate_hz:g} rows a second, {embodiment.name} "
                f"{embodiment.rate_hz:g}; use an embodiment with that rate"
            )
        cameras = _matches(embodiment.cameras, layout.cameras, names)
        state = _matches(embodiment.state, layout.state, names)
        joined = None if state else _joined(layout, embodiment)
        if not (cameras or state or joined):
            raise DataError(
                f"{layout.name}: has none of {', '.join(parts)}; it has "
                f"{', '.join([*layout.cameras, *layout.state])} (--map front=their_key)"
            )
        _check_sizes(layout, embodiment, state)
        joined_names = layout.state[joined] if joined else ()
        return cls(
            embodiment=embodiment,
            cameras=cameras,
            state=state,
            joined=joined,
            joined_order=_order(joined_names, embodiment.state_names),
            action_order=_order(layout.action, embodiment.action_names),
            notes=(
                *_strange(joined or "", joined_names, embodiment.state_names),
                *_strange("action", layout.action, embodiment.action_names),
            ),
        )

    @property
    def wanted(self) -> tuple[str, ...]:
        """Source keys that are used."""
        joined = (self.joined,) if self.joined else ()
        return (*self.cameras.values(), *self.state.values(), *joined)

    @property
    def absent(self) -> tuple[str, ...]:
        """Parts of the embodiment that the source has not."""
        state = self.embodiment.state if self.joined is None else ()
        parts = [key for key in self.embodiment.cameras if key not in self.cameras]
        parts += [key for key in state if key not in self.state]
        return (*parts, *(() if self.action_order else ("action",)))

    def step(self, row: Row) -> Step:
        """Make a step of a row.

        Raises:
            DataError: If a number is not finite.
        """
        state = {ours: row.state[key] for ours, key in self.state.items() if key in row.state}
        if self.joined is not None and self.joined in row.state:
            joined = row.state[self.joined][list(self.joined_order)]
            state = _cut(joined, self.embodiment.state)
        action = {}
        if row.action is not None:
            action = _cut(row.action[list(self.action_order)], self.embodiment.action)
        for key, vector in (*state.items(), *action.items()):
            if not np.isfinite(vector).all():
                raise DataError(f"{key} is not finite: {vector.tolist()}")
        return Step(
            stamp_ns=row.stamp_ns,
            images={
                ours: resize(row.images[key], self.embodiment.cameras[ours].size)
                for ours, key in self.cameras.items()
                if key in row.images
            },
            state={key: vector.astype(np.float32) for key, vector in state.items()},
            action={key: vector.astype(np.float32) for key, vector in action.items()},
        )


def _matches(
    ours: Mapping[str, object], theirs: Mapping[str, object], names: Mapping[str, str]
) -> dict[str, str]:
    """Source key by key of the embodiment, where there is one."""
    by_name = {key_of(key): key for key in theirs}
    found = {}
    for key in ours:
        known = [names[key]] if key in names else []
        known += [by_name[n] for n in (key, *(key + end for end in _SUFFIXES)) if n in by_name]
        if known:
            found[key] = known[0]
    return found


def _joined(layout: Layout, embodiment: Embodiment) -> str | None:
    """The source's only vector, if it has as many columns as all the state together."""
    if len(layout.state) != 1 or not embodiment.state:
        return None
    (key, names), *_ = layout.state.items()
    return key if len(names) == embodiment.state_size else None


def _check_sizes(layout: Layout, embodiment: Embodiment, state: Mapping[str, str]) -> None:
    for ours, theirs in state.items():
        size = embodiment.state[ours].size
        if size != len(layout.state[theirs]):
            raise DataError(
                f"{layout.name}: {theirs} has {len(layout.state[theirs])} columns, {ours} of "
                f"{embodiment.name} has {size}"
            )
    if layout.action and len(layout.action) != embodiment.action_size:
        raise DataError(
            f"{layout.name}: actions have {len(layout.action)} columns "
            f"({', '.join(layout.action)}), those of {embodiment.name} "
            f"{embodiment.action_size} ({', '.join(embodiment.action_names)})"
        )


def _order(theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[int, ...]:
    """Which column of theirs comes where: by name if the names are the same, else as they are."""
    if len(set(ours)) == len(ours) and sorted(theirs) == sorted(ours):
        return tuple(theirs.index(name) for name in ours)
    return tuple(range(len(theirs)))


def _strange(what: str, theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, ...]:
    """A remark, if columns are taken for others on their number alone."""
    if sorted(theirs) in ([], sorted(ours)):
        return ()
    return (f"{what}: {', '.join(theirs)} are taken for {', '.join(ours)} in this order",)


def _cut(
    vector: npt.NDArray[np.floating], parts: Mapping[str, Vector]
) -> dict[str, npt.NDArray[np.floating]]:
    """A long vector as one vector per part."""
    ends = list(itertools.accumulate(part.size for part in parts.values()))
    return dict(zip(parts, np.split(vector, ends[:-1]), strict=True))
