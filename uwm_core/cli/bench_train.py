# SPDX-License-Identifier: Apache-2.0
"""``uwm bench train``: time of a training step against the published formulation.

The published step encodes the next images by the frozen VAE every time, in float32; ours reads
their latents, encoded once for all epochs. Both learn the same random weights of a preset's sizes
from the same batch, each with AdamW, by turns in one process. A third figure gives the published
formulation the latents too, so that it shows what else is different.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from uwm_core.figures import Figure

if TYPE_CHECKING:
    from torch import Tensor

    from uwm_core.batch import Batch
    from uwm_core.world_model import WorldModel

_WARM_UP = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--preset", default="published_libero", help="sizes of the model")
    parser.add_argument("--batch", type=int, default=2, help="samples per step")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--runs", type=int, default=5, help="measured steps of each")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    for figure in _figures(args):
        print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return 0


def _figures(args: argparse.Namespace) -> Iterator[Figure]:
    import torch  # slow to import, --help should not wait for it

    from uwm_core.cli.bench_by_turns import by_turns_s
    from uwm_core.cli.published_model import PublishedFormulation
    from uwm_core.latents.vae import VaeCodec, sdxl_vae
    from uwm_core.presets import preset
    from uwm_core.world_model import WorldModel

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = preset(args.preset)
    model = WorldModel(config).train()
    if isinstance(model.codec, VaeCodec):
        model.codec.hold(sdxl_vae())  # random weights take the same time
    model.codec.requires_grad_(False)
    batch = _batch(model, args.batch)
    latents = _with_latents(model, batch)
    published = PublishedFormulation(model)
    generator = torch.Generator().manual_seed(0)
    steps = {
        "ours": _step(model, lambda: model.loss(latents, generator=generator).total, fused=True),
        "published": _step(model, lambda: published.loss(batch, generator), fused=False),
        "published_cached": _step(model, lambda: published.loss(latents, generator), fused=False),
    }
    times_s = by_turns_s(steps, args.runs, _WARM_UP)
    mine, theirs, cached = (float(np.median(times_s[name])) for name in times_s)
    label = f"{args.preset}_batch_{args.batch}_{args.threads}_threads"
    yield _figure(f"step_p50_{label}", mine, "published formulation", theirs)
    yield _figure(f"step_p50_cached_{label}", mine, "published with cached latents", cached)


def _step(model: WorldModel, loss: Callable[[], Tensor], *, fused: bool) -> Callable[[], None]:
    """One step of AdamW on a loss; learning rate 0, so that all learn from the same weights."""
    import torch

    learned = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.0, weight_decay=1e-6, fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _batch(model: WorldModel, size: int) -> Batch:
    """Random expert samples with next images."""
    import torch

    from uwm_core.batch import EXPERT, Batch
    from uwm_core.cli.bench_by_turns import random_action, random_observation

    config, generator = model.config, torch.Generator().manual_seed(0)
    images, state = random_observation(config, size, generator)
    return Batch(
        images=images,
        next_images=random_observation(config, size, generator)[0],
        state=state,
        action=random_action(config, size, generator),
        role=torch.full((size,), EXPERT),
    )


def _with_latents(model: WorldModel, batch: Batch) -> Batch:
    """The same samples as a run reads them: with latents that were encoded before."""
    assert batch.next_images is not None
    return dataclasses.replace(batch, next_latent=model.encode(batch.next_images))


def _figure(metric: str, value: float, peer: str, peer_value: float) -> Figure:
    return Figure(
        bench="train", metric=metric, value=value, unit="s", peer=peer, peer_value=peer_value
    )
