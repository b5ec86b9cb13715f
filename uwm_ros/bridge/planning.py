# SPDX-License-Identifier: Apache-2.0
"""The work of the policy node while it is active: one inference after the other, each published.

The cadence says when. The node's thread assembles what is to be answered, since what it does is
short and an arm waits for it; inference runs on a thread of its own, after all that on a machine
that is busy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.node import Node

from uwm_core.data.messages import NS_PER_S
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_core.inpainting import known_from
from uwm_core.records import ActionChunk, KnownActions, Observation
from uwm_ros.bridge.chunks import pause_of, to_message
from uwm_ros.bridge.clock import now_ns, to_ns, to_stamp
from uwm_ros.bridge.observing import Observing
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.realtime import precedence, take_precedence
from uwm_ros.logic.cadence import Cadence
from uwm_ros.logic.causes import Cause
from uwm_ros.logic.joins import JOINS
from uwm_ros.logic.latency import Latency
from uwm_ros.logic.worker import LatestWorker
from uwm_ros.msg import ActionChunk as ActionChunkMessage
from uwm_ros.msg import SafetyStatus

if TYPE_CHECKING:
    from uwm_core.policy import Policy

_DEFAULT_REPLAN_S = 0.5
# A picture that is a little late is still worth more than the one before it.
_CAMERA_PERIODS = 1.25
_SAFETY_AGE_S = 0.5
# Below whatever commands an arm on the same machine.
_PRIORITY = 3


@dataclasses.dataclass(frozen=True)
class PlanOptions:
    """How to plan; the parameters of the policy node.

    Attributes:
        replan_s: s between two inferences, at most.
        task: The task sentence.
        seed: Of the sampler's noise, counted up; None draws anew.
        join: How chunks are joined; only `inpaint` is the sampler's affair.
        mode: `policy`, or `joint` with the images.
        inference_delay_s: s by which every answer is held back, to play a slower model.
        niceness: Added to the inference thread's priority value.
        realtime: Ask the machine for precedence of what is not inference.
    """

    replan_s: float
    task: str
    seed: int | None
    join: str
    mode: str
    inference_delay_s: float
    niceness: int
    realtime: bool

    @classmethod
    def read(cls, read: Parameters) -> PlanOptions:
        """Read the parameters.

        Raises:
            UwmError: If one is not usable.
        """
        seed = read.integer("seed", 0, "of the sampler's noise; -1: another one every time")
        return cls(
            replan_s=read.number("replan_s", 0.0, "s between two chunks; 0: 0.5 s", 0.0, 60.0)
            or _DEFAULT_REPLAN_S,
            task=read.text("task", "", "task sentence"),
            seed=None if seed < 0 else seed,
            join=read.text(
                "join", "inpaint", "how chunks are joined; inpaint: given to the sampler", JOINS
            ),
            mode=read.text(
                "mode", "policy", "joint: sample the next images too", ("policy", "joint")
            ),
            inference_delay_s=read.number(
                "inference_delay_s", 0.0, "s by which every answer is held back", 0.0, 60.0
            ),
            niceness=read.integer("niceness", 0, "of the inference thread; 0: as the rest", 0, 19),
            realtime=read.flag("realtime", True, "ask for precedence of what is not inference"),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Question:
    """An observation to be answered, and when its last sample came and it was complete."""

    observation: Observation
    received_ns: int
    assembled_ns: int


class Planning:
    """Observes, infers, publishes, until it is closed.

    Attributes:
        cadence: When the next inference begins.
        latency: How long the recent ones took.
        sequence: Chunks published.
        age_s: s from the newest chunk's observation to its publication.
    """

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        policy: Policy,
        options: PlanOptions,
        publish: Callable[[ActionChunkMessage], None],
        say: Callable[[str], None],
    ) -> None:
        """Subscribe and begin.

        Args:
            node: The node; its thread wakes the inference.
            embodiment: Streams and limits.
            policy: What answers.
            options: How to plan.
            publish: Called with every chunk, on the inference thread.
            say: Called with why no chunk comes, or "" when one has come, on the same.
        """
        self._node, self._embodiment, self._policy = node, embodiment, policy
        self._options, self._publish, self._say = options, publish, say
        self.sequence, self.age_s = 0, 0.0
        self.latency = Latency()
        self.cadence = Cadence(
            replan_s=options.replan_s,
            chunk_s=(policy.window.chunk - 1) * policy.period_ns / NS_PER_S,
            wait_s=_CAMERA_PERIODS * _picture_period_s(embodiment),
        )
        self._tick_ns = 0
        self._ranked = not options.realtime
        self._playing: ActionChunk | None = None
        self._believed = False
        self._safety: SafetyStatus | None = None
        self._closing = threading.Event()
        self._worker: LatestWorker[_Question] = LatestWorker(
            self._work, self._failed, name="inference", niceness=options.niceness
        )
        self._subscription = node.create_subscription(
            SafetyStatus, "executor/safety", self._on_safety, reliable(1)
        )
        self._observing = Observing(node, embodiment, policy.window.history, self.look)

    def look(self, fresh: bool = False) -> None:
        """Begin an inference if it is time to; called with every message, and when none comes."""
        if not self._ranked:
            self._ranked = True
            take_precedence(_PRIORITY)
        if self.cadence.start(now_ns(self._node), fresh=fresh) and not self._ask():
            self.cadence.dropped(now_ns(self._node))

    def stale(self) -> str:
        """Which stream is not alive, one sentence; empty while all are."""
        self._observing.poll()
        freshness = self._observing.freshness
        return freshness.trouble(now_ns(self._node)) if freshness is not None else ""

    def close(self) -> None:
        """Stop; what is being inferred is not published any more."""
        self._closing.set()
        self._worker.close()
        self._observing.close()
        self._node.destroy_subscription(self._subscription)

    def _on_safety(self, status: SafetyStatus) -> None:
        self._safety = status

    def _ask(self) -> bool:
        """Hand the newest observation to the worker; False where there is none to be answered."""
        try:
            tick_ns = self._observing.newest_tick_ns(now_ns(self._node))
            if tick_ns == self._tick_ns:
                return False
            received_ns = self._observing.received_ns(tick_ns)
            observation = self._observing.buffer.observation(tick_ns, self._options.task)
        except UwmError as error:
            self._say(str(error))
            return False
        self._worker.submit(_Question(observation, received_ns, now_ns(self._node)))
        return True

    def _work(self, question: _Question) -> None:
        """One chunk; on the worker's thread."""
        try:
            self._answer(question)
            self._say("")
        finally:
            if self.cadence.busy:
                self.cadence.dropped(now_ns(self._node))

    def _answer(self, question: _Question) -> None:
        options, tick_ns = self._options, question.observation.stamp_ns
        begin_s = time.perf_counter()
        known = self._known(tick_ns, question.assembled_ns)
        chunk = self._policy.act(
            question.observation,
            seed=None if options.seed is None else options.seed + self.sequence,
            known=known,
            mode=options.mode,
        )
        if self._closing.wait(options.inference_delay_s):
            return
        inference_s, inferred_ns = time.perf_counter() - begin_s, now_ns(self._node)
        with precedence(_PRIORITY) if options.realtime else contextlib.nullcontext():
            message = to_message(chunk)
            message.sequence = self.sequence + 1
            message.inference_s = inference_s
            message.checkpoint = self._policy.name
            message.embodiment = self._embodiment.name
            message.prefix = known.prefix if known is not None else 0
            message.received = to_stamp(question.received_ns)
            message.assembled = to_stamp(question.assembled_ns)
            message.inferred = to_stamp(inferred_ns)
            self._publish(message)
        self._tick_ns, self._playing = tick_ns, chunk
        self.sequence += 1
        self.latency.add(inference_s)
        published_ns = now_ns(self._node)
        self.age_s = (published_ns - tick_ns) / NS_PER_S
        self.cadence.answered(published_ns, tick_ns)

    def _known(self, tick_ns: int, begin_ns: int) -> KnownActions | None:
        """What the arm will have done of the chunk before, as far as it does follow it.

        An executor that holds, stops at a wall or follows a human does not, and a chunk that goes
        on from where no arm is would lead further and further away. One that only keeps a limit
        (most joins reach that of acceleration) is back on its chunk before the next one begins.
        """
        safety, playing = self._safety, self._playing
        if self._options.join != "inpaint" or safety is None or playing is None:
            return None
        age_s = (begin_ns - to_ns(safety.header.stamp)) / NS_PER_S
        followed = safety.verdict_cause in (Cause.NONE.value, Cause.LIMIT.value)
        driven = safety.state == "running" and followed
        # A chunk that was just sent may be moving a resting arm already, though nobody has said so
        # yet. Believed once: if the arm does rest, the next answer is free.
        self._believed = safety.state == "armed" and not self._believed
        if not (driven or self._believed) or safety.driver != "policy":
            return None
        if abs(age_s) > _SAFETY_AGE_S or safety.speed_scale <= 0:
            return None
        pause = pause_of(safety)
        certain_ns = begin_ns + round(self.cadence.lead_s * NS_PER_S)
        counted = pause.counted(playing, begin_ns)
        counted_ns = pause.counted_ns(tick_ns, begin_ns)
        return known_from(counted, self._embodiment, counted_ns, certain_ns, safety.speed_scale)

    def _failed(self, error: Exception) -> None:
        self._say(f"inference failed: {error}")


def _picture_period_s(embodiment: Embodiment) -> float:
    """Time between two moments at which every camera shows something new."""
    streams = embodiment.cameras or embodiment.observation_streams
    return 1.0 / min(spec.rate_hz for spec in streams.values())
