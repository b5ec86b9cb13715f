# SPDX-License-Identifier: Apache-2.0
"""Laws of the records that parts hand to one another."""

import dataclasses

import numpy as np
import pytest

from uwm_core.errors import ShapeError, check_shape
from uwm_core.records import ActionChunk, ImaginedFuture, Observation, Step


def images(steps: int) -> dict[str, np.ndarray]:
    return {"front": np.zeros((steps, 4, 6, 3), np.uint8)}


def test_action_k_is_due_k_periods_after_the_observation() -> None:
    chunk = ActionChunk(1_000, 50, np.zeros((3, 2), np.float32), ("a", "b"))
    assert [chunk.due_ns(k) for k in range(3)] == [1_000, 1_050, 1_100]


def test_a_chunk_has_one_column_per_name() -> None:
    with pytest.raises(ShapeError, match=r"actions must be \(A, D\) with \{'D': 3\}, got \(3, 2\)"):
        ActionChunk(0, 1, np.zeros((3, 2), np.float32), ("a", "b", "c"))


def test_a_chunk_needs_a_period() -> None:
    with pytest.raises(ValueError, match="period_ns"):
        ActionChunk(0, 0, np.zeros((3, 1), np.float32), ("a",))


def test_streams_of_an_observation_agree_about_the_number_of_steps() -> None:
    Observation(0, images(2), {"joint_pos": np.zeros((2, 7), np.float32)})
    with pytest.raises(ShapeError, match="joint_pos"):
        Observation(0, images(2), {"joint_pos": np.zeros((1, 7), np.float32)})


def test_types_are_checked_so_that_no_picture_is_silently_rounded() -> None:
    with pytest.raises(ShapeError, match="uint8"):
        Observation(0, {"front": np.zeros((1, 4, 6, 3), np.float32)}, {})
    with pytest.raises(ShapeError, match="float32"):
        Step(0, {}, {"joint_pos": np.zeros(7)}, {})


def test_an_imagined_future_has_one_picture_per_stamp() -> None:
    with pytest.raises(ShapeError, match="one per stamp"):
        ImaginedFuture(np.zeros(1, np.int64), images(2))


def test_records_are_frozen() -> None:
    observation = Observation(0, images(1), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation.stamp_ns = 1  # type: ignore[misc]


def test_check_shape_reads_letters_and_numbers() -> None:
    assert check_shape("x", np.zeros((2, 5, 3)), "B A 3", A=5) == {"B": 2, "A": 5}
    for letters in ("B A 4", "B A", "B B 3"):
        with pytest.raises(ShapeError, match="x must be"):
            check_shape("x", np.zeros((2, 5, 3)), letters)
