# SPDX-License-Identifier: Apache-2.0
"""Two arms side by side: ros2 launch uwm_ros arms.launch.py; -s lists the arguments."""

from launch import LaunchDescription

from uwm_ros.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    return launch_description("arms")
