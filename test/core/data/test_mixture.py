# SPDX-License-Identifier: Apache-2.0
"""Laws of mixtures: rows keep their meaning, films teach no actions, other robots are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from uwm_core.data.dataset import WindowReader
from uwm_core.data.mixture import JoinedRows, Source, mix
from uwm_core.data.normalize import Normalizer
from uwm_core.data.split import split_episodes
from uwm_core.data.windows import EpisodeSpan, Steps, cut_windows
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

SIDE = 2


def robot(name: str = "fr3_sim") -> Embodiment:
    full = Embodiment.load("fr3_sim")
    cameras = {
        key: dataclasses.replace(camera, size=(SIDE, SIDE)) for key, camera in full.cameras.items()
    }
    return dataclasses.replace(full, name=name, cameras=cameras)


def steps_of(number: int, rows: int, role: str = "expert") -> Steps:
    """Two episodes; every value of every row says store and row."""
    values = 1000 * number + np.arange(rows)
    images = np.broadcast_to((values % 251)[:, None, None, None], (rows, SIDE, SIDE, 3))
    columns = np.repeat(values[:, None], 8, axis=1).astype(np.float32)
    half = rows // 2
    return Steps(
        images={"front": images.astype(np.uint8), "wrist": images.astype(np.uint8)},
        state=columns,
        action=columns if role != "video" else np.full_like(columns, np.nan),
        episodes=(
            EpisodeSpan(start=0, stop=half, role=role),
            EpisodeSpan(start=half, stop=rows, role=role),
        ),
    )


def test_every_row_of_a_mixture_is_its_stores_row() -> None:
    sources = [
        Source(name="a", steps=steps_of(0, 20), embodiment=robot()),
        Source(name="b", steps=steps_of(1, 30), embodiment=robot("fr3")),
    ]
    joined = mix(sources).steps
    assert [span.store for span in joined.episodes] == [0, 0, 1, 1]
    for n, span in enumerate(joined.episodes):
        store = sources[n // 2].steps
        own = store.episodes[n % 2]
        rows, before = np.arange(span.start, span.stop), slice(own.start, own.stop)
        np.testing.assert_array_equal(joined.action[rows], store.action[before])
        np.testing.assert_array_equal(joined.state[rows], store.state[before])
        for name, images in store.images.items():
            np.testing.assert_array_equal(joined.images[name][rows], images[before])


def test_joined_rows_read_in_any_order() -> None:
    parts = [np.arange(12).reshape(3, 2, 2), np.arange(100, 120).reshape(5, 2, 2)]
    rows = np.array([7, 0, 3, 3, 2])
    joined = JoinedRows([part.astype(np.uint8) for part in parts])
    np.testing.assert_array_equal(joined[rows], np.concatenate(parts)[rows])


def film() -> Source:
    """A store of another width, without actions."""
    steps = steps_of(2, 24, role="video")
    narrow = dataclasses.replace(robot("film"), state={}, action=one_channel())
    return Source(
        name="film",
        steps=dataclasses.replace(
            steps, state=np.empty((24, 0), np.float32), action=np.full((24, 1), np.nan, np.float32)
        ),
        embodiment=narrow,
        share=0.5,
    )


def one_channel() -> dict[str, object]:
    action = robot().action
    return {"gripper_width": action["gripper_width"]}


def test_films_join_a_robot_and_teach_neither_actions_nor_statistics() -> None:
    mixture = mix([film(), Source(name="a", steps=steps_of(0, 40), embodiment=robot())])
    steps = mixture.steps
    assert mixture.embodiment.name == "fr3_sim"
    assert mixture.shares == (0.5, None)
    assert steps.action.shape == (64, 8)
    windows = cut_windows(steps.episodes, history=2, chunk=4, valid=steps.valid)
    names = robot()
    alone = steps_of(0, 40)
    fitted, expected = (
        Normalizer.fit(
            which,
            range(len(which.episodes)),
            action_names=names.action_names,
            state_names=names.state_names,
        )
        for which in (steps, alone)
    )
    assert fitted.dumps() == expected.dumps()
    batch = WindowReader(steps, windows, fitted).read(np.arange(len(windows)), next_images=False)
    of_film = windows.store == 0
    assert of_film.any()
    assert not batch.action_mask[of_film].any()
    assert batch.action_mask[~of_film].all()
    assert (batch.action[of_film] == 0).all()
    assert batch.state is not None
    assert (batch.state[of_film] == 0).all()


def test_a_robot_of_another_meaning_is_refused_in_one_line() -> None:
    base = robot()
    joints = dataclasses.replace(base.action["gripper_width"], unit="unitless", scale=1.0)
    other = dataclasses.replace(base, action={**base.action, "gripper_width": joints})
    ours = Source(name="a", steps=steps_of(0, 20), embodiment=base)
    theirs = Source(name="b", steps=steps_of(1, 20), embodiment=other)
    with pytest.raises(StoreError, match=r"b cannot be mixed with a: action gripper_width.*") as e:
        mix([ours, theirs])
    assert "\n" not in str(e.value)


def test_a_film_of_another_size_or_rate_is_refused() -> None:
    ours = Source(name="a", steps=steps_of(0, 20), embodiment=robot())
    faster = dataclasses.replace(
        film(), embodiment=dataclasses.replace(film().embodiment, rate_hz=5.0)
    )
    with pytest.raises(StoreError, match="film cannot be mixed with a: rate_hz"):
        mix([ours, faster])
    cameras = {"front": robot().cameras["front"]}
    blind = dataclasses.replace(
        film(), embodiment=dataclasses.replace(film().embodiment, cameras=cameras)
    )
    with pytest.raises(StoreError, match="film cannot be mixed with a: camera wrist"):
        mix([ours, blind])


def test_split_of_a_store_does_not_change_when_another_joins() -> None:
    a, b = steps_of(0, 40).episodes * 5, steps_of(1, 40, role="play").episodes * 4
    alone = split_episodes(a, validation=0.3, seed=1)
    both = split_episodes(
        [*a, *(dataclasses.replace(span, store=1) for span in b)], validation=0.3, seed=1
    )
    held = [number for number in both.validation if number < len(a)]
    assert tuple(held) == alone.validation
    assert any(number >= len(a) for number in both.validation)
