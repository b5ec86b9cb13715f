# SPDX-License-Identifier: Apache-2.0
"""Laws of collision shapes as capsules: distances, and that nothing sticks out of its capsule."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.kinematics.model import ArmModel, urdf_path
from uwm_core.kinematics.shapes import distance

POINT = st.tuples(*[st.floats(-1, 1)] * 3)
LINK1 = '<cylinder radius="0.068" length="0.11"/>'


@settings(max_examples=80, deadline=None)
@given(a=POINT, b=POINT, c=POINT, d=POINT, kind=st.sampled_from(["any", "parallel", "points"]))
def test_distance_of_lines_is_the_least_of_densely_chosen_points(a, b, c, d, kind):
    one, other = np.array([a, b]), np.array([c, d])
    if kind == "parallel":
        other = np.array([c, np.array(c) + one[1] - one[0]])
    elif kind == "points":
        one = np.array([a, a])
    share = np.linspace(0, 1, 60)[:, None]
    left, right = ((1 - share) * ends[0] + share * ends[1] for ends in (one, other))
    sampled = np.linalg.norm(left[:, None] - right[None], axis=2).min()
    step = (np.linalg.norm(one[1] - one[0]) + np.linalg.norm(other[1] - other[0])) / 59 / 2
    exact = float(distance(one, other))
    assert exact <= sampled + 1e-9 and sampled <= exact + step + 1e-9
    assert exact == pytest.approx(float(distance(other, one)), abs=1e-6)


def first_link(arm, tmp_path, geometry):
    """Capsules of the FR3's first link with another shape in place of its cylinder."""
    embodiment = arm("fr3")[0]
    path = tmp_path / "other.urdf"
    path.write_text(urdf_path("fr3").read_text().replace(LINK1, geometry))
    described = dataclasses.replace(embodiment.kinematics, urdf=str(path))
    model = ArmModel.of(dataclasses.replace(embodiment, kinematics=described))
    return [shape for shape in model.shapes() if shape.link == "fr3_link1"]


@pytest.mark.parametrize("size", [(0.2, 0.1, 0.05), (0.1, 0.3, 0.2), (0.1, 0.1, 0.4)])
def test_a_box_lies_within_its_capsule(arm, tmp_path, size):
    boxes = first_link(arm, tmp_path, '<box size="{} {} {}"/>'.format(*size))
    signs = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    corners = signs * size + [0, 0, -0.085]
    apart = min(
        (distance(np.stack([corners, corners], axis=1), shape.ends_m).max() - shape.radius_m)
        for shape in boxes
    )
    assert apart == pytest.approx(0, abs=1e-9)  # the corners touch it


def test_spheres_at_the_ends_of_a_cylinder_are_the_capsule_already(arm, tmp_path):
    (capsule,) = first_link(arm, tmp_path, LINK1)
    assert capsule.radius_m == pytest.approx(0.068)
    np.testing.assert_allclose(sorted(capsule.ends_m[:, 2]), [-0.14, -0.03], atol=1e-9)
    # A small one in the place of the cylinder lies within both, a thick one holds both.
    assert len(first_link(arm, tmp_path, '<sphere radius="0.01"/>')) == 2
    assert len(first_link(arm, tmp_path, '<sphere radius="0.13"/>')) == 1


def test_no_bundled_link_is_counted_twice(model):
    found = [(s.link, s.ends_m.tobytes(), s.radius_m) for s in model.shapes()]
    assert len(found) == len(set(found)) <= 20
