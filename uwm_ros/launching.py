# SPDX-License-Identifier: Apache-2.0
"""Turns a stack of `description` into launch actions. All that the files in `launch/` call.

Needs launch and launch_ros, which every ROS installation has and the Python registry has not;
`uwm demo` starts the same stacks without them, through `bringup`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from uwm_core.errors import UwmError
from uwm_ros.bringup import dies_with_parent
from uwm_ros.description import (
    STACKS,
    Element,
    Foreign,
    Include,
    Process,
    Value,
    environment,
    help_of,
    parse_options,
)

PACKAGE = "uwm_ros"
# A node that ended by itself may have done so at once; not a storm of starts.
_RESPAWN_S = 2.0
# launch's own 5 s are short for a process that ends an inference and takes torch down.
_PATIENCE_S = 10


def launch_description(stack: str) -> LaunchDescription:
    """Everything that a launch file of ours returns.

    Args:
        stack: Name in `description.STACKS`; its options become the launch arguments.
    """
    options = fields(STACKS[stack].options)

    def start(context: LaunchContext) -> list[Action]:
        texts = {entry.name: LaunchConfiguration(entry.name).perform(context) for entry in options}
        return [action(element) for element in STACKS[stack].build(parse_options(stack, texts))]

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


def action(element: Element) -> Action:
    """One element of a stack as a launch action.

    Raises:
        UwmError: It comes from a package that is not installed.
    """
    if isinstance(element, Process):
        return _node(element)
    share = Path(_share(element))
    if isinstance(element, Include):
        source = PythonLaunchDescriptionSource(str(share / element.file))
        # A group: what an included file sets must not reach the other arm.
        return GroupAction(
            [IncludeLaunchDescription(source, launch_arguments=element.arguments.items())]
        )
    return Node(
        package=element.package,
        executable=element.executable,
        namespace=element.namespace,
        arguments=list(element.arguments),
        output="screen",
    )


def _node(process: Process) -> Node:
    return Node(
        package=PACKAGE,
        executable=process.node,
        name=process.node,
        exec_name=process.node,
        namespace=process.namespace,
        parameters=[{name: exact(value) for name, value in process.parameters.items()}],
        remappings=list(process.remappings),
        respawn=process.respawn,
        respawn_delay=_RESPAWN_S,
        sigterm_timeout=str(_PATIENCE_S),
        # `ros2 launch` leaves its children running when it gets SIGTERM, or is killed.
        prefix=" ".join(dies_with_parent()),
        output="screen",
    )


def _share(element: Include | Foreign) -> str:
    """Folder of the files that a package shares."""
    try:
        return str(get_package_share_directory(element.package))
    except PackageNotFoundError:
        raise UwmError(
            f"{element.why} needs the ROS package {element.package!r}, which is not installed; "
            "build franka_ros2 in your workspace, or start the robot elsewhere and leave it away"
        ) from None


def exact(value: Value) -> Value | ParameterValue:
    """The value, kept from being read as YAML: the task ``"1"`` is a text."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value
