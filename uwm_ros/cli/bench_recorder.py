# SPDX-License-Identifier: Apache-2.0
"""``uwm bench recorder``: does the recorder lose anything, on this machine, publishers included?

Three cameras of 640x480 rgb8 at 30 Hz, joint states at 1 kHz and a gripper at 30 Hz, each numbered,
by processes of their own on a private graph. Afterwards every number is looked for in the bag.
The bag is removed; it needs 83 MB of disk for each second.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from uwm_core.data.bag import BagReader, LazyMessage
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.figures import Figure
from uwm_ros.bringup import dies_with_parent
from uwm_ros.description import RecordOptions, record_stack
from uwm_ros.operator.client import Operator
from uwm_ros.operator.flood import NUMBER
from uwm_ros.operator.private_graph import private_graph
from uwm_ros.operator.usage import cpu_s, node_pids

CAMERAS = ("front", "left", "wrist")
_IMAGES = {name: f"{name}/color/image_raw" for name in CAMERAS}
_JOINTS, _GRIPPER = "franka/joint_states", "franka_gripper/joint_states"
_NUMBER_AT = 16
_SAMPLE_S = 1.0
_SETTLE_S = 3.0
# Memory of the first part belongs to buffers that fill once.
_WARM_SHARE = 0.2
_BYTES_PER_S = 83e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the recording")
    parser.add_argument("--joint-hz", type=float, default=1000.0, help="rate of joint states")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="H W of images")
    parser.add_argument("--directory", type=Path, help="disk to record to; default: temporary")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Record, read, print; 1 if a message was lost."""
    with tempfile.TemporaryDirectory(dir=args.directory, prefix="uwm_bench_") as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < (args.seconds + 10) * _BYTES_PER_S * np.prod(args.size) / (480 * 640):
            raise UwmError(f"{folder} has {free / 1e9:.0f} GB free, too few for the bag")
        figures = list(_measure(args, folder))
    for metric, value, unit in figures:
        figure = Figure(bench="recorder", metric=metric, value=value, unit=unit)
        print(figure.to_json() if args.json else figure.to_text(), flush=True)
    return int(any(value for metric, value, _ in figures if metric.endswith("_lost")))


def bench_embodiment(joint_hz: float) -> Embodiment:
    """The bundled arm with three cameras and joint states at this rate."""
    known = Embodiment.load("fr3_sim")
    camera = known.cameras["front"]
    return dataclasses.replace(
        known,
        name="bench_recorder",
        cameras={name: dataclasses.replace(camera, topic=t) for name, t in _IMAGES.items()},
        state={
            **known.state,
            "joint_pos": dataclasses.replace(known.state["joint_pos"], rate_hz=joint_hz),
        },
    )


def _measure(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, float, str]]:
    """Every figure as metric, value, unit."""
    from uwm_ros.msg import EpisodeStatus
    from uwm_ros.srv import StartEpisode, StopEpisode

    spec = folder / "embodiment.yaml"
    spec.write_text(bench_embodiment(args.joint_hz).to_yaml(), encoding="utf-8")
    options = RecordOptions(embodiment=str(spec), directory=str(folder / "bags"))
    with private_graph(record_stack(options), folder / "log") as operator, ExitStack() as stack:
        floods = [
            stack.enter_context(_flood(name, args.size, f"{topic}@30@image"))
            for name, topic in _IMAGES.items()
        ]
        robot = (f"{_JOINTS}@{args.joint_hz:g}", f"{_GRIPPER}@30")
        floods.append(stack.enter_context(_flood("robot", args.size, *robot)))
        operator.watch("recorder/status", EpisodeStatus)
        _start_when_ready(operator, StartEpisode.Request(task="bench", role="video"))
        for flood in floods:
            _tell(flood, "count")
        pids = {"recorder": [node_pids()["recorder"]], "publishers": [f.pid for f in floods]}
        usage = _watch(pids, args.seconds, operator)
        sent = {topic: n for flood in floods for topic, n in _tell(flood, "end").items()}
        status = _arrived(operator)
        stop = StopEpisode.Request(outcome="success")
        bag = operator.call("recorder/stop", StopEpisode, stop, timeout_s=120).path
    yield from _counts(Path(bag), sent)
    yield "dropped", float(status.dropped), "count"
    yield "middleware_lost", float(sum(status.lost)), "count"
    yield from usage
    size = sum(file.stat().st_size for file in Path(bag).iterdir())
    yield "written", size / 1e6 / args.seconds, "MB/s"


