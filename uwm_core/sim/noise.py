# SPDX-License-Identifier: Apache-2.0
"""Noise on what is executed, never on what is recorded as the label.

Every now and then the hand is carried a centimetre or two off its way, smoothly. The expert acts on
measured joints, so its next labels lead back: demonstrations then show how to recover, without one
label that a policy should not imitate.
"""

from dataclasses import dataclass

import numpy as np

from uwm_core.sim import kinematics
from uwm_core.sim.motion import Command, Sense


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """How the executed motion is disturbed.

    Attributes:
        size_m: Typical distance by which one gust carries the hand off.
        turn_rad: Typical angle by which one gust turns the hand about the vertical.
        pause_s: Mean quiet time between gusts.
        gust_s: Shortest and longest gust.
        lead_s: The commands' lead (``HandServoConfig.lead_s``).
        holding: Part of the gust that is left while the gripper closes or holds.
    """

    size_m: float = 0.015
    turn_rad: float = 0.08
    pause_s: float = 0.5
    gust_s: tuple[float, float] = (0.2, 0.5)
    lead_s: float = 0.06
    holding: float = 0.4

    def __post_init__(self) -> None:
        if self.size_m < 0 or self.turn_rad < 0:
            raise ValueError("size_m and turn_rad must be at least 0")


class SmoothNoise:
    """Gusts of smooth velocity, the same for the same seed and times."""

    def __init__(self, seed: int, config: NoiseConfig | None = None) -> None:
        self._config = config or NoiseConfig()
        self._rng = np.random.default_rng((seed, 2))
        self._begin_s = float(self._rng.exponential(self._config.pause_s))
        self._draw()

    def disturb(self, sense: Sense, command: Command) -> Command:
        """The command as it is to be executed."""
        twist = self._twist(sense.time_s)
        if command.gripper_m < sense.gripper_m - 0.005 or command.gripper_m == 0.0:
            twist *= self._config.holding
        if kinematics.tcp_pose(sense.joint_rad)[2, 3] < 0.05:
            twist[2] = max(twist[2], 0.0)  # a gust never drives the fingers into the table
        if not twist.any():
            return command
        drift = kinematics.joint_velocity(sense.joint_rad, twist, sense.joint_rad)
        return Command(command.joint_rad + drift * self._config.lead_s, command.gripper_m)

    def _twist(self, time_s: float) -> np.ndarray:
        """Velocity of the gust at this time: (6,), zero between gusts."""
        while time_s > self._begin_s + self._gust_s:
            self._begin_s += self._gust_s + float(self._rng.exponential(self._config.pause_s))
            self._draw()
        phase = (time_s - self._begin_s) / self._gust_s
        if not 0.0 <= phase <= 1.0:
            return np.zeros(6)
        # A raised cosine, whose integral over the gust is the gust's size.
        twist: np.ndarray = self._shift * (1 - np.cos(2 * np.pi * phase)) / self._gust_s
        return twist

    def _draw(self) -> None:
        """Choose length, direction and size of the next gust."""
        config = self._config
        self._gust_s = float(self._rng.uniform(*config.gust_s))
        direction = self._rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        self._shift = np.zeros(6)
        self._shift[:3] = direction * config.size_m * self._rng.uniform(0.5, 1.5)
        self._shift[5] = config.turn_rad * self._rng.normal()
