# SPDX-License-Identifier: Apache-2.0
"""Laws of actions: what is learned leads back to what was recorded, and holes lose no truth."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.data.actions import absolute, complete, relative
from uwm_core.data.messages import vector
from uwm_core.data.rotations import rotation_6d
from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, SpecError
from uwm_core.records import Step
from uwm_core.resources import bundled

spatial = pytest.importorskip("scipy.spatial.transform")
PERIOD = 100_000_000
TEXT = bundled("embodiments", ".yaml")["fr3_sim"].read_text()
STATE_OF = """  joint_target:
    topic: franka/joint_states
    at: next_tick{relative}
"""


def with_joints(relative=""):
    """fr3_sim, its joint action taken from the state that was reached."""
    said = f"\n    relative_to: {relative}" if relative else ""
    return Embodiment.parse(
        TEXT.replace(
            "  joint_target:\n    topic: gello/joint_states\n", STATE_OF.format(relative=said)
        )
    )


def with_poses():
    """fr3_sim with a Cartesian state and an action relative to it."""
    pose = (
        "    type: geometry_msgs/msg/PoseStamped\n    field: pose\n    rate_hz: 30.0\n    unit: m\n"
    )
    text = TEXT.replace(
        "action:\n", "  hand:\n    topic: hand\n" + pose + "    max_age_s: 0.2\n\naction:\n"
    )
    target = (
        "  hand_target:\n    topic: vr\n" + pose + "    max_age_s: 0.2\n    relative_to: hand\n"
        "    command_topic: target_pose\n    command_type: geometry_msgs/msg/PoseStamped\n"
    )
    return Embodiment.parse(text.replace("\nsafety:", target + "\nsafety:"))


def walk(rows, start=0):
    """Steps whose joints are rows of a table, the width constant."""
    for number, row in enumerate(rows):
        joints = np.asarray(row, np.float32)
        yield Step(
            stamp_ns=(start + number) * PERIOD,
            images={},
            state={"joint_pos": joints, "gripper_width": np.zeros(1, np.float32)},
            action={"joint_target": joints, "gripper_width": np.full(1, number, np.float32)},
        )


def test_an_embodiment_of_targets_gets_its_very_steps_back():
    steps = list(walk(np.zeros((3, 7))))
    assert all(
        a is b
        for a, b in zip(complete(Embodiment.load("fr3_sim"), iter(steps)), steps, strict=True)
    )


def test_the_state_reached_is_the_action_and_the_last_step_has_none():
    rows = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    found = list(complete(with_joints(), walk(rows)))
    assert len(found) == 5
    for number, step in enumerate(found):
        assert (step.state["joint_pos"] == rows[number]).all()
        assert (step.action["joint_target"] == rows[number + 1]).all()
        assert step.action["gripper_width"] == number  # a command stays that of its own tick


def test_no_action_reaches_over_a_hole_or_a_missing_tick():
    rows = np.arange(21, dtype=np.float32).reshape(3, 7)
    hole = SimpleNamespace(stamp_ns=3 * PERIOD)
    items = [*walk(rows), hole, *walk(rows, start=4), *walk(rows, start=9)]
    found = list(complete(with_joints(), iter(items)))
    assert [item.stamp_ns // PERIOD for item in found] == [0, 1, 3, 4, 5, 9, 10]
    assert found[2] is hole


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_deltas_lead_along_the_recorded_path(seed):
    embodiment = with_joints(relative="joint_pos")
    rows = np.random.default_rng(seed).uniform(-2, 2, (9, 7)).astype(np.float32)
    found = list(complete(embodiment, walk(rows)))
    deltas = np.stack([np.concatenate(list(step.action.values())) for step in found])
    state = {"joint_pos": rows[0], "gripper_width": np.zeros(1, np.float32)}
    targets = absolute(embodiment, deltas, state)
    assert np.allclose(targets[:, :7], rows[1:], atol=1e-5)
    assert np.allclose(relative(embodiment, targets, state), deltas, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_relative_poses_lead_back_to_their_targets(seed):
    embodiment = with_poses()
    draw = np.random.default_rng(seed)
    turns = spatial.Rotation.from_rotvec(draw.uniform(-3, 3, (6, 3))).as_matrix()
    poses = np.concatenate([draw.uniform(-1, 1, (6, 3)), rotation_6d(turns)], axis=1)
    width = embodiment.action_size - 9
    chunk = np.concatenate([draw.normal(size=(5, width)), poses[1:]], axis=1).astype(np.float32)
    state = {"hand": poses[0].astype(np.float32)}
    learned = relative(embodiment, chunk, state)
    assert np.allclose(absolute(embodiment, learned, state), chunk, atol=1e-5)
    assert (learned[:, :width] == chunk[:, :width]).all()


@pytest.mark.parametrize("name", ["fr3_spacemouse", "fr3_servo", "fr3_vr", "fr3_states", "droid"])
def test_bundled_inputs_load_and_name_every_column_once(name):
    embodiment = Embodiment.load(name)
    assert Embodiment.parse(embodiment.to_yaml()) == embodiment
    assert len(set(embodiment.action_names)) == embodiment.action_size


def test_meaning_tells_a_delta_from_a_target():
    plain, reached, delta = (
        Embodiment.load("fr3_sim"), with_joints(), with_joints(relative="joint_pos"),
    )  # fmt: skip
    assert any("next tick" in sentence for sentence in reached.difference(plain))
    assert any("relative to joint_pos" in sentence for sentence in delta.difference(reached))


# scipy's capital letters are intrinsic angles; the first two rows are what DROID's numbers become.
DROID_TURN = spatial.Rotation.from_euler("XYZ", [0.4, 0.5, 0.6]).as_matrix()[:2].ravel()


def message(kind):
    xyz = SimpleNamespace(x=1.0, y=2.0, z=3.0)
    turn = SimpleNamespace(x=0.0, y=0.0, z=np.sqrt(0.5), w=np.sqrt(0.5))
    twist = SimpleNamespace(linear=xyz, angular=SimpleNamespace(x=4.0, y=5.0, z=6.0))
    point = SimpleNamespace(positions=[9.0, 8.0], velocities=[])
    return {
        "geometry_msgs/msg/Twist": twist,
        "geometry_msgs/msg/TwistStamped": SimpleNamespace(twist=twist),
        "geometry_msgs/msg/PoseStamped": SimpleNamespace(
            pose=SimpleNamespace(position=xyz, orientation=turn)
        ),
        "std_msgs/msg/Float64MultiArray": SimpleNamespace(data=[0.5, 1.5, 2.5]),
        "sensor_msgs/msg/Joy": SimpleNamespace(axes=[0.1, 0.2], buttons=[0, 1]),
        "trajectory_msgs/msg/JointTrajectory": SimpleNamespace(
            joint_names=["b", "a"], points=[SimpleNamespace(positions=[0.0, 0.0]), point]
        ),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "more", "wanted"),
    [
        ("geometry_msgs/msg/Twist", "field: twist\nunit: m/s\nclock: receive", [1, 2, 3, 4, 5, 6]),
        ("geometry_msgs/msg/TwistStamped", "field: twist\nunit: m/s", [1, 2, 3, 4, 5, 6]),
        (
            "geometry_msgs/msg/TwistStamped",
            "field: twist_6d\nunit: unitless\nscale: 0.1",
            [0.1, 0.2, 0.3, *DROID_TURN],
        ),
        # A quarter turn about z: x becomes y, y becomes -x.
        ("geometry_msgs/msg/PoseStamped", "field: pose\nunit: m", [1, 2, 3, 0, -1, 0, 1, 0, 0]),
        (
            "std_msgs/msg/Float64MultiArray",
            "field: data\nunit: m\nnames: [p, q]\nindices: [2, 0]\nclock: receive",
            [2.5, 0.5],
        ),
        ("sensor_msgs/msg/Joy", "field: buttons\nunit: unitless\nnames: [grip]\nindices: [1]", [1]),
        ("trajectory_msgs/msg/JointTrajectory", "unit: rad\nnames: [a, b]", [8, 9]),
    ],
)
def test_every_input_gives_the_numbers_that_its_message_has(kind, more, wanted):
    from uwm_core.spec import parse_spec
    from uwm_core.streams import Vector

    text = f"topic: t\nrate_hz: 100.0\nmax_age_s: 0.1\ntype: {kind}\n{more}\n"
    spec = parse_spec(text, Vector)
    found = vector(message(kind), spec)
    assert found.dtype == np.float32 and np.allclose(found, wanted, atol=1e-6)
    assert spec.size == len(spec.columns("key")) == len(wanted)


def test_an_orientation_of_no_length_is_named():
    from uwm_core.streams import Vector

    spec = Vector(topic="vr", type="geometry_msgs/msg/PoseStamped", field="pose", unit="m",
                  rate_hz=90.0, max_age_s=0.1)  # fmt: skip
    pose = message("geometry_msgs/msg/PoseStamped")
    pose.pose.orientation = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=0.0)
    with pytest.raises(DataError, match="vr has an orientation of length 0"):
        vector(pose, spec)


JOINT_END = "    unit: rad\n    max_age_s: 0.2\n"
GRIPPER = "    interpolation: previous\n"


@pytest.mark.parametrize(
    ("old", "added", "says"),
    [
        (JOINT_END, "    relative_to: joint_pos_\n", "Did you mean 'joint_pos'?"),
        (JOINT_END, "    relative_to: gripper_width\n", "which is sum of"),
        (GRIPPER, "    open_above: 0.5\n", "open_above needs one value, and 'unitless'"),
        (GRIPPER, "    indices: [0]\n", "indices are for arrays and Joy"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would_work(old, added, says):
    assert old in TEXT
    with pytest.raises(SpecError, match=r"fr3\.yaml:") as caught:
        Embodiment.parse(TEXT.replace(old, old + added, 1), "fr3.yaml")
    assert says in str(caught.value)


def test_a_gripper_without_width_is_open_or_closed():
    scale = "    scale: 0.08  # the topic carries 0 (closed) to 1 (open)\n"
    text = TEXT.replace("    unit: m\n" + scale, "    unit: unitless\n    open_above: 0.5\n")
    spec = Embodiment.parse(text).action["gripper_width"]
    for raw, wanted in ((0.49, 0.0), (0.51, 1.0), (1.0, 1.0), (0.5, 0.0)):
        assert vector(SimpleNamespace(data=raw), spec) == wanted
