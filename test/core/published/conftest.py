# SPDX-License-Identifier: Apache-2.0
"""Writes files that are laid out like the published checkpoints, with known content."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

DATA = Path(__file__).parents[2] / "data"


def _normalizer_module() -> types.ModuleType:
    """A module with the two classes that a published file's normalisers are objects of."""
    module = types.ModuleType("datasets.utils.normalizer")

    class LinearNormalizer:
        def __init__(self, scale: Any, offset: Any) -> None:
            self.scale, self.offset = scale, offset

    class NestedDictLinearNormalizer(dict):
        pass

    for cls in (LinearNormalizer, NestedDictLinearNormalizer):
        cls.__module__, cls.__qualname__ = module.__name__, cls.__name__
        setattr(module, cls.__name__, cls)
    return module


@pytest.fixture
def normalizers(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module, importable under its published path while the test runs."""
    module = _normalizer_module()
    parents = [types.ModuleType(name) for name in ("datasets", "datasets.utils")]
    for each in (*parents, module):
        # Others look for a library called datasets, and expect a module to have a spec.
        each.__spec__ = ModuleSpec(each.__name__, None)
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return module


Writer = Callable[..., Path]


@pytest.fixture
def write_published(normalizers: types.ModuleType, tmp_path: Path) -> Writer:
    """Write a file: model, (scale, offset) of the action, and of the state by key."""

    def write(
        model: Mapping[str, Tensor],
        action: tuple[Any, Any],
        state: Mapping[str, Any] | None = None,
        *,
        protocol: int = 2,
        **more: Any,
    ) -> Path:
        def scaling(value: Any) -> Any:
            if isinstance(value, Mapping):
                return normalizers.NestedDictLinearNormalizer(
                    {key: scaling(inner) for key, inner in value.items()}
                )
            return normalizers.LinearNormalizer(*value)

        path = tmp_path / "models.pt"
        content = {
            "model": model,
            "optimizer": {"state": {0: {"exp_avg": torch.full((5,), 7.0)}}, "param_groups": []},
            "scheduler": {"base_lrs": [1e-4], "last_epoch": 12345},
            "scaler": {},
            "action_normalizer": scaling(action),
            "lowdim_normalizer": scaling(state or {}),
            "step": 12345,
            **more,
        }
        torch.save(content, path, pickle_protocol=protocol)
        return path

    return write


@dataclass(frozen=True, eq=False)
class ReferenceCase:
    """The reference file.

    Attributes:
        arrays: Inputs and expectations.
        tensors: Weights of model and VAE by published name; the VAE's are one repeated value.
    """

    arrays: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def tensor(self, key: str) -> Tensor:
        return torch.from_numpy(self.arrays[key])

    @property
    def images(self) -> dict[str, Tensor]:
        return {view: self.tensor(f"input.obs.{view}") for view in ("cam0", "cam1")}


@pytest.fixture(scope="session")
def reference() -> ReferenceCase:
    """``case_a.npz`` with its encoder's weights drawn as its description says."""
    with np.load(DATA / "case_a.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    sizes = json.loads(arrays["config"].tobytes())
    tensors = {
        "noise_pred_net." + key.removeprefix("net."): torch.from_numpy(value)
        for key, value in arrays.items()
        if key.startswith("net.")
    }
    random = np.random.RandomState(sizes["seed"] + 1)
    for key, shape in sorted(sizes["encoder_state_dict"].items()):
        value = random.standard_normal(shape).astype(np.float32) * np.float32(0.05)
        if len(shape) == 1 and key.endswith("weight"):
            value = 1 + value
        tensors["obs_encoder.img_encoder.model." + key] = torch.from_numpy(value)
    tensors["obs_encoder.vae.shift"] = torch.zeros(1, 4, 1, 1)
    tensors["obs_encoder.vae.scale"] = torch.full((1, 4, 1, 1), 3.0)
    manifest = json.loads((DATA / "state_dict_manifest_droid.json").read_text())["tensors"]
    for key, (_, shape) in manifest.items():
        if key.startswith("obs_encoder.vae.vae."):
            tensors[key] = torch.tensor(0.01).expand(shape)
    return ReferenceCase(arrays, tensors)
