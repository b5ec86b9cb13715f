# SPDX-License-Identifier: Apache-2.0
"""A store to robomimic's HDF5: what ``robomimic`` reads back, and what robomimic trains on.

Beside the format's own, demos carry the store's stamps and record and ``data`` its embodiment, so
that the way back loses nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.interop.exporting import (
    EMBODIMENT,
    RECORD,
    Progress,
    Selection,
    record_json,
    whole_or_absent,
)
from uwm_core.data.interop.robomimic import STAMPS
from uwm_core.data.interop.source import needs
from uwm_core.data.store import Episode


def export_robomimic(
    selection: Selection, path: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> None:
    """Write one HDF5 file.

    Args:
        selection: The episodes.
        path: The file.
        overwrite: Replace a file of this name.
        progress: Called after every episode.

    Raises:
        DataError: If the file exists.
    """
    h5py = needs("h5py")
    embodiment = selection.store.embodiment
    outcomes: dict[str, list[str]] = {}
    with whole_or_absent(path, overwrite=overwrite) as part, h5py.File(part, "w") as file:
        data = file.create_group("data", track_order=True)
        # robomimic wants a number for the kind of environment; 2 is the one it presumes least of.
        env = {
            "env_name": embodiment.name,
            "type": 2,
            "env_kwargs": {"control_freq": embodiment.rate_hz},
        }
        data.attrs["env_args"] = json.dumps(env)
        data.attrs["total"] = selection.steps
        data.attrs[EMBODIMENT] = embodiment.to_yaml()
        for number, episode in enumerate(selection.episodes(progress)):
            name = f"demo_{number}"
            _demo(data.create_group(name), episode)
            outcomes.setdefault(episode.record.outcome, []).append(name)
        for outcome, names in outcomes.items():
            file.create_dataset(f"mask/{outcome}", data=np.array(names, "S"))


def _demo(group: Any, episode: Episode) -> None:
    steps = len(episode.stamp_ns)
    group.attrs["num_samples"] = steps
    group.attrs[RECORD] = record_json(episode.record)
    done = np.zeros(steps, np.int64)
    done[-1] = 1
    arrays: dict[str, npt.NDArray[Any]] = {
        **{f"obs/{name}_image": images for name, images in episode.images.items()},
        **{f"obs/{key}": vectors for key, vectors in episode.state.items()},
        "actions": episode.action,
        "dones": done,
        "rewards": done * float(episode.record.outcome == "success"),
        STAMPS: episode.stamp_ns,
    }
    for key, array in arrays.items():
        # A picture at a time, so that a loader that reads one step decompresses one picture.
        chunks = (1, *array.shape[1:]) if array.ndim == 4 else None
        packed = {"compression": "gzip", "compression_opts": 1} if chunks else {}
        group.create_dataset(key, data=array, chunks=chunks, **packed)
