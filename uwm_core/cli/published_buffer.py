# SPDX-License-Identifier: Apache-2.0
"""The published Unified World Model's buffer and sampler, written anew from their description.

A Zarr v2 folder with one blosc-lz4 chunk per image. The sampler reads every array over all steps of
a window and slices afterwards what training uses. It is what ``uwm bench loader`` compares with and
is used for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import torch
import zarr
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uwm_core.data.windows import Rows

HISTORY, CHUNK = 2, 16
LENGTH = 2 * HISTORY + CHUNK - 1


def write_buffer(
    path: Path,
    pictures: Mapping[str, npt.NDArray[np.uint8]],
    action: npt.NDArray[np.float32],
    ends: Rows,
) -> None:
    """Write the folder.

    Args:
        path: Where.
        pictures: Per view (N, H, W, 3).
        action: (N, D).
        ends: (E,) row after each episode's last one.
    """
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    lz4 = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.NOSHUFFLE)
    for name, images in pictures.items():
        array = group.create_array(
            f"data/{name}",
            shape=images.shape,
            chunks=(1, *images.shape[1:]),
            dtype=images.dtype,
            compressors=lz4,
        )
        for row, image in enumerate(images):
            array[row] = image
    group.create_array("data/actions", data=action)
    group.create_array("meta/episode_ends", data=ends)


class PublishedDataset(Dataset[dict[str, Any]]):
    """Windows of such a folder, through zarr-python as the published code reads it.

    Actions lie in memory, which is kinder than the original.
    """

    def __init__(self, path: Path) -> None:
        group: Any = zarr.open_group(str(path), mode="r")
        self._views = {name: group[f"data/{name}"] for name in group["data"] if name != "actions"}
        self._action: npt.NDArray[np.float32] = group["data/actions"][:]
        ends = group["meta/episode_ends"][:]
        starts = [0, *ends[:-1]]
        self._starts = np.concatenate(
            [np.arange(a, b - LENGTH + 1) for a, b in zip(starts, ends, strict=True)]
        )

    def __len__(self) -> int:
        """Number of windows."""
        return len(self._starts)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One window: all steps are read, then sliced."""
        start = int(self._starts[number])
        steps = {name: self._read(name, start) for name in self._views}
        return {
            "obs": {name: torch.from_numpy(step[:HISTORY]) for name, step in steps.items()},
            "next_obs": {name: torch.from_numpy(step[-HISTORY:]) for name, step in steps.items()},
            "action": torch.from_numpy(
                self._action[start + HISTORY - 1 : start + HISTORY - 1 + CHUNK]
            ),
        }

    def _read(self, name: str, start: int) -> npt.NDArray[np.uint8]:
        return np.asarray(self._views[name][start : start + LENGTH])


class BareDataset(PublishedDataset):
    """The same without zarr-python: each chunk is one file read and one call of the codec.

    No reader of such a folder in Python does less; it says how much of our gain is the layout's.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._lz4 = numcodecs.Blosc()

    def _read(self, name: str, start: int) -> npt.NDArray[np.uint8]:
        steps = np.empty((LENGTH, *self._views[name].shape[1:]), np.uint8)
        for row, out in enumerate(steps, start):
            self._lz4.decode((self._path / f"data/{name}/{row}.0.0.0").read_bytes(), out=out)
        return steps


def batches(
    data: PublishedDataset, batch: int, workers: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Endless shuffled batches, as torch's own loader makes them."""
    loader = DataLoader(
        data,
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
    )
    while True:
        yield from loader
