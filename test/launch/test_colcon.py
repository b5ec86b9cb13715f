# SPDX-License-Identifier: Apache-2.0
"""Law: `colcon build`, plain and with symlinks, gives a package that runs. Slow: minutes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.prefix, "bin")
LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", "build", "install", "log", "out", "__pycache__", "*.egg-info", ".*_cache"
)
CHECK = """
import os, sys
import uwm_core, uwm_core.resources, uwm_ros.description, uwm_ros.msg, uwm_ros.srv
prefix = os.environ["UWM_TEST_PREFIX"]
for module in (uwm_core, uwm_ros.description, uwm_ros.msg, uwm_ros.srv):
    assert module.__file__.startswith(prefix), module.__file__
message = uwm_ros.msg.ActionChunk(names=["a"], length=1, actions=[0.5])
from rclpy.serialization import deserialize_message, serialize_message
assert deserialize_message(serialize_message(message), uwm_ros.msg.ActionChunk) == message
print(uwm_core.resources.config_path("dds", "large_images.xml"))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ros,
    pytest.mark.skipif(not (BIN / "colcon").is_file(), reason="colcon is missing: make colcon"),
]


@pytest.fixture(params=[[], ["--symlink-install"]], ids=["plain", "symlink"])
def workspace(request, tmp_path):
    """A workspace with this package in src/, built."""
    shutil.copytree(ROOT, tmp_path / "src" / "uwm_ros", ignore=LEFT_OUT)
    build = ["colcon", "build", *request.param, "--event-handlers", "console_cohesion+"]
    subprocess.run(build, cwd=tmp_path, env=environment(), check=True)
    return tmp_path


def environment() -> dict[str, str]:
    """As on a machine where ROS was sourced and nothing of ours is installed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COLCON", "AMENT"))}
    env["PATH"] = f"{BIN}:{env['PATH']}"
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = sys.prefix
    # Without it colcon asks make to wait for an idle machine, which may never come.
    env["MAKEFLAGS"] = "-j2"
    return env


def in_workspace(workspace: Path, command: str) -> subprocess.CompletedProcess[str]:
    env = {**environment(), "UWM_TEST_PREFIX": str(workspace / "install")}
    line = f"source install/setup.bash && {command}"
    return subprocess.run(
        ["bash", "-c", line], cwd=workspace, env=env, capture_output=True, text=True, check=False
    )


def test_colcon_build_gives_messages_code_config_launch_files_and_programs(workspace):
    prefix = workspace / "install" / "uwm_ros"
    share = prefix / "share" / "uwm_ros"
    for stack in ("policy", "record", "sim"):
        assert (share / "launch" / f"{stack}.launch.py").is_file()
    assert (share / "config" / "embodiments" / "fr3.yaml").is_file()
    nodes = {p.stem for p in workspace.glob("src/uwm_ros/uwm_ros/nodes/[a-z]*.py")}
    programs = {p.name for p in (prefix / "lib" / "uwm_ros").iterdir() if os.access(p, os.X_OK)}
    assert programs == {*nodes, "uwm"}

    checked = in_workspace(workspace, f"python3 -c '{CHECK.replace(chr(39), chr(34))}'")
    assert checked.returncode == 0, checked.stderr
    assert Path(checked.stdout.strip()).is_file()

    refused = in_workspace(
        workspace, f"{prefix}/lib/uwm_ros/recorder --ros-args -p embodiment:=nope"
    )
    assert refused.returncode == 2, refused.stderr
    assert "unknown embodiment 'nope'" in refused.stderr
