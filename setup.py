# SPDX-License-Identifier: Apache-2.0
"""The pip path: what pyproject.toml says, and the ROS messages where ROS can build them.

`CMakeLists.txt` stays the one description of the messages: this file runs it into a staging folder
and puts the result into the wheel, in the layout that ROS expects below the environment's prefix.
Where the ROS generators are missing, the wheel holds the Python code and `config/` alone, which is
all that training and conversion need. An editable install (`pip install -e .`) gets no messages;
`make` builds them into `.venv/` with the same CMakeLists.txt.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
STAGING = ROOT / "build" / f"pip-{sys.implementation.cache_tag}"
PYTHON_DIR = Path("lib", "python{}.{}".format(*sys.version_info), "site-packages")


def ros_prefixes() -> list[Path]:
    """Installations of ROS that hold the message generators; empty: no messages here."""
    named = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(":") if entry]
    prefixes = [*named, Path(sys.prefix)]
    if not any((prefix / "share" / "rosidl_default_generators").is_dir() for prefix in prefixes):
        return []
    return [prefix for prefix in prefixes if prefix.is_dir()]


def build_environment(prefixes: list[Path]) -> dict[str, str]:
    """Environment in which cmake and the generators find ROS."""
    env = dict(os.environ)
    # pip's isolated build hides the environment's packages; the generators are among them.
    for name in ("PYTHONPATH", "PYTHONNOUSERSITE"):
        env.pop(name, None)
    folders = [str(path / PYTHON_DIR) for path in prefixes if path != Path(sys.prefix)]
    if folders:
        env["PYTHONPATH"] = os.pathsep.join(folders)
    env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = os.pathsep.join(map(str, prefixes))
    # cmake finds the interpreter of the environment first, also where it is not activated.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return env


def build_messages(prefixes: list[Path]) -> Path:
    """Run CMakeLists.txt; return the prefix that it filled."""
    if shutil.which("cmake") is None:
        raise SystemExit(
            "ROS is here, so the messages are built: that needs cmake and a C++ compiler."
        )
    prefix = STAGING / "prefix"
    shutil.rmtree(STAGING, ignore_errors=True)
    env = build_environment(prefixes)
    configure = [
        "cmake",
        f"-S{ROOT}",
        f"-B{STAGING / 'cmake'}",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DBUILD_TESTING=OFF",
        f"-DCMAKE_INSTALL_PREFIX={prefix}",
        f"-DPython3_EXECUTABLE={sys.executable}",
    ]
    build = ["cmake", "--build", str(STAGING / "cmake"), "--target", "install", "--parallel", "2"]
    subprocess.run(configure, check=True, env=env)
    subprocess.run(build, check=True, env=env)
    return prefix


def data_files(root: Path, folders: list[str], below: str = "") -> list[tuple[str, list[str]]]:
    """Files of ``folders`` in ``root`` for setuptools: (folder below the prefix, files)."""
    found = []
    for folder in folders:
        for path, _, names in os.walk(root / folder):
            files = sorted(os.path.join(path, name) for name in names if not name.endswith(".pyc"))
            if files and "__pycache__" not in path:
                found.append((os.path.join(below, os.path.relpath(path, root)), files))
    return found


class UwmDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return bool(ros_prefixes())


class BuildPython(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        share = data_files(ROOT, ["config", "launch"], os.path.join("share", "uwm_ros"))
        if prefixes := ros_prefixes():
            prefix = build_messages(prefixes)
            generated = prefix / PYTHON_DIR / "uwm_ros"
            for path in [*generated.glob("msg"), *generated.glob("srv"), *generated.glob("*.so")]:
                target = Path(self.build_lib, "uwm_ros", path.name)
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                copy(path, target)
            share = data_files(prefix, ["share", "lib"])
            share = [entry for entry in share if not entry[0].startswith(str(PYTHON_DIR))]
        self.distribution.data_files.extend(share)


setup(distclass=UwmDistribution, cmdclass={"build_py": BuildPython}, data_files=[])
