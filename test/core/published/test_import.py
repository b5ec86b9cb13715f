# SPDX-License-Identifier: Apache-2.0
"""Laws of importing a published checkpoint: the imported model computes the published numbers.

Everything goes through ``uwm import-published`` and the folder that it writes.
``UWM_PUBLISHED_FILE`` names a real file of the published layout for one more test.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from uwm_core.checkpoint import load_checkpoint
from uwm_core.cli.main import main
from uwm_core.config import CodecConfig
from uwm_core.diffusion.modes import Pair
from uwm_core.embodiment import Embodiment
from uwm_core.errors import CheckpointError
from uwm_core.policy import Policy
from uwm_core.presets import PRESETS
from uwm_core.published import sort_out
from uwm_core.published_sizes import Asked, Sizes, config_of
from uwm_core.records import Observation
from uwm_core.training.config import fit_preset

TOLERANCE = 1e-4
SHARED = Path(__file__).parents[4] / "shared/reference/uwm/published_layout_tiny.pt"
TINY = Path(os.environ.get("UWM_PUBLISHED_FILE") or SHARED)
PIXELS = ("--size", "48", "48", "--resize", "72", "72", "--crop", "64", "64")
SAID = ("--heads", "4", "--rate", "10", "--view", "cam1", "--view", "cam0", *PIXELS)
SCALE = np.linspace(0.5, 2.0, 7, dtype=np.float32)
OFFSET = np.linspace(-1.0, 3.0, 7, dtype=np.float32)


def uwm(*words: object) -> int:
    return main(["import-published", *map(str, words)])


@pytest.fixture
def imported(reference, write_published, tmp_path: Path) -> Path:
    path = write_published(reference.tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "ckpt", *SAID) == 0
    return tmp_path / "ckpt"


@torch.inference_mode()
def test_the_imported_model_computes_the_published_numbers(imported: Path, reference) -> None:
    model = load_checkpoint(imported).build()
    clean, noise, query = (
        Pair(reference.tensor(f"input.action{end}"), reference.tensor(f"input.next_obs{end}"))
        for end in ("", "_noise", "_query")
    )
    times = Pair(reference.tensor("input.action_t"), reference.tensor("input.next_obs_t"))
    times = Pair(*(time.float() for time in times))
    condition = model.observe(reference.images, None)
    answer = model.answer(query, times, condition)
    losses = model.loss_at(condition, clean, noise, times)
    found = {
        "obs_features": condition,
        "eps_action": answer.action,
        "eps_next_obs": answer.next_obs,
        "action_loss": losses.action,
        "next_obs_loss": losses.next_obs,
    }
    given = {
        "forward_dynamics": {"action": clean.action},
        "inverse_dynamics": {"next_latent": clean.next_obs},
    }
    for mode in ("policy", "video", "forward_dynamics", "inverse_dynamics", "joint"):
        noises = {"action_noise": noise.action, "next_noise": noise.next_obs}
        sample = model.sample(reference.images, None, mode, **noises, **given.get(mode, {}))
        found |= {f"{mode}_action": sample.action, f"{mode}_next_obs": sample.next_latent}
    expected = {key for key in reference.arrays if key.startswith("expect.")}
    assert len(expected) == 11
    for key in expected:
        error = (found[key.removeprefix("expect.")] - reference.tensor(key)).abs().max()
        assert error <= TOLERANCE, f"{key}: {error:.2e}"


def test_a_policy_denormalises_as_the_file_says(imported: Path, reference) -> None:
    policy = Policy.load(imported)
    images = {view: image[0].numpy() for view, image in reference.images.items()}
    chunk = policy.act(Observation(stamp_ns=0, images=images, state={}), seed=3)
    model = policy.checkpoint.build()
    first = {view: image[:1] for view, image in reference.images.items()}
    sample = model.sample(first, None, "policy", generator=torch.Generator().manual_seed(3))
    expected = sample.action[0].numpy() * SCALE + OFFSET
    np.testing.assert_allclose(chunk.actions, expected, rtol=1e-5, atol=1e-5)
    assert chunk.actions.shape == (16, 7)
    assert np.abs(sample.action.numpy()).max() > 0.1  # or the offset alone would pass


def test_weights_and_what_came_with_them_are_all_there(imported: Path, reference) -> None:
    checkpoint = load_checkpoint(imported)
    model = sort_out(dict(reference.tensors))["model"]
    assert checkpoint.weights.keys() == model.keys()
    assert all(torch.equal(checkpoint.weights[name], value) for name, value in model.items())
    affine = checkpoint.normalizer.action
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_allclose(affine.apply(values), (values - OFFSET) / SCALE, rtol=1e-5)
    np.testing.assert_allclose(affine.invert(values), values * SCALE + OFFSET, rtol=1e-6)
    assert checkpoint.training == {
        "data": {"published file": "models.pt"},
        "license": "unknown",
        "step": 12345,
    }
    assert checkpoint.config.codec == CodecConfig()
    assert "license: unknown" in (imported / "README.md").read_text()


def test_what_the_file_does_not_say_is_asked_for_by_name(
    reference, write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published(reference.tensors, (SCALE, OFFSET))
    options = {"--heads": "4", "--rate": "10", "--view": "cam0", "--size": "48"}

    def asked_for(*words: str) -> set[str]:
        assert uwm(path, "-o", tmp_path / "x", *words) == 2
        said = capsys.readouterr().err
        assert not (tmp_path / "x").exists()
        return {option for option in options if f"({option} " in said}

    assert asked_for() == set(options)
    assert asked_for("--heads", "4") == set(options) - {"--heads"}
    assert asked_for(*SAID[:4]) == {"--view", "--size"}
    assert asked_for("--preset", "published_libero", *SAID[2:]) == set()  # its heads: 12


def test_images_that_do_not_fit_the_tokens_are_refused_with_those_that_would(
    reference, write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published(reference.tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "x", *SAID[:-3], "--crop", "96", "96") == 2
    assert "crop (96, 96) is larger than the image" in capsys.readouterr().err
    assert uwm(path, "-o", tmp_path / "x", *SAID[:8], "--size", "128", "128") == 2
    assert "with a chunk of 16 it saw 64 x 64 px (--crop 64 64)" in capsys.readouterr().err
    assert uwm(path, "-o", tmp_path / "x", *SAID[:6], *PIXELS) == 2  # one camera of two
    assert "its model takes 32 numbers of state" in capsys.readouterr().err


def test_sizes_that_are_only_claimed_are_refused_before_anything_is_made(
    reference, write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, net = torch.tensor(0.5), "noise_pred_net."
    patches, widest = f"{net}obs_patchifier.patch_encoder.weight", 2**30
    too_wide = {
        patches: one.expand(widest, 4, 1, 1, 1)[:, :1],
        f"{net}blocks.0.mlp.fc1.weight": one.expand(widest, 1),
    }
    for change, pixels, message in (
        ({f"{net}registers": one.expand(1, 6, 2**31)}, "64", "claims .* numbers"),
        ({patches: one.expand(2**24, 4, 2, 4, 4)}, "64", "do not fit: mlp_ratio"),
        ({f"{net}blocks.999999999.attn.proj.bias": one.expand(64)}, "64", r"models\.pt lacks"),
        ({f"{net}head.linear.bias": one.expand(65)}, "64", r"is \(65,\), the model's is"),
        (too_wide, "8", "claims sizes that no model can have"),
    ):
        path = write_published({**reference.tensors, **change}, (SCALE, OFFSET))
        assert uwm(path, "-o", tmp_path / "x", *SAID[:-2], pixels, pixels) == 2
        assert re.search(message, said := capsys.readouterr().err), said


def test_an_old_checkpoint_is_replaced_only_when_asked(
    imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = imported.parent / "models.pt"
    assert uwm(path, "-o", imported, *SAID) == 2
    assert "exists; --overwrite replaces it" in capsys.readouterr().err
    assert uwm(path, "-o", imported, *SAID, "--overwrite") == 0


def test_a_scaling_of_another_size_than_the_robots_actions_is_refused(
    reference, write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published(reference.tensors, (SCALE[:6], OFFSET[:6]))
    assert uwm(path, "-o", tmp_path / "x", *SAID) == 2
    assert "actions of 7 numbers and scalings of 6" in capsys.readouterr().err
    path = write_published(reference.tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "x", "--heads", "4", "-e", "fr3_sim") == 2
    assert "fr3_sim has 8: fr3_joint1" in capsys.readouterr().err


def test_the_vaes_shift_and_scale_become_the_codecs_or_are_said(
    reference, write_published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = dict(reference.tensors)
    tensors["obs_encoder.vae.scale"] = torch.full((1, 4, 1, 1), 5.0)
    path = write_published(tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "a", *SAID) == 0
    assert load_checkpoint(tmp_path / "a").config.codec.divisor == 5.0
    said = capsys.readouterr().err
    assert "left out; its tensors have the names and shapes of SDXL's" in said
    tensors["obs_encoder.vae.shift"] = torch.tensor([0.0, 1.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    del tensors["obs_encoder.vae.vae.quant_conv.bias"]
    path = write_published(tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "b", *SAID) == 0
    said = capsys.readouterr().err
    assert "shifted by [0.0, 1.0, 0.0, 0.0]" in said
    assert "1 tensors differ, the first is quant_conv.bias" in said


@torch.inference_mode()
@pytest.mark.parametrize("robot", ["derived", "in another order"])
@pytest.mark.parametrize("order", ["step", "stream"])
def test_state_reaches_the_columns_that_were_trained_with_it(
    order: str, robot: str, reference, write_published, tmp_path: Path
) -> None:
    """Streams of 1 and 2 numbers, two steps; the oracle multiplies as the file's order says."""
    images, steps, generator = 128, 2, torch.Generator().manual_seed(1)
    tensors = dict(reference.tensors)
    for name, weight in reference.tensors.items():
        if name.endswith("adaLN_modulation.1.weight"):
            extra = torch.randn(len(weight), steps * 3, generator=generator)
            parts = [weight[:, :images], extra, weight[:, images:]]
            tensors[name] = torch.cat(parts, dim=1)
    scalings = {"tool": (np.ones(2), np.zeros(2)), "hand": (np.full(1, 2.0), np.full(1, 0.5))}
    path = write_published(tensors, (SCALE, OFFSET), scalings)
    words = [*SAID, "--state-order", order]
    assert uwm(path, "-o", tmp_path / "first", *words) == 0
    folder, keys = tmp_path / "first", ["hand", "tool"]
    if robot != "derived":
        first = load_checkpoint(folder).embodiment
        keys.reverse()
        turned = dataclasses.replace(first, state={key: first.state[key] for key in keys})
        (tmp_path / "turned.yaml").write_text(turned.to_yaml())
        folder = tmp_path / "second"
        words = ["--heads", "4", *PIXELS[3:], "--state-order", order]
        assert uwm(path, "-o", folder, "-e", tmp_path / "turned.yaml", *words) == 0
    checkpoint = load_checkpoint(folder)
    model, state = checkpoint.build(), checkpoint.normalizer.state
    hand, tool = torch.randn(2, steps, 1), torch.randn(2, steps, 2)
    ours = torch.cat([{"hand": hand, "tool": tool}[key] for key in keys], dim=-1)
    theirs = (
        torch.cat([hand.flatten(1), tool.flatten(1)], dim=1)
        if order == "stream"
        else torch.cat([hand, tool], dim=-1).flatten(1)
    )
    told = torch.cat([reference.tensor("expect.obs_features"), theirs], dim=1)
    weight = tensors["noise_pred_net.head.adaLN_modulation.1.weight"]
    expected = torch.nn.functional.silu(told) @ weight[:, : told.shape[1]].T
    found = model.denoiser.of_condition(model.observe(reference.images, ours))[-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert state.invert(np.ones((1, 3)))[0, state.names.index("hand")] == 2.5


@pytest.mark.parametrize("name", ["libero", "droid"])
def test_the_published_sizes_are_read_off_their_tensors(name: str) -> None:
    manifest = json.loads(
        (Path(__file__).parents[2] / f"data/state_dict_manifest_{name}.json").read_text()
    )
    published = {key: tuple(shape) for key, (_, shape) in manifest["tensors"].items()}
    sizes = Sizes.of(sort_out(published)["model"])
    preset = PRESETS[f"published_{name}"]
    assert sizes == Sizes.of_config(preset)
    if name == "droid":
        robot = Embodiment.load("droid")
        config = config_of(sizes, Asked(preset="published_droid"), robot, preset.codec)
        assert config == fit_preset("published_droid", robot)
    with pytest.raises(CheckpointError, match=r"4 cameras and 2 steps of 768 features are 6144"):
        sizes.state_size(views=4, steps=2)


def test_a_preset_says_robot_rate_and_pixels_unless_something_else_is_said(
    reference, write_published, tmp_path: Path
) -> None:
    path = write_published(reference.tensors, (SCALE, OFFSET))
    words = ["--preset", "published_libero", "--heads", "4", *PIXELS[3:]]
    assert uwm(path, "-o", tmp_path / "ckpt", *words) == 0
    checkpoint, preset = load_checkpoint(tmp_path / "ckpt"), PRESETS["published_libero"]
    config, robot = checkpoint.config, checkpoint.embodiment
    assert (config.name, config.views) == (preset.name, preset.views)
    assert (config.heads, config.registers) == (4, 6)
    assert config.images == dataclasses.replace(preset.images, resize=(72, 72), crop=(64, 64))
    assert (robot.name, robot.rate_hz, robot.action_size) == ("libero", 20.0, 7)
    assert robot.action_names[-1] == "gripper"


@pytest.mark.slow
def test_the_vae_can_be_written_for_diffusers(reference, write_published, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    path = write_published(reference.tensors, (SCALE, OFFSET))
    assert uwm(path, "-o", tmp_path / "ckpt", *SAID, "--vae", tmp_path / "vae") == 0
    checkpoint = load_checkpoint(tmp_path / "ckpt")
    assert checkpoint.config.codec.source == str(tmp_path / "vae")
    codec = checkpoint.build().codec.load()
    assert codec.loaded
    vae = diffusers.AutoencoderKL.from_pretrained(tmp_path / "vae")
    expected = sort_out(dict(reference.tensors))["vae"]
    assert all(torch.equal(vae.state_dict()[name], value) for name, value in expected.items())
    assert vae.config.scaling_factor == checkpoint.config.codec.scaling


@pytest.mark.skipif(not TINY.is_file(), reason="the reference folder is not beside this checkout")
def test_a_file_that_others_have_written_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ("--heads", "4", "--rate", "15", "--view", "left", "--view", "wrist")
    pixels = ("--size", "64", "64")
    assert uwm(TINY, "-o", tmp_path / "x", *said, *pixels) == 2
    assert "--state-order step or stream" in capsys.readouterr().err
    assert uwm(TINY, "-o", tmp_path / "x", *said, *pixels, "--state-order", "step") == 0
    policy = Policy.load(tmp_path / "x")
    chunk = policy.act(policy.blank_observation(), seed=0)
    affine = policy.checkpoint.normalizer.action
    assert chunk.actions.shape == (16, 10)
    assert (chunk.actions >= affine.low - 1e-6).all() and (
        chunk.actions <= affine.high + 1e-6
    ).all()
    assert policy.embodiment.state_names[-1] == "gripper_position"
