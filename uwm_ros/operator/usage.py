# SPDX-License-Identifier: Apache-2.0
"""Memory and processor time of the nodes that this process has started (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MODULE = re.compile(rb"uwm_ros\.nodes\.(\w+)")


def node_pids() -> dict[str, int]:
    """Process number by node of every child of this process that runs a node of ours."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
            parent = int(_stat(int(entry.parent.name))[1])
        except OSError:
            continue
        if parent == os.getpid() and (module := _MODULE.search(words)):
            found[module[1].decode()] = int(entry.parent.name)
    return found


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, s."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Memory that is the process' own, MB: shared segments of the middleware belong to all."""
    resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, which may hold blanks: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
