# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that answers: what nodes, evaluation and simulation all call.

Records of numpy arrays in the embodiment's units go in and come out; tensors and normalised
numbers stay inside. One call is one answer: nothing is remembered between calls, so a policy may
be called from any one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uwm_core.checkpoint import Checkpoint, load_checkpoint
from uwm_core.config import WindowConfig
from uwm_core.data.actions import absolute, relative
from uwm_core.data.normalize import Normalizer
from uwm_core.diffusion.sampler import Known
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError, ShapeError, UnknownNameError, check_shape
from uwm_core.records import ActionChunk, ImaginedFuture, KnownActions, Observation

Images = Mapping[str, npt.NDArray[np.uint8]]

ACT_MODES = ("policy", "joint")
"""Modes that drive: actions alone, or actions together with the images that they lead to."""

IMAGINE_STEPS = 1
"""Network calls per imagined image, unless the caller asks for another number."""


class Policy:
    """One set of weights in four roles: drive, imagine, explain, expect.

    Args:
        checkpoint: What it is made of.
        device: Where it computes.
        threads: Threads of torch, for the whole process; None leaves them.
        sample_steps: Network calls per answer; None takes the checkpoint's number, or that of
            "fewer-steps".
        imagine_steps: Network calls per imagined image. One call gives the mean of what may come,
            which is nearer to what does come than any sample of it, and the quickest.
        fast: What may be given up for speed, as `WorldModel.quicken` takes it.

    Raises:
        CheckpointError: The weights are not the model's.
        ValueError: ``sample_steps`` or ``imagine_steps`` is below 1.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "cpu",
        threads: int | None = None,
        sample_steps: int | None = None,
        imagine_steps: int = IMAGINE_STEPS,
        fast: str = "exact",
    ) -> None:
        for name, steps in (("sample_steps", sample_steps), ("imagine_steps", imagine_steps)):
            if steps is not None and steps < 1:
                raise ValueError(f"{name} must be at least 1, got {steps}")
        if threads:
            torch.set_num_threads(threads)
        self.checkpoint = checkpoint
        self.imagine_steps = imagine_steps
        self._device = torch.device(device)
        self._model = checkpoint.build(device).quicken(fast)
        self.sample_steps = sample_steps or self._model.sample_steps

    @classmethod
    def load(
        cls,
        path: Path | str,
        device: str = "cpu",
        threads: int | None = None,
        sample_steps: int | None = None,
        fast: str = "exact",
    ) -> Policy:
        """Read a checkpoint folder, bundled name or hub id; the rest as for the class.

        Raises:
            CheckpointError: A file is missing or broken; without a normaliser it cannot drive.
            UnknownNameError: There is no such checkpoint.
        """
        checkpoint = load_checkpoint(path)
        return cls(checkpoint, device=device, threads=threads, sample_steps=sample_steps, fast=fast)

    @property
    def embodiment(self) -> Embodiment:
        """The robot that it was trained for."""
        return self.checkpoint.embodiment

    @property
    def window(self) -> WindowConfig:
        """History T, chunk A, rate."""
        return self.checkpoint.config.window

    @property
    def period_ns(self) -> int:
        """Time between actions."""
        return self.embodiment.period_ns

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        return self.checkpoint.name

    @property
    def version(self) -> str:
        """First digits of the weights' SHA-256."""
        return self.checkpoint.version

    def check_embodiment(self, configured: Embodiment) -> None:
        """Refuse to drive a robot whose numbers mean something else.

        Raises:
            CheckpointError: Names the first difference.
        """
        if difference := self.embodiment.difference(configured):
            more = f" (and {len(difference) - 1} more)" if len(difference) > 1 else ""
            raise CheckpointError(
                f"checkpoint {self.name} is of another embodiment: {difference[0]}{more}"
            )

    def act(
        self,
        observation: Observation,
        seed: int | None = None,
        known: KnownActions | None = None,
        mode: str = "policy",
    ) -> ActionChunk:
        """The next A actions, as absolute targets whatever the model was trained on.

        Args:
            observation: The last T steps.
            seed: Makes the answer repeatable; None draws anew.
            known: What is known of the answer beforehand; the rest is made to join it.
            mode: One of ``ACT_MODES``.

        Raises:
            ShapeError: The observation or what is known is not this embodiment's.
            UnknownNameError: A camera, state key or the mode is unknown.
        """
        if mode not in ACT_MODES:
            raise UnknownNameError("mode to act in", mode, ACT_MODES)
        sample = self._model.sample_from(
            self._condition(observation),
            mode,
            steps=self.sample_steps,
            generator=self._generator(seed),
            known=self._known(known, observation),
        )
        chunk = self._chunk(sample.action, observation)
        if known is not None:
            # There and back through the normaliser is not exact; what is certain is.
            certain = known.weight == 1
            chunk.actions[certain] = known.actions[certain]
        return chunk

    def imagine(
        self, observation: Observation, chunk: ActionChunk, seed: int | None = None
    ) -> ImaginedFuture:
        """What the cameras will show when the chunk has been played (forward dynamics).

        Args:
            observation: The last T steps.
            chunk: The actions from the observation's moment on.
            seed: Makes the answer repeatable.

        Raises:
            ShapeError: Observation or chunk is not this embodiment's.
        """
        if chunk.names != self.embodiment.action_names:
            raise ShapeError(
                f"chunk has actions {list(chunk.names)}, the checkpoint takes "
                f"{list(self.embodiment.action_names)}"
            )
        check_shape("chunk.actions", chunk.actions, "A D", A=self.window.chunk)
        actions = relative(self.embodiment, chunk.actions, _present(observation))
        action = self._tensor(self._normalizer.action.apply(actions))  # (1, A, D)
        sample = self._model.sample_from(
            self._condition(observation),
            "forward_dynamics",
            action=action,
            steps=self.imagine_steps,
            generator=self._generator(seed),
        )
        return self._future(sample.next_latent, observation)

    def expect(self, observation: Observation, seed: int | None = None) -> ImaginedFuture:
        """What usually happens next, whatever is done (video).

        Raises:
            ShapeError: The observation is not this embodiment's.
        """
        sample = self._model.sample_from(
            self._condition(observation),
            "video",
            steps=self.imagine_steps,
            generator=self._generator(seed),
        )
        return self._future(sample.next_latent, observation)

    def infer_actions(
        self, observation: Observation, future: Images, seed: int | None = None
    ) -> ActionChunk:
        """The actions that lead from the observation to these images (inverse dynamics).

        Args:
            observation: The last T steps.
            future: Per camera (T, H, W, 3) uint8, right after the chunk.
            seed: Makes the answer repeatable.

        Raises:
            ShapeError: Observation or images are not this embodiment's.
        """
        self.make_ready_for_images()
        latent = self._model.encode(self._images(future, "future"))
        sample = self._model.sample_from(
            self._condition(observation),
            "inverse_dynamics",
            next_latent=latent,
            steps=self.sample_steps,
            generator=self._generator(seed),
        )
        return self._chunk(sample.action, observation)

    def blank_observation(self) -> Observation:
        """An observation of the right form that shows nothing: black images, zero state."""
        steps = self.window.history
        return Observation(
            stamp_ns=0,
            images={
                name: np.zeros((steps, *camera.size, 3), np.uint8)
                for name, camera in self.embodiment.cameras.items()
            },
            state={
                key: np.zeros((steps, vector.size), np.float32)
                for key, vector in self.embodiment.state.items()
            },
        )

    def warm_up(self) -> None:
        """Answer once about nothing, so that the first real answer is not the slowest."""
        observation = self.blank_observation()
        for _ in range(2):
            self.act(observation, seed=0)

    def make_ready_for_images(self) -> None:
        """Read a codec that the checkpoint only names, a VAE; else it is read when first needed.

        Raises:
            UwmError: diffusers is not installed.
            CheckpointError: There is no such VAE here or on the hub, or it does not fit.
        """
        self._model.codec.make_ready(self._device)

    @property
    def _normalizer(self) -> Normalizer:
        return self.checkpoint.normalizer

    def _generator(self, seed: int | None) -> torch.Generator | None:
        if seed is None:
            return None
        return torch.Generator(self._device).manual_seed(seed)

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        """One sample as a batch: (...) -> (1, ...)."""
        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self._device)

    def _condition(self, observation: Observation) -> Tensor:
        with torch.inference_mode():
            return self._model.observe(
                self._images(observation.images, "observation"), self._state(observation)
            )

    def _images(self, images: Images, what: str) -> dict[str, Tensor]:
        known = self.embodiment.cameras
        for name in images:
            if name not in known:
                raise UnknownNameError(f"camera in {what}", name, known)
        tensors = {}
        for name in self.embodiment.camera_names:
            if name not in images:
                raise ShapeError(f"{what} has no camera {name!r}; it has {sorted(images)}")
            height, width = known[name].size
            letters = f"{self.window.history} {height} {width} 3"
            check_shape(f"{what} {name}", images[name], letters)
            tensors[name] = self._tensor(images[name])
        return tensors

    def _state(self, observation: Observation) -> Tensor | None:
        affine = self._normalizer.state
        if affine is None:
            return None
        parts = []
        for key, vector in self.embodiment.state.items():
            if key not in observation.state:
                known = sorted(observation.state)
                raise ShapeError(f"observation has no state {key!r}; it has {known}")
            value = observation.state[key]
            check_shape(f"observation {key}", value, f"{self.window.history} {vector.size}")
            if not np.isfinite(value).all():
                raise ShapeError(f"observation {key} has a value that is not finite")
            parts.append(value)
        return self._tensor(affine.apply(np.concatenate(parts, axis=1)))  # (1, T, S)

    def _known(self, known: KnownActions | None, observation: Observation) -> Known | None:
        """What is known, in the model's numbers."""
        if known is None:
            return None
        check_shape("known.actions", known.actions, "A D", A=self.window.chunk)
        actions = relative(self.embodiment, known.actions, _present(observation))
        return Known(
            value=self._tensor(self._normalizer.action.apply(actions)),
            weight=torch.from_numpy(known.weight).to(self._device),
        )

    def _chunk(self, action: Tensor | None, observation: Observation) -> ActionChunk:
        if action is None:
            raise ShapeError("this mode gives no actions")
        actions = self._normalizer.action.invert(action[0].cpu().numpy())
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            period_ns=self.period_ns,
            actions=absolute(self.embodiment, actions, _present(observation)),
            names=self.embodiment.action_names,
        )

    def _future(self, latent: Tensor | None, observation: Observation) -> ImaginedFuture:
        if latent is None:
            raise ShapeError("this mode gives no images")
        ahead = self.window.chunk + np.arange(self.window.history)
        self.make_ready_for_images()
        images = self._model.decode(latent)
        return ImaginedFuture(
            stamps_ns=(observation.stamp_ns + ahead * self.period_ns).astype(np.int64),
            images={name: image[0].cpu().numpy() for name, image in images.items()},
        )


def _present(observation: Observation) -> dict[str, npt.NDArray[np.float32]]:
    """The state of the newest step: per key (n,)."""
    return {key: value[-1] for key, value in observation.state.items()}
