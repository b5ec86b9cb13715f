# SPDX-License-Identifier: Apache-2.0
"""The reference of embodiments names everything that an arm's keys can say."""

import dataclasses
from pathlib import Path

import pytest

from uwm_core.action_channel import COMMAND_TYPES
from uwm_core.arm import Gripper, JointLimits, Kinematics, Safety
from uwm_core.resources import bundled

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "embodiment.md"


@pytest.mark.parametrize("part", [Gripper, JointLimits, Kinematics, Safety])
def test_every_key_is_explained(part):
    page = PAGE.read_text()
    assert [f.name for f in dataclasses.fields(part) if f"`{f.name}`" not in page] == []


def test_every_command_type_is_in_a_table():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    lacking = []
    for name in COMMAND_TYPES:
        package, _, kind = name.split("/")
        if not any(f"`{name}`" in row or (package in row and f"`{kind}`" in row) for row in rows):
            lacking.append(name)
    assert lacking == []


def test_every_bundled_arm_and_embodiment_is_named():
    page = PAGE.read_text()
    for folder, ending in (("urdf", ".urdf"), ("embodiments", ".yaml")):
        assert [name for name in bundled(folder, ending) if f"`{name}`" not in page] == []
