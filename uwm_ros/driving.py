# SPDX-License-Identifier: Apache-2.0
"""The stacks in which something drives the arm: a policy, two of them, a person, an episode.

All of them go through the executor; `DriveOptions` is what it is told. Only here is known how
franka_ros2 is started beside them. No ROS import.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any

from uwm_core.resources import config_path
from uwm_ros.processes import (
    Elements,
    Foreign,
    Include,
    Process,
    StackOptions,
    Value,
    argument,
    sim_beside,
)

FRANKA = ("", "controller", "plain")
_SPAWN_S = 60


@dataclass(frozen=True, kw_only=True)
class DriveOptions(StackOptions):
    """What every stack that moves the arm is told."""

    executor_autostart: bool = argument(False, "move at once, without a call of executor/run")
    executor_rate_hz: float = argument(100.0, "rate of the executor's loop and of its commands")
    speed_scale: float = argument(1.0, "share of the wanted speed, above 0, at most 1")
    realtime: bool = argument(True, "put what an arm waits for before other work, where permitted")
    preview: bool = argument(False, "publish the chunks as markers and as a path, for rviz")
    flight_recorder: bool = argument(False, "write a bag of the last 30 s when the executor holds")
    sim: bool = argument(False, "start the simulated arm too")

    def beside(self) -> Elements:
        """What stands beside whoever drives: the watchers, and before all the simulated arm."""
        watchers = [node for node in ("preview", "flight_recorder") if getattr(self, node)]
        return (
            *(sim_beside(self) if self.sim else ()),
            *(self.process(node) for node in watchers),
        )

    def executor(self, **more: Value) -> Process:
        """The executor."""
        return self.process(
            "executor",
            autostart=self.executor_autostart,
            rate_hz=self.executor_rate_hz,
            speed_scale=self.speed_scale,
            realtime=self.realtime,
            **more,
        )


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(DriveOptions):
    """A policy that drives."""

    checkpoint: str = argument("sim_lift", "name in config/checkpoints, or path of a folder")
    device: str = argument("cpu", "torch device of policy and imagination: cpu, cuda, cuda:1")
    threads: int = argument(1, "torch threads of each; 1 is steadiest beside other work")
    task: str = argument("", "task sentence, for checkpoints that read one")
    replan_s: float = argument(0.0, "longest time between two chunks, s; 0: half a second")
    sample_steps: int = argument(0, "sampler steps per chunk; 0: the checkpoint's own")
    fast: str = argument("exact", "what may be given up for speed: fewer-steps, bf16, or both")
    seed: int = argument(0, "of the sampler's noise; -1: another one every time")
    join: str = argument("inpaint", "how chunks are joined: replace, blend or inpaint")
    blend_s: float = argument(0.2, "time over which one chunk passes into the next, s")
    compensate_latency: bool = argument(True, "play actions at their due times, drop past ones")
    deadman_button: int = argument(-1, "button of joy that must be held for any motion; -1: none")
    teleop: bool = argument(False, "start teleop beside it, for executor/take_over")
    imagination: bool = argument(True, "publish what the model imagines, as images")
    imagine_every: int = argument(1, "imagine every n-th chunk only")
    respawn: bool = argument(False, "start policy and imagination again when they die")
    franka: str = argument("", "start franka_ros2 too: 'controller' with one, 'plain' without")
    robot_ip: str = argument("", "address of the Franka that franka_ros2 connects to")
    use_fake_hardware: bool = argument(False, "let franka_ros2 simulate its hardware")
    load_gripper: bool = argument(True, "let franka_ros2 start the Franka hand")
    controller: str = argument("fr3_arm_controller", "what franka:=controller spawns")
    controllers_yaml: str = argument("", "controllers of franka_ros2; empty: config/franka's")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ValueError: As of `StackOptions`, or franka_ros2 is asked for by halves.
        """
        super().__post_init__()
        if self.franka not in FRANKA:
            raise ValueError(f"franka {self.franka!r} must be 'controller', 'plain' or empty")
        if self.franka and self.sim:
            raise ValueError("franka and sim are two arms on the same topics; choose one")
        if self.franka and not self.robot_ip and not self.use_fake_hardware:
            raise ValueError("franka needs robot_ip:=ADDRESS, or use_fake_hardware:=true")
        if self.robot_ip and not self.franka:
            raise ValueError("robot_ip has no use without franka:=controller or franka:=plain")
        if self.use_fake_hardware and not (self.franka or self.sim):
            raise ValueError("use_fake_hardware needs franka:=controller or franka:=plain")


