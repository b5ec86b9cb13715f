# SPDX-License-Identifier: Apache-2.0
"""``uwm bench policy``: time of one action chunk and of one imagination.

Of a checkpoint, or of a preset's sizes with random weights. ``--against published`` times the
published formulation (``uwm_core.cli.published_model``) beside ours: the same weights, observation,
first noise and process, by turns; and says how far our answer is from its.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from uwm_core.diffusion.modes import Pair
from uwm_core.figures import Figure

if TYPE_CHECKING:
    from torch import Tensor

    from uwm_core.world_model import WorldModel

_WARM_UP = 2
_SHARES = (50, 95)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--checkpoint", default="sim_lift", help="name or folder")
    parser.add_argument("--preset", help="sizes with random weights, instead of a checkpoint")
    parser.add_argument("--against", choices=("published",), help="time this beside ours")
    parser.add_argument("--fast", default="exact", help="exact, fewer-steps, bf16, or several")
    parser.add_argument("--steps", type=int, help="network calls of both; else the model's own")
    parser.add_argument("--device", default="cpu", help="torch device")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--runs", type=int, default=50, help="measured calls")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Measure and print; the content of the observation does not change the time."""
    import torch  # slow to import, --help should not wait for it

    torch.set_num_threads(args.threads)
    figures = _against(args) if args.against or args.preset else _alone(args)
    for figure in figures:
        print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return 0


def _alone(args: argparse.Namespace) -> Iterator[Figure]:
    """What a policy's two calls take, records and normaliser included."""
    from uwm_core.cli.bench_by_turns import by_turns_s
    from uwm_core.policy import Policy

    policy = Policy.load(
        args.checkpoint, device=args.device, sample_steps=args.steps, fast=args.fast
    )
    policy.warm_up()
    observation = policy.blank_observation()
    chunk = policy.act(observation, seed=0)
    calls = {
        "act": lambda: policy.act(observation, seed=0),
        "imagine": lambda: policy.imagine(observation, chunk, seed=0),
    }
    for name, times_s in by_turns_s(calls, args.runs, _WARM_UP).items():
        for share in _SHARES:
            yield _figure(f"{name}_p{share}", float(np.percentile(times_s, share)), "s")


def _against(args: argparse.Namespace) -> Iterator[Figure]:
    """Observation to chunk, ours and the published formulation's."""
    import torch

    from uwm_core.checkpoint import load_checkpoint
    from uwm_core.cli.bench_by_turns import by_turns_s
    from uwm_core.cli.published_model import PublishedFormulation
    from uwm_core.diffusion.quick import fast_kinds

    exact = _random(args.preset) if args.preset else load_checkpoint(args.checkpoint).build()
    exact = exact.to(args.device)
    images, state, start = _question(exact, args.device)
    published = PublishedFormulation(exact)
    steps = args.steps or exact.sample_steps
    kinds = fast_kinds(args.fast)
    # Only other number types need other weights.
    ours = (copy.deepcopy(exact) if "bf16" in kinds else exact).quicken(args.fast)

    def answer() -> Tensor:
        sample = ours.sample(
            images,
            state,
            "policy",
            action_noise=start.action,
            next_noise=start.next_obs,
            steps=args.steps if not kinds else None,
        )
        assert sample.action is not None
        return sample.action

    def peer() -> Tensor:
        return published.policy(images, state, start, steps)

    wanted, found = peer(), answer()
    error = ((found - wanted).square().mean() / wanted.square().mean()).sqrt()
    name = args.preset or args.checkpoint
    label = f"{name}_{args.fast.replace(',', '_')}_{args.threads}_threads"
    calls = {"ours": answer, "published": peer}
    times_s = by_turns_s(calls, args.runs, _WARM_UP, args.device)
    for share in _SHARES:
        mine, theirs = (float(np.percentile(times_s[who], share)) for who in times_s)
        yield _figure(f"chunk_p{share}_{label}", mine, "s", ("published formulation", theirs))
    parameters = sum(value.numel() for value in exact.denoiser.parameters())
    yield _figure(f"denoiser_parameters_{label}", parameters, "count")
    yield _figure(f"network_calls_{label}", ours.sample_steps if kinds else steps, "count")
    yield _figure(f"chunk_relative_difference_{label}", float(error), "unitless")
    if args.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated(args.device)
        yield _figure(f"memory_peak_{label}", float(peak), "B")


def _random(name: str) -> WorldModel:
    """A preset's model with weights that answer something: new ones answer zeros."""
    import torch

    from uwm_core.presets import preset
    from uwm_core.world_model import WorldModel

    torch.manual_seed(0)
    model = WorldModel(preset(name)).eval()
    with torch.no_grad():
        for value in model.denoiser.parameters():
            value.add_(torch.randn_like(value), alpha=0.01)
    return model


def _question(
    model: WorldModel, device: str
) -> tuple[dict[str, Tensor], Tensor | None, Pair[Tensor]]:
    """An observation of one sample, and first noises."""
    import torch

    from uwm_core.cli.bench_by_turns import random_action, random_observation

    config, generator = model.config, torch.Generator().manual_seed(0)
    images, state = random_observation(config, 1, generator)
    action = random_action(config, 1, generator)
    latent = torch.randn(1, len(config.views), *config.latent_shape, generator=generator)
    return (
        {view: image.to(device) for view, image in images.items()},
        state if state is None else state.to(device),
        Pair(action.to(device), latent.to(device)),
    )


def _figure(metric: str, value: float, unit: str, peer: tuple[str, float] | None = None) -> Figure:
    name, number = peer or (None, None)
    return Figure(
        bench="policy", metric=metric, value=value, unit=unit, peer=name, peer_value=number
    )
