# SPDX-License-Identifier: Apache-2.0
"""Law of a policy on another machine: cut off it holds, back again it goes on.

Two network namespaces with a wire between them, on which nothing else is; needs root and `ip`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MARK = os.getpid()
ROBOT, REMOTE = f"uwm_robot_{MARK}", f"uwm_remote_{MARK}"
WIRES = (f"uwr{MARK}", f"uwp{MARK}")
# By the stamps; the cut itself and the switch of a busy machine take their part.
REACTION_S = 0.25


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


@pytest.fixture
def wire():
    """Two namespaces and a wire."""
    if shutil.which("ip") is None or ip("netns", "add", ROBOT, check=False).returncode:
        pytest.skip("network namespaces need `ip` and root")
    try:
        ip("netns", "add", REMOTE)
        ip(
            "link",
            "add",
            WIRES[0],
            "netns",
            ROBOT,
            "type",
            "veth",
            "peer",
            WIRES[1],
            "netns",
            REMOTE,
        )
        for name, end, address in ((ROBOT, WIRES[0], "10.77.0.1"), (REMOTE, WIRES[1], "10.77.0.2")):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", end, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in (ROBOT, REMOTE):
            ip("netns", "delete", name, check=False)


def test_a_policy_that_is_cut_off_holds_and_goes_on_when_it_is_back(wire, tmp_path):
    program = [sys.executable, str(HERE / "partition.py"), REMOTE, WIRES[1], str(tmp_path)]
    profile = str(HERE / "udp_only.xml")
    environ = {
        **os.environ,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,
    }
    result = subprocess.run(
        ["ip", "netns", "exec", ROBOT, *program],
        env=environ,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    logs = "\n".join(file.read_text()[-1500:] for file in tmp_path.glob("*.log"))
    assert result.returncode == 0, f"{result.stderr}\n{logs}"
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["violations"] == []
    assert found["on_diagnostics"]
    assert found["reason"]
    assert found["reaction_s"] <= REACTION_S, found
