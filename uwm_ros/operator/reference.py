# SPDX-License-Identifier: Apache-2.0
"""The page of all topics, services and parameters, read off the running nodes themselves.

``python -m uwm_ros.operator.reference docs/reference/topics.md`` writes it anew; a test compares.
Only what a thing is for is written here: names, types, defaults and ranges are the nodes' own.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from uwm_core.data.store import EpisodeRecord, StoreWriter
from uwm_core.embodiment import Embodiment
from uwm_core.records import Step
from uwm_ros.bridge import robot_state
from uwm_ros.description import environment
from uwm_ros.operator.private_graph import free_domain
from uwm_ros.operator.reference_words import SERVICES, TOPICS

HEAD = """# Topics, services and parameters

Made from the running nodes (`python -m uwm_ros.operator.reference`) and checked against them by a
test. Names are as with embodiment `fr3_sim` and no namespace: the topics of cameras, states and
commands are the embodiment's, every name without a leading slash in the code moves with
`namespace:=left`, and every one can be remapped. Parameters are read once at start unless "may
change" stands there. All nodes have a parameter `use_sim_time` too, and log on `/rosout`.
"""
NODES = tuple(
    path.stem for path in sorted((Path(__file__).resolve().parents[1] / "nodes").glob("[a-z]*.py"))
)
_QUIET = ("/rosout", "/parameter_events", "/clock")
_LIFECYCLE = (
    "change_state", "get_state", "get_available_states", "get_available_transitions",
    "get_transition_graph",
)  # fmt: skip
_PLAIN_PARAMETERS = ("use_sim_time", "start_type_description_service", "qos_overrides")
# What a range that nobody bounded is declared with (bridge/parameters.py).
_UNBOUNDED = 2**62


def node_class(name: str) -> type[Node]:
    """The node of a module in `uwm_ros.nodes`.

    Raises:
        ImportError: If something that the module needs is not there.
    """
    module = importlib.import_module(f"uwm_ros.nodes.{name}")
    for _, value in inspect.getmembers(module, inspect.isclass):
        if issubclass(value, Node) and value.__module__ == module.__name__:
            return value
    raise ImportError(f"uwm_ros.nodes.{name} has no node")


def section(name: str, scratch: Path) -> str:
    """One node's part of the page, from a node that is built and taken down for it.

    Args:
        name: Module in `uwm_ros.nodes`.
        scratch: Folder for what the node cannot start without.

    Raises:
        ImportError: If something that the module needs is not there.
    """
    kind = node_class(name)
    os.environ.setdefault("AMENT_PREFIX_PATH", environment().get("AMENT_PREFIX_PATH", ""))
    context = Context()
    rclpy.init(context=context, args=[])
    overrides = [Parameter("store", value=str(_store(scratch)))] if name == "replay" else []
    try:
        node: Any = kind(context=context, parameter_overrides=overrides)
        try:
            return _describe(name, node, {parameter.name for parameter in overrides})
        finally:
            getattr(node, "close", lambda: None)()
            node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


def page(sections: Iterable[str]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *sections])


def _describe(name: str, node: Node, needed: set[str]) -> str:
    module = inspect.getmodule(type(node))
    first = inspect.cleandoc((module and module.__doc__) or "").split("\n\n")[0]
    lines = [f"## {name}", "", " ".join(first.split())]
    services = _own(node.get_service_names_and_types_by_node, node)
    own = f"{node.get_fully_qualified_name()}/"
    if any(service == f"{own}change_state" for service, _ in services):
        lines[-1] += " (`ros2 lifecycle set`.) It subscribes to cameras and states when activated."
    hidden = {f"{own}{ending}" for ending in _LIFECYCLE} | {
        service for service, kind in services if kind.startswith("rcl_interfaces/")
        or kind.startswith("type_description_interfaces/")
    }  # fmt: skip
    said = _words(Embodiment.load("fr3_sim"))
    topics = [("in", *t) for t in _own(node.get_subscriber_names_and_types_by_node, node)]
    topics += [("out", *t) for t in _own(node.get_publisher_names_and_types_by_node, node)]
    topics = [t for t in topics if t[1] not in (*_QUIET, f"{own}transition_event")]
    if name == "executor":
        # Heard only where franka_msgs is installed; the page is the same wherever it is made.
        topics = sorted({*topics, ("in", f"/{robot_state.TOPIC}", robot_state.TYPE)})
    calls = [("serves", *s) for s in services if s[0] not in hidden]
    calls += [("calls", *c) for c in _own(node.get_client_names_and_types_by_node, node)]
    for heads, rows, words in (
        (("", "topic", "type", "what it is"), topics, said),
        (("", "service", "type", "what it does"), calls, SERVICES),
    ):
        if rows:
            filled = [(d, f"`{n}`", f"`{t}`", words.get(n.lstrip("/"), "")) for d, n, t in rows]
            lines += ["", *_table(heads, filled)]
    lines += [
        "",
        *_table(("parameter", "default", "range", "what it is"), _parameters(node, needed)),
    ]
    return "\n".join([*lines, ""])


def _own(ask: Any, node: Node) -> list[tuple[str, str]]:
    """(name, type) pairs of the node itself; hidden names of actions left out."""
    found = ask(node.get_name(), node.get_namespace())
    return sorted((name, types[0]) for name, types in found if "/_" not in name)


def _words(embodiment: Embodiment) -> dict[str, str]:
    """What each topic is for; of the embodiment's own, from its keys."""
    words = {}
    for channel in embodiment.action.values():
        words[channel.command_topic] = "command of the embodiment's action"
    for key, stream in embodiment.streams.items():
        what = "label and command" if stream.topic in words else ""
        kind, _, name = key.partition("/")
        words[stream.topic] = f"{what or kind} `{name}` of the embodiment"
    for camera in embodiment.cameras.values():
        folder = camera.topic.rpartition("/")[0]
        words[f"{folder}/camera_info"] = "its calibration"
    for name in embodiment.camera_names:
        words[f"imagination/{name}/image"] = f"what camera `{name}` is expected to show then"
    return words | TOPICS


