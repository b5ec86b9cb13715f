# SPDX-License-Identifier: Apache-2.0
"""Environment variables that every process of ours needs. No ROS import."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from uwm_core.resources import config_path

DDS_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# The first rclpy (Kilted's) whose Fast DDS reads the first name, and warns of the second.
NEW_NAME_SINCE = 9


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables that every process of ours needs beside ``environ`` (None: this process's own).

    The DDS profile for large images, unless the user has named one, and this Python's own prefix
    among the ROS prefixes, which an environment made by pip never has.
    """
    environ = os.environ if environ is None else environ
    needed = {}
    if not any(environ.get(name) for name in DDS_PROFILE_VARIABLES):
        needed[dds_profile_variable(_rclpy_version())] = str(config_path("dds", "large_images.xml"))
    prefixes = [entry for entry in environ.get("AMENT_PREFIX_PATH", "").split(":") if entry]
    own = sys.prefix
    if own not in prefixes and Path(own, "share", "ament_index").is_dir():
        needed["AMENT_PREFIX_PATH"] = ":".join([*prefixes, own])
    return needed


def dds_profile_variable(rclpy_version: str) -> str:
    """Variable by which this ROS names its Fast DDS profile; "" for an unknown version."""
    major = rclpy_version.partition(".")[0]
    old = major.isdigit() and int(major) < NEW_NAME_SINCE
    return DDS_PROFILE_VARIABLES[old]


def _rclpy_version() -> str:
    """Version of the installed rclpy, read without importing it."""
    try:
        return metadata.version("rclpy")
    except metadata.PackageNotFoundError:
        return ""
