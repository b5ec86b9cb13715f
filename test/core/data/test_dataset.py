# SPDX-License-Identifier: Apache-2.0
"""Laws of reading: rows arrive unmixed, nothing unasked is read, workers change nothing."""

from __future__ import annotations

import dataclasses
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.data.dataset import Loader, WindowBatch, WindowReader
from uwm_core.data.normalize import Affine, Normalizer
from uwm_core.data.plan import BatchPlan, Sampling
from uwm_core.data.store import Store, StoreWriter
from uwm_core.data.store_format import EncodedStep, EpisodeRecord, ImageCoding
from uwm_core.data.store_images import encode_image
from uwm_core.data.windows import VIDEO, EpisodeSpan, Steps, Valid, Windows, cut_windows
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError

N = 60


@pytest.fixture
def steps() -> Steps:
    """Every row carries its own number, in every stream."""
    number = np.arange(N)
    image = np.broadcast_to(number[:, None, None, None], (N, 2, 2, 3)).astype(np.uint8)
    return Steps(
        images={"wrist": image + 100, "front": image},
        state=number[:, None].astype(np.float32),
        action=np.stack([number, number], axis=1).astype(np.float32),
        episodes=(
            EpisodeSpan(start=0, stop=20),
            EpisodeSpan(start=20, stop=40, role="play"),
            EpisodeSpan(start=40, stop=60),
        ),
    )


@pytest.fixture
def windows(steps: Steps) -> Windows:
    return cut_windows(steps.episodes, history=2, chunk=4)


def test_rows_of_one_sample_belong_together(steps: Steps, windows: Windows) -> None:
    unit = Affine(("x", "y"), np.full(2, -1.0), np.full(2, 1.0))
    reader = WindowReader(steps, windows, Normalizer(unit, Affine(("s",), -np.ones(1), np.ones(1))))
    index = np.array([5, 17, 0])
    batch = reader.read(index, next_images=True)
    before, after = windows.observation_rows(index), windows.next_rows(index)
    assert list(batch.images) == ["front", "wrist"]
    assert batch.images["front"].shape == (3, 2, 2, 2, 3)
    np.testing.assert_array_equal(batch.images["front"][..., 0, 0, 0].numpy(), before)
    np.testing.assert_array_equal(batch.images["wrist"][..., 1, 1, 2].numpy(), before + 100)
    assert batch.next_images is not None
    assert batch.state is not None
    np.testing.assert_array_equal(batch.next_images["front"][..., 0, 0, 0].numpy(), after)
    np.testing.assert_array_equal(batch.state[..., 0].numpy(), before)
    np.testing.assert_array_equal(batch.action[..., 1].numpy(), windows.action_rows(index))
    np.testing.assert_array_equal(batch.role.numpy(), windows.role[index])


def test_no_next_image_is_read_unasked(steps: Steps, windows: Windows) -> None:
    class Counting:
        """An array that counts the rows that are read."""

        shape = (N, 2, 2, 3)
        rows = 0

        def __len__(self) -> int:
            return N

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            self.rows += len(index)
            return np.zeros((len(index), 2, 2, 3), np.uint8)

    counting = Counting()
    lean = Steps(
        images={"front": counting}, state=steps.state, action=steps.action, episodes=steps.episodes
    )
    unit = Affine(("x", "y"), np.full(2, -1.0), np.full(2, 1.0))
    reader = WindowReader(lean, windows, Normalizer(unit))
    assert reader.read(np.array([1, 2, 3]), next_images=False).next_images is None
    assert counting.rows == 3 * 2


UNIT = Normalizer(Affine(("x", "y"), np.full(2, -1.0), np.full(2, 1.0)))


def same(one: WindowBatch, other: WindowBatch) -> bool:
    assert one.next_images is not None
    assert other.next_images is not None
    pairs = [
        *((one.images[name], other.images[name]) for name in one.images),
        *((one.next_images[name], other.next_images[name]) for name in one.next_images),
        (one.action, other.action),
        (one.role, other.role),
    ]
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_for_any_number_of_workers_and_from_any_start(
    steps: Steps, windows: Windows, workers: int
) -> None:
    reader = WindowReader(steps, windows, UNIT)
    plan = BatchPlan(windows, Sampling(batch=5, seed=2))
    epochs = 3 * len(windows) // 5
    with Loader(reader, plan) as plain, Loader(reader, plan, workers=workers) as ahead:
        numbers = [*range(4), *range(epochs, epochs + 4), 1]
        assert all(same(plain.batch(n), ahead.batch(n)) for n in numbers)


def test_no_worker_outlives_its_loader(steps: Steps, windows: Windows) -> None:
    plan = BatchPlan(windows, Sampling(batch=5))
    with Loader(WindowReader(steps, windows, UNIT), plan, workers=2) as loader:
        loader.batch(0)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


