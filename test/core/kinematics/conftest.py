# SPDX-License-Identifier: Apache-2.0
"""Arms of bundled embodiments; skipped, and said so, where pinocchio is missing."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from uwm_core.embodiment import Embodiment
from uwm_core.kinematics.model import ArmModel


@pytest.fixture(autouse=True)
def _needs_pinocchio():
    pytest.importorskip("pinocchio", reason="needs pinocchio: pip install 'uwm_ros[arm]'")


@cache
def arm(name):
    """Embodiment and model of a bundled embodiment; ``panda`` is droid's with Franka's hand."""
    embodiment = Embodiment.load("droid" if name == "panda" else name)
    if name == "panda":
        described = dataclasses.replace(
            embodiment.kinematics, urdf="panda", tcp_frame="panda_hand_tcp"
        )
        embodiment = dataclasses.replace(embodiment, kinematics=described)
    return embodiment, ArmModel.of(embodiment)


@pytest.fixture(name="arm", scope="session")
def _arm():
    return arm


@pytest.fixture(params=["fr3", "droid", "panda"])
def model(request):
    """Every bundled URDF once."""
    return arm(request.param)[1]


@pytest.fixture
def fr3():
    """The FR3 with Franka's hand."""
    return arm("fr3")[1]


def joints_within(model, count, seed, share=1.0):
    """Random joints (N, J) in the middle share of the limits."""
    middle, half = (model.high + model.low) / 2, (model.high - model.low) / 2
    return middle + half * share * np.random.default_rng(seed).uniform(-1, 1, (count, len(middle)))


@pytest.fixture(name="joints_within", scope="session")
def _joints_within():
    return joints_within


@pytest.fixture(scope="session")
def manipulability():
    """How far joints (J,) of a model are from singular ones."""

    def of(model, joint_rad):
        jacobian = model.jacobian(joint_rad)
        return float(np.sqrt(max(np.linalg.det(jacobian @ jacobian.T), 0)))

    return of
