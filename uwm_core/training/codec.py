# SPDX-License-Identifier: Apache-2.0
"""Phase 1: the small codec learns a store's images; then every image's latent is computed once.

A codec that is not trainable (a VAE by name, averaged pixels) skips the first half.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from uwm_core.checkpoint import load_checkpoint
from uwm_core.data.windows import Rows, Steps
from uwm_core.errors import CheckpointError
from uwm_core.latents.codec import Codec
from uwm_core.model.images import prepare
from uwm_core.training.optim import seeded
from uwm_core.training.optimise import Piece
from uwm_core.training.team import ALONE, Team
from uwm_core.world_model import WorldModel

_CHUNK = 64  # images at once where no gradient is kept


class CodecTask:
    """Give images back.

    Every rank takes every step on the whole batch: the codec's batch norm asks for all of it, and
    the steps are few and small. So the ranks need not talk, and end with the same codec.

    Args:
        model: Whose codec learns, on the device that it is on; decides how images are prepared.
        steps: The store.
        train: Episodes that train.
        validation: Episodes that measure.
        batch: Images per step.
        seed: Of the run.
    """

    name = "codec"
    divided = False
    sharded = False

    def __init__(
        self,
        model: WorldModel,
        steps: Steps,
        *,
        train: Iterable[int],
        validation: Iterable[int],
        batch: int,
        seed: int,
    ) -> None:
        self.module: Codec = model.codec
        self._config = model.config.images
        self._steps = steps
        self._rows = rows_of(steps, train)
        self._held = rows_of(steps, validation)
        self._batch, self._seed = batch, seed

    def pieces(self, step: int) -> Iterator[Piece]:
        """Reconstruction of images of random steps and views, in one piece."""
        began = time.perf_counter()
        rng = np.random.default_rng((self._seed, 1, step))
        images = self._read(rng.choice(self._rows, self._batch), rng)
        wait_s = time.perf_counter() - began
        self.module.train()
        # The codec's own noise comes from torch's global generator: pinned to the step.
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seeded(self._seed, 1, step).initial_seed())
            loss = self.module.loss(images)
        yield Piece(loss=loss, wait_s=wait_s)

    def validate(self) -> Mapping[str, float]:
        """Mean error of a channel value (of 255) and PSNR (dB) on held-out episodes."""
        if not len(self._held):
            return {}
        rng = np.random.default_rng((self._seed, 2))
        images = self._read(rng.choice(self._held, min(128, len(self._held)), replace=False), rng)
        self.module.eval()
        with torch.inference_mode():
            rebuilt = self.module.decode(self.module.encode(images))
        mse = F.mse_loss(rebuilt, images)
        return {
            "error_255": float(F.l1_loss(rebuilt, images)) * 255,
            "psnr_db": float(-10 * torch.log10(mse.clamp_min(1e-10))),
        }

    def _read(self, rows: Rows, rng: np.random.Generator) -> Tensor:
        """Images of the rows, one random view each: (N, 3, H, W) in [0, 1]."""
        cameras = self._steps.cameras
        view = rng.integers(len(cameras), size=len(rows))
        images = np.concatenate(
            [self._steps.images[camera][rows[view == v]] for v, camera in enumerate(cameras)]
        )  # (N, H, W, 3)
        where = next(self.module.parameters()).device
        pixels = prepare(torch.from_numpy(images).to(where)[:, None, None], self._config)
        return pixels.flatten(0, 2)


def rows_of(steps: Steps, episodes: Iterable[int]) -> Rows:
    """Every row of the given episodes that has its images."""
    spans = [steps.episodes[number] for number in sorted(episodes)]
    rows = np.concatenate(
        [np.empty(0, np.int64), *(np.arange(span.start, span.stop) for span in spans)]
    )
    seen: Rows = rows[steps.validity.images[rows]]
    return seen


@torch.inference_mode()
def cache_latents(
    model: WorldModel, steps: Steps, *, quiet: bool = False, team: Team = ALONE
) -> Tensor:
    """Latents of every image of a store: (N, V, C, h, w) float32, as `WorldModel.encode` gives.

    The ranks divide the images, as encoding them with a large VAE takes hours, and every rank gets
    all latents, on the CPU, as it draws its windows from anywhere.
    """
    model.codec.eval()
    rows, (c, _, h, w) = len(steps.action), model.config.latent_shape
    # Made outside of inference mode: tensors made inside may not take part in training.
    with torch.inference_mode(False):
        latents = torch.zeros(rows, len(steps.cameras), c, h, w)
    mine = range(team.rank * _CHUNK, rows, team.size * _CHUNK)
    for start in tqdm(mine, desc="latents", disable=quiet or not team.first):
        chunk = np.arange(start, min(start + _CHUNK, rows))
        images = np.stack([steps.images[camera][chunk] for camera in steps.cameras], axis=1)
        stacked = torch.from_numpy(images).to(team.device)[:, :, None]
        pixels = prepare(stacked, model.config.images)
        found = model.codec.encode(pixels.flatten(0, 2))  # (N V, C, h, w)
        latents[start : start + len(chunk)] = found.reshape(*images.shape[:2], c, h, w).cpu()
    return team.add(latents)


def next_latent(latents: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
    """Look up: (N, V, C, h, w) at rows (B, T) -> (B, V, C, T, h, w)."""
    return latents[torch.from_numpy(rows)].permute(0, 2, 3, 1, 4, 5)


def take_codec(model: WorldModel, name: str) -> None:
    """Give the model the codec of a checkpoint.

    Raises:
        CheckpointError: Its codec is another one.
        UnknownNameError: There is no such checkpoint.
    """
    checkpoint = load_checkpoint(name)
    if checkpoint.config.codec != model.config.codec:
        raise CheckpointError(
            f"the codec of {name} is {checkpoint.config.codec}, the model wants "
            f"{model.config.codec}"
        )
    model.codec.load_state_dict(checkpoint.build().codec.state_dict())