def _parameters(node: Node, needed: set[str]) -> list[tuple[str, ...]]:
    rows = []
    for name in sorted(node._parameters):  # declared ones; there is no public list of them
        if name.startswith(_PLAIN_PARAMETERS):
            continue
        descriptor, value = node.describe_parameter(name), node.get_parameter(name).value
        default = "none, must be given" if name in needed else _value(value)
        what = descriptor.description + ("" if descriptor.read_only else "; may change")
        rows.append((f"`{name}`", default, _range(descriptor), what))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "`[" + ", ".join(str(v) for v in value if v != "") + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value!r}`" if isinstance(value, str) else f"`{value:g}`"


def _range(descriptor: Any) -> str:
    for limits in (*descriptor.integer_range, *descriptor.floating_point_range):
        ends = [
            f"{end:.10g}" if math.isfinite(end) and abs(end) < _UNBOUNDED else ""
            for end in (limits.from_value, limits.to_value)
        ]
        if any(ends):
            return f"from {ends[0]}" if not ends[1] else f"{ends[0]} to {ends[1]}"
    return ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]


def _store(folder: Path) -> Path:
    """A store with one short episode, which replay cannot start without."""
    path, embodiment = folder / "one.zarr", Embodiment.load("fr3_sim")
    state = {"joint_pos": np.array(embodiment.home_rad, np.float32)}
    state["gripper_width"] = np.zeros(1, np.float32)
    action = {key: np.zeros(c.size, np.float32) for key, c in embodiment.action.items()}
    images = {
        name: np.zeros((*camera.size, 3), np.uint8) for name, camera in embodiment.cameras.items()
    }
    with StoreWriter(path, embodiment, mode="overwrite") as writer:
        for k in range(1, 4):
            writer.add(Step(k * embodiment.period_ns, images, state, action))
        writer.end_episode(EpisodeRecord())
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    path = Path(arguments[0] if arguments else "docs/reference/topics.md")
    os.environ.update(free_domain())
    with tempfile.TemporaryDirectory() as scratch:
        path.write_text(page(section(name, Path(scratch)) for name in NODES), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
