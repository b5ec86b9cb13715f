# SPDX-License-Identifier: Apache-2.0
"""Laws of ImageNet weights: torchvision's names find their place, and nothing else is taken.

The file is one of torchvision's layout, its names written down here from their published list; the
oracle for a convolution is the file's own tensor in torch's convolution.
"""

import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from uwm_core.config import EncoderConfig
from uwm_core.errors import CheckpointError
from uwm_core.model.imagenet import take_imagenet
from uwm_core.model.observe import Observer
from uwm_core.presets import PRESETS

CONFIG = replace(
    PRESETS["sim_small"], encoder=EncoderConfig(kind="resnet18", features=32, shared=False)
)


def torchvision_names():
    """Name and shape of every tensor of torchvision's ResNet-18."""

    def norm(name, channels):
        of = {f"{name}.{what}": (channels,) for what in ("weight", "bias")}
        running = {f"{name}.running_{what}": (channels,) for what in ("mean", "var")}
        return {**of, **running, f"{name}.num_batches_tracked": ()}

    found = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for layer, channels in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            at, first = f"layer{layer}.{block}", before if block == 0 else channels
            found[f"{at}.conv1.weight"] = (channels, first, 3, 3)
            found |= norm(f"{at}.bn1", channels)
            found[f"{at}.conv2.weight"] = (channels, channels, 3, 3)
            found |= norm(f"{at}.bn2", channels)
            if block == 0 and layer > 1:
                found[f"{at}.downsample.0.weight"] = (channels, first, 1, 1)
                found |= norm(f"{at}.downsample.1", channels)
        before = channels
    return {**found, "fc.weight": (1000, 512), "fc.bias": (1000,)}


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        name: 0.1 * torch.randn(shape, generator=generator)
        for name, shape in torchvision_names().items()
    }


@pytest.fixture(params=["pth", "safetensors"])
def file(request, weights, tmp_path):
    path = tmp_path / f"resnet18.{request.param}"
    if request.param == "pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    return str(path)


def test_the_published_list_has_the_published_number_of_parameters(weights):
    counted = [v.numel() for n, v in weights.items() if "running" not in n and "num" not in n]
    assert sum(counted) == 11_689_512  # as torchvision documents it


def test_every_convolution_is_the_files_and_all_else_as_it_was(file, weights):
    observer = Observer(CONFIG)
    before = {name: value.clone() for name, value in observer.state_dict().items()}
    assert take_imagenet(observer, file) == 20
    for name, value in observer.state_dict().items():
        own = name.split(".", 2)[2]
        convolution = "conv" in own or "downsample.0" in own
        assert torch.equal(value, weights[own] if convolution else before[name]), name
    image = torch.rand(1, 3, 32, 32)
    for encoder in observer.encoders:
        expected = F.conv2d(image, weights["conv1.weight"], stride=2, padding=3)
        torch.testing.assert_close(encoder.conv1(image), expected)


def test_a_file_that_does_not_fit_is_refused_by_name_and_changes_nothing(weights, tmp_path):
    observer = Observer(CONFIG)
    before = {name: value.clone() for name, value in observer.state_dict().items()}
    lacking = {name: value for name, value in weights.items() if name != "layer3.1.conv2.weight"}
    wide = {**weights, "conv1.weight": torch.zeros(32, 3, 7, 7)}
    for bad, word in (
        (lacking, r"layer3\.1\.conv2\.weight .* nothing"),
        (wide, r"\(32, 3, 7, 7\)"),
    ):
        path = tmp_path / "bad.pth"
        torch.save(bad, path)
        with pytest.raises(CheckpointError, match=word):
            take_imagenet(observer, str(path))
    for name, value in observer.state_dict().items():
        assert torch.equal(value, before[name])


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_file_that_would_run_code_is_refused_and_does_not(weights, tmp_path):
    bait, path = tmp_path / "bait", tmp_path / "resnet18.pth"
    torch.save({**weights, "more": Payload(bait)}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        take_imagenet(Observer(CONFIG), str(path))
    assert not bait.exists()
    pickle.loads(pickle.dumps(Payload(bait))).close()  # the payload is a live one
    assert bait.exists()


def test_what_is_no_file_and_encoders_of_another_kind_are_refused(file, tmp_path):
    with pytest.raises(CheckpointError, match="'resnet18', these are 'conv'"):
        take_imagenet(Observer(PRESETS["sim_small"]), file)
    with pytest.raises(CheckpointError, match=r"not a file, nor a hub id like timm/resnet18"):
        take_imagenet(Observer(CONFIG), str(tmp_path / "none.pth"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        take_imagenet(Observer(CONFIG), str(broken))
