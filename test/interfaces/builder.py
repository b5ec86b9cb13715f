# SPDX-License-Identifier: Apache-2.0
"""Builds the interface packages of this folder once per machine, and makes them importable."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("franka_msgs", "control_msgs")


def provide() -> str:
    """Make `franka_msgs` and `control_msgs` importable; why that failed, or empty.

    Packages that are installed are taken as they are. In a child process the variables that
    `environment` gives do the same.
    """
    if all(_importable(package) for package in PACKAGES):
        return ""
    if not (shutil.which("cmake") and shutil.which("c++")):
        return "needs cmake and a C++ compiler to build test/interfaces"
    prefix = _prefix()
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with open(prefix.parent / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (prefix / "done").exists():
                _build(prefix)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"test/interfaces could not be built: {error}"
    _enter(prefix)
    return ""


def environment() -> dict[str, str]:
    """Variables with which a child process finds them; empty where they are installed."""
    prefix = _prefix()
    if not (prefix / "done").exists():
        return {}
    paths = {
        "PYTHONPATH": str(_modules(prefix)),
        "LD_LIBRARY_PATH": str(prefix / "lib"),
        "AMENT_PREFIX_PATH": str(prefix),
    }
    return {k: f"{v}:{os.environ[k]}" if os.environ.get(k) else v for k, v in paths.items()}


def _importable(package: str) -> bool:
    try:
        module = importlib.import_module(f"{package}.action")
    except ImportError:
        return False
    return module.__file__ is not None  # a bare folder of that name is no package


def _prefix() -> Path:
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            digest.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return Path(sys.prefix, "test_interfaces", digest.hexdigest()[:12])


def _modules(prefix: Path) -> Path:
    return prefix / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _build(prefix: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    env["PATH"] = f"{Path(sys.prefix, 'bin')}:{env['PATH']}"
    env.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    env.setdefault("CMAKE_PREFIX_PATH", sys.prefix)
    log = prefix.parent / "build.log"
    for package in PACKAGES:
        folder = prefix.parent / "build" / package
        shutil.rmtree(folder, ignore_errors=True)
        configure = ["cmake", "-S", str(HERE / package), "-B", str(folder)]
        configure += [f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_BUILD_TYPE=None"]
        configure += [f"-DCMAKE_INSTALL_RPATH={prefix / 'lib'}", "-DBUILD_TESTING=OFF"]
        configure += [f"-DPython3_EXECUTABLE={sys.executable}"]
        with log.open("w") as out:
            install = ["cmake", "--build", str(folder), "--target", "install", "--parallel", "2"]
            for command in (configure, install):
                subprocess.run(command, env=env, stdout=out, stderr=out, check=True)
        shutil.rmtree(folder)
    (prefix / "done").touch()


def _enter(prefix: Path) -> None:
    sys.path.insert(0, str(_modules(prefix)))
    importlib.invalidate_caches()
    # The loader read its search path when this process began; what is loaded it finds by name.
    waiting = sorted(prefix.glob("lib/*.so"))
    for _ in range(3):
        failed = []
        for library in waiting:
            try:
                ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
            except OSError:
                failed.append(library)
        waiting = failed
    for package in PACKAGES:
        importlib.import_module(f"{package}.action")
