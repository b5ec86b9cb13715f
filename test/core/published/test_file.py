# SPDX-License-Identifier: Apache-2.0
"""Laws of reading a published file: the numbers are torch's own, and only what is wanted is read.

The oracle is ``torch.load`` on files that this test has written itself.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.errors import CheckpointError
from uwm_core.published_file import read_published

ACTION = (np.array([0.5, 2.0], np.float32), np.array([1.0, -1.0], np.float32))


def odd_tensors() -> dict[str, torch.Tensor]:
    """Tensors that share, repeat, skip and turn their numbers."""
    numbers = torch.arange(24, dtype=torch.float32)
    return {
        "whole": numbers.reshape(2, 3, 4),
        "turned": numbers.reshape(4, 6).T,
        "later": numbers[5:9],
        "every_third": numbers[1::3],
        "repeated": torch.tensor(0.25).expand(3, 5),
        "one": torch.tensor(7.0),
        "half": torch.randn(3, dtype=torch.float16),
        "brain": torch.randn(3, dtype=torch.bfloat16),
        "double": torch.randn(3, dtype=torch.float64),
        "counts": torch.arange(3),
        "flags": torch.tensor([True, False, True]),
    }


@pytest.mark.parametrize("protocol", [2, 4])
def test_tensors_are_what_torch_reads(write_published, protocol: int) -> None:
    path = write_published(odd_tensors(), ACTION, protocol=protocol)
    theirs = torch.load(path, weights_only=False)["model"]
    ours = read_published(path).tensors
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        value = ours[name].read()
        assert ours[name].shape == tuple(tensor.shape), name
        assert value.dtype == tensor.dtype and torch.equal(value, tensor), name
        assert value.is_contiguous()


def test_a_state_dict_with_its_own_attributes_and_parameters_is_one(write_published) -> None:
    net = torch.nn.Linear(3, 2)
    file = read_published(write_published(net.state_dict(), ACTION))
    assert all(torch.equal(file.tensors[k].read(), v) for k, v in net.state_dict().items())
    assert set(file.tensors) == {"weight", "bias"}
    file = read_published(write_published(dict(net.named_parameters()), ACTION))
    assert torch.equal(file.tensors["weight"].read(), net.weight)


@pytest.mark.parametrize("protocol", [2, 4])
def test_scalings_come_as_arrays_or_tensors(write_published, protocol: int) -> None:
    state = {
        "pose": (np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])),
        "hand": {"gripper": (torch.tensor([4.0]), torch.tensor([0.4]))},
    }
    file = read_published(write_published({}, ACTION, state, protocol=protocol))
    assert (file.action.scale.tolist(), file.action.offset.tolist()) == ([0.5, 2.0], [1.0, -1.0])
    assert file.state.keys() == {"pose", "hand.gripper"}
    assert file.state["pose"].offset.tolist() == [0.1, 0.2, 0.3]
    assert file.state["hand.gripper"].scale.tolist() == [4.0]
    assert file.step == 12345


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ((np.array([1.0]), np.array([1.0, 2.0])), "1 scales and 2 offsets"),
        ((np.array([-1.0]), np.array([1.0])), "a scale below 0"),
        ((np.array([np.nan]), np.array([1.0])), "not finite"),
        ((np.array([1]), np.array([1.0])), "scale is no array of floating-point numbers"),
        ((np.array(["a"]), np.array([1.0])), "scale is no array of floating-point numbers"),
        ((1.0, 2.0), "scale is no array of floating-point numbers"),
    ],
)
def test_a_scaling_that_cannot_be_is_refused(write_published, action, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_published(write_published({}, action))


def test_a_file_of_another_kind_says_what_it_has(write_published, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"no 'model', .*it has state_dict, epoch"):
        read_published(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no dict"):
        read_published(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="weight is no tensor"):
        read_published(write_published({"weight": 3}, ACTION))
    with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
        read_published(tmp_path / "missing.pt")
    torch.save({"model": {}}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"no file of torch\.save"):
        read_published(tmp_path / "old.pt")


def spoil(path: Path, name: str) -> None:
    """Change one byte of one file inside the archive, where it lies."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        content = archive.read(name)
        start = data.index(content, archive.getinfo(name).header_offset)
    path.write_bytes(data[:start] + bytes([data[start] ^ 1]) + data[start + 1 :])


def test_the_optimisers_state_is_not_read_and_damage_to_the_model_is_found(
    write_published,
) -> None:
    weight, moment = torch.full((300,), 3.5), torch.full((300,), 4.5)
    path = write_published({"weight": weight}, ACTION, optimizer={"state": {0: moment}})
    with zipfile.ZipFile(path) as archive:
        parts = {archive.read(info)[:4]: info.filename for info in archive.infolist()}
    spoil(path, parts[moment[:1].numpy().tobytes()])
    assert torch.equal(read_published(path).tensors["weight"].read(), weight)
    spoil(path, parts[weight[:1].numpy().tobytes()])
    with pytest.raises(CheckpointError, match=r"data/\d+ is damaged"):
        read_published(path).tensors["weight"].read()
