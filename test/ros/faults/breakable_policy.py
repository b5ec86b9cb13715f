# SPDX-License-Identifier: Apache-2.0
"""The policy node as it is, with a model that raises or hangs while a file says so.

Run as a program: the file is named by the variable UWM_BREAK and holds ``raise`` or ``hang``. The
moment at which the model met it is written beside it, with the suffix ``.at``.
"""

import os
import sys
import time
from pathlib import Path

from uwm_ros.bridge.model import load_policy
from uwm_ros.bridge.runtime import run_node
from uwm_ros.nodes.policy import PolicyNode


class Breakable:
    """A real policy whose answers can be made to fail."""

    def __init__(self, policy):
        self._policy = policy
        self._wish = Path(os.environ["UWM_BREAK"])

    def __getattr__(self, name):
        return getattr(self._policy, name)

    def act(self, *given, **named):
        wish = self._wish.read_text() if self._wish.is_file() else ""
        if wish:
            self._wish.with_suffix(".at").write_text(str(time.time_ns()))
        if wish == "raise":
            raise RuntimeError("the model broke on request")
        while wish == "hang" and self._wish.is_file():
            time.sleep(0.01)
        return self._policy.act(*given, **named)


class BreakablePolicyNode(PolicyNode):
    """The node of that policy."""

    def __init__(self, **options):
        super().__init__(load=lambda options: Breakable(load_policy(options)), **options)


if __name__ == "__main__":
    sys.exit(run_node(BreakablePolicyNode))
