# SPDX-License-Identifier: Apache-2.0
"""Laws of the arm's model: against the closed form, finite differences and pinocchio's own way."""

import dataclasses
import sys
import threading

import numpy as np
import pytest

from uwm_core.data.rotations import turn_of
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.kinematics.model import ArmModel, urdf_path
from uwm_core.resources import bundled
from uwm_core.sim import kinematics as closed_form


def with_kinematics(embodiment, **changes):
    return dataclasses.replace(
        embodiment, kinematics=dataclasses.replace(embodiment.kinematics, **changes)
    )


def with_limits(embodiment, **changes):
    return dataclasses.replace(embodiment, limits=dataclasses.replace(embodiment.limits, **changes))


def test_tcp_and_jacobian_are_the_closed_form_ones(fr3, joints_within):
    for q in joints_within(fr3, 100, seed=0):
        pose, jacobian = closed_form.jacobian(q)
        np.testing.assert_allclose(fr3.tcp(q), pose, atol=1e-12)
        np.testing.assert_allclose(fr3.jacobian(q), jacobian, atol=1e-12)


def test_jacobian_is_the_derivative_of_the_pose(model, joints_within):
    step = 1e-6
    for q in joints_within(model, 10, seed=1):
        for i, row in enumerate(np.eye(len(q)) * step):
            before, after = model.tcp(q - row), model.tcp(q + row)
            linear = (after - before)[:3, 3] / (2 * step)
            angular = turn_of(after[:3, :3] @ before[:3, :3].T) / (2 * step)
            np.testing.assert_allclose(
                model.jacobian(q)[:, i], np.concatenate([linear, angular]), atol=1e-7
            )


def test_paths_are_what_pinocchio_says_of_every_single_pose(model, joints_within):
    import pinocchio

    whole = pinocchio.buildModelFromUrdf(str(model._path))
    data, full = whole.createData(), pinocchio.neutral(whole)
    joints = joints_within(model, 50, seed=2)
    base, tcp = (whole.getFrameId(name) for name in model.links)
    for q, pose in zip(joints, model.tcp_path(joints), strict=True):
        for name, value in zip(model.names, q, strict=True):
            full[whole.joints[whole.getJointId(name)].idx_q] = value
        pinocchio.framesForwardKinematics(whole, data, full)
        expected = data.oMf[base].actInv(data.oMf[tcp]).homogeneous
        np.testing.assert_allclose(pose, expected, atol=1e-12)
        rotation, place, _ = model.pose_and_jacobian(q)
        np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-12)
        np.testing.assert_allclose(place, expected[:3, 3], atol=1e-12)


def test_where_the_urdf_puts_the_base_changes_nothing(arm, joints_within, tmp_path):
    embodiment, model = arm("fr3")
    stand = (
        '<link name="world"/><joint name="stand" type="fixed"><parent link="world"/>'
        '<child link="fr3_link0"/><origin xyz="0.3 -0.2 0.8" rpy="0.1 0.2 1.5"/></joint></robot>'
    )
    path = tmp_path / "stand.urdf"
    path.write_text(urdf_path("fr3").read_text().replace("</robot>", stand))
    moved = ArmModel.of(with_kinematics(embodiment, urdf=str(path)))
    for q in joints_within(model, 10, seed=3):
        np.testing.assert_allclose(moved.tcp(q), model.tcp(q), atol=1e-9)
        np.testing.assert_allclose(moved.jacobian(q), model.jacobian(q), atol=1e-9)
    for one, other in zip(moved.shapes(), model.shapes(), strict=True):
        assert (one.link, one.joint) == (other.link, other.joint)
        np.testing.assert_allclose(one.ends_m, other.ends_m, atol=1e-9)


def test_threads_do_not_disturb_each_other(fr3, joints_within):
    joints = joints_within(fr3, 300, seed=4)
    expected = [fr3.jacobian(q).copy() for q in joints]
    wrong = []

    def ask(order):
        for i in order:
            if not np.array_equal(fr3.jacobian(joints[i]), expected[i]):
                wrong.append(i)

    orders = [np.random.default_rng(seed).permutation(len(joints)) for seed in range(4)]
    threads = [threading.Thread(target=ask, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("name", sorted(bundled("embodiments", ".yaml")))
def test_limits_of_bundled_embodiments_are_those_of_their_urdf(arm, name):
    embodiment, model = arm(name)
    allowed = model.limits_of_urdf()
    np.testing.assert_allclose(embodiment.limits.position_rad, allowed.position_rad, atol=1e-3)
    np.testing.assert_allclose(embodiment.limits.velocity_rad_s, allowed.velocity_rad_s, atol=1e-3)
    margin = embodiment.safety.limit_margin_rad
    assert (model.home > model.low + margin).all() and (model.home < model.high - margin).all()


def test_refusals_name_what_is_wrong(arm):
    good, _ = arm("fr3")
    wide = ((-2.9, 2.9), *good.limits.position_rad[1:])
    fast = (9.0, *good.limits.velocity_rad_s[1:])
    plain = dataclasses.replace(good.safety, workspace_m=(), table_m=None, self_collision_m=None)
    cases = {
        "fr3 has no kinematics; give it urdf": dataclasses.replace(
            good, kinematics=None, safety=plain
        ),
        "urdf 'fr4'": with_kinematics(good, urdf="fr4"),
        "joint 'fr3_joint1' is not in .*panda": with_kinematics(good, urdf="panda"),
        "frame 'fr3_hand_tpc'.*fr3_hand_tcp": with_kinematics(good, tcp_frame="fr3_hand_tpc"),
        "base_frame 'fr3_link3' moves": with_kinematics(good, base_frame="fr3_link3"),
        "tcp_frame 'fr3_link3' is not moved by fr3_joint7": with_kinematics(
            good, tcp_frame="fr3_link3"
        ),
        r"position_rad of fr3_joint1 .*\[-2.9, 2.9\]; fr3.urdf allows": with_limits(
            good, position_rad=wide
        ),
        "velocity_rad_s of fr3_joint1 .* 9; fr3.urdf allows 2.62": with_limits(
            good, velocity_rad_s=fast
        ),
    }
    for message, embodiment in cases.items():
        with pytest.raises(UwmError, match=message):
            ArmModel.of(embodiment)


def test_a_file_that_is_no_urdf_and_a_mesh_are_refused(arm, tmp_path):
    good, _ = arm("fr3")
    path = tmp_path / "broken.urdf"
    path.write_text("<robot")
    with pytest.raises(UwmError, match=r"broken\.urdf is no URDF"):
        ArmModel.of(with_kinematics(good, urdf=str(path)))
    whole = urdf_path("fr3").read_text()
    first = '<cylinder radius="0.068" length="0.11"/>'
    path.write_text(whole.replace(first, '<mesh filename="file:///nowhere/link1.stl"/>'))
    with pytest.raises(UwmError, match="link1"):
        ArmModel.of(with_kinematics(good, urdf=str(path))).shapes()


def test_without_pinocchio_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(UwmError, match=r"fr3 need pinocchio .*pip install 'uwm_ros\[arm\]'"):
        ArmModel.of(Embodiment.load("fr3"))
