# SPDX-License-Identifier: Apache-2.0
"""Published facts about the Franka Research 3: link lengths, limits, masses.

Nothing here moves. ``kinematics`` turns the lengths into poses, ``mjcf`` turns everything into a
MuJoCo model. Lengths in metres, angles in radians, masses in kilograms, seconds throughout.
"""

import math

import numpy as np

ARM_JOINTS: tuple[str, ...] = tuple(f"fr3_joint{i}" for i in range(1, 8))
FINGER_JOINTS: tuple[str, ...] = ("fr3_finger_joint1", "fr3_finger_joint2")

# Modified (Craig) Denavit-Hartenberg rows (a_m, d_m, alpha_rad) of joints 1..7.
DH: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
FLANGE_M = 0.107  # from joint 7's frame along its z
HAND_YAW_RAD = -math.pi / 4  # the hand is mounted turned on the flange
HAND_TO_FINGER_M = 0.0584  # finger slides begin here, along the hand's z
HAND_TO_TCP_M = 0.1034  # between the finger tips

POSITION_LIMITS_RAD: tuple[tuple[float, float], ...] = (
    (-2.7437, 2.7437),
    (-1.7837, 1.7837),
    (-2.9007, 2.9007),
    (-3.0421, -0.1518),
    (-2.8065, 2.8065),
    (0.5445, 4.5169),
    (-3.0159, 3.0159),
)
VELOCITY_LIMITS_RAD_S: tuple[float, ...] = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
ACCELERATION_LIMITS_RAD_S2: tuple[float, ...] = (10.0,) * 7
TORQUE_LIMITS_NM: tuple[float, ...] = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
# Base, links 1..7.
LINK_MASSES_KG: tuple[float, ...] = (
    2.3966,
    2.9275,
    2.9355,
    2.2449,
    2.6156,
    2.3271,
    1.8170,
    0.6271,
)
HAND_MASS_KG = 0.73
FINGER_MASS_KG = 0.015

FINGER_RANGE_M = (0.0, 0.04)  # of each finger; the width is the sum of both
GRIPPER_WIDTH_M = 0.08
GRIPPER_SPEED_M_S = 0.2  # fastest change of the width

# Ready pose of the simulated arm: gripper straight down, about 0.3 m above the table's middle.
HOME_RAD: tuple[float, ...] = (0.0, -0.263, 0.0, -2.491, 0.0, 2.228, math.pi / 4)


def position_limits_rad() -> np.ndarray:
    """Lower and upper joint limits: (7, 2) float64."""
    return np.array(POSITION_LIMITS_RAD)