@dataclass(frozen=True, kw_only=True)
class ArmsOptions(PolicyOptions):
    """Two arms side by side, each with a policy of its own; what is empty is as for both."""

    left_embodiment: str = argument("", "of the left arm; empty: embodiment")
    right_embodiment: str = argument("", "of the right arm; empty: embodiment")
    left_checkpoint: str = argument("", "of the left arm; empty: checkpoint")
    right_checkpoint: str = argument("", "of the right arm; empty: checkpoint")
    left_device: str = argument("", "of the left arm; empty: device")
    right_device: str = argument("", "of the right arm; empty: device")
    left_task: str = argument("", "of the left arm; empty: task")
    right_task: str = argument("", "of the right arm; empty: task")
    left_robot_ip: str = argument("", "of the left arm; empty: robot_ip")
    right_robot_ip: str = argument("", "of the right arm; empty: robot_ip")

    def __post_init__(self) -> None:
        """Refuse what one of the arms would refuse.

        Raises:
            ValueError: As of `PolicyOptions`; or both arms would be the same Franka.
        """
        left, right = self.of("left"), self.of("right")
        if left.robot_ip and left.robot_ip == right.robot_ip:
            raise ValueError(
                f"both arms have robot_ip {left.robot_ip!r}; give left_robot_ip and right_robot_ip"
            )

    def of(self, side: str) -> PolicyOptions:
        """What the stack of one arm is told, ``left`` or ``right``."""
        own: dict[str, Any] = {
            entry.name: getattr(self, f"{side}_{entry.name}", "") or getattr(self, entry.name)
            for entry in fields(PolicyOptions)
        }
        return PolicyOptions(**own | {"namespace": f"{self.namespace}/{side}".lstrip("/")})


@dataclass(frozen=True, kw_only=True)
class TeleopOptions(DriveOptions):
    """A person that drives by Twist and Joy."""

    speed_m_s: float = argument(0.15, "speed of the hand at full deflection")
    turn_rad_s: float = argument(0.6, "turning speed of the hand at full deflection")
    frame: str = argument("base", "axes that deflections are along: base or hand")
    deadman_button: int = argument(-1, "button of joy that must be held; -1: none")
    gripper_button: int = argument(0, "button of joy that opens and closes the gripper; -1: none")
    joy_axes: str = argument("", "axes of joy for x y z roll pitch yaw: '1 0 4 - - 3'; '': none")
    record: bool = argument(False, "start the recorder too")
    directory: str = argument("episodes", "folder that the bags go to")
    task: str = argument("", "task sentence of episodes that a button starts")


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(DriveOptions):
    """A recorded episode that drives."""

    store: str = argument("", "store that the episode is in: folder or URL")
    episode: int = argument(0, "number of the episode, counted from 0")


def policy_stack(options: PolicyOptions) -> Elements:
    """Policy, executor and their manager; with options, imagination, simulated arm, franka_ros2."""
    model: dict[str, Value] = {
        "checkpoint": options.checkpoint,
        "device": options.device,
        "threads": options.threads,
        "fast": options.fast,
    }
    drive: dict[str, Value] = {
        "task": options.task,
        "replan_s": options.replan_s,
        "sample_steps": options.sample_steps,
        "seed": options.seed,
        "join": options.join,
        "realtime": options.realtime,
    }
    executor = options.executor(
        join=options.join,
        blend_s=options.blend_s,
        compensate_latency=options.compensate_latency,
        deadman_button=options.deadman_button,
    )
    managed = [options.process("policy", **model, **drive)]
    if options.imagination:
        managed.append(options.process("imagination", every_n=options.imagine_every, **model))
    manager = options.process("manager", nodes=[process.node for process in managed])
    return (
        *_franka(options),
        *options.beside(),
        executor,
        *((options.process("teleop"),) if options.teleop else ()),
        *(dataclasses.replace(process, respawn=options.respawn) for process in managed),
        manager,
    )


def arms_stack(options: ArmsOptions) -> Elements:
    """Two policy stacks, in the namespaces left and right."""
    return (*policy_stack(options.of("left")), *policy_stack(options.of("right")))


def _franka(options: PolicyOptions) -> Elements:
    """franka_ros2 in the arm's namespace, and the controller that takes trajectories."""
    if not options.franka:
        return ()
    why = f"franka:={options.franka}"
    # A torque controller cannot move hardware that is only made believe.
    ours = "fake_controllers.yaml" if options.use_fake_hardware else "controllers.yaml"
    arguments = {
        "robot_type": "fr3",
        "namespace": options.namespace,
        "robot_ip": options.robot_ip or "none",
        "use_fake_hardware": str(options.use_fake_hardware).lower(),
        "load_gripper": str(options.load_gripper).lower(),
        "controllers_yaml": options.controllers_yaml or str(config_path("franka", ours)),
    }
    robot = Include(
        package="franka_bringup", file="launch/franka.launch.py", arguments=arguments, why=why
    )
    spawner = Foreign(
        package="controller_manager",
        executable="spawner",
        arguments=(options.controller, "--controller-manager-timeout", str(_SPAWN_S)),
        namespace=options.namespace,
        why=why,
    )
    return (robot, spawner) if options.franka == "controller" else (robot,)


def teleop_stack(options: TeleopOptions) -> Elements:
    """Teleoperation and executor; with options, the recorder and the simulated arm."""
    names = ("speed_m_s", "turn_rad_s", "frame", "deadman_button", "gripper_button", "joy_axes")
    processes = [
        options.process("teleop", **{name: getattr(options, name) for name in names}),
        options.executor(driver="human"),
    ]
    if options.record:
        write = {"directory": options.directory, "task": options.task}
        processes.append(options.process("recorder", **write))
    return (*options.beside(), *processes)


def replay_stack(options: ReplayOptions) -> Elements:
    """An episode's actions and the executor; with options, what `DriveOptions` adds."""
    replay = options.process("replay", store=options.store, episode=options.episode)
    return (*options.beside(), replay, options.executor())
