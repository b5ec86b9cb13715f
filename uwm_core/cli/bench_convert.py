# SPDX-License-Identifier: Apache-2.0
"""``uwm bench convert``: speed, memory and gain by a second worker, on a bag of published sizes.

Every conversion is the command itself, in a process of its own. The peer is what one writes first:
all messages decoded by rosbags, the last image of each camera resized at each tick, one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uwm_core.cli.bench_bag import write_bench_bag
from uwm_core.data.bag import BagReader
from uwm_core.data.bag_plain import plain_messages
from uwm_core.data.convert import find_bags
from uwm_core.data.messages import NS_PER_S, picture, vector
from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.figures import Figure
from uwm_core.records import Step
from uwm_core.streams import Camera, Vector

PEER = "rosbags, every message decoded, one process"
SAMPLE_S = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("bags", nargs="*", help="bags, or folders of bags (default: makes one)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        help="length of the bag that is made (83 MB a second)",
    )
    parser.add_argument(
        "--folder", help="where to work (default: the system's for temporary files)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Convert, measure, print."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        bags = find_bags(args.bags or [write_bench_bag(folder / "bag", args.seconds)])
        for figure in measure(bags, folder):
            print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return 0


def measure(bags: list[Path], folder: Path) -> Iterator[Figure]:
    """Figures of converting bags, as they become known."""
    one, memory_one = _convert(bags, folder / "one.zarr", workers=1)
    two, memory_two = _convert(bags, folder / "two.zarr", workers=2)
    seconds = sum(bag["duration_s"] for bag in one["bags"])
    size_mb = sum(bag["bytes"] for bag in one["bags"]) / 1e6
    peer_s = _plainly(bags, folder / "plain.zarr")

    def figure(metric: str, value: float, unit: str, peer: float | None = None) -> Figure:
        name = None if peer is None else PEER
        return Figure(
            bench="convert", metric=metric, value=value, unit=unit, peer=name, peer_value=peer
        )

    one_s, two_s = one["elapsed_s"], two["elapsed_s"]
    yield figure("times_real_time", seconds / one_s, "unitless", seconds / peer_s)
    yield figure("throughput", size_mb / one_s, "MB/s", size_mb / peer_s)
    yield figure("times_real_time_2_workers", seconds / two_s, "unitless")
    yield figure("gain_2_workers", one_s / two_s, "unitless")
    yield figure("peak_memory", memory_one / 1e6, "MB")
    yield figure("peak_memory_2_workers", memory_two / 1e6, "MB")
    yield figure("recorded", seconds, "s")
    yield figure("steps", float(one["steps"]), "count")


def _convert(bags: list[Path], store: Path, workers: int) -> tuple[dict[str, Any], int]:
    """The report of ``uwm convert``, and the most memory that it and its workers held, bytes."""
    words = ["convert", *map(str, bags), "-o", str(store), "-j", str(workers), "-q", "--json", "-"]
    command = [sys.executable, "-m", "uwm_core.cli.main", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = [0]
        watch = threading.Thread(target=_watch, args=(process, peak), daemon=True)
        watch.start()
        text, _ = process.communicate()
        watch.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    report: dict[str, Any] = json.loads(text)
    return report, peak[0]


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], _resident_bytes(process.pid))
        time.sleep(SAMPLE_S)


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 for one that has just gone."""
    folder = Path("/proc") / str(pid)
    try:
        pages = int((folder / "statm").read_text().split()[1])
        children = (folder / "task" / str(pid) / "children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * 4096 + sum(_resident_bytes(int(child)) for child in children)


def _plainly(bags: list[Path], store: Path) -> float:
    """Convert without any of our means but the store; seconds that it takes."""
    begin_s = time.perf_counter()
    with BagReader(bags[0]) as reader:
        embodiment = Embodiment.parse(reader.metadata["uwm.embodiment"])
    with StoreWriter(store, embodiment) as writer:
        for bag in bags:
            for step in _plain_steps(bag, embodiment):
                writer.add(step)
            writer.end_episode(EpisodeRecord())
    return time.perf_counter() - begin_s


def _plain_steps(bag: Path, embodiment: Embodiment) -> Iterator[Step]:
    """Steps of the last value of each stream."""
    streams = embodiment.streams
    by_topic: dict[str, list[str]] = {}
    for key, stream in streams.items():
        by_topic.setdefault(f"/{stream.topic}", []).append(key)
    last: dict[str, Any] = {}
    tick = 0
    for topic, message, log_ns in plain_messages(bag):
        for key in by_topic.get(topic, ()):
            last[key] = message
        if len(last) < len(streams) or log_ns < tick:
            continue
        tick = (tick or log_ns) + round(NS_PER_S / embodiment.rate_hz)
        values = {key: _value(last[key], stream) for key, stream in streams.items()}
        yield Step(
            stamp_ns=log_ns,
            images={name: values[f"camera/{name}"] for name in embodiment.cameras},
            state={key: values[f"state/{key}"] for key in embodiment.state},
            action={key: values[f"action/{key}"] for key in embodiment.action},
        )


def _value(message: Any, stream: Camera | Vector) -> Any:
    return picture(message, stream) if isinstance(stream, Camera) else vector(message, stream)
