# SPDX-License-Identifier: Apache-2.0
"""Drive the simulated arm by a policy, without ROS: time stands still during inference.

Everything but the wait is as on the graph: pictures are drawn at the published size and
resized by the one resize there is, state is read by the embodiment's rules, chunks are indexed by
time and go through the same joint trajectory controller.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from uwm_core.data import messages
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.records import ActionChunk, Observation
from uwm_core.sim import fr3
from uwm_core.sim.controller import JointTrajectoryController, Point, Trajectory
from uwm_core.sim.scene import Scene
from uwm_core.sim.task import TASK_SENTENCE, LiftTask

_FEWEST_ACTIONS = 2
PolicyCallable = Callable[[Observation], ActionChunk]


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How an attempt is driven.

    Attributes:
        history: Observation steps that the policy sees (T).
        execute: Actions of a chunk that are executed before the next observation.
        keep_frames: Whether the pictures of every tick are returned.
        task: The task sentence.
    """

    history: int = 1
    execute: int = 6
    keep_frames: bool = False
    task: str = TASK_SENTENCE

    def __post_init__(self) -> None:
        if self.history < 1 or self.execute < 1:
            raise ValueError("history and execute must be at least 1")


@dataclass(frozen=True, eq=False)
class RolloutResult:
    """How an attempt went.

    Attributes:
        seed: Seed of the attempt.
        success: Whether the task was done.
        time_s: When it was done, or how long was tried.
        frames: Per camera one (H, W, 3) picture a tick, if asked for.
    """

    seed: int
    success: bool
    time_s: float
    frames: dict[str, list[np.ndarray]] = field(default_factory=dict)


class Rollout:
    """One attempt, played tick by tick on the embodiment's grid."""

    def __init__(
        self, scene: Scene, embodiment: Embodiment, seed: int, config: RolloutConfig
    ) -> None:
        scene.reset(seed)
        self._scene, self._embodiment, self._config = scene, embodiment, config
        self._seed = seed
        self._tick_ns = 0
        self._task = LiftTask()
        self._controller = JointTrajectoryController(fr3.ARM_JOINTS, scene.joint_pos)
        self._gripper: list[tuple[int, float]] = []  # (due_ns, width_m), soonest first
        self._steps: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
        self._frames: dict[str, list[np.ndarray]] = {name: [] for name in embodiment.camera_names}
        self._channels = _channels(embodiment)

    def run(self, policy: PolicyCallable) -> RolloutResult:
        """Drive until the task is decided."""
        for _ in range(self._config.history):
            self._look()
            if len(self._steps) < self._config.history:
                self._advance()
        while not self._task.over:
            self._follow(policy(self._observation()))
            for _ in range(self._config.execute):
                if self._advance():
                    break
                self._look()
        time_ns = self._task.success_ns or self._task.elapsed_ns
        frames = self._frames if self._config.keep_frames else {}
        return RolloutResult(self._seed, self._task.success, time_ns / 1e9, frames)

    def _look(self) -> None:
        """Remember what is to be seen at this tick."""
        scene, embodiment = self._scene, self._embodiment
        images = {}
        for name in embodiment.camera_names:
            picture = scene.render(name)
            images[name] = messages.resize(picture, embodiment.cameras[name].size)
            if self._config.keep_frames:
                self._frames[name].append(picture)
        joints = _joint_states(scene)
        state = {key: messages.vector(joints, spec) for key, spec in embodiment.state.items()}
        self._steps = [*self._steps, (images, state)][-self._config.history :]

    def _observation(self) -> Observation:
        images = {
            name: np.stack([step[0][name] for step in self._steps])
            for name in self._embodiment.camera_names
        }
        state = {
            key: np.stack([step[1][key] for step in self._steps]) for key in self._embodiment.state
        }
        return Observation(self._scene.time_ns, images, state, self._config.task)

    def _follow(self, chunk: ActionChunk) -> None:
        """Hand a chunk to the controller, less the action that is due at this very moment."""
        if len(chunk.actions) < _FEWEST_ACTIONS:
            raise UwmError(f"a chunk of {len(chunk.actions)} action is over when it is there")
        joints = chunk.actions[:, self._channels.arm].astype(np.float64)  # (A, 7)
        velocity = np.gradient(joints, chunk.period_ns / 1e9, axis=0)
        velocity[-1] = 0.0
        points = tuple(
            Point(k * chunk.period_ns, tuple(joints[k]), tuple(velocity[k]))
            for k in range(1, len(joints))
        )
        start_ns = chunk.stamp_ns
        self._controller.accept(
            Trajectory(start_ns, self._embodiment.arm_joints, points), self._scene.time_ns
        )
        widths = chunk.actions[:, self._channels.gripper]
        self._gripper = [(chunk.due_ns(k), float(width)) for k, width in enumerate(widths)]

    def _advance(self) -> bool:
        """Let one period of the grid pass; whether the attempt is decided."""
        scene = self._scene
        self._tick_ns += self._embodiment.period_ns
        while scene.time_ns < self._tick_ns:
            while self._gripper and self._gripper[0][0] <= scene.time_ns:
                scene.set_gripper_target(self._gripper.pop(0)[1])
            scene.set_joint_target(*self._controller.sample(scene.time_ns))
            scene.step()
            self._task.update(scene.time_ns, scene.cube_height_m)
        return self._task.over


def rollout(
    policy: PolicyCallable,
    scene: Scene,
    embodiment: Embodiment,
    seed: int,
    config: RolloutConfig | None = None,
) -> RolloutResult:
    """Drive one attempt on a scene by a policy.

    Args:
        policy: Answers an Observation with an ActionChunk.
        scene: The scene, reset here.
        embodiment: Cameras, state and actions by name.
        seed: Of the scene.
        config: History, steps to execute, frames.

    Raises:
        UwmError: The embodiment is not of this arm, or a chunk has fewer than 2 actions.
        Rejected: The controller did not take a chunk (not finite, for instance).
    """
    return Rollout(scene, embodiment, seed, config or RolloutConfig()).run(policy)


@dataclass(frozen=True)
class _Columns:
    """Columns of an action: the arm's joints, in order, and the gripper's width."""

    arm: list[int]
    gripper: int


def _channels(embodiment: Embodiment) -> _Columns:
    """Find arm and gripper among the embodiment's actions."""
    names = embodiment.action_names
    missing = [joint for joint in fr3.ARM_JOINTS if joint not in names]
    rest = [i for i, name in enumerate(names) if name not in fr3.ARM_JOINTS]
    if missing or len(rest) != 1 or set(embodiment.arm_joints) != set(fr3.ARM_JOINTS):
        raise UwmError(
            f"embodiment {embodiment.name!r} has the actions {', '.join(names)}; the simulated arm "
            f"takes {', '.join(fr3.ARM_JOINTS)} and one gripper width"
        )
    return _Columns([names.index(joint) for joint in embodiment.arm_joints], rest[0])


def _joint_states(scene: Scene) -> Any:
    """All joints of the scene, shaped like a JointState."""
    finger_m = scene.gripper_width / 2
    return SimpleNamespace(
        name=[*fr3.ARM_JOINTS, *fr3.FINGER_JOINTS],
        position=[*scene.joint_pos, finger_m, finger_m],
        velocity=[*scene.joint_vel, 0.0, 0.0],
        effort=[*scene.joint_effort, 0.0, 0.0],
    )
