# SPDX-License-Identifier: Apache-2.0
"""Pictures for benchmarks of stores: the simulated arm in motion, as a real camera would see it.

A rendered picture is too easy for any coding. So surfaces get a fixed fine texture, and pixels the
noise of a sensor: shot and read noise behind a Bayer pattern, interpolated to full colour. The
camera's picture has twice the size and is then averaged down, as a conversion does. Without the
simulator a smooth moving pattern stands for the scene.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

VIEWS = ("front", "side", "wrist")
READ_NOISE = 1.2
"""Spread of a black pixel, of 255."""
SHOT_NOISE = 0.03
"""Variance per brightness, of 255: 2.3 of 255 in mid-grey, a webcam indoors."""
TEXTURE = 0.04
"""Spread of the brightness of a surface, as a share of it."""
STEPS_PER_PICTURE = 50  # physics steps of 2 ms: pictures at 10 Hz


def pictures(
    count: int, size: tuple[int, int], *, simulate: bool, seed: int = 0
) -> Iterator[dict[str, Picture]]:
    """Views of ``count`` steps: per view (H, W, 3) uint8.

    Args:
        count: Steps.
        size: Height and width.
        simulate: Whether MuJoCo renders the scene.
        seed: Of motion, texture and noise.

    Raises:
        SimulatorError: The simulator cannot draw here.
    """
    rng = np.random.default_rng(seed)
    full = (2 * size[0], 2 * size[1])
    texture = {view: _texture(full, rng) for view in VIEWS}
    clean = _rendered(count, full, rng) if simulate else _patterns(count, full)
    for step in clean:
        yield {view: _as_seen(step[view], texture[view], rng) for view in VIEWS}


def _rendered(
    count: int, size: tuple[int, int], rng: np.random.Generator
) -> Iterator[dict[str, Picture]]:
    """The arm swings about its home; the side view is the front camera's, mirrored."""
    from uwm_core.sim import fr3
    from uwm_core.sim.scene import Scene

    scene = Scene(render_size=size)
    try:
        pace = rng.uniform(0.3, 1.0, 7)  # rad/s of the swing
        reach = np.full(7, 0.25)
        for _ in range(count):
            for _ in range(STEPS_PER_PICTURE):
                time_s = scene.time_ns * 1e-9
                target = np.array(fr3.HOME_RAD) + reach * np.sin(pace * time_s)
                scene.set_joint_target(target, reach * pace * np.cos(pace * time_s))
                scene.step()
            front, wrist = scene.render("front").copy(), scene.render("wrist").copy()
            yield {"front": front, "side": front[:, ::-1], "wrist": wrist}
    finally:
        scene.close()


def _patterns(count: int, size: tuple[int, int]) -> Iterator[dict[str, Picture]]:
    """Smooth colours that drift, another direction for each view."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    for step in range(count):
        yield {
            view: np.stack(
                [
                    128 + 90 * np.sin(rows / (19 + 7 * c) + columns / (31 - 5 * c) + step / (9 + v))
                    for c in range(3)
                ],
                axis=-1,
            ).astype(np.uint8)
            for v, view in enumerate(VIEWS)
        }


def _texture(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Brightness of surfaces, mean 1: (H, W, 1); as strong at every scale as natural scenes are."""
    across = np.hypot(
        *np.meshgrid(np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1]), indexing="ij")
    )
    across[0, 0] = np.inf  # no mean
    grain = np.fft.irfft2(np.fft.rfft2(rng.normal(size=size)) / across, s=size)
    brightness: Floats = (1 + TEXTURE * grain / grain.std()).astype(np.float32)
    return brightness[..., None]


def _as_seen(picture: Picture, texture: Floats, rng: np.random.Generator) -> Picture:
    """One picture through surface, sensor and the halving of its size."""
    light = np.clip(picture * texture, 0, 255)
    spread = np.sqrt(READ_NOISE**2 + SHOT_NOISE * light)
    noise = rng.standard_normal(light.shape, np.float32) * spread
    full = np.clip(np.rint(light + _demosaiced(noise)), 0, 255)
    half = full.reshape(len(full) // 2, 2, -1, 2, 3).mean(axis=(1, 3))
    seen: Picture = np.rint(half).astype(np.uint8)
    return seen


def _demosaiced(noise: Floats) -> Floats:
    """Keep each colour where an RGGB sensor has it and interpolate linearly between: (H, W, 3)."""
    kept = np.zeros_like(noise)
    kept[0::2, 0::2, 0] = noise[0::2, 0::2, 0]
    kept[0::2, 1::2, 1] = noise[0::2, 1::2, 1]
    kept[1::2, 0::2, 1] = noise[1::2, 0::2, 1]
    kept[1::2, 1::2, 2] = noise[1::2, 1::2, 2]
    # Weights 1 2 1 along both axes; green, which has twice the pixels, has half the weight.
    out = 2 * kept + np.roll(kept, 1, 0) + np.roll(kept, -1, 0)
    out = (2 * out + np.roll(out, 1, 1) + np.roll(out, -1, 1)) / 4
    out[..., 1] /= 2
    colours: Floats = out.astype(np.float32)
    return colours
