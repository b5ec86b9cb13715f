# SPDX-License-Identifier: Apache-2.0
"""What the simulated robot publishes: the states and cameras that its embodiment names."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from uwm_core.embodiment import Embodiment, Vector
from uwm_core.errors import UwmError
from uwm_core.sim import hand
from uwm_core.sim.kinematics import quaternion
from uwm_core.sim.scene import Scene
from uwm_core.streams import ARRAY, FLOAT_TYPES, JOINT_STATE, POSE_STAMPED
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.images import to_image
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.types import message_class
from uwm_ros.logic.pacing import Beat
from uwm_ros.logic.sim_faults import Faults

_IMAGE_DEPTH = 2


def state_streams(
    node: Node, embodiment: Embodiment, scene: Scene, faults: Faults, frame: str
) -> list[StateStream]:
    """One publisher per state topic of the embodiment; several states may share one.

    Raises:
        UwmError: A state is of a kind that this robot does not have.
    """
    topics: dict[str, dict[str, Vector]] = {}
    for key, spec in embodiment.state.items():
        topics.setdefault(spec.topic, {})[key] = spec
    fillers = _Fillers(embodiment, scene, faults)
    return [StateStream(node, specs, fillers, faults, frame) for specs in topics.values()]


class StateStream:
    """Publishes one state topic at its rate."""

    def __init__(
        self, node: Node, specs: dict[str, Vector], fillers: _Fillers, faults: Faults, frame: str
    ) -> None:
        spec = next(iter(specs.values()))
        self._faults = faults
        self._message = message_class(spec.type)()
        self._header = getattr(self._message, "header", None)
        if self._header is not None:
            self._header.frame_id = frame
        self._fill = fillers.of(specs)
        self._publisher = node.create_publisher(type(self._message), spec.topic, reliable())
        self._beat = Beat(max(spec.rate_hz for spec in specs.values()), now_ns(node))

    def step(self, moment_ns: int) -> None:
        """Publish if it is due."""
        if not self._beat.due(moment_ns) or self._faults.silences_states:
            return
        self._fill(self._message)
        if self._header is not None:
            self._header.stamp = to_stamp(self._faults.stamp_ns(moment_ns))
        self._publisher.publish(self._message)


class _Fillers:
    """How a message of each type is filled from the scene."""

    def __init__(self, embodiment: Embodiment, scene: Scene, faults: Faults) -> None:
        self._arm, self._scene, self._faults = embodiment.arm_joints, scene, faults

    def of(self, specs: dict[str, Vector]) -> Callable[[Any], None]:
        """The filler of one topic."""
        key, spec = next(iter(specs.items()))
        if spec.type == JOINT_STATE:
            return self._joints(specs)
        if spec.type == POSE_STAMPED:
            return self._pose
        if spec.type in FLOAT_TYPES:
            hand.check(f"state {key}", spec)
            return lambda message: setattr(message, "data", self._value(spec))
        if spec.type == ARRAY and set(spec.names) == set(self._arm) and not spec.indices:
            order = [self._arm.index(name) for name in spec.names]
            unit = {"rad": "joint_pos", "rad/s": "joint_vel"}.get(spec.unit)
            if unit is not None:
                return lambda message: setattr(
                    message, "data", _doubles(getattr(self._scene, unit)[order] / spec.scale)
                )
        raise UwmError(
            f"state {key} is a {spec.type} of {', '.join(spec.columns(key))}; the simulated robot "
            "publishes joint states, the hand's pose and the gripper's width"
        )

    def _value(self, spec: Vector) -> float:
        return hand.value_of(self._scene.gripper_width, spec) / spec.scale

    def _joints(self, specs: dict[str, Vector]) -> Callable[[Any], None]:
        """The whole arm if any of its joints is wanted, and whatever else: that is the hand's."""
        wanted = [name for spec in specs.values() for name in spec.names]
        arm = self._arm if set(wanted) & set(self._arm) else ()
        fingers: dict[str, Vector] = {}
        for key, spec in specs.items():
            for name in set(spec.names) - set(self._arm):
                if spec.field != "position":
                    raise UwmError(f"state {key}: the simulated hand reports positions only")
                hand.check(f"state {key}", spec)
                fingers[name] = spec
        names, shown_names = (*arm, *sorted(fingers)), [""]
        still = np.zeros(len(fingers))

        def fill(message: Any) -> None:
            share = [self._value(fingers[n]) / len(fingers[n].names) for n in sorted(fingers)]
            shown, order = self._faults.joints(names)
            if shown != shown_names:  # a field of texts is slow to fill
                message.name = shown_names[:] = shown
            scene = self._scene
            for field, values, rest in (
                ("position", scene.joint_pos, np.array(share)),
                ("velocity", scene.joint_vel, still),
                ("effort", scene.joint_effort, still),
            ):
                every = np.concatenate([values, rest]) if arm else rest
                setattr(message, field, _doubles(every[order]))

        return fill

    def _pose(self, message: Any) -> None:
        pose = self._scene.ee_pose
        at, turn = message.pose.position, message.pose.orientation
        at.x, at.y, at.z = (float(value) for value in pose[:3, 3])
        turn.w, turn.x, turn.y, turn.z = (float(value) for value in quaternion(pose[:3, :3]))


class CameraStream:
    """Draws one camera and publishes the picture and its calibration."""

    def __init__(
        self,
        node: Node,
        name: str,
        embodiment: Embodiment,
        scene: Scene,
        faults: Faults,
        start_ns: int,
    ) -> None:
        """Publish from `start_ns` on.

        Raises:
            UwmError: The embodiment wants compressed pictures.
        """
        spec = embodiment.cameras[name]
        if spec.type != "sensor_msgs/msg/Image":
            raise UwmError(f"camera {name}: the simulated robot publishes Image, not {spec.type}")
        self.name = name
        self._scene, self._faults = scene, faults
        self._beat = Beat(spec.rate_hz, start_ns)
        self._frame = f"{name}_color_optical_frame"
        self._publisher = node.create_publisher(Image, spec.topic, reliable(_IMAGE_DEPTH))
        folder, _, _ = spec.topic.rpartition("/")
        info_topic = f"{folder}/camera_info" if folder else "camera_info"
        self._info_publisher = node.create_publisher(CameraInfo, info_topic, reliable(_IMAGE_DEPTH))
        self._picture: np.ndarray | None = None  # the thread that draws owns the OpenGL context
        self._info = _camera_info(scene.render_size, scene.focal_px(name), self._frame)

    def step(self, moment_ns: int) -> bool:
        """Draw and publish if it is due; whether it was drawn."""
        if not self._beat.due(moment_ns) or self._faults.stops(self.name):
            return False
        if self._picture is None or not self._faults.freezes(self.name):
            self._picture = self._scene.render(self.name)
        stamp_ns = self._faults.stamp_ns(moment_ns)
        self._publisher.publish(to_image(self._picture, stamp_ns, self._frame))
        self._info.header.stamp = to_stamp(stamp_ns)
        self._info_publisher.publish(self._info)
        return True


def _camera_info(size: tuple[int, int], focal_px: float, frame: str) -> CameraInfo:
    """Calibration of a camera without distortion."""
    height, width = size
    cx, cy = width / 2, height / 2
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = frame
    info.k = [focal_px, 0.0, cx, 0.0, focal_px, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal_px, 0.0, cx, 0.0, 0.0, focal_px, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def _doubles(values: np.ndarray) -> array.array[float]:
    """What a float64[] field takes without looking at every element."""
    return array.array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())
