# SPDX-License-Identifier: Apache-2.0
"""Laws of the joined model: roles, modes, seeds, and the presets' sizes."""

from dataclasses import replace

import pytest
import torch

from uwm_core.batch import EXPERT, PLAY, VIDEO, Batch
from uwm_core.config import CodecConfig, DiffusionConfig, EncoderConfig, ImageConfig
from uwm_core.diffusion.modes import MODES, Pair
from uwm_core.errors import ShapeError, UnknownNameError
from uwm_core.presets import PRESETS
from uwm_core.world_model import WorldModel

TINY = replace(
    PRESETS["sim_small"],
    images=ImageConfig(size=(32, 32), shift_px=2),
    encoder=EncoderConfig(kind="conv", features=16, shared=False, width=8),
    codec=CodecConfig(kind="conv", channels=4, factor=8, width=16),
    patch=(1, 2, 2),
    width=32,
    depth=2,
    time_width=16,
)
SIZE = 4


OBJECTIVES = {
    "flow": DiffusionConfig(objective="flow", sample_steps=4),
    "flow, clean answer": DiffusionConfig(
        objective="flow", sample_steps=4, next_obs_answer="clean"
    ),
    "epsilon": DiffusionConfig(objective="epsilon", sample_steps=4),
}


@pytest.fixture(params=OBJECTIVES)
def model(request) -> WorldModel:
    torch.manual_seed(0)
    model = WorldModel(replace(TINY, diffusion=OBJECTIVES[request.param]))
    for parameter in model.denoiser.parameters():  # as after training: no zeros
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def views() -> dict[str, torch.Tensor]:
    return {v: torch.randint(0, 256, (SIZE, 1, 32, 32, 3), dtype=torch.uint8) for v in TINY.views}


