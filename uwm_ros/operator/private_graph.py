# SPDX-License-Identifier: Apache-2.0
"""A ROS graph that nothing else is on, for demos, recordings of simulated arms and benchmarks.

A demo that commands ``fr3_arm_controller/joint_trajectory`` must never reach somebody's real arm,
so it gets a domain of its own and does not speak beyond this machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from uwm_core.errors import UwmError
from uwm_ros.bringup import Bringup
from uwm_ros.description import Process, environment
from uwm_ros.operator.client import Operator, operator_on_graph

# Above 101 a domain's ports lie in Linux' range for outgoing connections, which may be taken.
_DOMAINS = range(1, 102)


@contextlib.contextmanager
def private_graph(processes: Iterable[Process], log_folder: Path) -> Iterator[Operator]:
    """Run ``processes`` on a graph of their own and sit at it as the operator.

    Args:
        processes: What to start; stopped when the block ends, whatever ended it.
        log_folder: Where each process' log goes.

    Raises:
        UwmError: a process died while the operator waited for something.
    """
    os.environ.update(free_domain())
    os.environ.update(environment())
    with (
        Bringup(processes, log_folder) as graph,
        operator_on_graph(check=graph.check) as operator,
    ):
        yield operator


def free_domain(domains: Iterable[int] = _DOMAINS) -> dict[str, str]:
    """Choose a domain whose ports nobody holds and keep discovery on this machine.

    Args:
        domains: To choose from.

    Returns:
        Environment variables for every process of the graph.

    Raises:
        UwmError: every domain is in use.
    """
    candidates = [domain for domain in domains if str(domain) != os.environ.get("ROS_DOMAIN_ID")]
    random.SystemRandom().shuffle(candidates)
    for domain in candidates:
        if _is_free(_ports(domain)):
            return {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    raise UwmError("every ROS domain that may be used is in use on this machine; stop one of them")


def _ports(domain: int) -> Iterable[int]:
    """UDP ports of a domain's first participants (RTPS: 7400 + 250 domain + 10 + 2 participant)."""
    first = 7400 + 250 * domain + 10
    return range(first, first + 8)


def _is_free(ports: Iterable[int]) -> bool:
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
