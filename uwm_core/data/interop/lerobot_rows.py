# SPDX-License-Identifier: Apache-2.0
"""Where the episodes of a LeRobot data set lie, and reading their rows.

Only the row groups that hold an episode are read, and of those only the columns asked for.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from uwm_core.data.interop import lerobot_format as fmt
from uwm_core.data.interop.source import needs, one_line, readable
from uwm_core.errors import DataError


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one episode lies.

    Attributes:
        number: Its ``episode_index``.
        length: Its rows.
        data: The Parquet file that holds them, among others'.
        videos: By feature, the video file and the second at which its pictures begin.
    """

    number: int
    length: int
    data: Path
    videos: dict[str, tuple[Path, float]]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that must be there.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: must be a JSON object")
    return content


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from None


def places(root: Path, info: dict[str, Any]) -> list[Place]:
    """Where every episode lies, in the order of their numbers.

    Args:
        root: Folder of the data set.
        info: Its ``info.json``.

    Raises:
        DataError: If what describes the episodes cannot be read.
    """
    videos = [key for key, spec in info["features"].items() if spec["dtype"] == "video"]
    old = not str(info["codebase_version"]).startswith("v3")
    rows = _json_lines(root / "meta/episodes.jsonl") if old else _episode_rows(root)
    found = []
    try:
        for row in sorted(rows, key=lambda row: int(row["episode_index"])):
            number = int(row["episode_index"])
            # Version 2.1 has a file per episode, 3.0 says which file it is.
            chunk = {"episode_index": number, "episode_chunk": number // info["chunks_size"]}
            where = {} if old else _file(row, "data")
            paths = {}
            for key in videos:
                place = {} if old else _file(row, f"videos/{key}")
                path = root / info["video_path"].format(video_key=key, **chunk, **place)
                paths[key] = (path, 0.0 if old else float(row[f"videos/{key}/from_timestamp"]))
            data = root / info["data_path"].format(**chunk, **where)
            found.append(Place(number, int(row["length"]), data, paths))
    except (KeyError, TypeError) as error:
        raise DataError(f"{root}: lacks {one_line(error)} in what describes its episodes") from None
    return found


def _file(row: dict[str, Any], kind: str) -> dict[str, int]:
    return {key: int(row[f"{kind}/{key}"]) for key in ("chunk_index", "file_index")}


def _episode_rows(root: Path) -> Iterator[dict[str, Any]]:
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise DataError(f"{root}: has no meta/episodes/chunk-000/file-000.parquet")
    for path in files:
        file = _parquet(path)
        names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
        with readable(str(path)):
            rows = file.read(columns=names).to_pylist()
        yield from rows


def load_tasks(root: Path) -> dict[int, str]:
    """Task sentences by number.

    Raises:
        DataError: If they cannot be read.
    """
    if (root / fmt.TASKS).is_file():
        with readable(str(root / fmt.TASKS)):
            rows = _parquet(root / fmt.TASKS).read().to_pylist()
            # Written by pandas, whose index has this name if it has none of its own.
            sentences = (row.get("task", row.get("__index_level_0__")) for row in rows)
            return dict(zip((row["task_index"] for row in rows), sentences, strict=True))
    with readable(str(root / "meta/tasks.jsonl")):
        lines = _json_lines(root / "meta/tasks.jsonl")
        return {row["task_index"]: row["task"] for row in lines}


def _parquet(path: Path) -> Any:
    with readable(str(path)):
        return needs("pyarrow.parquet").ParquetFile(path)


def read_rows(place: Place, columns: Sequence[str]) -> Any:
    """Columns of one episode, in order.

    Args:
        place: Where it lies.
        columns: Their names.

    Returns:
        A pyarrow table of ``place.length`` rows.

    Raises:
        DataError: If the file cannot be read, or does not hold the episode as described.
    """
    file = _parquet(place.data)
    if missing := sorted(set(columns) - set(file.schema_arrow.names)):
        raise DataError(f"{place.data}: has no column {missing[0]!r}")
    compute: Any = needs("pyarrow.compute")
    wanted = list(dict.fromkeys([*columns, "episode_index", "frame_index"]))
    with readable(str(place.data)):
        table = file.read_row_groups(_groups(file, place.number), columns=wanted)
        table = table.filter(compute.equal(table["episode_index"], place.number))
    frames = table["frame_index"].to_numpy()
    if not np.array_equal(frames, np.arange(place.length)):
        raise DataError(
            f"{place.data}: episode {place.number} has {len(frames)} rows, in order: "
            f"{bool((np.diff(frames) == 1).all())}; described are {place.length}"
        )
    return table


def _groups(file: Any, number: int) -> list[int]:
    """Row groups that may hold rows of an episode."""
    found = []
    for group in range(file.metadata.num_row_groups):
        part = file.metadata.row_group(group)
        columns = [part.column(i) for i in range(part.num_columns)]
        of = next(c.statistics for c in columns if c.path_in_schema == "episode_index")
        if of is None or not of.has_min_max or of.min <= number <= of.max:
            found.append(group)
    return found


def numbers(table: Any, name: str) -> npt.NDArray[Any]:
    """A column of numbers or of vectors: (n, D).

    Raises:
        DataError: If its vectors differ in length.
    """
    column = table[name].combine_chunks()
    flat = column.flatten() if hasattr(column.type, "value_type") else column
    values: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    if len(table) == 0 or len(values) % len(table):
        raise DataError(f"{name} has {len(values)} numbers in {len(table)} rows")
    return values.reshape(len(table), -1)


def picture(cell: dict[str, Any], root: Path) -> npt.NDArray[np.uint8]:
    """A picture that lies in a row, or beside the rows in a file of its own.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        file = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else root / cell["path"]
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, TypeError, Image.DecompressionBombError) as error:
        raise DataError(f"a picture cannot be read: {one_line(error)}") from None
