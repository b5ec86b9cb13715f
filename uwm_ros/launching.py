# SPDX-License-Identifier: Apache-2.0
"""Turns a stack of `description` into launch actions. All that the files in `launch/` call.

Needs launch and launch_ros, which every ROS installation has and the Python registry has not;
`uwm demo` starts the same stacks without them, through `bringup`.
"""

from __future__ import annotations

from dataclasses import fields

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from uwm_ros.description import STACKS, Process, Value, environment, help_of, parse_options

PACKAGE = "uwm_ros"


def launch_description(stack: str) -> LaunchDescription:
    """Everything that a launch file of ours returns.

    Args:
        stack: Name in `description.STACKS`; its options become the launch arguments.
    """
    options = fields(STACKS[stack].options)

    def start(context: LaunchContext) -> list[Node]:
        texts = {entry.name: LaunchConfiguration(entry.name).perform(context) for entry in options}
        return [action(process) for process in STACKS[stack].build(parse_options(stack, texts))]

    arguments = [
        DeclareLaunchArgument(
            entry.name,
            default_value=str(entry.default).lower()
            if isinstance(entry.default, bool)
            else str(entry.default),
            description=help_of(entry),
        )
        for entry in options
    ]
    variables = [SetEnvironmentVariable(*pair) for pair in environment().items()]
    return LaunchDescription([*arguments, *variables, OpaqueFunction(function=start)])


def action(process: Process) -> Node:
    """One process as a launch action."""
    return Node(
        package=PACKAGE,
        executable=process.node,
        name=process.node,
        namespace=process.namespace,
        parameters=[{name: exact(value) for name, value in process.parameters.items()}],
        remappings=list(process.remappings),
        output="screen",
    )


def exact(value: Value) -> Value | ParameterValue:
    """The value, kept from being read as YAML: the task ``"1"`` is a text."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value
