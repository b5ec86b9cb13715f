# SPDX-License-Identifier: Apache-2.0
"""Laws of what happens to pixels before the networks."""

import torch

from uwm_core.config import ImageConfig
from uwm_core.model.images import Augmentation, draw_augmentation, prepare

IMAGES = torch.randint(0, 256, (3, 2, 2, 20, 24, 3), dtype=torch.uint8)  # (B, V, T, H, W, 3)


def augmentation(**given: torch.Tensor) -> Augmentation:
    nothing = {
        "corner": torch.zeros(3, 2, 2, dtype=torch.long),
        "shift": torch.zeros(3, 2, 2, dtype=torch.long),
        "colour": torch.ones(3, 2, 3),
    }
    return Augmentation(**(nothing | given))


def test_without_settings_pixels_are_only_scaled_and_turned():
    seen = prepare(IMAGES, ImageConfig(size=(20, 24)))
    assert torch.equal(seen, IMAGES.permute(0, 1, 2, 5, 3, 4) / 255)


def test_centre_crop_keeps_the_middle():
    seen = prepare(IMAGES, ImageConfig(size=(20, 24), crop=(16, 16)))
    assert torch.equal(seen, IMAGES.permute(0, 1, 2, 5, 3, 4)[..., 2:18, 4:20] / 255)


def test_resize_of_a_plain_image_is_plain():
    plain = torch.full((1, 1, 1, 20, 24, 3), 51, dtype=torch.uint8)
    seen = prepare(plain, ImageConfig(size=(20, 24), resize=(30, 30), crop=(28, 28)))
    torch.testing.assert_close(seen, torch.full((1, 1, 1, 3, 28, 28), 0.2))


def test_shift_moves_every_sample_and_view_by_its_own_and_repeats_the_edge():
    shift = torch.tensor([[[1, 0], [0, -2]], [[0, 0], [3, 3]], [[-1, 1], [0, 1]]])
    seen = prepare(IMAGES, ImageConfig(size=(20, 24), shift_px=3), augmentation(shift=shift))
    plain = IMAGES.permute(0, 1, 2, 5, 3, 4) / 255
    assert torch.equal(seen[0, 0, ..., :-1, :], plain[0, 0, ..., 1:, :])
    assert torch.equal(seen[0, 0, ..., -1, :], plain[0, 0, ..., -1, :])
    assert torch.equal(seen[0, 1, ..., 2:], plain[0, 1, ..., :-2])
    assert torch.equal(seen[1, 0], plain[1, 0])


def test_next_observation_shares_crop_and_colour_but_not_the_shift():
    config = ImageConfig(size=(20, 24), crop=(16, 16), shift_px=2, jitter=0.3)
    drawn = draw_augmentation(config, 3, 2, torch.Generator().manual_seed(1))
    unshifted = augmentation(corner=drawn.corner, colour=drawn.colour)
    assert drawn.shift.any()
    assert torch.equal(
        prepare(IMAGES, config, drawn, shifted=False), prepare(IMAGES, config, unshifted)
    )


def test_neutral_colours_change_nothing_and_any_stay_in_range():
    config = ImageConfig(size=(20, 24), jitter=0.4)
    plain = prepare(IMAGES, ImageConfig(size=(20, 24)))
    torch.testing.assert_close(prepare(IMAGES, config, augmentation()), plain)
    wild = prepare(IMAGES, config, augmentation(colour=torch.full((3, 2, 3), 1.4)))
    assert wild.min() >= 0
    assert wild.max() <= 1


def test_drawn_crops_stay_inside_and_seeds_reproduce():
    config = ImageConfig(size=(20, 24), crop=(16, 16))
    first, second = (
        draw_augmentation(config, 50, 2, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first.corner, second.corner)
    assert first.corner.amin(dim=(0, 1)).tolist() == [0, 0]
    assert first.corner.amax(dim=(0, 1)).tolist() == [4, 8]
