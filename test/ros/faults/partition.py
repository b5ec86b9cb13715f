# SPDX-License-Identifier: Apache-2.0
"""A drive whose policy is on another machine that is cut off and comes back; a program.

Run inside the namespace ROBOT; the policy is started in the namespace REMOTE, whose interface LINK
is taken down and up again. Prints one JSON object: what the executor did meanwhile.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_ros.bridge.clock import to_ns
from uwm_ros.description import PolicyOptions
from uwm_ros.operator.attempt import AttemptRunner
from uwm_ros.operator.client import GraphError, operator_on_graph
from uwm_ros.operator.node_process import NodeProcess
from uwm_ros.operator.witness import Witness

CUT_S = 2.0
DRIVEN_S = 1.0


def main(remote, link, folder):
    """Drive, cut, heal; returns what happened."""
    options = PolicyOptions()
    with ExitStack() as stack:
        small = {"image_height": 96, "image_width": 96}
        for process, prefix in (
            (options.process("sim_robot", **small), ()),
            (options.process("executor"), ()),
            (options.process("policy", autostart=True), ("ip", "netns", "exec", remote)),
        ):
            stack.enter_context(NodeProcess(process, Path(folder), prefix=prefix))
        operator = stack.enter_context(operator_on_graph())
        witness = Witness(operator, Embodiment.load("fr3_sim"))
        AttemptRunner(operator).wait_until_ready()
        must(operator, lambda: runs(operator), "a start")
        must(operator, lambda: witness.state == "running", "running")
        operator.wait(lambda: False, DRIVEN_S)
        return cut(operator, witness, ["ip", "-n", remote, "link", "set", link])


def runs(operator):
    """Whether the executor could be started."""
    try:
        operator.call("executor/run", Trigger)
    except GraphError:
        return False
    return True


def cut(operator, witness, link):
    """Cut the network for a while and look."""
    since_ns = witness.now_ns()
    subprocess.run([*link, "down"], check=True)
    must(operator, lambda: witness.first(("holding",), since_ns), "a hold")
    status = witness.first(("holding",), since_ns)
    operator.wait(lambda: False, CUT_S)
    said = [entry.message for entry in witness.said if entry.node.endswith("executor")]
    resumed_ns = witness.now_ns()
    subprocess.run([*link, "up"], check=True)
    must(operator, lambda: witness.first(("running",), resumed_ns), "running again")
    return {
        "reaction_s": (to_ns(status.header.stamp) - since_ns) / 1e9,
        "reason": status.reason,
        "on_diagnostics": status.reason in said,
        "violations": [violation.text for violation in witness.violations()],
    }


def must(operator, condition, what):
    """Wait until a condition holds; end with its name if it never does."""
    if not operator.wait(condition, 40.0):
        raise SystemExit(f"waited 40 s for {what}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
