# SPDX-License-Identifier: Apache-2.0
"""One image to bytes and back, in each coding of a store. Where the bytes lie is not its matter.

The codecs release the interpreter while they work, so several images may be coded in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt

from uwm_core.data.store_format import ImageCoding
from uwm_core.errors import StoreError

Image = npt.NDArray[np.uint8]

ZSTD_LEVEL = 1
"""Measured on pictures with camera noise: level 3 is 18 % smaller, at five times the time."""

JPEGXL_EFFORT = 3
FULL_COLOUR_FROM = 90
"""JPEG quality from which colour is stored at every pixel: below, its loss is not what one sees."""

# Fewer images than this are decoded faster than threads start.
MIN_FOR_THREADS = 8


def encode_image(coding: ImageCoding, image: Image) -> bytes:
    """Code one image.

    Args:
        coding: How.
        image: (H, W, 3) uint8.

    Returns:
        The same bytes for the same image.
    """
    pixels = np.ascontiguousarray(image)
    if coding.kind == "lossless":
        return bytes(_zstd().encode(pixels))
    if coding.kind == "jpeg":
        colour = "444" if coding.quality >= FULL_COLOUR_FROM else "420"
        return bytes(_imagecodecs().jpeg8_encode(pixels, coding.quality, subsampling=colour))
    return bytes(
        _imagecodecs().jpegxl_encode(pixels, coding.quality, effort=JPEGXL_EFFORT, numthreads=1)
    )


def decode_image(
    coding: ImageCoding, data: bytes | memoryview, shape: tuple[int, ...], out: Image | None = None
) -> Image:
    """The way back of ``encode_image``.

    Args:
        coding: How it was coded.
        data: The bytes.
        shape: (H, W, 3).
        out: Contiguous array of that shape to write into.

    Raises:
        StoreError: If the bytes are not such an image.
    """
    if out is None:
        out = np.empty(shape, np.uint8)
    try:
        _decode_into(coding, data, out)
    except (ValueError, RuntimeError) as error:
        raise StoreError(f"is not a {coding.kind} image of {shape}: {error}") from None
    return out


def decode_images(
    coding: ImageCoding, coded: Sequence[bytes], out: Sequence[Image], *, threads: int = 1
) -> None:
    """Decode images into as many arrays (H, W, 3); an empty one becomes black.

    Raises:
        StoreError: If some bytes are not such an image.
    """

    def row(index: int) -> None:
        if coded[index]:
            decode_image(coding, coded[index], out[index].shape, out[index])
        else:
            out[index].fill(0)

    if threads > 1 and len(coded) >= MIN_FOR_THREADS:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(row, range(len(coded))))
    else:
        for index in range(len(coded)):
            row(index)


def _decode_into(coding: ImageCoding, data: bytes | memoryview, out: Image) -> None:
    if coding.kind == "lossless":
        _zstd().decode(data, out=out)
        return
    decoders: dict[str, Callable[..., Any]] = {
        "jpeg": _imagecodecs().jpeg8_decode,
        "jpegxl": _imagecodecs().jpegxl_decode,
    }
    decoders[coding.kind](data, out=out)


@cache
def _zstd() -> Any:
    return numcodecs.Zstd(level=ZSTD_LEVEL)


@cache
def _imagecodecs() -> Any:
    # Imported when first needed: it is large, and a lossless store never needs it.
    import imagecodecs

    return imagecodecs
