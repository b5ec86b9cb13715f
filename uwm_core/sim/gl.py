# SPDX-License-Identifier: Apache-2.0
"""The one place that imports MuJoCo, because its OpenGL back end must be chosen before.

``MUJOCO_GL`` in the environment is obeyed. Without it, a screen's own OpenGL is never asked for:
the first of EGL and OSMesa that can really make a context is taken.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
from functools import cache
from types import ModuleType
from typing import Any

from uwm_core.errors import UwmError

_BACKENDS = ("egl", "osmesa")
_PROBE = "import mujoco; mujoco.GLContext(16, 16).free()"


class SimulatorError(UwmError):
    """The simulator cannot be imported or cannot draw on this machine."""


def _works(backend: str) -> bool:
    """Whether this back end makes a context; a failure sticks, so another process is asked."""
    environment = {**os.environ, "MUJOCO_GL": backend}
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environment, capture_output=True, check=False
    )
    return probe.returncode == 0


@cache
def load() -> ModuleType:
    """Import MuJoCo with a back end that can draw without a screen.

    Raises:
        SimulatorError: MuJoCo is not installed, or no back end works.
    """
    if importlib.util.find_spec("mujoco") is None:
        raise SimulatorError("the simulator needs MuJoCo: pip install 'uwm_ros[sim]'")
    if "mujoco" not in sys.modules and not os.environ.get("MUJOCO_GL"):
        working = next((name for name in _BACKENDS if _works(name)), None)
        if working is None:
            raise SimulatorError(
                "no OpenGL without a screen: install libosmesa6 or libegl1 (apt), "
                "or set MUJOCO_GL to a back end that works"
            )
        os.environ["MUJOCO_GL"] = working
    return importlib.import_module("mujoco")


def renderer(model: Any, size: tuple[int, int]) -> Any:
    """A MuJoCo renderer for images of ``size`` (H, W) pixels."""
    return load().Renderer(model, height=size[0], width=size[1])
