# SPDX-License-Identifier: Apache-2.0
"""Laws of the source itself: who may import whom, how large things may grow, what every file says.

Imports are read from the syntax tree, nested ones included, so that no law is kept by moving an
import into a function. Where a heavy library may be imported inside a function only, the laws of
start-up look at what a module brings in merely by being imported, through our own modules too.
"""

import ast
import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest

from uwm_core import __version__
from uwm_ros.description import STACKS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("uwm_core/**/*.py"), *ROOT.glob("uwm_ros/**/*.py")])
TESTS = sorted(ROOT.glob("test/**/*.py"))
SCRIPTS = [ROOT / "setup.py", *sorted(ROOT.glob("launch/*.py"))]

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 50

ROS = r"rclpy|launch|launch_ros|ament_index_python|rosidl_\w+|\w+_msgs|std_srvs|\w+_interfaces"
JOINED_BY_WORLD_MODEL = ("diffusion", "model", "latents")

# Files (regular expression on the path) -> imports (regular expression on the dotted name) that
# they may not have. `(\.|$)` is appended: a law on `torch` does not meet `torchaudio`.
NEVER = [
    (r"uwm_core/", rf"{ROS}|uwm_ros"),
    (r"uwm_core/(embodiment|config|records|errors|spec|resources)\.py", r"torch|zarr"),
    (r"uwm_core/data/(messages|resample|stream_buffer)\.py", r"torch|zarr"),
    (r"uwm_core/data/(?!dataset\.py)", r"torch"),
    (r"uwm_core/(?!data/bag(_\w+)?\.py)", r"rosbags"),
    (r"uwm_core/data/", r"uwm_core\.(model|diffusion|training)"),
    *[
        (
            rf"uwm_core/{own}/",
            r"uwm_core\.(data|training|{})".format(
                "|".join(other for other in JOINED_BY_WORLD_MODEL if other != own)
            ),
        )
        for own in JOINED_BY_WORLD_MODEL
    ],
    (r"uwm_ros/", r"rosbags"),
    (r"uwm_ros/logic/", rf"{ROS}|torch|uwm_ros\.(msg|srv|bridge|nodes|operator)"),
    (r"uwm_ros/(description|driving|processes|surroundings|bringup)\.py", rf"{ROS}|torch"),
    (r"uwm_ros/nodes/", r"torch|uwm_core\.training|uwm_ros\.nodes"),
]

