# SPDX-License-Identifier: Apache-2.0
"""Several stores as one: robots that mean the same by their actions, and video beside them.

`mix` lays the stores' rows one after the other, so that windows, split, statistics and training
know one set of rows; `EpisodeSpan.store` remembers whose an episode is. A store without any action
(a folder of films) need not have the robot's state and action columns: its rows are marked as not
real there, its windows are *video*, and it has no part in the statistics. How often each store is
drawn from is `uwm_core.data.plan`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.windows import MEMORY_BYTES, Rows, Steps, Valid
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UnknownNameError

if TYPE_CHECKING:
    from uwm_core.data.store import Store


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """One store of a mixture.

    Attributes:
        name: What it is called in errors and in the record of a run.
        steps: Its arrays.
        embodiment: Its robot.
        share: Wanted share of all draws, in (0, 1]; None takes what the others leave.
    """

    name: str
    steps: Steps
    embodiment: Embodiment
    share: float | None = None

    @classmethod
    def of_store(
        cls,
        store: Store,
        *,
        views: Sequence[str] = (),
        share: float | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> Source:
        """A store, or some of its cameras.

        Args:
            store: The store.
            views: Cameras that the model sees; empty takes all.
            share: See the class.
            memory_bytes: See `Steps.of_store`.

        Raises:
            UnknownNameError: It has no such camera.
            StoreError: A camera has not a single image.
        """
        robot = store.embodiment
        for name in views or robot.camera_names:
            if name not in robot.cameras:
                raise UnknownNameError(f"camera of {store.name}", name, robot.camera_names)
            if not store.mask(f"obs.{name}").any():
                raise StoreError(
                    f"{store.name} has no image of camera {name}; a model that does without it has "
                    "the others as views in its config"
                )
        cameras = {name: robot.cameras[name] for name in views or robot.camera_names}
        return cls(
            name=store.name,
            steps=Steps.of_store(store, cameras=views, memory_bytes=memory_bytes),
            embodiment=replace(robot, cameras=cameras),
            share=share,
        )

    @property
    def acts(self) -> bool:
        """Whether any of its episodes has actions."""
        return any(span.role != "video" for span in self.steps.episodes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixture:
    """Several stores as one.

    Attributes:
        steps: All rows, store by store.
        embodiment: The robot of the first store that has actions.
        sources: The stores, as they were given.
    """

    steps: Steps
    embodiment: Embodiment
    sources: tuple[Source, ...]

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Wanted share per store, as `Sampling.stores` takes it."""
        return tuple(source.share for source in self.sources)


def mix(sources: Sequence[Source]) -> Mixture:
    """Join stores.

    Args:
        sources: One or more; a mixture of one is that store.

    Raises:
        StoreError: Two robots differ in what their numbers mean, or a video store in its cameras
            or rate.
    """
    if not sources:
        raise StoreError("a mixture needs at least one store")
    robot = next((source for source in sources if source.acts), sources[0])
    for source in sources:
        _check(source, robot)
    if len(sources) == 1:
        return Mixture(steps=robot.steps, embodiment=robot.embodiment, sources=(robot,))
    parts = [source.steps if source.acts else _as_video(source, robot) for source in sources]
    starts = np.cumsum([0, *(len(part.action) for part in parts)])
    steps = Steps(
        images={
            name: JoinedRows([part.images[name] for part in parts])
            for name in robot.embodiment.camera_names
        },
        state=np.concatenate([part.state for part in parts]),
        action=np.concatenate([part.action for part in parts]),
        episodes=tuple(
            replace(span, start=span.start + start, stop=span.stop + start, store=number)
            for number, (part, start) in enumerate(zip(parts, starts[:-1].tolist(), strict=True))
            for span in part.episodes
        ),
        valid=_joined_valid([part.validity for part in parts]),
    )
    return Mixture(steps=steps, embodiment=robot.embodiment, sources=tuple(sources))


def _check(source: Source, robot: Source) -> None:
    """Refuse a store whose numbers mean something else than the robot's; a name may differ."""
    differences = source.embodiment.difference(robot.embodiment)
    for text in differences:
        subject = text.split(":")[0]
        shared = subject == "rate_hz" or subject.startswith("camera ")
        if subject != "name" and (source.acts or shared):
            raise StoreError(f"{source.name} cannot be mixed with {robot.name}: {text}")


def _as_video(source: Source, robot: Source) -> Steps:
    """A store without actions in the robot's columns, none of which is real."""
    steps, rows = source.steps, len(source.steps.action)
    unreal = np.zeros(rows, bool)
    return replace(
        steps,
        state=np.zeros((rows, robot.embodiment.state_size), np.float32),
        action=np.zeros((rows, robot.embodiment.action_size), np.float32),
        valid=Valid(images=steps.validity.images, state=unreal, action=unreal),
    )


def _joined_valid(parts: Sequence[Valid]) -> Valid:
    return Valid(
        images=np.concatenate([part.images for part in parts]),
        state=np.concatenate([part.state for part in parts]),
        action=np.concatenate([part.action for part in parts]),
    )


class JoinedRows:
    """Arrays of equal rows one after the other, read by integer arrays without copying any whole.

    Args:
        parts: Arrays (N, H, W, 3) that may decode on reading.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts
        self._stops: Rows = np.cumsum([len(part) for part in parts])
        self.shape: tuple[int, ...] = (int(self._stops[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        """Rows of all parts."""
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Rows (n,) of any parts in any order: (n, H, W, 3)."""
        whose = np.searchsorted(self._stops, rows, side="right")
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for number in np.unique(whose):
            mine = whose == number
            start = self._stops[number] - len(self._parts[number])
            out[mine] = self._parts[number][rows[mine] - start]
        return out
