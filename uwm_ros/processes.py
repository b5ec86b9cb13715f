# SPDX-License-Identifier: Apache-2.0
"""What a stack is made of: processes of ours, programs and launch files of other packages.

Also what all stacks share: their common launch arguments, and the simulated arm, which each of them
can start beside itself. No ROS import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Scalar = bool | int | float | str
Value = Scalar | list[str]
Remapping = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Process:
    """One node of ours in a process of its own.

    Attributes:
        node: Module in `uwm_ros.nodes`, executable of the package and name on the graph, in one.
        parameters: ROS parameters by name.
        namespace: Where the node and all its topics live, without a leading slash; "" is the root.
        remappings: Pairs (from, to) of topic or service names.
        respawn: Whether `ros2 launch` starts it again when it ends by itself.
    """

    node: str
    parameters: Mapping[str, Value] = field(default_factory=dict)
    namespace: str = ""
    remappings: tuple[Remapping, ...] = ()
    respawn: bool = False

    @property
    def module(self) -> str:
        """Python module that `python -m` runs."""
        return f"uwm_ros.nodes.{self.node}"

    @property
    def full_name(self) -> str:
        """Name on the graph, e.g. ``/left/policy``."""
        return f"/{self.namespace}/{self.node}" if self.namespace else f"/{self.node}"


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A program of another ROS package.

    Attributes:
        package: Name of the package.
        executable: Name of the program in it.
        arguments: Words of its command line.
        namespace: As of a `Process`.
        why: The launch argument that asked for it, for the error where it is not installed.
    """

    package: str
    executable: str
    arguments: tuple[str, ...] = ()
    namespace: str = ""
    why: str


@dataclass(frozen=True, kw_only=True)
class Include:
    """A launch file of another ROS package.

    Attributes:
        package: Name of the package.
        file: Path below the package's share folder.
        arguments: Launch arguments by name.
        why: The launch argument that asked for it, for the error where it is not installed.
    """

    package: str
    file: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    why: str


Element = Process | Foreign | Include
Elements = tuple[Element, ...]


def argument(default: Scalar, text: str) -> Any:
    """A field that is a launch argument too; ``text`` explains it in ``ros2 launch -s``."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What every stack is told."""

    embodiment: str = argument("fr3_sim", "name in config/embodiments, or path of a YAML file")
    namespace: str = argument("", "namespace of all nodes and topics, e.g. left")
    remap: str = argument("", "topic remappings for all nodes: 'from:=to,from:=to'")

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
        """One node of this stack, told of the embodiment first of all."""
        return Process(
            node=node,
            parameters={"embodiment": self.embodiment, **parameters},
            namespace=self.namespace,
            remappings=self.remappings,
        )


@dataclass(frozen=True, kw_only=True)
class SimOptions(StackOptions):
    """The simulated arm alone."""

    seed: int = argument(0, "seed of the first scene; later ones: service sim/reset")
    image_height: int = argument(224, "pixels of both cameras")
    image_width: int = argument(224, "pixels of both cameras")


def sim_stack(options: SimOptions) -> Elements:
    """The simulated arm with its cameras and controllers."""
    size: dict[str, Value] = {
        "image_height": options.image_height,
        "image_width": options.image_width,
    }
    return (options.process("sim_robot", seed=options.seed, **size),)


def sim_beside(options: StackOptions, seed: int = 0) -> Elements:
    """The simulated arm for another stack, as `sim_stack` starts it."""
    shared = {entry.name: getattr(options, entry.name) for entry in fields(StackOptions)}
    return sim_stack(SimOptions(**shared, seed=seed))
