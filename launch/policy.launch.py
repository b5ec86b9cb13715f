# SPDX-License-Identifier: Apache-2.0
"""Drive with a policy: ros2 launch uwm_ros policy.launch.py [sim:=true]; -s lists the arguments."""

from launch import LaunchDescription

from uwm_ros.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    return launch_description("policy")
