# SPDX-License-Identifier: Apache-2.0
"""Laws of the latency calibration: what was put into a bag is found, and noise is not an answer."""

import numpy as np
import pytest

from uwm_core.data.latency import calibrate, write_latencies
from uwm_core.embodiment import Embodiment
from uwm_core.errors import SpecError
from uwm_core.resources import bundled

NS = 1_000_000_000
DURATION_S = 12.0
TEXT = bundled("embodiments", ".yaml")["fr3_sim"].read_text()


def position_at(seconds):
    """Stop and go: an arm that moves between random rests, smoothly."""
    draw = np.random.default_rng(3)
    rests = np.concatenate([[0.0], draw.uniform(-1, 1, 12)])
    place = np.clip(np.asarray(seconds, float), 0, DURATION_S - 1e-6)
    index = place.astype(int)
    share = np.clip((place - index) / 0.6, 0, 1)
    return rests[index] + (rests[index + 1] - rests[index]) * (3 * share**2 - 2 * share**3)


def scene(seconds, moving=True):
    """A bright bar where the arm is."""
    column = 60 + 40 * float(position_at(seconds)) if moving else 60.0
    across = np.arange(120)
    bar = 255 * np.exp(-(((across - column) / 6) ** 2))
    return np.repeat(np.repeat(bar[None, :, None], 90, 0), 3, 2).astype(np.uint8)


@pytest.fixture
def bag(bags, tmp_path):
    """Makes a bag whose cameras are late and whose labels are early by known times."""

    def build(camera_s=0.0, lead_s=0.0, moving=True, picture=None):
        def rows():
            for message in bags.streams(DURATION_S):
                stamp = message.receive_ns
                seconds = (stamp - bags.START_NS) / NS
                if "image" in message.topic:
                    late = camera_s if "front" in message.topic else 0.0
                    pixels = picture() if picture else scene(seconds - late, moving)
                    message.msg = bags.image_msg(pixels, stamp)
                elif "joint_states" in message.topic and "gripper" not in message.topic:
                    ahead = lead_s if "gello" in message.topic else 0.0
                    angle = position_at(seconds + ahead) if moving else 0.0
                    message.msg = bags.joint_msg(bags.ARM, np.full(7, angle), stamp)
                yield message

        return bags.write_bag(tmp_path / "bag", rows(), metadata={"uwm.embodiment": TEXT})

    return build


def estimates(path):
    return {estimate.key: estimate for estimate in calibrate(path)[1]}


@pytest.mark.parametrize("camera_s", [0.0, 0.035, 0.12])
def test_a_late_camera_is_found_within_half_a_picture(bag, camera_s):
    found = estimates(bag(camera_s=camera_s))
    assert found["camera/front"].lag_s == pytest.approx(camera_s, abs=0.5 / 30)
    assert found["camera/wrist"].lag_s == pytest.approx(0.0, abs=0.5 / 30)
    assert found["camera/front"].confidence > 0.5


def test_a_label_that_leads_the_arm_is_told_and_never_proposed(bag):
    found = estimates(bag(lead_s=0.08))["action/joint_target"]
    assert found.lag_s == pytest.approx(-0.08, abs=0.006)
    assert found.confidence > 0.5 and not found.proposes


def test_an_arm_at_rest_calibrates_nothing(bag):
    assert not any(estimate.proposes for estimate in estimates(bag(moving=False)).values())


def test_a_camera_that_shows_noise_is_not_guessed_at(bag):
    draw = np.random.default_rng(5)
    found = estimates(bag(picture=lambda: draw.integers(0, 256, (90, 120, 3), dtype=np.uint8)))
    for camera in ("camera/front", "camera/wrist"):
        assert found[camera].confidence < 0.5 and not found[camera].proposes


def test_what_was_found_is_written_and_everything_else_stays(bag, tmp_path):
    _, found = calibrate(bag(camera_s=0.05))
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    assert "camera/front" in write_latencies(path, found)
    wanted = {e.key: e.lag_s for e in found}
    before, after = TEXT.splitlines(), path.read_text().splitlines()
    assert [line for line in after if "latency_s" not in line] == before
    written = Embodiment.load(path)
    assert written.cameras["front"].latency_s == wanted["camera/front"]
    write_latencies(path, found)  # again: lines are replaced, not added
    assert path.read_text().splitlines() == after


def test_a_bundled_file_is_never_written(bag):
    _, found = calibrate(bag(camera_s=0.05))
    with pytest.raises(SpecError, match="ships with the project"):
        write_latencies(bundled("embodiments", ".yaml")["fr3_sim"], found)
