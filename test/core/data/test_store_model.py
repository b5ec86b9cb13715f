# SPDX-License-Identifier: Apache-2.0
"""Law of the writer against a model: whatever is done in whatever order, a store is a list.

The model is a list of committed episodes, one of ended ones and one of rows; the store must hold
what the model holds, with every checksum right, and reopening must change nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.store import EpisodeRecord, Store, StoreWriter
from uwm_core.data.store_verify import verify
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step

ACTIONS = st.lists(
    st.one_of(
        st.integers(1, 9),  # so many rows, then the end of the episode
        st.sampled_from(["add", "drop", "commit", "rollback", "reopen", "abort"]),
    ),
    max_size=14,
)


def small(embodiment: Embodiment) -> Embodiment:
    cameras = {
        name: dataclasses.replace(camera, size=(2, 3))
        for name, camera in embodiment.cameras.items()
    }
    return dataclasses.replace(embodiment, cameras=cameras)


def step(value: int) -> Step:
    image = np.full((2, 3, 3), value % 251, np.uint8)
    return Step(
        stamp_ns=value,
        images={"front": image, "wrist": image + np.uint8(1)},
        state={"joint_pos": np.full(7, value, "f4"), "gripper_width": np.full(1, value, "f4")},
        action={"joint_target": np.full(7, -value, "f4"), "gripper_width": np.ones(1, "f4")},
    )


class Model:
    """What the store must hold, beside the writer that is to make it so."""

    def __init__(self, path: Path, embodiment: Embodiment) -> None:
        self.path, self.embodiment = path, embodiment
        self.committed: list[list[int]] = []
        self.ended: list[list[int]] = []
        self.rows: list[int] = []
        self.value = 0
        self.writer = self.open()

    def open(self) -> StoreWriter:
        # Four images, and four rows of the widest numbers, to a file.
        return StoreWriter(self.path, self.embodiment, mode="append", file_bytes=4 * 32)

    def do(self, action: int | str) -> None:
        if isinstance(action, int):
            for _ in range(action):
                self.do("add")
            self.writer.end_episode(EpisodeRecord())
            self.ended.append(self.rows)
            self.rows = []
        elif action == "add":
            self.writer.add(step(self.value))
            self.rows.append(self.value)
            self.value += 1
        elif action == "drop":
            self.writer.drop_episode()
            self.rows = []
        elif action == "commit":
            self.writer.commit()
            self.committed, self.ended = self.committed + self.ended, []
        elif action == "rollback":
            self.writer.rollback()
            self.ended, self.rows = [], []
        else:
            if action == "reopen" and self.committed + self.ended:
                self.writer.close()
                self.committed += self.ended
            else:
                self.writer.abort()
            self.ended, self.rows = [], []
            self.writer = self.open()


@settings(max_examples=40, deadline=None)
@given(actions=ACTIONS)
def test_a_store_is_the_list_of_what_was_committed(
    embodiment: Embodiment, actions: list[int | str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder) / "s.zarr", small(embodiment))
        for action in actions:
            model.do(action)
            store = Store.open(model.path)
            assert [record.steps for record in store.episodes] == list(map(len, model.committed))
        model.writer.abort()
        if model.committed:
            rows = [row for episode in model.committed for row in episode]
            store = Store.open(model.path)
            assert store.array("stamp_ns")[:].tolist() == rows
            np.testing.assert_array_equal(store.array("obs.front")[:][:, 0, 0, 0], rows)
            np.testing.assert_array_equal(store.array("action")[:][:, 0], -np.array(rows, "f4"))
            assert verify(store) == []