def batch(role: int) -> Batch:
    torch.manual_seed(1)
    return Batch(
        images=views(),
        role=torch.full((SIZE,), role),
        state=torch.randn(SIZE, 1, 8),
        action=torch.randn(SIZE, 12, 8),
        next_latent=torch.randn(SIZE, 2, *TINY.latent_shape),
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_expert_teaches_both_modalities(model):
    losses = model.loss(batch(EXPERT), generator=seeded(), draws=3)
    assert losses.action > 0
    assert losses.next_obs > 0
    torch.testing.assert_close(losses.total, losses.action + losses.next_obs)


@pytest.mark.parametrize("role", [PLAY, VIDEO])
def test_play_and_video_never_teach_the_action_head(model, role):
    model.loss(batch(role), generator=seeded(), draws=3).total.backward()
    for parameter in model.denoiser.action_out.parameters():
        assert parameter.grad is None or not parameter.grad.any()
    assert model.denoiser.next_obs.decoder.weight.grad.any()


def test_what_a_video_row_carries_as_action_is_never_read(model):
    sample = batch(VIDEO)
    losses = [model.loss(sample, generator=seeded()).total]
    for action in (torch.full_like(sample.action, torch.nan), None):
        sample.action = action
        losses.append(model.loss(sample, generator=seeded()).total)
    assert losses[0] == losses[1] == losses[2]


def test_the_action_of_a_play_row_reaches_the_network_clean(model):
    first, second = batch(PLAY), batch(PLAY)
    second.action = first.action + 1
    a, b = (model.loss(x, generator=seeded()).next_obs for x in (first, second))
    assert a != b


def test_actions_are_demanded_of_experts(model):
    sample = batch(EXPERT)
    sample.action = None
    with pytest.raises(ShapeError, match="all of role video"):
        model.loss(sample)


def test_loss_is_the_same_for_the_same_seed_and_changes_no_argument(model):
    sample = batch(EXPERT)
    before = sample.action.clone(), sample.next_latent.clone(), sample.state.clone()
    first, second = (model.loss(sample, generator=seeded(5), draws=2).total for _ in range(2))
    assert first == second
    after = sample.action, sample.next_latent, sample.state
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_next_images_and_their_latents_give_the_same_loss(model):
    model.eval()
    sample = batch(EXPERT)
    sample.next_latent, sample.next_images = None, views()
    from_images = model.loss(sample, generator=seeded()).total
    sample.next_latent, sample.next_images = model.encode(sample.next_images), None
    torch.testing.assert_close(model.loss(sample, generator=seeded()).total, from_images)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_answers_what_it_is_asked_and_keeps_what_is_given(model, mode):
    model.eval()
    sample = batch(EXPERT)
    roles = MODES[mode].roles
    known = {"action": sample.action, "next_latent": sample.next_latent}
    given = {
        k: v for (k, v), role in zip(known.items(), roles, strict=True) if role.value == "given"
    }
    before = {k: v.clone() for k, v in given.items()}
    answer, again, other = (
        model.sample(sample.images, sample.state, mode, generator=seeded(seed), **given)
        for seed in (0, 0, 1)
    )
    for (name, value), role in zip(known.items(), roles, strict=True):
        got = getattr(answer, name)
        if role.value == "noise":
            assert got is None
        elif role.value == "given":
            assert torch.equal(got, before[name])
        else:
            assert got.shape == value.shape
            assert torch.equal(got, getattr(again, name))
            assert not torch.equal(got, getattr(other, name))


@pytest.mark.parametrize("mode", ["policy", "joint", "forward_dynamics"])
def test_first_noises_are_not_written_to(model, mode):
    model.eval()
    sample = batch(EXPERT)
    noise = {"action_noise": torch.randn_like(sample.action)}
    noise["next_noise"] = torch.randn_like(sample.next_latent)
    before = {k: v.clone() for k, v in noise.items()}
    given = {"action": sample.action} if mode == "forward_dynamics" else {}
    model.sample(sample.images, sample.state, mode, **noise, **given)
    assert all(torch.equal(before[k], noise[k]) for k in noise)


def test_sampling_is_the_plain_loop_of_whole_answers(model):
    """The walk with everything computed anew in every step gives the same chunk."""
    model.eval()
    sample, schedule = batch(EXPERT), model.schedule
    action, other = torch.randn(SIZE, 12, 8), torch.randn(SIZE, 2, *TINY.latent_shape)
    ours = model.sample(
        sample.images, sample.state, "policy", steps=5, action_noise=action, next_noise=other
    ).action
    with torch.no_grad():
        condition = model.observe(sample.images, sample.state)
        times = schedule.walk(5)
        for index in range(5):
            now = times[index].expand(SIZE), times[0].expand(SIZE)
            answer = model.answer(Pair(action, other), Pair(*now), condition)
            action = schedule.step(action, answer[0], times, index)
    torch.testing.assert_close(ours, action, atol=2e-5, rtol=0)


@pytest.mark.parametrize("model", ["flow, clean answer"], indirect=True)
def test_one_step_of_a_clean_answer_is_the_answer(model):
    """From pure noise in one step, the walk ends where the network says the end is."""
    model.eval()
    sample = batch(EXPERT)
    noise = torch.randn(SIZE, 2, *TINY.latent_shape)
    end = model.sample(
        sample.images,
        sample.state,
        "forward_dynamics",
        action=sample.action,
        steps=1,
        next_noise=noise,
    ).next_latent
    with torch.no_grad():
        condition = model.observe(sample.images, sample.state)
        times = Pair(torch.zeros(SIZE), torch.ones(SIZE))
        answer = model.answer(Pair(sample.action, noise), times, condition)
    torch.testing.assert_close(end, answer.next_obs, atol=1e-5, rtol=0)


def test_a_missing_or_superfluous_modality_is_named(model):
    sample = batch(EXPERT)
    with pytest.raises(ShapeError, match="needs action"):
        model.sample(sample.images, sample.state, "forward_dynamics")
    with pytest.raises(ShapeError, match="takes no next_latent"):
        model.sample(sample.images, sample.state, "policy", next_latent=sample.next_latent)
    with pytest.raises(UnknownNameError, match="policy"):
        model.sample(sample.images, sample.state, "polcy")


def test_a_missing_view_is_named(model):
    sample = batch(EXPERT)
    del sample.images["wrist"]
    with pytest.raises(ShapeError, match=r"\['front', 'wrist'\], got \['front'\]"):
        model.sample(sample.images, sample.state, "policy")


def test_decoded_images_have_the_form_of_observed_ones(model):
    model.eval()
    images = views()
    rebuilt = model.decode(model.encode(images))
    assert {k: (v.shape, v.dtype) for k, v in rebuilt.items()} == {
        k: (v.shape, v.dtype) for k, v in images.items()
    }


def millions(module: torch.nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


def test_presets_have_the_published_sizes():
    with torch.device("meta"):
        libero, droid, small = (
            WorldModel(PRESETS[name])
            for name in ("published_libero", "published_droid", "sim_small")
        )
    assert millions(libero.denoiser) == pytest.approx(297.589639)
    assert millions(droid.denoiser) == pytest.approx(384.915082)
    assert millions(libero.observer) == pytest.approx(11.570496)
    assert millions(small.denoiser) + millions(small.observer) < 3


def test_lean_presets_have_less_than_half_of_the_parameters_and_tokens_as_wide():
    for full, lean in (("published_libero", "lean_libero"), ("published_droid", "lean_droid")):
        with torch.device("meta"):
            wide, narrow = WorldModel(PRESETS[full]), WorldModel(PRESETS[lean])
        of = [millions(m.denoiser) + millions(m.observer) for m in (wide, narrow)]
        assert of[1] <= 0.45 * of[0]
        assert PRESETS[lean].width == PRESETS[full].width
        # Saved at the condition and the times alone.
        reads = [sum(map(millions, m.denoiser._modulations())) for m in (wide, narrow)]
        assert reads[0] - reads[1] > 0.99 * (of[0] - of[1])
