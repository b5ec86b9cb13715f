# SPDX-License-Identifier: Apache-2.0
"""``uwm bench kills``: end a process with SIGKILL at random moments and look at what is left.

A scenario is a module with three functions, named in ``SCENARIOS``:

``prepare(folder, seed)``
    Makes what the process works on; called again with an empty folder every few kills.
``command(folder, seed)``
    The process to start. It prints ``ready``, and one line for everything that it has promised to
    keep. It may end by itself; what it does goes on where the killed one before it stopped.
``check(folder, told)``
    Looks at what is there. Raises ``UwmError`` if something that was told is lost or changed;
    returns everything that is there now, as lines of the same kind.
"""

from __future__ import annotations

import argparse
import importlib
import io
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType

from uwm_core.errors import UwmError
from uwm_core.figures import Figure

SCENARIOS = {
    "convert": "uwm_core.cli.kills_convert",
    "recorder": "uwm_ros.cli.kills_recorder",
    "store": "uwm_core.cli.kills_store",
    "edit": "uwm_core.cli.kills_edit",
}

READY = b"ready"
KILLS_PER_FOLDER = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the benchmark's arguments."""
    parser.add_argument("--what", choices=sorted(SCENARIOS), default="store")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument(
        "--within", type=float, default=0.5, metavar="S", help="latest kill after the start"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the data")
    parser.add_argument("--json", action="store_true", help="print one JSON object per figure")


def run(args: argparse.Namespace) -> int:
    """Kill, look, print; 1 if anything was lost."""
    scenario = importlib.import_module(SCENARIOS[args.what])
    moments = random.Random(args.seed)
    kept = lost = done = 0
    begin_s = time.monotonic()
    while done < args.kills:
        with tempfile.TemporaryDirectory() as name:
            folder, told = Path(name), list[str]()
            scenario.prepare(folder, args.seed + done)
            for _ in range(min(KILLS_PER_FOLDER, args.kills - done)):
                delay_s = moments.uniform(0, args.within)
                told += kill_once(scenario, folder, args.seed + done, delay_s)
                done += 1
                try:
                    told = list(scenario.check(folder, told))
                except UwmError as error:
                    print(f"uwm: kill {done}: {error}")
                    lost += 1
                    break  # What is lost stays lost: begin anew.
            kept += len(told)
    for metric, value, unit in (
        ("kills", float(done), "count"),
        ("kept", float(kept), "count"),
        ("losses", float(lost), "count"),
        ("duration", time.monotonic() - begin_s, "s"),
    ):
        figure = Figure(bench=f"kills_{args.what}", metric=metric, value=value, unit=unit)
        print(figure.to_json() if args.json else figure.to_text())
    return 1 if lost else 0


def kill_once(scenario: ModuleType, folder: Path, seed: int, delay_s: float) -> list[str]:
    """Start the process, kill it so long after it said that it is ready; what it told till then.

    Raises:
        UwmError: If it failed by itself.
    """
    with subprocess.Popen(scenario.command(folder, seed), stdout=subprocess.PIPE) as process:
        lines = process.stdout or io.BytesIO()
        if lines.readline().strip() != READY:
            raise UwmError(f"the process ended with {process.wait()} before it could be killed")
        time.sleep(delay_s)
        process.kill()
        # A line without its end was cut by the kill: nothing was promised by it.
        told = lines.read().decode().split("\n")[:-1]
    if process.returncode not in (0, -signal.SIGKILL):
        raise UwmError(f"the process failed by itself with {process.returncode}")
    return told
