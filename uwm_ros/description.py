# SPDX-License-Identifier: Apache-2.0
"""What is started: the one description behind `ros2 launch uwm_ros ...` and behind `uwm demo`.

A stack is a tuple of elements, made from a frozen options class whose fields are the launch
arguments. `launching` turns it into launch_ros actions, `bringup` into plain subprocesses; neither
decides anything. No ROS import: a machine without ROS can read and test what would be started.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from uwm_core.errors import UnknownNameError, UwmError
from uwm_ros.driving import (
    ArmsOptions,
    DriveOptions,
    PolicyOptions,
    ReplayOptions,
    TeleopOptions,
    arms_stack,
    policy_stack,
    replay_stack,
    teleop_stack,
)
from uwm_ros.processes import (
    Element,
    Elements,
    Foreign,
    Include,
    Process,
    Scalar,
    SimOptions,
    StackOptions,
    Value,
    argument,
    sim_beside,
    sim_stack,
)
from uwm_ros.surroundings import DDS_PROFILE_VARIABLES, dds_profile_variable, environment

__all__ = [
    "DDS_PROFILE_VARIABLES",
    "STACKS",
    "ArmsOptions",
    "DriveOptions",
    "Element",
    "Foreign",
    "Include",
    "PolicyOptions",
    "Process",
    "RecordOptions",
    "ReplayOptions",
    "SimOptions",
    "Stack",
    "StackOptions",
    "TeleopOptions",
    "Value",
    "arms_stack",
    "dds_profile_variable",
    "environment",
    "help_of",
    "parse_options",
    "policy_stack",
    "record_stack",
    "replay_stack",
    "sim_stack",
    "teleop_stack",
]


@dataclass(frozen=True, kw_only=True)
class RecordOptions(StackOptions):
    """A recorder, and what it may need beside it."""

    directory: str = argument("episodes", "folder that the bags go to")
    compression: str = argument("none", "of the bags: none or zstd; zstd costs a core")
    image_transport: str = argument("raw", "of raw cameras: raw, compressed or both")
    extra_topics: str = argument("", "more topics to record: '/tf,/diagnostics'")
    task: str = argument("", "task sentence of episodes that a button starts")
    buttons: str = argument("", "commands by button of joy, for a pedal: '0:toggle,1:undo'")
    store: str = argument("", "Zarr store that grows beside the bags; empty: none")
    teleop: bool = argument(False, "start the scripted teleoperation (simulated arm only)")
    teleop_mode: str = argument("expert", "of the scripted teleoperation: expert or play")
    seed: int = argument(0, "of scene and scripted teleoperation")
    sim: bool = argument(False, "start the simulated arm too")


def record_stack(options: RecordOptions) -> Elements:
    """Recorder; with options, the scripted teleoperation and the simulated arm."""
    write: dict[str, Value] = {
        "directory": options.directory,
        "compression": options.compression,
        "image_transport": options.image_transport,
        "task": options.task,
    }
    if options.store:
        write |= {"store": options.store, "sinks": ["bag", "zarr"]}
    # Left out where there is none: ROS cannot tell the type of an empty list.
    for name in ("extra_topics", "buttons"):
        if entries := [part.strip() for part in getattr(options, name).split(",") if part.strip()]:
            write[name] = entries
    processes = [options.process("recorder", **write)]
    if options.teleop:
        processes.append(
            options.process("scripted_teleop", mode=options.teleop_mode, seed=options.seed)
        )
    return (*(sim_beside(options, options.seed) if options.sim else ()), *processes)


@dataclass(frozen=True)
class Stack:
    """A stack by name: its options and the function that makes the processes of them."""

    options: type[StackOptions]
    build: Callable[[Any], Elements]


STACKS = {
    "arms": Stack(ArmsOptions, arms_stack),
    "policy": Stack(PolicyOptions, policy_stack),
    "record": Stack(RecordOptions, record_stack),
    "replay": Stack(ReplayOptions, replay_stack),
    "sim": Stack(SimOptions, sim_stack),
    "teleop": Stack(TeleopOptions, teleop_stack),
}


def parse_options(stack: str, texts: Mapping[str, str]) -> StackOptions:
    """Options of a stack from launch arguments, which are texts.

    Args:
        stack: Name in `STACKS`.
        texts: Value by argument; what is missing keeps its default.

    Raises:
        UwmError: An unknown stack or argument, or a value of another type.
    """
    if stack not in STACKS:
        raise UnknownNameError("stack", stack, STACKS)
    kind = STACKS[stack].options
    known = {entry.name: entry for entry in fields(kind)}
    values: dict[str, Scalar] = {}
    for name, text in texts.items():
        if name not in known:
            raise UnknownNameError(f"argument of the {stack} stack", name, known)
        values[name] = _parse(name, text, type(known[name].default))
    try:
        return kind(**values)  # type: ignore[arg-type]  # checked against the fields above
    except ValueError as error:
        raise UwmError(str(error)) from error


def help_of(entry: dataclasses.Field[Any]) -> str:
    """What one launch argument is for."""
    return str(entry.metadata["help"])


def _parse(name: str, text: str, kind: type) -> Scalar:
    """One launch argument as a bool, int, float or str."""
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.strip().lower()]
        if kind is int:
            return int(text)
        return float(text) if kind is float else text
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
        raise UwmError(f"{name}:={text!r} must be {wanted}") from None