class Broken:
    """Images of which none can be read."""

    shape = (N, 2, 2, 3)

    def __len__(self) -> int:
        return N

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        raise StoreError("x.zarr: row 3 of obs.front is damaged")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_one_line_from_any_process(
    steps: Steps, windows: Windows, workers: int
) -> None:
    broken = dataclasses.replace(steps, images={"front": Broken()})
    plan = BatchPlan(windows, Sampling(batch=5))
    with Loader(WindowReader(broken, windows, UNIT), plan, workers=workers) as loader:
        for number in (0, 1):
            with pytest.raises(StoreError, match=r"^x\.zarr: row 3 of obs\.front is damaged$"):
                loader.batch(number)


def test_a_killed_worker_is_one_line_and_the_next_loader_is_whole(
    steps: Steps, windows: Windows
) -> None:
    plan = BatchPlan(windows, Sampling(batch=5))
    reader = WindowReader(steps, windows, UNIT)
    with Loader(reader, plan, workers=2) as loader:
        loader.batch(0)
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        with pytest.raises(StoreError, match=r"read batch \d+ has ended") as caught:
            for number in range(1, 9):
                loader.batch(number)
        assert "\n" not in str(caught.value)
        loader.close()
        assert same(loader.batch(3), Loader(reader, plan).batch(3))


def test_a_batch_that_is_kept_stays_what_it_was(steps: Steps, windows: Windows) -> None:
    plan, reader = BatchPlan(windows, Sampling(batch=5)), WindowReader(steps, windows, UNIT)
    with Loader(reader, plan, workers=2) as loader:
        kept = [loader.batch(n) for n in range(12)]
        part = loader.batch(12).images["front"][1:2].permute(0, 4, 1, 2, 3)
        for number in range(13, 40):
            loader.batch(number)
    plain = Loader(reader, plan)
    assert all(same(batch, plain.batch(n)) for n, batch in enumerate(kept))
    assert torch.equal(part, plain.batch(12).images["front"][1:2].permute(0, 4, 1, 2, 3))


def test_workers_end_with_a_parent_that_is_killed() -> None:
    script = """
import multiprocessing, os, signal
from uwm_core.data.ahead import Ahead
ahead = Ahead(lambda n, out: None, {"front": (1, 2)}, 0, workers=3, depth=2)
ahead.take()
print(*(child.pid for child in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    children = [int(word) for word in done.stdout.split()]
    assert len(children) == 3
    deadline = time.monotonic() + 10
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_is_not_real_reads_as_the_middle_and_is_masked(steps: Steps) -> None:
    real = np.ones(N, bool)
    absent = np.arange(N) < 40
    broken = dataclasses.replace(
        steps,
        action=np.where(absent[:, None], np.float32(np.nan), steps.action),
        valid=Valid(images=real, state=real, action=~absent),
    )
    windows = cut_windows(broken.episodes, history=2, chunk=4, valid=broken.valid)
    batch = WindowReader(broken, windows, UNIT).read(np.arange(len(windows)), next_images=False)
    teaches = windows.present >= 40
    assert teaches.any() and (~teaches).any()
    np.testing.assert_array_equal(batch.action_mask.numpy(), teaches)
    assert (batch.action[~teaches] == 0).all()
    assert torch.isfinite(batch.action).all()


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_store_on_disk_or_behind_a_url_reads_the_same_with_workers(
    place: str, tmp_path: Path, embodiment: Embodiment
) -> None:
    path = str(tmp_path / "s.zarr") if place == "folder" else f"memory://{tmp_path.name}/s.zarr"
    rng = np.random.default_rng(0)
    shown = encode_image(ImageCoding(), rng.integers(0, 255, (96, 96, 3), np.uint8))
    with StoreWriter(path, embodiment) as writer:
        for row in range(30):
            writer.add_encoded(
                EncodedStep(
                    stamp_ns=row * embodiment.period_ns,
                    images={"front": None if row == 3 else shown, "wrist": shown},
                    state={
                        key: np.full(v.size, row, np.float32) for key, v in embodiment.state.items()
                    },
                    action={}
                    if row == 20
                    else {
                        key: np.full(c.size, row, np.float32)
                        for key, c in embodiment.action.items()
                    },
                )
            )
        writer.end_episode(EpisodeRecord())
        writer.commit()
    steps = Steps.of_store(Store.open(path), memory_bytes=0)
    windows = cut_windows(steps.episodes, history=2, chunk=4, valid=steps.valid)
    touched = np.concatenate(
        [rows(np.arange(len(windows))) for rows in (windows.observation_rows, windows.next_rows)]
    )
    assert len(windows)
    assert not (touched == 3).any()
    acting = windows.action_rows(np.flatnonzero(windows.role != VIDEO))
    assert acting.size
    assert not (acting == 20).any()
    names = {"action_names": embodiment.action_names, "state_names": embodiment.state_names}
    reader = WindowReader(steps, windows, Normalizer.fit(steps, [0], **names))
    plan = BatchPlan(windows, Sampling(batch=4))
    with Loader(reader, plan) as plain, Loader(reader, plan, workers=2) as ahead:
        assert all(same(plain.batch(n), ahead.batch(n)) for n in range(9))
