# SPDX-License-Identifier: Apache-2.0
"""Random robots, chunks and stops, and a checker that knows nothing of how plans are made.

The checker sees what a controller sees: commands at 100 Hz, the points of every plan, and the
messages that the executor makes of it ten times a second, each with a stop at its end. Of the
commands it takes differences: by the mean value theorem a first, second or third difference beyond
a limit means that the motion itself broke it, through every join and stop. The points' cubics it
evaluates densely by the textbook's basis functions.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import get_args

import numpy as np

from uwm_core.embodiment import Embodiment, JointLimits
from uwm_core.records import ActionChunk
from uwm_ros.cli.judge_places import Places
from uwm_ros.logic.joins import Join, JoinKind
from uwm_ros.logic.judge import Cause, Rules, Situation, judge
from uwm_ros.logic.limits import Floats
from uwm_ros.logic.plan import Plan
from uwm_ros.logic.stops import halted, led
from uwm_ros.logic.trajectory import Trajectory

_NS = 1e9
_TICK_NS = 10_000_000
_ACTIONS = 12
# Rounding: of positions of a few rad, divided by the tick as often as the order says.
_ROUNDING = (2e-6, 2e-6, 2e-5, 1e-3)
# A joint that began beyond its limit may go so much further between two points.
_BESIDE_RAD = 2e-4
_INSIDE = np.linspace(0.0, 1.0, 17)[:, None, None]
_BAD = (np.nan, np.inf, 1e6, -1e6, 50.0)
_SPREADS_RAD = (0.002, 0.01, 0.03, 0.1, 0.3)
_ARMS = ("fr3_sim", "fr3_sim", "fr3_servo", "droid")
# The executor's way with a trajectory controller: how often and how far ahead it is told.
_RESEND_TICKS = 10
_LEAP_RAD = 1e-3
_TWIST_6D = 9
_HORIZON_NS = 200_000_000
_GRID_NS = 20_000_000
# Between two points of a plan the links go no straight line.
_BETWEEN_M = 0.002


@cache
def _watched(name: str) -> tuple[Rules, Places]:
    """Of a bundled arm, the places that it may be in; reading its URDF takes a while."""
    rules = Rules(Embodiment.load(name))
    rules.prepare()
    return rules, Places(rules.embodiment)


def random_rules(rng: np.random.Generator) -> tuple[Rules, Places | None]:
    """A robot with joints and safety of any kind, and what its places are checked by.

    Half of them are bundled arms, driven by joints or twists, before their real guard.
    """
    name = str(rng.choice(_ARMS)) if rng.random() < 0.5 else ""
    base = Embodiment.load(name or "fr3_sim")
    safety = dataclasses.replace(
        base.safety,
        max_chunk_age_s=3.0,
        limit_margin_rad=float(rng.choice([0.0, 0.02])),
        velocity_scale=float(rng.uniform(0.2, 1.0)),
        smoothing_s=float(rng.choice([0.01, 0.02, 0.04, 0.1, 0.2])),
    )
    if name:
        made, places = _watched(name)
        rules = Rules(dataclasses.replace(base, safety=safety))
        rules.guard, rules.targets = made.guard, made.targets
        return rules, places
    safety = dataclasses.replace(safety, workspace_m=(), table_m=None, self_collision_m=None)
    count = len(base.arm_joints)
    middle, half = rng.uniform(-1, 1, count), rng.uniform(0.15, 3.0, count)
    jerk = tuple(rng.uniform(50, 5000, count).tolist()) if rng.random() < 0.5 else ()
    limits = JointLimits(
        position_rad=tuple(zip((middle - half).tolist(), (middle + half).tolist(), strict=True)),
        velocity_rad_s=tuple(rng.uniform(0.1, 6.0, count).tolist()),
        acceleration_rad_s2=tuple(rng.uniform(0.5, 30.0, count).tolist()),
        jerk_rad_s3=jerk,
    )
    home = tuple(middle.tolist())
    return Rules(dataclasses.replace(base, limits=limits, home_rad=home, safety=safety)), None


@dataclasses.dataclass(frozen=True, eq=False)
class Bounds:
    """What the checker holds commands against.

    Attributes:
        low: Lowest position, rad (J,); where the arm began beyond it, a hair below that.
        high: Highest position, rad (J,).
        orders: Highest speed, acceleration and jerk, (J,) each.
    """

    low: Floats
    high: Floats
    orders: tuple[Floats, Floats, Floats]

    @classmethod
    def of(cls, embodiment: Embodiment, start: Floats) -> Bounds:
        """Read from the embodiment itself."""
        limits, safety = embodiment.limits, embodiment.safety
        low, high = np.array(limits.position_rad).T
        low, high = low + safety.limit_margin_rad, high - safety.limit_margin_rad
        acceleration = np.array(limits.acceleration_rad_s2)
        jerk = 2 * acceleration / safety.smoothing_s
        if limits.jerk_rad_s3:
            jerk = np.minimum(jerk, limits.jerk_rad_s3)
        return cls(
            np.where(start < low + _BESIDE_RAD, np.minimum(low, start - _BESIDE_RAD), low),
            np.where(start > high - _BESIDE_RAD, np.maximum(high, start + _BESIDE_RAD), high),
            (safety.velocity_scale * np.array(limits.velocity_rad_s), acceleration, jerk),
        )

    def broken_by_commands(self, positions: Floats) -> Iterator[str]:
        """What commands (N, J) at 100 Hz break."""
        yield from self._outside(positions)
        change = positions
        names = ("velocity", "acceleration", "jerk")
        for name, limit, slack in zip(names, self.orders, _ROUNDING[1:], strict=True):
            change = np.diff(change, axis=0) / (_TICK_NS / _NS)
            over = float((np.abs(change) - limit).max(initial=-np.inf))
            if not over <= slack * max(1.0, float(limit.max())):
                yield f"command {name} by {over:.3g}"

    def broken_by_curve(self, points: Trajectory) -> Iterator[str]:
        """What cubics through points break."""
        h = np.diff(points.times_ns)[:, None] / _NS
        p, v, u = points.positions, points.velocities, _INSIDE
        basis = (
            (2 * u**3 - 3 * u**2 + 1, u**3 - 2 * u**2 + u, 3 * u**2 - 2 * u**3, u**3 - u**2),
            (6 * u**2 - 6 * u, 3 * u**2 - 4 * u + 1, 6 * u - 6 * u**2, 3 * u**2 - 2 * u),
            (12 * u - 6, 6 * u - 4, 6 - 12 * u, 6 * u - 2),
        )
        position, velocity, acceleration = (
            (a * p[:-1] + b * h * v[:-1] + c * p[1:] + d * h * v[1:]) / h**order
            for order, (a, b, c, d) in enumerate(basis)
        )
        yield from self._outside(position)
        for name, found, limit in (
            ("velocity", velocity, self.orders[0]),
            ("acceleration", acceleration, self.orders[1]),
        ):
            over = float((np.abs(found) - limit).max())
            if not over <= _ROUNDING[1]:
                yield f"curve {name} by {over:.3g}"
        if points.velocities[-1].any():
            yield "no rest at the end"

    def _outside(self, positions: Floats) -> Iterator[str]:
        over = float(np.maximum(self.low - positions, positions - self.high).max(initial=-np.inf))
        if not over <= _ROUNDING[0]:
            yield f"position by {over:.3g}"


class Run:
    """One robot's life: chunks, joins, stops, pauses; every command and message checked.

    Attributes:
        counts: Of verdicts by kind, stops, commands, messages, violations and exceptions.
        broken: The violations in words, with the seed that shows them again.
        deepest_m: How far a motion went where it may not be, from the best that it had come to.
    """

    def __init__(self, seed: int) -> None:
        """Make the robot of a seed and put it somewhere, now and then outside its margin."""
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._rules, self._places = random_rules(self._rng)
        limits, home = self._rules.limits, np.array(self._rules.embodiment.home_rad)
        place = self._rng.uniform(-0.02, 1.02, len(limits.low))
        self._start = limits.low + place * (limits.high - limits.low)
        if self._places is not None and self._rng.random() < 0.9:
            self._start = home + self._rng.normal(0, 0.5, len(home))
            self._start = np.clip(self._start, limits.low, limits.high)
        self._bounds = Bounds.of(self._rules.embodiment, self._start)
        self._plan: Plan | None = None
        self._now_ns = 1_700_000_000_000_000_000 + int(self._rng.integers(0, 10**9))
        self._ticks = 0
        self._tail = np.tile(self._start, (4, 1))
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.deepest_m = 0.0

    def go(self, chunks: int) -> None:
        """Judge so many chunks, then come to rest."""
        while self.counts["chunks"] < chunks:
            self._advance(int(self._rng.choice([0, 1, 1, 2, 3, 10, 10, 10, 20, 30, 200])))
            if self._plan is not None and self._rng.random() < 0.2:
                self._rest(self._plan)
            else:
                self._chunk()
        self._advance(500)

    def _rest(self, plan: Plan) -> None:
        """Now, or at some moment ahead, or where the arm is measured."""
        limits, how = self._rules.limits, self._rng.random()
        self.counts["stops"] += 1
        if how < 0.2:
            measured = plan.sample(self._now_ns)[0]
            measured = measured + self._rng.normal(0, 0.005, len(measured))
            measured = np.clip(measured, limits.low, limits.high)
            self._take(led(plan, measured, self._now_ns, self._rules), judged=False)
            return
        ahead_ns = int(self._rng.uniform(0, 3e9)) if how < 0.5 else 0
        self._take(halted(plan, self._now_ns, self._rules, ahead_ns), judged=False)

    def _chunk(self) -> None:
        measured = self._start if self._plan is None else self._plan.sample(self._now_ns)[0]
        rng = self._rng
        situation = Situation(
            now_ns=self._now_ns,
            measured_rad=measured + rng.normal(0, 1e-3, len(measured)) * (self._plan is not None),
            measured_age_s=0.005,
            plan=self._plan,
            join=Join(rng.choice(get_args(JoinKind)), float(rng.uniform(0, 0.5))),
            speed_scale=float(rng.choice([1.0, 1.0, 0.5, 0.1])),
            lead_ns=int(rng.integers(0, 80_000_000)),
        )
        verdict = judge(self._random_chunk(measured), situation, self._rules)
        self.counts["chunks"] += 1
        self.counts[verdict.kind] += 1
        self.counts["exceptions"] += verdict.cause is Cause.DEFECT
        self.counts["unkept"] += "cannot keep" in verdict.reason
        # A verdict comes into force after judging, and before what it changes.
        self._advance(situation.lead_ns // _TICK_NS)
        if verdict.plan is not None:
            self._take(verdict.plan, judged=True)
        elif self._plan is not None and rng.random() < 0.5:
            self._take(halted(self._plan, self._now_ns, self._rules), judged=False)

    def _random_chunk(self, measured: Floats) -> ActionChunk:
        """A walk from where the arm is, of any roughness; now and then nonsense in it."""
        rng, embodiment = self._rng, self._rules.embodiment
        columns = {name: rng.uniform(0, 0.08, _ACTIONS) for name in embodiment.action_names}
        names = self._rules.targets.columns
        shape = (_ACTIONS, len(names))
        if set(names) == set(embodiment.arm_joints):
            drift = rng.normal(0, rng.choice(_SPREADS_RAD), shape[1])
            steps = drift + rng.normal(0, rng.choice(_SPREADS_RAD), shape)
            arm = measured + np.cumsum(steps, axis=0)
            if rng.random() < 0.7:
                limits = self._rules.limits
                arm = np.clip(arm, limits.low - 0.05, limits.high + 0.05)
        else:
            spread = rng.choice([0.01, 0.1, 0.3, 1.0])
            arm = rng.normal(0, spread, shape[1]) + rng.normal(0, 0.3 * spread, shape)
            if len(names) == _TWIST_6D:  # turns are the first two rows of a rotation
                arm[:, 3:] = np.eye(3)[:2].ravel() + 0.2 * spread * rng.normal(size=(_ACTIONS, 6))
        if rng.random() < 0.05:
            arm[rng.integers(shape[0]), rng.integers(shape[1])] = rng.choice(_BAD)
        columns |= dict(zip(names, arm.T, strict=True))
        age_ns = int(rng.uniform(0, 0.4) * _NS)
        actions = np.column_stack([columns[name] for name in embodiment.action_names])
        return ActionChunk(
            self._now_ns - age_ns,
            embodiment.period_ns,
            actions.astype(np.float32),
            embodiment.action_names,
        )

    def _take(self, plan: Plan, *, judged: bool) -> None:
        """Put a plan in force, and check all of it."""
        points = plan.points(self._now_ns)
        self._check(self._bounds.broken_by_curve(points))
        if self._places is not None and self._rng.random() < 0.3:
            self._check_places(points.positions[::3], "plan" if judged else "stop")
        self._plan = plan
        self._send(plan)

    def _send(self, plan: Plan) -> None:
        """Tell a trajectory controller the near future, as the executor does."""
        if plan.end_ns > self._now_ns + _HORIZON_NS:
            plan = halted(plan, self._now_ns, self._rules, _HORIZON_NS)
        message = plan.points(self._now_ns - self._now_ns % _GRID_NS)
        self.counts["messages"] += 1
        self._check(self._bounds.broken_by_curve(message))
        leap = np.abs(message.sample(self._now_ns)[0] - plan.sample(self._now_ns)[0]).max()
        if not leap < _LEAP_RAD:
            self._check(iter([f"leap by {leap:.3g}"]))
        if self._places is not None and self._rng.random() < 0.1:
            self._check_places(message.positions[::2], "message")

    def _check_places(self, joints_rad: Floats, what: str) -> None:
        assert self._places is not None
        room_m = self._places.room_m(joints_rad)
        deep_m = float((np.minimum(np.maximum.accumulate(room_m), 0.0) - room_m).max())
        self.deepest_m = max(self.deepest_m, deep_m)
        self.counts["places_watched"] += 1
        if not deep_m <= _BETWEEN_M:
            self._check(iter([f"place of a {what} by {deep_m:.3g}"]))

    def _advance(self, ticks: int) -> None:
        """Let time pass; check the commands that are sent meanwhile."""
        if self._plan is None or not ticks:
            self._now_ns += ticks * _TICK_NS
            return
        for _ in range(ticks):
            self._now_ns += _TICK_NS
            self._ticks += 1
            if self._ticks % _RESEND_TICKS == 0 and self._now_ns < self._plan.end_ns:
                self._send(self._plan)
        moments_ns = self._now_ns - _TICK_NS * np.arange(ticks - 1, -1, -1, dtype=np.int64)
        commands = np.concatenate([self._tail, self._plan.samples(moments_ns)[0]])
        self.counts["commands"] += ticks
        self._check(self._bounds.broken_by_commands(commands))
        self._tail = commands[-4:]

    def _check(self, found: Iterator[str]) -> None:
        for what in found:
            self.counts["violations"] += 1
            self.broken.append(f"seed {self._seed}, chunk {self.counts['chunks']}: {what}")
