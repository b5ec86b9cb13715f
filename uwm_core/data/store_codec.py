# SPDX-License-Identifier: Apache-2.0
"""Lets zarr-python read the lossy images of a store: the Zarr codec ``uwm.image``.

zarr-python finds it by itself where this project is installed (entry point ``zarr.codecs``);
elsewhere importing this module is enough. Our own reading does not come through here.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, Self

import numpy as np
from zarr import registry as _registry
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer

from uwm_core.data.store_arrays import IMAGE_CODEC
from uwm_core.data.store_format import ImageCoding, ImageKind
from uwm_core.data.store_images import decode_image, encode_image


@dataclasses.dataclass(frozen=True)
class ImageCodec(ArrayBytesCodec):
    """One image (1, H, W, 3) uint8 as JPEG or JPEG XL.

    Attributes:
        kind: ``jpeg`` or ``jpegxl``.
        quality: 1 to 100.
    """

    kind: ImageKind
    quality: int

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read the array's metadata."""
        return cls(**data["configuration"])

    def to_dict(self) -> dict[str, Any]:
        """The array's metadata."""
        return {"name": IMAGE_CODEC, "configuration": dataclasses.asdict(self)}

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before."""
        raise NotImplementedError

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        def decode() -> NDBuffer:
            data = chunk_data.to_bytes()
            image = decode_image(self._coding, data, tuple(chunk_spec.shape[1:]))
            one: Any = image[np.newaxis]
            return chunk_spec.prototype.nd_buffer.from_ndarray_like(one)

        return await asyncio.to_thread(decode)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        def encode() -> Buffer:
            data = encode_image(self._coding, chunk_data.as_numpy_array()[0])
            return chunk_spec.prototype.buffer.from_bytes(data)

        return await asyncio.to_thread(encode)

    @property
    def _coding(self) -> ImageCoding:
        return ImageCoding(kind=self.kind, quality=self.quality)


_registry.register_codec(IMAGE_CODEC, ImageCodec)
