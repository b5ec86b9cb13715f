# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: four processes on a graph of their own, then nothing.

Whether the cube is lifted is not asserted here: on a machine that cannot keep real time it may not
be, and `uwm bench drive` measures it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from uwm_core.resources import bundled

av = pytest.importorskip("av")
for needed in ("rclpy", "mujoco", "torch"):
    # Looked for, not imported: MuJoCo decides how it draws at its first import.
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

if "sim_lift" not in bundled("checkpoints"):
    pytest.skip("config/checkpoints/sim_lift is not there", allow_module_level=True)


def uwm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run one verb in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "uwm_core.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that still mention ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_demo_drives_prints_films_and_leaves_nothing(tmp_path: Path) -> None:
    result = uwm("demo", "--attempts", "1", "-o", str(tmp_path))
    # 0: lifted; 1: not lifted. Anything else is an error of ours.
    assert result.returncode in (0, 1), result.stderr
    assert "1 of 1 succeeded" in result.stdout or "0 of 1 succeeded" in result.stdout
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 15
    assert left_behind(tmp_path) == []


def test_a_checkpoint_that_is_not_there_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    result = uwm("demo", "--attempts", "1", "--checkpoint", "sim_lft", "-o", str(tmp_path))
    assert result.returncode == 2
    assert "sim_lft" in result.stderr
    assert "sim_lift" in result.stderr
    assert "Traceback" not in result.stderr
    assert left_behind(tmp_path) == []
