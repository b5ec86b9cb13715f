# SPDX-License-Identifier: Apache-2.0
"""Law of docs/reference/topics.md: it says of every node what the running node says of itself."""

import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("uwm_ros.msg")

from uwm_ros.operator.reference import HEAD, NODES, section

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/topics.md"
MAKE = "make it anew: python -m uwm_ros.operator.reference docs/reference/topics.md"


def sections():
    """Text by node."""
    parts = re.split(r"^(?=## )", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert parts[0].strip() == HEAD.strip()
    return {part.split("\n")[0].removeprefix("## "): part.strip() for part in parts[1:]}


def test_page_has_every_node_and_no_other():
    assert tuple(sections()) == NODES, MAKE


@pytest.mark.parametrize("name", NODES)
def test_section_is_what_the_running_node_says_and_leaves_nothing_unsaid(name, tmp_path):
    importlib.import_module(f"uwm_ros.nodes.{name}")
    told = section(name, tmp_path).strip()
    assert sections().get(name) == told, MAKE
    rows = [line for line in told.split("\n") if line.startswith("| ")]
    assert "`/diagnostics`" in told
    assert not [row for row in rows if row.endswith("| |")], "say it in operator/reference_words.py"
