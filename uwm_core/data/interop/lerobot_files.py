# SPDX-License-Identifier: Apache-2.0
"""The growing files of a LeRobot data set: rows in Parquet and pictures in mp4, many episodes each.

An episode lies in one file of each kind. A file that would grow beyond its limit is closed and the
next is begun; a folder that is full likewise.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from uwm_core.data.interop import lerobot_format as fmt
from uwm_core.data.interop.source import needs
from uwm_core.data.interop.video import KEY_FRAME_EVERY, VideoCoding, VideoWriter

MB = 1 << 20


class _Place:
    """Which file is being written."""

    def __init__(self, chunk_files: int) -> None:
        self._chunk_files = chunk_files
        self._number = 0

    def next(self) -> None:
        self._number += 1

    @property
    def index(self) -> dict[str, int]:
        chunk, file = divmod(self._number, self._chunk_files)
        return {"chunk_index": chunk, "file_index": file}


def _full(size_bytes: int, rows: int, coming: int, limit_mb: int) -> bool:
    """Whether ``coming`` rows like those before would lead beyond the limit."""
    return rows > 0 and size_bytes + size_bytes / rows * coming >= limit_mb * MB


class DataFiles:
    """Rows in Parquet, one row group per episode.

    Args:
        root: Folder of the data set.
        features: As ``info.json`` has them.
        limit_mb: Size of a file.
        chunk_files: Files per folder.
    """

    def __init__(
        self, root: Path, features: dict[str, dict[str, Any]], limit_mb: int, chunk_files: int
    ) -> None:
        self._pa: Any = needs("pyarrow")
        self._parquet: Any = needs("pyarrow.parquet")
        self._root = root
        self._limit_mb = limit_mb
        self._place = _Place(chunk_files)
        self._writer: Any = None
        self._rows = 0
        fields = [(k, self._type(f)) for k, f in features.items() if f["dtype"] != "video"]
        self._schema = self._pa.schema(fields)

    def _type(self, feature: dict[str, Any]) -> Any:
        pa = self._pa
        if feature["dtype"] == "image":
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        scalar = getattr(pa, feature["dtype"])()
        (size,) = feature["shape"]
        return scalar if size == 1 else pa.list_(scalar, size)

    def add(self, columns: dict[str, npt.NDArray[Any]]) -> dict[str, int]:
        """Append an episode; returns where it went."""
        n = len(columns["index"])
        if self._writer is not None and _full(
            self._path.stat().st_size, self._rows, n, self._limit_mb
        ):
            self.close()
            self._place.next()
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._parquet.ParquetWriter(
                self._path, self._schema, compression="snappy"
            )
            self._rows = 0
        arrays = [self._array(columns[field.name], field.type) for field in self._schema]
        self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows += n
        return {f"data/{key}": value for key, value in self._place.index.items()}

    @property
    def _path(self) -> Path:
        return self._root / fmt.DATA_PATH.format(**self._place.index)

    def _array(self, values: npt.NDArray[Any], kind: Any) -> Any:
        pa = self._pa
        if values.ndim == 4:
            cells = [{"bytes": _png(image), "path": None} for image in values]
            return pa.array(cells, type=kind)
        if pa.types.is_fixed_size_list(kind):
            flat = pa.array(np.ascontiguousarray(values).reshape(-1), type=kind.value_type)
            return pa.FixedSizeListArray.from_arrays(flat, kind.list_size)
        return pa.array(values.reshape(-1), type=kind)

    def close(self) -> None:
        """Finish the file in work."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    # More effort makes pictures with camera noise a sixth smaller, in three times the time.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


class VideoFiles:
    """Pictures of one camera in mp4 files.

    Args:
        root: Folder of the data set.
        feature: Name of the camera's feature.
        size: (H, W) of its pictures.
        fps: Pictures per second.
        coding: How they are coded.
        limits: Size of a file in MB, files per folder.
    """

    def __init__(
        self,
        root: Path,
        feature: str,
        *,
        size: tuple[int, int],
        fps: int,
        coding: VideoCoding,
        limits: tuple[int, int],
    ) -> None:
        self._root = root
        self._feature = feature
        self._size = size
        self._fps = fps
        self._coding = coding
        self._limit_mb, chunk_files = limits
        self._place = _Place(chunk_files)
        self._writer: VideoWriter | None = None

    def add(self, images: npt.NDArray[np.uint8]) -> dict[str, float]:
        """Append an episode; returns where it went, and which seconds it has there."""
        writer = self._writer
        if writer and _full(writer.size_bytes, writer.frames, len(images), self._limit_mb):
            self.close()
            self._place.next()
            writer = None
        if writer is None:
            name = fmt.VIDEO_PATH.format(video_key=self._feature, **self._place.index)
            writer = VideoWriter(self._root / name, self._size, self._fps, self._coding)
            self._writer = writer
        start = writer.frames
        for image in images:
            writer.add(image)
        where = {
            **self._place.index,
            "from_timestamp": start / self._fps,
            "to_timestamp": writer.frames / self._fps,
        }
        return {f"videos/{self._feature}/{key}": value for key, value in where.items()}

    def close(self) -> None:
        """Finish the file in work."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def info(self) -> dict[str, Any]:
        """What ``info.json`` says of the video, in LeRobot's words."""
        height, width = self._size
        return {
            "video.height": height,
            "video.width": width,
            "video.codec": self._coding.codec,
            "video.pix_fmt": "yuv420p",
            "video.fps": self._fps,
            "video.channels": 3,
            "video.g": KEY_FRAME_EVERY,
            "video.crf": self._coding.crf,
            "has_audio": False,
            "is_depth_map": False,
        }


def write_table(path: Path, table: Any) -> None:
    """Write a small Parquet file of a pyarrow table, or of lists by column name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pa: Any = needs("pyarrow")
    table = pa.table(table) if isinstance(table, dict) else table
    needs("pyarrow.parquet").write_table(table, path)


def write_tasks(path: Path, tasks: list[str]) -> None:
    """Write the sentences with their numbers, so that pandas takes the sentence for the index."""
    kinds = (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    described = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy}
        for name, kind, numpy in kinds
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described}
    pa: Any = needs("pyarrow")
    table = pa.table({"task_index": list(range(len(tasks))), "task": tasks})
    write_table(path, table.replace_schema_metadata({"pandas": json.dumps(pandas)}))
