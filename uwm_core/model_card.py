# SPDX-License-Identifier: Apache-2.0
"""The README.md of a checkpoint: what it is for, what it saw, how it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uwm_core.config import ModelConfig
from uwm_core.embodiment import Embodiment

_CARD = """\
---
license: {license}
library_name: uwm_ros
tags: [robotics, world-model, diffusion, ros2]
---

# A world model for {embodiment}

A Unified World Model (one diffusion transformer over an action chunk and the next observation)
for the embodiment `{embodiment}`. {description}

| | |
|---|---|
| sees | {views} ({height} x {width} px), the last {history} step(s), state: {state} |
| answers | {chunk} actions of {action_size} numbers at {rate:g} Hz: {actions} |
| imagines | the same cameras {ahead:g} s ahead |
| objective | {objective}, {steps} network calls per sample |
| size | {parameters:.2f} M parameters |

{training}
## Use

    uwm evaluate PATH --store STORE
    ros2 launch uwm_ros policy.launch.py checkpoint:=PATH

It refuses to drive a robot whose embodiment means other numbers than `embodiment.yaml`.
"""


def model_card(
    config: ModelConfig,
    embodiment: Embodiment,
    training: Mapping[str, Any],
    *,
    parameters: int,
) -> str:
    """Markdown with the front matter that the hub reads.

    Args:
        config: The model.
        embodiment: The robot.
        training: `training.json`; "data" and "metrics" become tables when they are there, "license"
            is what the hub shows, apache-2.0 if it is missing.
        parameters: How many numbers the weights are.
    """
    height, width = config.images.size
    window = config.window
    return _CARD.format(
        license=training.get("license", "apache-2.0"),
        embodiment=embodiment.name,
        description=embodiment.description.strip(),
        views=", ".join(config.views),
        height=height,
        width=width,
        history=window.history,
        state=", ".join(embodiment.state) if config.state_size else "none",
        chunk=window.chunk,
        action_size=config.action_size,
        rate=window.rate_hz,
        actions=", ".join(embodiment.action_names),
        ahead=window.chunk / window.rate_hz,
        objective={"flow": "flow matching", "epsilon": "epsilon"}[config.diffusion.objective],
        steps=config.diffusion.sample_steps,
        parameters=parameters / 1e6,
        training="".join(
            _table(title, training[key])
            for key, title in (("data", "Training data"), ("metrics", "Held-out episodes"))
            if training.get(key)
        ),
    )


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"| {key} | {value:.4g} |\n" if isinstance(value, float) else f"| {key} | {value} |\n"
        for key, value in values.items()
        if not isinstance(value, list)
    )
    return f"## {title}\n\n| | |\n|---|---|\n{rows}\n"
