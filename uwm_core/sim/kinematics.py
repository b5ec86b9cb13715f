# SPDX-License-Identifier: Apache-2.0
"""Closed-form kinematics of the FR3 and the differential inverse that the scripted motions use.

Pure numpy: no simulator, no clock. The base frame lies on the table's surface; ``tcp`` is the point
between the finger tips, its z leaving the hand, its y along the fingers' travel. Poses are 4x4
matrices, quaternions are (w, x, y, z).
"""

import numpy as np

from uwm_core.errors import UnknownNameError
from uwm_core.sim import fr3


def _fixed_links() -> tuple[np.ndarray, ...]:
    """The constant part of each joint's transform: 7 x (4, 4)."""
    links = []
    for a_m, d_m, alpha_rad in fr3.DH:
        c, s = np.cos(alpha_rad), np.sin(alpha_rad)
        links.append(
            np.array([[1, 0, 0, a_m], [0, c, -s, -s * d_m], [0, s, c, c * d_m], [0, 0, 0, 1.0]])
        )
    return tuple(links)


def rotation_z(angle_rad: float) -> np.ndarray:
    """Homogeneous rotation about z: (4, 4)."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def _tool() -> np.ndarray:
    """From joint 7's frame to the point between the finger tips: (4, 4)."""
    tool = rotation_z(fr3.HAND_YAW_RAD)
    tool[2, 3] = fr3.FLANGE_M + fr3.HAND_TO_TCP_M
    return tool


_LINKS = _fixed_links()
_TOOL = _tool()
# Tool frames that embodiments name, by the end of the name: the tip's turn and height (m) there.
_TIPS: dict[str, tuple[float, float]] = {
    "hand_tcp": (0.0, 0.0),
    "hand": (0.0, fr3.HAND_TO_TCP_M),
    "link8": (fr3.HAND_YAW_RAD, fr3.HAND_TO_TCP_M),
    "robotiq": (fr3.HAND_YAW_RAD, fr3.HAND_TO_TCP_M),
    "robotiq_tcp": (fr3.HAND_YAW_RAD, fr3.HAND_TO_TCP_M - 0.15),
}


def tip_in(frame: str) -> np.ndarray:
    """Pose (4, 4) of the point between the finger tips in a tool frame, e.g. ``fr3_hand_tcp``.

    Raises:
        UnknownNameError: The arm has no such frame.
    """
    for name, (yaw_rad, height_m) in _TIPS.items():
        if frame == name or frame.endswith(f"_{name}"):
            tip = rotation_z(yaw_rad)
            tip[2, 3] = height_m
            return tip
    raise UnknownNameError("tool frame of the simulated arm", frame, _TIPS)


def joint_frames(joint_rad: np.ndarray) -> np.ndarray:
    """Frames of joints 1..7 in the base, z along each axis: (7, 4, 4)."""
    frames = np.empty((7, 4, 4))
    pose = np.eye(4)
    for i in range(7):
        pose = pose @ _LINKS[i] @ rotation_z(float(joint_rad[i]))
        frames[i] = pose
    return frames


def tcp_pose(joint_rad: np.ndarray) -> np.ndarray:
    """Pose of the point between the finger tips in the base: (4, 4)."""
    pose: np.ndarray = joint_frames(joint_rad)[-1] @ _TOOL
    return pose


def jacobian(joint_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tool pose (4, 4) and geometric Jacobian (6, 7): rows vx vy vz wx wy wz in the base."""
    frames = joint_frames(joint_rad)
    tcp = frames[-1] @ _TOOL
    axes = frames[:, :3, 2]  # (7, 3)
    arms = tcp[:3, 3] - frames[:, :3, 3]  # (7, 3)
    return tcp, np.concatenate([np.cross(axes, arms), axes], axis=1).T  # (6, 7)


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Rotation vector (3,), radians in the base, that turns ``current`` (3, 3) onto ``target``."""
    turn = target @ current.T
    vector = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    sine = float(np.linalg.norm(vector)) / 2
    angle = float(np.arctan2(sine, (np.trace(turn) - 1) / 2))
    scale = 0.5 if sine < 1e-9 else angle / (2 * sine)
    return scale * vector


def downward(yaw_rad: float) -> np.ndarray:
    """Tool orientation (3, 3): straight down, turned by ``yaw_rad`` about the vertical."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, s, 0], [s, -c, 0], [0, 0, -1.0]])


def joint_velocity(
    joint_rad: np.ndarray, twist: np.ndarray, posture_rad: np.ndarray, damping: float = 0.03
) -> np.ndarray:
    """Joint velocity (7,) in rad/s for a tool twist, by damped least squares.

    Args:
        joint_rad: Where the arm is, (7,).
        twist: Wanted tool velocity (6,): m/s, then rad/s, in the base.
        posture_rad: Joint angles (7,) that the redundant motion drifts to, at 1/s.
        damping: Singular values below this are damped; larger is calmer near singular poses and
            less exact there.
    """
    _, jac = jacobian(joint_rad)
    left, sizes, right = np.linalg.svd(jac)  # (6, 6), (6,), (7, 7)
    # Damping grows as a direction is lost: far from singular poses the answer is exact.
    lost = np.clip(1 - sizes / damping, 0, 1) * damping
    velocity: np.ndarray = right[:6].T @ (sizes / (sizes**2 + lost**2 + 1e-12) * (left.T @ twist))
    # The last row turns joints and leaves the hand where it is.
    velocity += right[6] * (right[6] @ (posture_rad - joint_rad))
    return velocity


def inverse(
    pose: np.ndarray, seed_rad: np.ndarray, *, iterations: int = 100, tolerance: float = 1e-5
) -> np.ndarray | None:
    """Joint angles (7,) that reach a tool pose (4, 4) from a seed, or None when it does not settle.

    Joint limits are kept on the way; the answer stays near the seed.
    """
    limits = fr3.position_limits_rad()
    q = np.array(seed_rad, dtype=np.float64)
    for _ in range(iterations):
        tcp, _ = jacobian(q)
        turn = rotation_error(pose[:3, :3], tcp[:3, :3])
        error = np.concatenate([pose[:3, 3] - tcp[:3, 3], turn])
        if float(np.abs(error).max()) < tolerance:
            return q
        q = np.clip(q + joint_velocity(q, error, q, damping=0.02), limits[:, 0], limits[:, 1])
    return None


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion (w, x, y, z) of a rotation matrix (3, 3)."""
    m = rotation
    # The largest of the four squares decides which root is safe to take.
    squares = np.array(
        [1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2],
         1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2]]
    )  # fmt: skip
    rows = np.array(
        [
            [squares[0], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], squares[1], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], squares[2], m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[3]],
        ]
    )
    row = rows[int(squares.argmax())]
    q: np.ndarray = row / np.linalg.norm(row)
    return q if q[0] >= 0 else -q
