# SPDX-License-Identifier: Apache-2.0
"""The arm of an embodiment as a chain of joints: poses, Jacobians, limits of its URDF.

pinocchio reads the file and does single poses; whole paths are multiplied out at once in numpy,
where the way from Python and back would cost more than the arithmetic.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UnknownNameError, UwmError, did_you_mean
from uwm_core.resources import bundled

Floats = npt.NDArray[np.float64]

# An embodiment's limits are often typed off with fewer digits than the URDF's.
_TYPED_RAD = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class UrdfLimits:
    """What the URDF allows: (low, high) in rad and the highest speed in rad/s per joint."""

    position_rad: tuple[tuple[float, float], ...]
    velocity_rad_s: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """One collision shape as a capsule that holds it: all points near a line.

    Attributes:
        link: Name of the link that it is part of.
        joint: Number of joints before it: 0 is the base, J moves with the last one.
        ends_m: (2, 3) ends of the line in the frame of joint ``joint`` (0: the base frame).
        radius_m: Of the points about the line.
    """

    link: str
    joint: int
    ends_m: Floats
    radius_m: float


class ArmModel:
    """The chain from ``base_frame`` to ``tcp_frame``, everything else in the URDF held at zero.

    Safe to use from several threads.

    Attributes:
        names: Joint names in the order of every (J,) here: the embodiment's ``arm_joints``.
        links: Names of the base frame and of the tcp.
        low: (J,) rad, lowest positions that the embodiment allows (margin not taken off).
        high: (J,) rad, highest.
        home: (J,) rad, where redundant joints may drift to.
        velocity: (J,) rad/s, highest speeds that the embodiment allows.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Use ``of``.

        Raises:
            UwmError: As ``of`` says.
        """
        kinematics = embodiment.kinematics
        if kinematics is None:
            raise UwmError(
                f"embodiment {embodiment.name} has no kinematics; give it urdf, base_frame and "
                "tcp_frame"
            )
        self._pin = _pinocchio(embodiment.name)
        self._path = urdf_path(kinematics.urdf)
        self.names = embodiment.arm_joints
        self.links = (kinematics.base_frame, kinematics.tcp_frame)
        self.low, self.high = np.array(embodiment.limits.position_rad, dtype=np.float64).T
        self.velocity = np.array(embodiment.limits.velocity_rad_s, dtype=np.float64)
        self.home = np.array(embodiment.home_rad, dtype=np.float64)
        self._whole: Any = self._read()
        held = [i for i in range(1, self._whole.njoints) if self._whole.names[i] not in self.names]
        self._model: Any = self._pin.buildReducedModel(
            self._whole, held, self._pin.neutral(self._whole)
        )
        self._held = held
        self._local = threading.local()
        self._check_chain()
        self._place_frames()
        self._check_limits(embodiment)

    @classmethod
    def of(cls, embodiment: Embodiment) -> ArmModel:
        """The arm of an embodiment.

        Raises:
            UnknownNameError: If the URDF is neither bundled nor a file.
            UwmError: If kinematics or pinocchio is missing, a joint or a frame is not in the URDF,
                the joints are no chain, or the embodiment allows more than the URDF.
        """
        return cls(embodiment)

    def tcp(self, joint_rad: Floats) -> Floats:
        """Pose (4, 4) of the tcp in the base frame; ``joint_rad`` is (J,)."""
        pose: Floats = self.tcp_path(np.asarray(joint_rad)[None])[0]
        return pose

    def tcp_path(self, joints_rad: Floats) -> Floats:
        """Poses (N, 4, 4) of the tcp in the base frame; ``joints_rad`` is (N, J)."""
        turns, places = self.joint_frames(joints_rad)
        poses = np.zeros((len(turns), 4, 4))
        poses[:, 3, 3] = 1
        poses[:, :3, :3] = turns[:, -1] @ self._tool[:3, :3]
        poses[:, :3, 3] = turns[:, -1] @ self._tool[:3, 3] + places[:, -1]
        return poses

    def joint_frames(self, joints_rad: Floats) -> tuple[Floats, Floats]:
        """Frames of the base and the joints, in the base frame.

        Args:
            joints_rad: (N, J).

        Returns:
            Rotations (N, J + 1, 3, 3) and positions (N, J + 1, 3), m; the first is the base.
        """
        q = np.asarray(joints_rad, dtype=np.float64)
        count, joints = q.shape
        # Rodrigues: I + sin q K + (1 - cos q) K^2, with the fixed rotation before it taken in.
        own = (
            self._fixed
            + np.sin(q)[..., None, None] * self._sine
            + (1 - np.cos(q))[..., None, None] * self._versine
        )
        turns = np.empty((count, joints + 1, 3, 3))
        places = np.zeros((count, joints + 1, 3))
        turns[:, 0] = np.eye(3)
        for i in range(joints):
            places[:, i + 1] = places[:, i] + turns[:, i] @ self._offset_m[i]
            turns[:, i + 1] = turns[:, i] @ own[:, i]
        return turns, places

    def jacobian(self, joint_rad: Floats) -> Floats:
        """Jacobian (6, J): vx vy vz wx wy wz of the tcp along the axes of the base frame."""
        return self.pose_and_jacobian(joint_rad)[2]

    def pose_and_jacobian(self, joint_rad: Floats) -> tuple[Floats, Floats, Floats]:
        """Rotation (3, 3), position (3,) and Jacobian (6, J) of the tcp in the base frame."""
        pin, data = self._pin, self._data
        pin.computeJointJacobians(self._model, data, joint_rad)
        frame = pin.updateFramePlacement(self._model, data, self._tcp_id)
        jacobian = pin.getFrameJacobian(
            self._model, data, self._tcp_id, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        turn, place = self._base_turn, frame.translation - self._base_m
        if self._base_turned:
            both = (turn @ jacobian.reshape(2, 3, -1)).reshape(6, -1)
            return turn @ frame.rotation, turn @ place, both
        return frame.rotation, place, jacobian

    def limits_of_urdf(self) -> UrdfLimits:
        """What the URDF allows, per joint."""
        model = self._model
        low, high = model.lowerPositionLimit.tolist(), model.upperPositionLimit.tolist()
        return UrdfLimits(
            position_rad=tuple(zip(low, high, strict=True)),
            velocity_rad_s=tuple(model.velocityLimit.tolist()),
        )

    def shapes(self) -> list[Shape]:
        """Collision shapes of all links of the URDF, as capsules.

        Raises:
            UwmError: If a shape is a mesh, or no link has one.
        """
        from uwm_core.kinematics.shapes import read_shapes

        return read_shapes(self._pin, self._path, self._whole, self._held, self._base())

    def _base(self) -> tuple[Floats, Floats]:
        """Rotation (3, 3) into the base frame, and where that frame is in the URDF's, m (3,)."""
        return self._base_turn, self._base_m

    @property
    def _data(self) -> Any:
        """Work space of pinocchio, one per thread."""
        if not hasattr(self._local, "data"):
            self._local.data = self._model.createData()
        return self._local.data

    def _read(self) -> Any:
        try:
            model = self._pin.buildModelFromUrdf(str(self._path))
        except (ValueError, RuntimeError) as error:
            raise UwmError(f"{self._path} is no URDF that pinocchio reads: {error}") from error
        for name in self.names:
            if not model.existJointName(name):
                known = list(model.names)[1:]
                raise UwmError(
                    f"joint {name!r} is not in {self._path}.{did_you_mean(name, known)} "
                    f"Joints: {', '.join(known)}"
                )
        for name in self.links:
            if not model.existFrame(name):
                known = [frame.name for frame in model.frames]
                raise UwmError(f"frame {name!r} is not in {self._path}.{did_you_mean(name, known)}")
        return model

    def _check_chain(self) -> None:
        model = self._model
        found = tuple(model.names)[1:]
        if found != self.names:
            raise UwmError(
                f"arm_joints {', '.join(self.names)} must be in the order of {self._path}, base "
                f"first: {', '.join(found)}"
            )
        if model.nq != model.nv or any(
            model.parents[i] != i - 1 or "JointModelR" not in model.joints[i].shortname()
            for i in range(1, model.njoints)
        ):
            raise UwmError(
                f"arm_joints of {self._path} must be revolute joints with limits, each on the "
                "one before it"
            )
        base, tcp = (model.frames[model.getFrameId(name)] for name in self.links)
        if base.parentJoint != 0:
            raise UwmError(f"base_frame {self.links[0]!r} moves with joint of {self._path}")
        if tcp.parentJoint != model.njoints - 1:
            raise UwmError(
                f"tcp_frame {self.links[1]!r} is not moved by {self.names[-1]}, the last of "
                "arm_joints"
            )

    def _place_frames(self) -> None:
        """Constants of the chain: of joint i its offset and rotation before and by the joint."""
        model, pin = self._model, self._pin
        base = model.frames[model.getFrameId(self.links[0])].placement
        self._base_turn: Floats = base.rotation.T.copy()
        self._base_m: Floats = base.translation.copy()
        self._base_turned = not np.allclose(self._base_turn, np.eye(3))
        self._tcp_id = model.getFrameId(self.links[1])
        self._tool: Floats = model.frames[self._tcp_id].placement.homogeneous.copy()
        data, zero = model.createData(), pin.neutral(model)
        fixed, sine, versine, offset = [], [], [], []
        for i in range(1, model.njoints):
            place = model.jointPlacements[i]
            place = base.actInv(place) if i == 1 else place
            axis = pin.computeJointJacobian(model, data, zero, i)[3:, i - 1]
            cross = np.cross(np.eye(3), axis)  # cross @ v is axis x v
            fixed.append(place.rotation)
            sine.append(place.rotation @ cross)
            versine.append(place.rotation @ cross @ cross)
            offset.append(place.translation)
        self._fixed, self._sine, self._versine = np.array(fixed), np.array(sine), np.array(versine)
        self._offset_m: Floats = np.array(offset)

    def _check_limits(self, embodiment: Embodiment) -> None:
        allowed = self.limits_of_urdf()
        for i, name in enumerate(self.names):
            low, high = allowed.position_rad[i]
            if self.low[i] < low - _TYPED_RAD or self.high[i] > high + _TYPED_RAD:
                raise UwmError(
                    f"position_rad of {name} in embodiment {embodiment.name} is "
                    f"[{self.low[i]:g}, {self.high[i]:g}]; {self._path.name} allows "
                    f"[{low:g}, {high:g}]"
                )
            if self.velocity[i] > allowed.velocity_rad_s[i] + _TYPED_RAD:
                raise UwmError(
                    f"velocity_rad_s of {name} in embodiment {embodiment.name} is "
                    f"{self.velocity[i]:g}; {self._path.name} allows "
                    f"{allowed.velocity_rad_s[i]:g}"
                )


def urdf_path(name_or_path: str) -> Path:
    """File of a bundled description (``"fr3"``) or of any.

    Raises:
        UnknownNameError: If it is neither a bundled name nor a file.
    """
    known = bundled("urdf", ".urdf")
    path = known.get(name_or_path, Path(name_or_path).expanduser())
    if not path.is_file():
        raise UnknownNameError("urdf", name_or_path, [*known, "a path to a .urdf file"])
    return path


def _pinocchio(embodiment: str) -> Any:
    try:
        import pinocchio
    except ImportError as error:
        raise UwmError(
            f"the kinematics of embodiment {embodiment} need pinocchio ({error}); "
            "install it with: pip install 'uwm_ros[arm]'"
        ) from error
    return pinocchio
