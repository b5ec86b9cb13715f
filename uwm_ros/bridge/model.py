# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that a node asks: its parameters, loading, and refusing what does not fit.

The only way from the nodes to torch, and it is taken when a checkpoint is loaded, not before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.parameters import Parameters

if TYPE_CHECKING:
    from uwm_core.policy import Policy

_FAST_HELP = "exact, or what may be given up for speed: fewer-steps, bf16, or both"


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """What to load, and how to compute.

    Attributes:
        checkpoint: Name, folder or hub id.
        device: Torch device.
        threads: Torch threads; None leaves them alone.
        sample_steps: Sampler steps; None takes the checkpoint's own.
        fast: What may be given up for speed.
    """

    checkpoint: str
    device: str
    threads: int | None
    sample_steps: int | None
    fast: str = "exact"

    @classmethod
    def read(cls, read: Parameters) -> ModelOptions:
        """Read the parameters.

        Raises:
            UwmError: If one is not usable.
        """
        steps = read.integer("sample_steps", 0, "sampler steps; 0: the checkpoint's own", 0, 1000)
        threads = read.integer("threads", 1, "torch threads; 0 leaves them alone", 0, 256)
        return cls(
            checkpoint=read.text("checkpoint", "sim_lift", "name, folder or hub id"),
            device=read.text("device", "cpu", "torch device, e.g. cpu or cuda"),
            threads=threads or None,
            sample_steps=steps or None,
            fast=read.text("fast", "exact", _FAST_HELP),
        )


Load = Callable[[ModelOptions], "Policy"]


def load_policy(options: ModelOptions) -> Policy:
    """Read a checkpoint.

    Raises:
        CheckpointError: If it is missing or broken.
        UnknownNameError: If there is none of that name.
    """
    from uwm_core.policy import Policy

    return Policy.load(
        options.checkpoint,
        device=options.device,
        threads=options.threads,
        sample_steps=options.sample_steps,
        fast=options.fast,
    )


def ready_policy(load: Load, options: ModelOptions, embodiment: Embodiment) -> Policy:
    """Load, compare with the configured embodiment, and answer once about nothing.

    Raises:
        UwmError: If the checkpoint is broken or of another embodiment; names the first difference.
    """
    policy = load(options)
    policy.check_embodiment(embodiment)
    policy.warm_up()
    return policy
