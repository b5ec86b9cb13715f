# SPDX-License-Identifier: Apache-2.0
"""Laws of decoding: a picture comes back as it was put in, joints follow their names."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from uwm_core.data.messages import (
    ENCODINGS,
    header_ns,
    image_rgb,
    resize,
    stamp_ns,
    vector,
)
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError
from uwm_core.streams import Vector

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = np.repeat(RGB[..., :1], 3, axis=-1)
ALPHA = np.full((5, 7, 1), 9, np.uint8)

# What a driver would put into the message, beside what must come out.
LAID_OUT = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], -1), RGB),
    "bgra8": (np.concatenate([RGB[..., ::-1], ALPHA], -1), RGB),
    "mono8": (RGB[..., 0], GREY),
    "8UC1": (RGB[..., 0], GREY),
    "8UC3": (RGB[..., ::-1], RGB),
    "8UC4": (np.concatenate([RGB[..., ::-1], ALPHA], -1), RGB),
    "rgb16": (RGB.astype("<u2") * 256 + 77, RGB),
    "bgr16": (RGB[..., ::-1].astype("<u2") * 256 + 77, RGB),
    "mono16": (RGB[..., 0].astype("<u2") * 256 + 77, GREY),
}


def message(pixels: np.ndarray, encoding: str, pad: int = 0, /, **fields: Any) -> SimpleNamespace:
    """An Image message of any origin: rows of bytes, each followed by padding."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    padded = np.concatenate([rows, np.full((len(rows), pad), 0xEE, np.uint8)], axis=1)
    about = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "encoding": encoding,
        "is_bigendian": 0,
        "step": padded.shape[1],
        "data": padded.tobytes(),
    }
    return SimpleNamespace(**{**about, **fields})


def test_every_supported_encoding_is_tested() -> None:
    assert set(LAID_OUT) == set(ENCODINGS)


@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_a_picture_comes_back_from_every_encoding_and_step(encoding: str, pad: int) -> None:
    pixels, wanted = LAID_OUT[encoding]
    np.testing.assert_array_equal(image_rgb(message(pixels, encoding, pad)), wanted)


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "mono16"])
def test_big_endian_samples_are_read_the_other_way_round(encoding: str) -> None:
    pixels, wanted = LAID_OUT[encoding]
    msg = message(pixels.astype(">u2"), encoding, is_bigendian=1)
    np.testing.assert_array_equal(image_rgb(msg), wanted)


def test_byte_order_means_nothing_to_bytes() -> None:
    np.testing.assert_array_equal(image_rgb(message(RGB, "rgb8", is_bigendian=1)), RGB)


def test_the_last_row_may_lack_its_padding() -> None:
    msg = message(RGB, "rgb8", 4)
    msg.data = msg.data[:-4]
    np.testing.assert_array_equal(image_rgb(msg), RGB)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_compressed_pictures_are_read(bags: SimpleNamespace, kind: str) -> None:
    picture = bags.picture(3)
    found = image_rgb(bags.compressed_msg(picture, 0, kind))
    assert found.shape == picture.shape and found.dtype == np.uint8
    if kind == "PNG":
        np.testing.assert_array_equal(found, picture)


def test_jpeg_keeps_red_red(bags: SimpleNamespace) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    found = image_rgb(bags.compressed_msg(red, 0, "JPEG"))
    assert abs(found.astype(int) - red).max() <= 3


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"encoding": "bayer_rggb8"}, "encoding 'bayer_rggb8' is not supported; supported: rgb8"),
        ({"data": b"123"}, "needs 105 bytes, has 3"),
        ({"data": b""}, "has 0"),
        ({"step": 5}, "step 5"),
        ({"height": 0}, "is 0x7 pixels"),
        ({"width": 0}, "is 5x0 pixels"),
        ({"height": 10**9}, "has 105"),
    ],
)
def test_a_picture_that_does_not_fit_its_header_is_refused(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(DataError, match="image") as caught:
        image_rgb(message(RGB, "rgb8", **fields))
    assert says in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0" + b"\0" * 40])
def test_a_broken_compressed_picture_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(DataError, match="not a readable JPEG or PNG") as caught:
        image_rgb(SimpleNamespace(format="jpeg", data=data))
    assert "\n" not in str(caught.value)


def test_a_truncated_jpeg_is_refused(bags: SimpleNamespace) -> None:
    msg = bags.compressed_msg(bags.picture(1), 0, "JPEG")
    with pytest.raises(DataError):
        image_rgb(SimpleNamespace(format="jpeg", data=msg.data[: len(msg.data) // 2]))


def test_resizing_keeps_a_plain_colour_and_the_mean() -> None:
    plain = np.full((40, 60, 3), 93, np.uint8)
    np.testing.assert_array_equal(resize(plain, (17, 23)), 93)
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    small = resize(noise, (4, 4))
    # With antialiasing each small pixel is a mean of many, so the spread must shrink.
    assert small.std() < noise.std() / 4
    assert abs(small.mean() - noise.mean()) < 3


def test_resizing_gives_new_memory_even_where_nothing_changes() -> None:
    same = resize(RGB, (5, 7))
    np.testing.assert_array_equal(same, RGB)
    assert not np.shares_memory(same, RGB)


def joint_state(names: list[str], position: list[float]) -> SimpleNamespace:
    return SimpleNamespace(name=names, position=position, velocity=[], effort=[])


ARM = Vector(topic="j", rate_hz=100, names=("a", "b", "c"), unit="rad", max_age_s=1)


def test_joints_follow_names_not_message_order() -> None:
    msg = joint_state(["c", "x", "a", "b"], [3.0, 9.0, 1.0, 2.0])
    np.testing.assert_array_equal(vector(msg, ARM), np.array([1, 2, 3], np.float32))


def test_a_missing_joint_is_named() -> None:
    with pytest.raises(DataError, match=r"lacks the joints \['b'\]; it has \['a', 'c'\]"):
        vector(joint_state(["a", "c"], [1, 2]), ARM)


def test_an_empty_field_is_refused() -> None:
    with pytest.raises(DataError, match="0 entries in position for 3 names"):
        vector(joint_state(["a", "b", "c"], []), ARM)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(DataError, match="not finite"):
        vector(joint_state(["a", "b", "c"], [1, value, 2]), ARM)


def test_fingers_add_up_to_a_width(embodiment: Embodiment, bags: SimpleNamespace) -> None:
    msg = bags.joint_msg(bags.FINGERS, np.array([0.02, 0.03]), 0)
    np.testing.assert_allclose(vector(msg, embodiment.state["gripper_width"]), [0.05], rtol=1e-6)


def test_a_scale_turns_percent_into_metres(embodiment: Embodiment) -> None:
    spec = embodiment.action["gripper_width"]
    np.testing.assert_allclose(vector(SimpleNamespace(data=0.5), spec), [0.04], rtol=1e-6)


def test_the_chosen_clock_and_the_latency_decide_the_stamp(bags: SimpleNamespace) -> None:
    msg = SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=5, nanosec=7)))
    late = Vector(topic="j", rate_hz=9, names=("a",), unit="m", max_age_s=1, latency_s=0.25)
    received = Vector(topic="j", rate_hz=9, names=("a",), unit="m", max_age_s=1, clock="receive")
    assert header_ns(msg) == 5 * bags.NS + 7
    assert stamp_ns(msg, 9, late) == 5 * bags.NS + 7 - bags.NS // 4
    assert stamp_ns(msg, 9, received) == 9
