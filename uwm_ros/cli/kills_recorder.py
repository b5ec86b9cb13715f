# SPDX-License-Identifier: Apache-2.0
"""The recorder under SIGKILL: what a scenario of ``uwm bench kills`` needs.

The process that is killed is a recorder with a small robot beside it, on a graph of its own: short
episodes with numbered joint states, one after the other. A bag that was finished when the kill came
must be whole afterwards; what was cut off must be readable up to its last chunk, without a hole.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from uwm_core.data.bag import BagReader
from uwm_core.errors import DataError, UwmError

_NUMBERS = "franka/joint_states"
_EPISODE_S = 0.4
_PERIOD_S = 0.002
_PATIENCE_S = 60.0


def prepare(folder: Path, seed: int) -> None:
    """An empty folder is all that a recorder needs."""


def command(folder: Path, seed: int) -> list[str]:
    """A recorder that records until it is killed."""
    return [sys.executable, "-m", __name__, str(folder), str(seed)]


def check(folder: Path, told: list[str]) -> Iterator[str]:
    """Every finished bag is as it was told, or at least whole; every cut-off one is readable.

    Raises:
        UwmError: If a bag is lost, damaged or has a hole.
    """
    promised = dict(line.split() for line in told)
    for path in sorted(folder.iterdir()):
        count = _numbers(path, cut_off=path.suffix == ".part")
        if path.suffix == ".part":
            continue
        if promised.pop(path.name, str(count)) != str(count):
            raise UwmError(f"{path}: has {count} messages, other than was told")
        yield f"{path.name} {count}"
    if promised:
        raise UwmError(f"{folder}: lost the finished bags {', '.join(sorted(promised))}")


def _numbers(path: Path, *, cut_off: bool) -> int:
    """Count the numbered messages of a bag.

    Raises:
        UwmError: If it cannot be read, or a number is missing between two others.
    """
    try:
        with BagReader(path, recover=cut_off) as reader:
            messages = reader.messages([f"/{_NUMBERS}"])
            numbers = [round(message.position[0]) for _, message, _ in messages]
    except DataError as error:
        if cut_off and "no messages" in str(error):
            return 0  # Killed before the first chunk was written, half a second after the start.
        raise
    if numbers != list(range(numbers[0], numbers[0] + len(numbers)) if numbers else ()):
        raise UwmError(f"{path}: has a hole among {len(numbers)} messages")
    return len(numbers)


def _record(folder: Path, seed: int) -> None:
    """Record short episodes for ever; tell of each one as soon as it is finished."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter

    from uwm_ros.nodes.recorder import RecorderNode
    from uwm_ros.operator.private_graph import free_domain
    from uwm_ros.operator.small_robot import SmallRobot
    from uwm_ros.srv import StartEpisode, StopEpisode

    os.environ.update(free_domain())
    rclpy.init(args=["--ros-args", "--log-level", "error"])
    values = {"directory": str(folder), "min_free_gib": 0.0, "reserve_gib": 0.0}
    recorder = RecorderNode(parameter_overrides=[Parameter(k, value=v) for k, v in values.items()])
    robot = SmallRobot()
    executor = SingleThreadedExecutor()
    executor.add_node(recorder)
    executor.add_node(robot)

    def call(kind: type, name: str, request: object) -> object:
        client = robot.create_client(kind, f"recorder/{name}")
        future = client.call_async(request)
        executor.spin_until_future_complete(future, _PATIENCE_S)
        robot.destroy_client(client)
        return future.result()

    def publish(seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            robot.publish()
            executor.spin_once(timeout_sec=_PERIOD_S)

    publish(1.0)
    lengths = random.Random(seed)
    start = StartEpisode.Request(task="be killed")
    while not call(StartEpisode, "start", start).success:
        publish(0.1)
    print("ready", flush=True)
    while True:
        publish(lengths.uniform(0.05, _EPISODE_S))
        path = Path(call(StopEpisode, "stop", StopEpisode.Request(outcome="success")).path)
        print(f"{path.name} {_numbers(path, cut_off=False)}", flush=True)
        publish(0.02)
        call(StartEpisode, "start", start)


if __name__ == "__main__":
    _record(Path(sys.argv[1]), int(sys.argv[2]))
