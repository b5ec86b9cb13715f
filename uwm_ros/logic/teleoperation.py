# SPDX-License-Identifier: Apache-2.0
"""The scripted stand-in for a person at the leader arm, as pure decisions.

A `Pilot` lives for one attempt. It is told what the graph says (measured joints, gripper, cube) and
answers with what a teleoperator would publish: the joints wanted (the label) and what is sent to
the arm, which differs by the execution noise. A label published at t is where the arm shall be at
t + lead: the delay between label and motion is `lead_s`, known and the same throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from uwm_core.errors import UnknownNameError
from uwm_core.sim.expert import LiftExpert
from uwm_core.sim.motion import HandServoConfig, Motion, Sense
from uwm_core.sim.noise import NoiseConfig, SmoothNoise
from uwm_core.sim.play import PlayMotion

Mode = Literal["expert", "play"]
MODES: tuple[str, ...] = get_args(Mode)
# A joint state is carried forward by its velocity, by no more than this.
_CARRY_NS = 50_000_000


@dataclass(frozen=True)
class JointReading:
    """A measured joint state: moment, (7,) rad, (7,) rad/s."""

    stamp_ns: int
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray

    def at(self, moment_ns: int) -> np.ndarray:
        """Where the joints are at a moment shortly after: (7,) rad."""
        ahead_s = min(max(moment_ns - self.stamp_ns, 0), _CARRY_NS) / 1e9
        carried: np.ndarray = self.position_rad + self.velocity_rad_s * ahead_s
        return carried


@dataclass(frozen=True)
class Order:
    """What is published at one moment.

    Attributes:
        label_rad: Joints wanted `lead_s` from now, without noise: (7,).
        executed_rad: Joints sent to the arm for that moment: (7,).
        gripper_m: Width wanted.
    """

    label_rad: np.ndarray
    executed_rad: np.ndarray
    gripper_m: float


@dataclass(frozen=True, kw_only=True)
class PilotConfig:
    """How the stand-in behaves.

    Attributes:
        mode: `expert` lifts the cube, `play` does anything sensible.
        seed: Decides every choice.
        noise_m: Typical distance by which a gust carries the expert's hand off; play has none,
            since its labels must say what really happened.
        lead_s: A command is where the arm shall be this long from now.
    """

    mode: str = "expert"
    seed: int = 0
    noise_m: float = 0.015
    lead_s: float = 0.06

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownNameError("teleoperation mode", self.mode, MODES)
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


class Pilot:
    """One attempt of the stand-in.

    Args:
        config: Mode, seed, noise, lead.
        start_ns: When the attempt begins.
    """

    def __init__(self, config: PilotConfig, start_ns: int) -> None:
        servo = HandServoConfig(lead_s=config.lead_s)
        expert = config.mode == "expert"
        self._motion: Motion = (
            LiftExpert(config.seed, servo) if expert else PlayMotion(config.seed, servo)
        )
        gusts = NoiseConfig(size_m=config.noise_m, lead_s=config.lead_s)
        noisy = expert and config.noise_m > 0
        self._noise = SmoothNoise(config.seed, gusts) if noisy else None
        self._start_ns = start_ns

    def order(
        self, now_ns: int, joints: JointReading, gripper_m: float, cube_pose: np.ndarray
    ) -> Order:
        """What to publish now."""
        sense = Sense((now_ns - self._start_ns) / 1e9, joints.at(now_ns), gripper_m, cube_pose)
        wanted = self._motion.act(sense)
        sent = self._noise.disturb(sense, wanted) if self._noise else wanted
        return Order(wanted.joint_rad, sent.joint_rad, wanted.gripper_m)
