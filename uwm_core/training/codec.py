# SPDX-License-Identifier: Apache-2.0
"""Phase 1: the small codec learns a store's images; then every image's latent is computed once.

A codec that is not trainable (a VAE by name, averaged pixels) skips the first half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
from uwm_core.world_model import WorldModel

_CHUNK = 64  # images at once where no gradient is kept


class CodecTask:
    """Give images back.

    Args:
        model: Whose codec learns; decides how images are prepared.
        steps: The store.
        train: Episodes that train.
        validation: Episodes that measure.
        batch: Images per step.
        seed: Of the run.
    """

    name = "codec"

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

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Reconstruction loss of images of random steps and views."""
        rng = np.random.default_rng((self._seed, 1, step))
        images = self._read(rng.choice(self._rows, self._batch), rng)
        self.module.train()
        # The codec's own noise comes from torch's global generator: pinned to the step.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded(self._seed, 1, step).initial_seed())
            return self.module.loss(images), {}

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
        pixels = prepare(torch.from_numpy(images)[:, None, None], self._config)
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
def cache_latents(model: WorldModel, steps: Steps, *, quiet: bool = False) -> Tensor:
    """Latents of every image of a store: (N, V, C, h, w) float32, as `WorldModel.encode` gives."""
    model.codec.eval()
    rows = len(steps.action)
    parts = []
    bar = tqdm(range(0, rows, _CHUNK), desc="latents", disable=quiet)
    for start in bar:
        chunk = np.arange(start, min(start + _CHUNK, rows))
        images = np.stack([steps.images[camera][chunk] for camera in steps.cameras], axis=1)
        pixels = prepare(torch.from_numpy(images)[:, :, None], model.config.images)
        latents = model.codec.encode(pixels.flatten(0, 2))  # (N V, C, h, w)
        parts.append(latents.reshape(*images.shape[:2], *latents.shape[1:]))
    # A copy: tensors made in inference mode may not take part in training.
    return torch.cat(parts).clone()


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
