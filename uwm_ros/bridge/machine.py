# SPDX-License-Identifier: Apache-2.0
"""What a computer brings to a recording: disk, middleware, clock. Facts for `logic.doctor`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from uwm_ros.bridge.qos import publishers
from uwm_ros.description import DDS_PROFILE_VARIABLES
from uwm_ros.logic.doctor import MachineFacts, StreamFacts

# What Fast DDS takes by itself: less than one 480x640 colour image.
_DEFAULT_SEGMENT_BYTES = 512 * 1024
_PROBE_BYTES = 64 * 2**20


def machine_facts(
    node: Node, directory: Path, streams: Mapping[str, StreamFacts], *, probe: bool
) -> MachineFacts:
    """Look at this computer.

    Args:
        node: On the graph that is meant.
        directory: Where bags would be written.
        streams: What was seen of the streams, to be compared with.
        probe: Measure the disk too: writes 64 MiB, and removes them.
    """
    rmw = str(get_rmw_implementation_identifier())
    return MachineFacts(
        directory=str(directory),
        free_bytes=free_bytes(directory),
        write_bytes_per_s=write_speed(directory) if probe else 0.0,
        rmw=rmw,
        domain=int(node.context.get_domain_id()),
        segment_bytes=segment_bytes(os.environ) if "fastrtps" in rmw else None,
        use_sim_time=bool(node.get_parameter("use_sim_time").value),
        has_clock=bool(publishers(node, "/clock")),
        streams=streams,
    )


def free_bytes(directory: Path) -> int:
    """Bytes free where `directory` is, or would be made."""
    return shutil.disk_usage(_existing(directory)).free


def write_speed(directory: Path, size: int = _PROBE_BYTES) -> float:
    """Bytes per second that reach the disk of `directory`; 0 where nothing can be written."""
    path = _existing(directory) / f".uwm_write_speed_{os.getpid()}"
    block = os.urandom(2**20)
    try:
        begin_s = time.perf_counter()
        with path.open("wb", buffering=0) as file:
            for _ in range(size // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        return size / (time.perf_counter() - begin_s)
    except OSError:
        return 0.0
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def segment_bytes(environ: Mapping[str, str]) -> int | None:
    """Shared memory of a Fast DDS participant, as the environment asks for it; None: unknown."""
    if environ.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA"):
        return None
    for variable in DDS_PROFILE_VARIABLES:
        path = Path(environ.get(variable, ""))
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            sizes = re.findall(r"<segment_size>\s*(\d+)\s*</segment_size>", text)
            return max(map(int, sizes)) if sizes else None
    return _DEFAULT_SEGMENT_BYTES


def _existing(directory: Path) -> Path:
    absolute = directory.expanduser().resolve()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())