@contextmanager
def _flood(name: str, size: tuple[int, int], *topics: str) -> Iterator[subprocess.Popen[str]]:
    """A publisher process for the length of a block."""
    command = [sys.executable, "-m", "uwm_ros.operator.flood", name, *topics]
    command += ["--size", *map(str, size)]
    popen = subprocess.Popen(
        [*dies_with_parent(), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield popen
    finally:
        popen.stdin.close()
        try:
            popen.wait(10)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()
        popen.stdout.close()


def _tell(flood: subprocess.Popen[str], command: str) -> dict[str, int]:
    """Give a command; what the publisher says until it is done: messages sent by topic."""
    print(command, file=flood.stdin, flush=True)
    sent = {}
    while (line := flood.stdout.readline().strip()) != "done":
        if not line:
            raise UwmError(f"a publisher ended with exit code {flood.wait()}")
        topic, number = line.split()
        sent[topic] = int(number)
    return sent


def _start_when_ready(operator: Operator, request: object) -> None:
    """Start as soon as every stream has been at its rate for a while."""
    from uwm_ros.srv import StartEpisode

    def ready() -> bool:
        status = operator.newest.get("recorder/status")
        if status is None:
            return False
        wanted = zip(status.rates_hz, status.expected_hz, status.topics, strict=True)
        ours = {f"/{topic}" for topic in (*_IMAGES.values(), _JOINTS, _GRIPPER)}
        return all(rate > 0.8 * hz for rate, hz, topic in wanted if topic in ours)

    if not operator.wait(ready, 60.0):
        raise UwmError("the streams did not reach their rates within 60 s")
    time.sleep(_SETTLE_S)
    operator.call("recorder/start", StartEpisode, request)


def _arrived(operator: Operator) -> Any:
    """The recorder's status once everything that was sent has had the time to be written."""
    time.sleep(_SETTLE_S)
    operator.wait(lambda: operator.newest["recorder/status"].queued_bytes == 0, 60.0)
    status = operator.newest["recorder/status"]
    for alarm in status.alarms:
        print(f"alarm: {alarm}", file=sys.stderr)
    return status


def _watch(
    pids: dict[str, list[int]], seconds: float, operator: Operator
) -> list[tuple[str, float, str]]:
    """Memory of the recorder and processor time of all, over the recording."""
    begin_s = time.monotonic()
    before = {who: sum(map(cpu_s, group)) for who, group in pids.items()}
    times_s, memory_mb = [], []
    queue_mb = 0.0
    while (now_s := time.monotonic() - begin_s) < seconds:
        times_s.append(now_s)
        memory_mb.append(memory_mb(pids["recorder"][0]))
        queue_mb = max(queue_mb, operator.newest["recorder/status"].queued_bytes / 1e6)
        time.sleep(_SAMPLE_S)
    took_s = time.monotonic() - begin_s
    warm = [i for i, t in enumerate(times_s) if t >= _WARM_SHARE * seconds]
    slope = np.polyfit(np.array(times_s)[warm] / 60, np.array(memory_mb)[warm], 1)[0]
    figures = [
        ("memory_start", memory_mb[warm[0]], "MB"),
        ("memory_end", memory_mb[-1], "MB"),
        ("memory_slope", float(slope), "MB/min"),
        ("queue_peak", queue_mb, "MB"),
    ]
    for who, group in pids.items():
        figures.append((f"cpu_{who}", (sum(map(cpu_s, group)) - before[who]) / took_s, "cores"))
    return figures


def _counts(bag: Path, sent: dict[str, int]) -> Iterator[tuple[str, float, str]]:
    """Look for every number in the bag; which are lost is said on the error stream."""
    found: dict[str, set[int]] = {topic: set() for topic in sent}
    with BagReader(bag) as reader:
        for topic, message, _ in reader.messages([f"/{topic}" for topic in sent]):
            text = _head(message)[_NUMBER_AT : _NUMBER_AT + NUMBER]
            if text.strip():
                found[topic[1:]].add(int(text))
    for topic, count in sent.items():
        missing = sorted(set(range(count)) - found[topic])
        if missing:
            shown = ", ".join(map(str, missing[:20]))
            print(f"{topic} lost {len(missing)} of {count}: {shown}", file=sys.stderr)
        name = topic.split("/")[0]
        yield f"{name}_sent", float(count), "count"
        yield f"{name}_received", float(count - len(missing)), "count"
        yield f"{name}_lost", float(len(missing)), "count"


def _head(message: LazyMessage) -> bytes:
    """First bytes of a message; of an image that lies plainly in the bag nothing else is read."""
    size = _NUMBER_AT + NUMBER
    if message.place is None:
        return message.raw[:size]
    with open(message.place.path, "rb", buffering=0) as file:
        file.seek(message.place.offset)
        return file.read(size)
