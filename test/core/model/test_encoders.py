# SPDX-License-Identifier: Apache-2.0
"""Laws of the image encoders and of the condition vector."""

from dataclasses import replace

import pytest
import torch

from uwm_core.errors import ShapeError
from uwm_core.model.encoders import SoftArgmax
from uwm_core.model.observe import Observer
from uwm_core.presets import PRESETS

SMALL = PRESETS["sim_small"]


def test_soft_argmax_finds_a_peak():
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 0, 8], maps[0, 1, 2, 4] = 1.0, 1.0
    x0, x1, y0, y1 = SoftArgmax(2)(maps)[0].tolist()
    assert (x0, y0) == pytest.approx((1, -1), abs=1e-4)
    assert (x1, y1) == pytest.approx((0, 0), abs=1e-4)


@pytest.mark.parametrize("shared", [True, False])
def test_condition_is_ordered_view_step_feature_then_state(shared):
    window = replace(SMALL.window, history=2)
    encoder = replace(SMALL.encoder, shared=shared, features=16)
    observer = Observer(replace(SMALL, window=window, encoder=encoder)).requires_grad_(False)
    images, state = torch.rand(3, 2, 2, 3, 96, 96), torch.randn(3, 2, 8)
    condition = observer(images, state)
    for v in range(2):
        for t in range(2):
            of_one = observer.encoders[0 if shared else v](images[:, v, t])
            at = (2 * v + t) * 16
            torch.testing.assert_close(condition[:, at : at + 16], of_one, atol=1e-5, rtol=0)
    assert torch.equal(condition[:, 64:], state.flatten(1))


def test_missing_or_superfluous_state_is_refused_by_name():
    images = torch.rand(1, 2, 1, 3, 96, 96)
    with pytest.raises(ShapeError, match="8 numbers of state per step, got none"):
        Observer(SMALL)(images, None)
    with pytest.raises(ShapeError, match="0 numbers of state per step, got 8"):
        Observer(replace(SMALL, state_size=0))(images, torch.rand(1, 1, 8))