# Modules that must start without these, whatever our own modules in between import.
STARTS_WITHOUT = [
    *[
        (f"uwm_ros.nodes.{node}", "torch")
        for node in (
            "executor",
            "flight_recorder",
            "preview",
            "recorder",
            "sim_robot",
            "scripted_teleop",
            "teleop",
            "replay",
        )
    ],
    *[
        (f"uwm_core.{name}", without)
        for name in (
            "cli.main",
            "cli.convert",
            "cli.export",
            "cli.import_",
            "cli.inspect",
            "data.convert",
            "sim.scene",
            "records",
        )
        for without in ("torch", "rclpy")
    ],
    # pinocchio comes in with the first model, torch and ROS never.
    *[
        (f"uwm_core.kinematics.{name}", without)
        for name in ("model", "guard", "inverse", "shapes", "targets")
        for without in ("torch", "rclpy", "pinocchio", "eigenpy")
    ],
    ("uwm_core.records", "zarr"),
    ("uwm_core.embodiment", "zarr"),
    # On a real arm there is no simulator.
    *[
        (f"uwm_ros.nodes.{node}", "mujoco")
        for node in ("executor", "flight_recorder", "preview", "recorder", "replay", "teleop")
    ],
    ("uwm_ros.description", "rclpy"),
    ("uwm_ros.bringup", "rclpy"),
]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names(node: ast.AST) -> set[str]:
    """Dotted names that one import statement brings in; of ``from a import b`` a and a.b."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return set()


@cache
def imports(path: Path) -> set[str]:
    """All imports of a file, nested ones included."""
    return set().union(*(names(node) for node in ast.walk(tree(path))))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


@cache
def imports_at_start(path: Path) -> set[str]:
    """Imports that run when the file is imported: outside functions, outside TYPE_CHECKING."""
    found, waiting = set(), [tree(path)]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            found |= names(node)
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if not lazy and not is_type_checking(node):
                waiting.append(node)
    return found


def file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@cache
def brought_in(module: str) -> dict[str, str]:
    """Everything that importing a module of ours imports: name -> the chain that leads there."""
    chains, waiting = {module: module}, [module]
    while waiting:
        here = waiting.pop()
        path = file_of(here)
        parents = [here.rsplit(".", n)[0] for n in range(1, here.count(".") + 1)] if path else []
        for name in [*parents, *(imports_at_start(path) if path else ())]:
            if name not in chains:
                chains[name] = f"{chains[here]} -> {name}"
                waiting.append(name)
    return chains


@pytest.mark.parametrize(("files", "never"), NEVER)
def test_nobody_imports_what_its_room_may_not(files, never):
    law = re.compile(rf"({never})(\.|$)")
    broken = [
        f"{relative(path)} imports {name}"
        for path in SOURCES
        if re.match(files, relative(path))
        for name in sorted(imports(path))
        if law.match(name)
    ]
    assert broken == []


@pytest.mark.parametrize(("module", "without"), STARTS_WITHOUT)
def test_it_starts_without(module, without):
    if file_of(module) is None:
        pytest.skip(f"{module} does not exist")
    assert {n: chain for n, chain in brought_in(module).items() if n.split(".")[0] == without} == {}


def test_imports_are_absolute():
    relative_ones = [
        f"{relative(path)}:{node.lineno}"
        for path in [*SOURCES, *TESTS]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative_ones == []


def line_of(place: str) -> str:
    """The line that ``path:number`` names."""
    name, _, number = place.partition(":")
    return (ROOT / name).read_text().splitlines()[int(number) - 1]


def test_no_module_does_work_at_import():
    work = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        for node in tree(path).body
        if isinstance(node, ast.For | ast.While | ast.With)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    ]
    # Registering a function with a class of the module's own is a definition, not work.
    allowed = [w for w in work if re.match(r"_\w+\.\w+\(", line_of(w))]
    assert sorted(set(work) - set(allowed)) == []


def test_files_stay_small():
    sizes = {relative(p): len(p.read_text().splitlines()) for p in [*SOURCES, *TESTS, *SCRIPTS]}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_LINES} == {}


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: explaining much is not what the budget is for."""
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    documentation = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (node.end_lineno or 0) - node.lineno + 1 - documentation


def test_functions_stay_small():
    sizes = {
        f"{relative(path)}:{node.lineno} {node.name}": code_lines(node)
        for path in [*SOURCES, *TESTS, *SCRIPTS]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: size for name, size in sizes.items() if size > MAX_FUNCTION_LINES} == {}


def test_every_file_names_its_licence_first():
    written = [
        *[*SOURCES, *TESTS, *SCRIPTS],
        *[ROOT / name for name in ("CMakeLists.txt", "Makefile", "pyproject.toml", ".ci/run")],
    ]
    head = {path: path.read_text().splitlines()[:2] for path in written}
    line = "# SPDX-License-Identifier: Apache-2.0"
    assert [relative(p) for p, h in head.items() if line not in h] == []


def test_every_module_says_what_it_is_for():
    silent = [relative(p) for p in [*SOURCES, *TESTS, *SCRIPTS] if not ast.get_docstring(tree(p))]
    assert silent == []


def test_every_message_begins_with_its_header_and_explains_every_field():
    for path in [*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv")]:
        lines = [line for line in path.read_text().splitlines() if line.strip("- ")]
        fields = [line for line in lines if not line.startswith("#")]
        plain = {"bool success"}
        assert [f for f in fields if "#" not in f and f.strip() not in plain] == [], path.name
        assert path.suffix == ".srv" or fields[0].split()[:2] == ["std_msgs/Header", "header"]


def test_package_and_python_have_one_version():
    assert ElementTree.parse(ROOT / "package.xml").findtext("version") == __version__


def test_every_node_that_is_started_exists_and_can_be_run_as_a_module():
    described = {
        process.node
        for stack in STACKS.values()
        for process in stack.build(stack.options(**everything_on(stack.options)))
    }
    for node in described:
        path = file_of(f"uwm_ros.nodes.{node}")
        assert path is not None, node
        functions = {n.name for n in tree(path).body if isinstance(n, ast.FunctionDef)}
        assert "main" in functions, node
        assert '__name__ == "__main__"' in path.read_text(), node


def everything_on(options: type) -> dict[str, bool]:
    """All switches of a stack's options set, so that it names every node it can start."""
    return {
        name: True
        for name, entry in options.__dataclass_fields__.items()
        if isinstance(entry.default, bool)
    }
