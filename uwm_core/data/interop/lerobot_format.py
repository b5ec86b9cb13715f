# SPDX-License-Identifier: Apache-2.0
"""LeRobot's data sets, version 3.0, as they lie on disk: names, features, statistics.

``meta/info.json`` names the features; ``data/chunk-000/file-000.parquet`` has a row per step of
many episodes; ``videos/<feature>/chunk-000/file-000.mp4`` their pictures one after the other;
``meta/episodes/...parquet`` says which rows and which seconds an episode has. Nothing here reads or
writes files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EXTRA = "meta/uwm.json"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES_PATH = f"meta/episodes/{_FILE}.parquet"
DATA_PATH = f"data/{_FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{_FILE}.mp4"

IMAGES = "observation.images."
STATE = "observation.state"
ACTION = "action"
# Not LeRobot's: the moment of a step by the robot's clock.
STAMP = "stamp_ns"

# In every data set, whatever its features.
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLED_PICTURES = 100

Stats = dict[str, npt.NDArray[Any]]


def features_of(embodiment: Embodiment, *, video: bool) -> dict[str, dict[str, Any]]:
    """The features of a store, as ``info.json`` has them.

    Args:
        embodiment: Whose steps the store holds.
        video: Whether pictures go to video files or into the rows.
    """
    features: dict[str, dict[str, Any]] = {}
    for name in embodiment.camera_names:
        features[IMAGES + name] = {
            "dtype": "video" if video else "image",
            "shape": [*embodiment.cameras[name].size, 3],
            "names": ["height", "width", "channels"],
        }
    if embodiment.state:
        features[STATE] = _vector(embodiment.state_names)
    features[ACTION] = _vector(embodiment.action_names)
    features[STAMP] = {"dtype": "int64", "shape": [1], "names": None}
    for key, dtype in COUNTERS.items():
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    return features


def _vector(names: Sequence[str]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}


def vector_stats(values: npt.NDArray[Any]) -> Stats:
    """Statistics of a column or of vectors (n,) or (n, D); (1,) or (D,) each."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    return {
        "min": rows.min(0),
        "max": rows.max(0),
        "mean": rows.mean(0),
        "std": rows.std(0),
        "count": np.array([len(rows)]),
        **{key: np.quantile(rows, q, axis=0) for key, q in QUANTILES.items()},
    }


def image_stats(images: npt.NDArray[np.uint8]) -> Stats:
    """Statistics of pictures (n, H, W, 3) by channel, 0 to 1; (3, 1, 1) each.

    Pictures are sampled evenly; a channel has 256 values, so their counts say everything.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, SAMPLED_PICTURES).round().astype(int))
    picked = images[chosen].reshape(-1, 3)
    counts = np.stack([np.bincount(picked[:, c], minlength=256) for c in range(3)])  # (3, 256)
    value = np.arange(256) / 255
    share = counts / len(picked)
    mean = share @ value
    std = np.sqrt(np.maximum(share @ value**2 - mean**2, 0))
    seen = counts > 0
    reached = np.cumsum(share, 1)
    stats = {
        "min": value[seen.argmax(1)],
        "max": value[255 - seen[:, ::-1].argmax(1)],
        "mean": mean,
        "std": std,
        **{key: value[(reached >= q - 1e-12).argmax(1)] for key, q in QUANTILES.items()},
    }
    shaped: Stats = {key: per_channel.reshape(3, 1, 1) for key, per_channel in stats.items()}
    return {**shaped, "count": np.array([len(chosen)])}


def merged_stats(one: Stats, other: Stats) -> Stats:
    """Statistics of two sets together; quantiles become bounds, as LeRobot's own do."""
    n, m = int(one["count"][0]), int(other["count"][0])
    share = n / (n + m)
    mean = share * one["mean"] + (1 - share) * other["mean"]
    variance = share * (one["std"] ** 2 + (one["mean"] - mean) ** 2)
    variance += (1 - share) * (other["std"] ** 2 + (other["mean"] - mean) ** 2)
    outer = {key: np.minimum if q <= 0.5 else np.maximum for key, q in QUANTILES.items()}
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": np.array([n + m]),
        **{key: bound(one[key], other[key]) for key, bound in outer.items()},
    }
