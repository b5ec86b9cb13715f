# SPDX-License-Identifier: Apache-2.0
"""What is started: the one description behind `ros2 launch uwm_ros ...` and behind `uwm demo`.

A stack is a tuple of `Process`, made from a frozen options class whose fields are the launch
arguments. `launching` turns it into launch_ros actions, `bringup` into plain subprocesses; neither
decides anything. No ROS import: a machine without ROS can read and test what would be started.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from uwm_core.errors import UnknownNameError, UwmError
from uwm_core.resources import config_path

Scalar = bool | int | float | str
Value = Scalar | list[str]
Remapping = tuple[str, str]

DDS_PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
# The first rclpy (Kilted's) whose Fast DDS reads the first name, and warns of the second.
NEW_NAME_SINCE = 9


@dataclass(frozen=True, kw_only=True)
class Process:
    """One node in a process of its own.

    Attributes:
        node: Module in `uwm_ros.nodes`, executable of the package and name on the graph, in one.
        parameters: ROS parameters by name.
        namespace: Where the node and all its topics live, without a leading slash; "" is the root.
        remappings: Pairs (from, to) of topic or service names.
    """

    node: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    namespace: str = ""
    remappings: tuple[Remapping, ...] = ()

    @property
    def module(self) -> str:
        """Python module that `python -m` runs."""
        return f"uwm_ros.nodes.{self.node}"

    @property
    def full_name(self) -> str:
        """Name on the graph, e.g. ``/left/policy``."""
        return f"/{self.namespace}/{self.node}" if self.namespace else f"/{self.node}"


def _argument(default: Scalar, text: str) -> Any:
    """A field that is a launch argument too; ``text`` explains it in ``ros2 launch -s``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What every stack is told."""

    embodiment: str = _argument("fr3_sim", "name in config/embodiments, or path of a YAML file")
    namespace: str = _argument("", "namespace of all nodes and topics, e.g. left")
    remap: str = _argument("", "topic remappings for all nodes: 'from:=to,from:=to'")

    def __post_init__(self) -> None:
        """Refuse what no node could start with.

        Raises:
            ValueError: A namespace or a remapping of another form.
        """
        if not all(part.isidentifier() for part in self.namespace.split("/") if self.namespace):
            raise ValueError(f"namespace {self.namespace!r} must look like 'left' or 'cell_1/left'")
        for part in filter(None, self.remap.split(",")):
            before, _, after = part.partition(":=")
            if not before.strip() or not after.strip() or ":=" in after:
                raise ValueError(f"remap {part!r} must look like 'from:=to'")

    @property
    def remappings(self) -> tuple[Remapping, ...]:
        """The pairs of ``remap``."""
        pairs = (part.partition(":=") for part in self.remap.split(",") if part)
        return tuple((before.strip(), after.strip()) for before, _, after in pairs)

    def process(self, node: str, **parameters: Value) -> Process:
        """One node of this stack."""
        return Process(
            node=node,
            parameters={"embodiment": self.embodiment, **parameters},
            namespace=self.namespace,
            remappings=self.remappings,
        )


@dataclass(frozen=True, kw_only=True)
class SimOptions(StackOptions):
    """The simulated arm alone."""

    seed: int = _argument(0, "seed of the first scene; later ones: service sim/reset")
    image_height: int = _argument(224, "pixels of both cameras")
    image_width: int = _argument(224, "pixels of both cameras")


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(StackOptions):
    """A policy that drives."""

    checkpoint: str = _argument("sim_lift", "name in config/checkpoints, or path of a folder")
    device: str = _argument("cpu", "torch device of policy and imagination: cpu, cuda, cuda:1")
    threads: int = _argument(1, "torch threads of each; 1 is steadiest beside other work")
    task: str = _argument("", "task sentence, for checkpoints that read one")
    replan_s: float = _argument(0.0, "seconds between two chunks; 0: half a second")
    sample_steps: int = _argument(0, "sampler steps per chunk; 0: the checkpoint's own")
    seed: int = _argument(0, "of the sampler's noise; -1: another one every time")
    imagination: bool = _argument(True, "publish what the model imagines, as images")
    imagine_every: int = _argument(1, "imagine every n-th chunk only")
    executor_autostart: bool = _argument(False, "move at once, without a call of executor/run")
    sim: bool = _argument(False, "start the simulated arm too")


@dataclass(frozen=True, kw_only=True)
class RecordOptions(StackOptions):
    """A recorder, and what it may need beside it."""

    directory: str = _argument("episodes", "folder that the bags go to")
    compression: str = _argument("none", "of the bags: none or zstd; zstd costs a core")
    image_transport: str = _argument("raw", "of raw cameras: raw, compressed or both")
    extra_topics: str = _argument("", "more topics to record: '/tf,/diagnostics'")
    task: str = _argument("", "task sentence of episodes that a button starts")
    buttons: str = _argument("", "commands by button of joy, for a pedal: '0:toggle,1:undo'")
    store: str = _argument("", "Zarr store that grows beside the bags; empty: none")
    teleop: bool = _argument(False, "start the scripted teleoperation (simulated arm only)")
    teleop_mode: str = _argument("expert", "of the scripted teleoperation: expert or play")
    seed: int = _argument(0, "of scene and scripted teleoperation")
    sim: bool = _argument(False, "start the simulated arm too")


@dataclass(frozen=True, kw_only=True)
class TeleopOptions(StackOptions):
    """A person that drives by Twist and Joy."""

    speed_m_s: float = _argument(0.15, "speed of the hand at full deflection")
    turn_rad_s: float = _argument(0.6, "turning speed of the hand at full deflection")
    frame: str = _argument("base", "axes that deflections are along: base or hand")
    deadman_button: int = _argument(-1, "button of joy that must be held; -1: none")
    gripper_button: int = _argument(0, "button of joy that opens and closes; -1: none")
    joy_axes: str = _argument("", "axes of joy for x y z roll pitch yaw: '1 0 4 - - 3'; '': none")
    executor_autostart: bool = _argument(False, "no call of executor/run is needed")
    record: bool = _argument(False, "start the recorder too")
    directory: str = _argument("episodes", "folder that the bags go to")
    task: str = _argument("", "task sentence of episodes that a button starts")
    sim: bool = _argument(False, "start the simulated arm too")


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(StackOptions):
    """A recorded episode that drives."""

    store: str = _argument("", "store that the episode is in: folder or URL")
    episode: int = _argument(0, "number of the episode, counted from 0")
    executor_autostart: bool = _argument(False, "move at once, without a call of executor/run")
    sim: bool = _argument(False, "start the simulated arm too")


def sim_stack(options: SimOptions) -> tuple[Process, ...]:
    """The simulated arm with its cameras and controllers."""
    size: dict[str, Value] = {
        "image_height": options.image_height,
        "image_width": options.image_width,
    }
    return (options.process("sim_robot", seed=options.seed, **size),)


def _sim_beside(options: StackOptions, seed: int = 0) -> tuple[Process, ...]:
    """The simulated arm for another stack, as `sim_stack` starts it."""
    shared = {entry.name: getattr(options, entry.name) for entry in fields(StackOptions)}
    return sim_stack(SimOptions(**shared, seed=seed))


def policy_stack(options: PolicyOptions) -> tuple[Process, ...]:
    """Policy and executor; with options, the imagination and the simulated arm."""
    model: dict[str, Value] = {
        "checkpoint": options.checkpoint,
        "device": options.device,
        "threads": options.threads,
    }
    drive: dict[str, Value] = {
        "task": options.task,
        "replan_s": options.replan_s,
        "sample_steps": options.sample_steps,
        "seed": options.seed,
        "autostart": True,
    }
    processes = [
        options.process("policy", **model, **drive),
        options.process("executor", autostart=options.executor_autostart),
    ]
    if options.imagination:
        processes.append(options.process("imagination", every_n=options.imagine_every, **model))
    return (*(_sim_beside(options) if options.sim else ()), *processes)


def record_stack(options: RecordOptions) -> tuple[Process, ...]:
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
    return (*(_sim_beside(options, options.seed) if options.sim else ()), *processes)


def teleop_stack(options: TeleopOptions) -> tuple[Process, ...]:
    """Teleoperation and executor; with options, the recorder and the simulated arm."""
    names = ("speed_m_s", "turn_rad_s", "frame", "deadman_button", "gripper_button", "joy_axes")
    processes = [
        options.process("teleop", **{name: getattr(options, name) for name in names}),
        options.process("executor", autostart=options.executor_autostart),
    ]
    if options.record:
        write = {"directory": options.directory, "task": options.task}
        processes.append(options.process("recorder", **write))
    return (*(_sim_beside(options) if options.sim else ()), *processes)


def replay_stack(options: ReplayOptions) -> tuple[Process, ...]:
    """An episode's actions and the executor; with an option, the simulated arm."""
    processes = (
        options.process("replay", store=options.store, episode=options.episode),
        options.process("executor", autostart=options.executor_autostart),
    )
    return (*(_sim_beside(options) if options.sim else ()), *processes)


@dataclass(frozen=True)
class Stack:
    """A stack by name: its options and the function that makes the processes of them."""

    options: type[StackOptions]
    build: Callable[[Any], tuple[Process, ...]]


STACKS = {
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


def help_of(entry: dataclasses.Field[Any]) -> str:
    """What one launch argument is for."""
    return str(entry.metadata["help"])


def _rclpy_version() -> str:
    """Version of the installed rclpy, read without importing it."""
    try:
        return metadata.version("rclpy")
    except metadata.PackageNotFoundError:
        return ""


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
