# SPDX-License-Identifier: Apache-2.0
"""Laws of the guard: against brute force, and against coal's distances of the URDF's own shapes."""

import dataclasses

import numpy as np
import pytest

from uwm_core.errors import UwmError
from uwm_core.kinematics.guard import Guard
from uwm_core.kinematics.model import ArmModel
from uwm_core.resources import bundled
from uwm_core.sim import fr3 as scene_arm
from uwm_core.sim.expert import LiftExpert
from uwm_core.sim.motion import Sense

NOWHERE = {"workspace_m": (), "table_m": None, "self_collision_m": None}


def safety_of(arm, name="fr3", **changes):
    return dataclasses.replace(arm(name)[0].safety, **{**NOWHERE, **changes})


def brute_force(model, safety, joints):
    """Room (N,) by points along every capsule's line, and how coarse that is, m."""
    shapes = model.shapes()
    share = np.linspace(0, 1, 40)[:, None]
    lines = [(1 - share) * shape.ends_m[0] + share * shape.ends_m[1] for shape in shapes]
    coarse = max(float(np.linalg.norm(s.ends_m[1] - s.ends_m[0])) for s in shapes) / 39

    def placed(q):
        turns, places = (part[0] for part in model.joint_frames(q[None]))
        return [
            line @ turns[shape.joint].T + places[shape.joint]
            for shape, line in zip(shapes, lines, strict=True)
        ]

    def apart(points, i, j):
        gap = np.linalg.norm(points[i][:, None] - points[j][None], axis=2).min()
        return gap - shapes[i].radius_m - shapes[j].radius_m

    home = placed(model.home)
    pairs = [
        (i, j)
        for i in range(len(shapes))
        for j in range(i)
        if abs(shapes[i].joint - shapes[j].joint) > 1
        and apart(home, i, j) > safety.self_collision_m
    ]
    rooms = []
    for q in joints:
        points = placed(q)
        room = [apart(points, i, j) - safety.self_collision_m for i, j in pairs]
        for shape, line in zip(shapes, points, strict=True):
            if shape.joint > 0:
                lowest, highest = (
                    line.min(axis=0) - shape.radius_m,
                    line.max(axis=0) + shape.radius_m,
                )
                low, high = np.array(safety.workspace_m).T
                room += [*(lowest - low), *(high - highest), lowest[2] - safety.table_m]
        rooms.append(min(room))
    return np.array(rooms), coarse


@pytest.mark.parametrize("name", ["fr3", "droid"])
@pytest.mark.parametrize("wide", [False, True])
def test_room_is_what_brute_force_finds(arm, joints_within, name, wide):
    model, safety = arm(name)[1], arm(name)[0].safety
    if wide:  # walls out of reach: the arm itself is what is nearest
        safety = dataclasses.replace(safety, workspace_m=((-3, 3),) * 3, table_m=-3.0)
    joints = joints_within(model, 25, seed=1, share=0.9)
    sampled, coarse = brute_force(model, safety, joints)
    exact = Guard(model, safety).clearance(joints).distance_m
    assert (exact <= sampled + 1e-9).all() and (sampled <= exact + coarse).all()


@pytest.mark.parametrize("name", ["fr3", "droid", "panda"])
def test_self_collision_is_what_coal_says_of_the_urdf(arm, joints_within, name):
    import pinocchio

    model = arm(name)[1]
    path = str(model._path)
    whole = pinocchio.buildModelFromUrdf(path)
    geometry = pinocchio.buildGeomFromUrdf(whole, path, pinocchio.GeometryType.COLLISION)
    for i, one in enumerate(geometry.geometryObjects):
        for j, other in enumerate(list(geometry.geometryObjects)[:i]):
            if abs(one.parentJoint - other.parentJoint) > 1:
                geometry.addCollisionPair(pinocchio.CollisionPair(j, i))
    data, near = whole.createData(), geometry.createData()
    guard = Guard(model, safety_of(arm, name, self_collision_m=0.0))
    joints = joints_within(model, 25, seed=2)
    rooms = guard.clearance(joints).distance_m
    full = pinocchio.neutral(whole)
    for q, room in zip(joints, rooms, strict=True):
        for joint, value in zip(model.names, q, strict=True):
            full[whole.joints[whole.getJointId(joint)].idx_q] = value
        pinocchio.computeDistances(whole, data, geometry, near, full)
        expected = min(result.min_distance for result in near.distanceResults)
        if expected > 0:
            assert room == pytest.approx(expected, abs=1e-4)
        else:  # how deep is not the same for a capsule and its cylinder
            assert room < 1e-4


def test_the_room_is_the_least_of_what_each_limit_leaves(fr3, arm, joints_within):
    safety, joints = arm("fr3")[0].safety, joints_within(fr3, 300, seed=5)
    parts = [
        Guard(fr3, safety_of(arm, **{name: getattr(safety, name)})).clearance(joints).distance_m
        for name in NOWHERE
    ]
    together = Guard(fr3, safety).clearance(joints).distance_m
    np.testing.assert_allclose(together, np.min(parts, axis=0), atol=1e-12)


