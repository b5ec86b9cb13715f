# SPDX-License-Identifier: Apache-2.0
"""``from_pretrained`` and ``save_pretrained`` of a world model, by the names that the hub's use.

Thin over ``uwm_core.checkpoint``: the folder is the same, whole or absent, model card included. A
model alone knows no units, so saving one asks for the robot and its normaliser; a folder without
them could not drive. To drive one, load it with ``uwm_core.policy.Policy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from uwm_core.data.normalize import Normalizer
    from uwm_core.embodiment import Embodiment
    from uwm_core.world_model import WorldModel


class Pretrained:
    """What a ``WorldModel`` has of files; nothing of it is read before it is asked for."""

    @classmethod
    def from_pretrained(cls, name: Path | str, device: str = "cpu") -> WorldModel:
        """The model of a checkpoint, in evaluation mode; it takes and gives normalised numbers.

        Args:
            name: A folder, the name of a checkpoint that ships with the project, or a hub id.
            device: Where it computes.

        Raises:
            CheckpointError: A file is missing or broken, or the hub cannot be reached.
            UnknownNameError: There is no such folder, bundled checkpoint or hub id.
        """
        from uwm_core.checkpoint import load_checkpoint

        return load_checkpoint(name).build(device)

    def save_pretrained(
        self,
        folder: Path | str,
        *,
        embodiment: Embodiment,
        normalizer: Normalizer,
        training: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write a checkpoint folder with this model's weights, float32, and a model card.

        Args:
            folder: Replaced as a whole if it is there.
            embodiment: The robot whose numbers the model means.
            normalizer: What scales them.
            training: Plain values about data, steps and metrics.

        Returns:
            The folder; ``hf upload USER/NAME FOLDER`` puts it on the hub.

        Raises:
            CheckpointError: Model, embodiment and normaliser do not belong together.
        """
        from uwm_core.checkpoint import Checkpoint, save_checkpoint

        model = cast("WorldModel", self)
        checkpoint = Checkpoint(
            config=model.config,
            embodiment=embodiment,
            normalizer=normalizer,
            weights=model.state_dict(),
            training=training or {},
        )
        checkpoint.check()
        return save_checkpoint(folder, checkpoint)
