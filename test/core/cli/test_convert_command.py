# SPDX-License-Identifier: Apache-2.0
"""Laws of `uwm convert` and `uwm inspect`: no ROS, no torch, one line and exit code 2."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from uwm_core.cli.main import main

ROOT = Path(__file__).parents[3]

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "rclpy", "uwm_ros", "launch", "mujoco", "diffusers"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
from uwm_core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def uwm(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command where neither ROS nor torch can be imported."""
    command = [sys.executable, "-c", BLOCK, *map(str, args)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, cwd=ROOT
    )


def test_the_command_converts_and_inspects_without_ros_and_torch(
    good_bag: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s.zarr"
    done = uwm("convert", good_bag, "-o", store)
    assert done.returncode == 0, done.stderr
    assert "1 episodes, 20 steps from 1 bags" in done.stdout
    assert "MB/s" in done.stdout and "times real time" in done.stdout
    shown = uwm("inspect", store, "--sheet", tmp_path / "sheet.png")
    assert shown.returncode == 0, shown.stderr
    assert "1 x expert, success" in shown.stdout and "lift the cube" in shown.stdout
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_says_one_line_and_exits_with_two(
    bags: SimpleNamespace, good_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in bags.streams(0.5) if "front" not in row.topic]
    missing = bags.write_bag(tmp_path / "missing", rows)
    empty = tmp_path / "empty"
    empty.mkdir()
    truncated = bags.write_bag(tmp_path / "cut", bags.streams(0.5))
    file = truncated / "cut.mcap"
    file.write_bytes(file.read_bytes()[:100_000])
    before = sorted(p.name for p in tmp_path.iterdir())

    def refused(code: int, stderr: str, name: Path) -> None:
        assert code == 2, stderr
        assert len(stderr.strip().splitlines()) == 1, stderr
        assert stderr.startswith("uwm: ") and str(name) in stderr
        assert sorted(p.name for p in tmp_path.iterdir()) == before

    done = uwm("convert", missing, good_bag, "-o", tmp_path / "s.zarr", "--quiet")
    refused(done.returncode, done.stderr, missing)
    for bag in (missing, empty, truncated, tmp_path / "nowhere"):
        code = main(["convert", str(bag), str(good_bag), "-o", str(tmp_path / "s.zarr"), "-q"])
        refused(code, capsys.readouterr().err, bag)
    refused(main(["inspect", str(empty)]), capsys.readouterr().err, empty)