def test_a_row_does_not_depend_on_its_neighbours(fr3, arm, joints_within):
    guard = Guard(fr3, arm("fr3")[0].safety)
    joints = joints_within(fr3, 40, seed=3)
    single = [guard.clearance(q[None]).distance_m[0] for q in joints]
    np.testing.assert_allclose(guard.clearance(joints).distance_m, single, atol=1e-12)


def test_more_distance_to_keep_is_less_room(fr3, arm):
    rooms = [
        Guard(fr3, safety_of(arm, self_collision_m=keep)).clearance(fr3.home[None]).distance_m[0]
        for keep in (0.0, 0.01, 0.02)
    ]
    np.testing.assert_allclose(np.diff(rooms), -0.01, atol=1e-9)


def test_it_says_what_is_nearest(fr3, arm):
    down = fr3.home + np.array([0, 1.6, 0, 0, 0, 0, 0])
    for changes, what in (
        ({"table_m": 0.0}, "fr3_link6 and the table"),
        ({"workspace_m": ((-1, 0.3), (-1, 1), (-1, 2))}, "the workspace's high x side"),
        ({"workspace_m": ((-1, 1), (-0.05, 1), (-1, 2))}, "the workspace's low y side"),
    ):
        found = Guard(fr3, safety_of(arm, **changes)).clearance(np.stack([fr3.home, down]))
        assert what in found.what
        assert found.distance_m.min() < 0
    folded = fr3.home.copy()
    folded[[1, 3, 5]] = 1.6, -2.9, 3.0  # the hand on the base
    found = Guard(fr3, safety_of(arm, self_collision_m=0.0)).clearance(folded[None])
    assert "fr3_link0 and" in found.what and found.distance_m[0] < 0


def test_of_nothing_there_is_endless_room(fr3, arm):
    guard = Guard(fr3, arm("fr3")[0].safety)
    assert guard.clearance(np.empty((0, 7))).distance_m.shape == (0,)
    nothing = Guard(fr3, safety_of(arm)).clearance(fr3.home[None])
    assert nothing.distance_m[0] == np.inf and nothing.what == "nothing"


@pytest.mark.parametrize("name", sorted(bundled("embodiments", ".yaml")))
def test_bundled_arms_rest_clear_of_everything(arm, name):
    embodiment, model = arm(name)
    assert embodiment.safety.needs_kinematics
    assert Guard(model, embodiment.safety).clearance(model.home[None]).distance_m[0] >= 0.005


def test_a_urdf_without_shapes_is_refused(arm, tmp_path):
    embodiment = arm("fr3")[0]
    joints = "".join(
        f'<link name="l{i}"/><joint name="fr3_joint{i}" type="revolute"><parent link="l{i - 1}"/>'
        f'<child link="l{i}"/><axis xyz="0 0 1"/>'
        f'<limit lower="-9" upper="9" velocity="9" effort="1"/></joint>'
        for i in range(1, 8)
    )
    path = tmp_path / "bare.urdf"
    path.write_text(f'<robot name="bare"><link name="l0"/>{joints}</robot>')
    described = dataclasses.replace(
        embodiment.kinematics, urdf=str(path), base_frame="l0", tcp_frame="l7"
    )
    model = ArmModel.of(dataclasses.replace(embodiment, kinematics=described))
    with pytest.raises(UwmError, match=r"bare\.urdf has no collision shapes"):
        Guard(model, embodiment.safety)


@pytest.mark.parametrize("seed", range(3))
def test_the_lift_demo_is_never_clipped_for_a_place(arm, seed):
    embodiment, model = arm("fr3_sim")
    guard = Guard(model, embodiment.safety)
    random, expert = np.random.default_rng(seed), LiftExpert(seed)
    q, width = np.array(scene_arm.HOME_RAD), scene_arm.GRIPPER_WIDTH_M
    x, y, yaw = random.uniform([0.38, -0.2, -0.7], [0.6, 0.2, 0.7])
    cube = np.array([x, y, 0.02, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    commands = []
    for k in range(200):
        command = expert.act(Sense(k * 0.02, q, width, cube))
        commands.append(command.joint_rad)
        q = q + (command.joint_rad - q) / 3  # 20 of the 60 ms that a command looks ahead
        width = max(command.gripper_m, 0.04)  # the cube is in between
        if command.gripper_m < 0.04:  # and goes with the hand
            cube[:3] = model.tcp(q)[:3, 3]
    room = guard.clearance(np.array(commands))
    assert room.distance_m.min() > 0.005, room.what
    assert model.tcp_path(np.array(commands))[:, 2, 3].min() < 0.025  # it has been at the table
    assert model.tcp(q)[2, 3] > 0.15  # and up
