# SPDX-License-Identifier: Apache-2.0
"""Law: the launch files and `bringup` start the same processes with the same words.

Both run for real, with a program in place of each node that writes down what it was given. Needs
launch_ros, which comes with every ROS installation and not with the Python registry; that the
launch files hold nothing of their own is checked without it.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from uwm_ros.bringup import Bringup, node_command
from uwm_ros.description import DDS_PROFILE_VARIABLES, STACKS, parse_options

ROOT = Path(__file__).resolve().parents[2]
STUB = f"""#!{sys.executable}
import json, os, pathlib, sys, yaml
words, given = sys.argv[1:], {{"parameters": {{}}, "rules": []}}
for flag, value in zip(words, words[1:]):
    if flag == "--params-file":
        # One section: for every node here, for the node's own full name from launch_ros.
        # Its lists carry the tag of a Python tuple, which ROS overlooks.
        (section,) = yaml.full_load(pathlib.Path(value).read_text()).values()
        given["parameters"] |= section["ros__parameters"]
    elif flag == "-r" and value != "__ns:=/":
        given["rules"].append(value)
given["rules"].sort()
given["dds"] = {{n: os.environ[n] for n in {DDS_PROFILE_VARIABLES!r} if n in os.environ}}
rules = dict(rule.split(":=", 1) for rule in given["rules"])
name = (rules.get("__ns", "") + "/" + rules["__node"]).strip("/").replace("/", ".")
path = pathlib.Path(os.environ["UWM_TEST_SEEN"]) / name
part, whole = (path.with_name(name + suffix) for suffix in (".part", ".json"))
part.write_text(json.dumps(given))
part.rename(whole)
"""
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService(argv=[])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""
ARGUMENTS = {
    "arms": {"sim": "true", "right_task": "2", "left_embodiment": "fr3"},
    "policy": {"namespace": "cell/left", "task": "1", "sim": "true", "remap": "a:=b", "seed": "7"},
    "record": {"teleop": "true", "sim": "1", "directory": "a: b", "extra_topics": "/tf,/clock"},
    "replay": {"sim": "true", "store": "a b", "episode": "3"},
    "teleop": {"sim": "true", "record": "true", "deadman_button": "4", "joy_axes": "1 0 - - - -"},
    "sim": {"embodiment": "fr3", "image_height": "96"},
}


def seen(folder: Path, count: int) -> dict[str, object]:
    end_s = time.monotonic() + 120
    while len(files := sorted(folder.glob("*.json"))) < count:
        if time.monotonic() > end_s:
            pytest.fail(f"only {[path.stem for path in files]} of {count} programs were started")
        time.sleep(0.05)
    return {path.stem: json.loads(path.read_text()) for path in files}


def by_bringup(folder: Path, stack: str) -> dict[str, object]:
    processes = STACKS[stack].build(parse_options(stack, ARGUMENTS[stack]))
    seen_folder = folder / "bringup"
    seen_folder.mkdir()
    stub = folder / "stub"
    stub.write_text(STUB)

    def command(process, parameter_file):
        python, _, _, *words = node_command(process, parameter_file)
        return [python, str(stub), *words]

    environ = {**os.environ, "UWM_TEST_SEEN": str(seen_folder)}
    graph = Bringup(processes, folder / "log", environ=environ, command=command)
    graph.start()
    found = seen(seen_folder, len(processes))
    graph.stop()
    return found


def by_launch(folder: Path, stack: str, nodes: list[str]) -> dict[str, object]:
    seen_folder, prefix = folder / "launch", folder / "prefix"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    for made in (seen_folder, index, prefix / "lib" / "uwm_ros"):
        made.mkdir(parents=True)
    (index / "uwm_ros").touch()
    for node in {name.rpartition(".")[2] for name in nodes}:
        stub = prefix / "lib" / "uwm_ros" / node
        stub.write_text(STUB)
        stub.chmod(0o755)
    environ = {**os.environ, "UWM_TEST_SEEN": str(seen_folder), "ROS_LOG_DIR": str(folder)}
    environ["AMENT_PREFIX_PATH"] = f"{prefix}:{environ.get('AMENT_PREFIX_PATH', sys.prefix)}"
    words = [f"{name}:={value}" for name, value in ARGUMENTS[stack].items()]
    file = str(ROOT / "launch" / f"{stack}.launch.py")
    subprocess.run([sys.executable, "-c", LAUNCH, file, *words], env=environ, check=True)
    return seen(seen_folder, len(nodes))


@pytest.mark.ros
@pytest.mark.skipif(
    importlib.util.find_spec("launch_ros") is None,
    reason="launch_ros is not installed: it comes with ROS, not with the Python registry",
)
@pytest.mark.parametrize("stack", STACKS)
def test_launch_and_bringup_start_the_same(tmp_path, stack):
    expected = by_bringup(tmp_path, stack)
    assert by_launch(tmp_path, stack, list(expected)) == expected


@pytest.mark.parametrize("stack", STACKS)
def test_a_launch_file_only_names_its_stack(stack):
    source = (ROOT / "launch" / f"{stack}.launch.py").read_text()
    body = textwrap.dedent(f"""
        from launch import LaunchDescription
        from uwm_ros.launching import launch_description
        def generate_launch_description() -> LaunchDescription:
            return launch_description({stack!r})
    """)
    assert ast.dump(ast.parse(body)) == ast.dump(
        ast.Module(ast.parse(source).body[1:], type_ignores=[])
    )
