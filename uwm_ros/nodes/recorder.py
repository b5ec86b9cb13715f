# SPDX-License-Identifier: Apache-2.0
"""The recorder: every stream of the embodiment, raw, into one MCAP bag per episode.

Nothing is decoded. Subscriptions exist from the start, since discovery takes time; messages are
kept while an episode runs. The last message of each stream from just before the start goes in
first, so that the first tick of the grid finds every stream.

In: all topics of the embodiment, and `extra_topics`. Out: `recorder/status` at 2 Hz and on change.
Services: `recorder/start`, `recorder/stop`, `recorder/discard` (into `trash/`, never deleted).
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

import uwm_core
from uwm_core.data.bag import BagWriter
from uwm_core.data.bag_types import definition
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns, to_stamp
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import MatchedSubscription, publishers, reliable
from uwm_ros.bridge.runtime import run_node
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.recording import (
    OUTCOMES,
    ROLES,
    TRASH,
    EpisodeRecording,
    Rates,
    Raw,
    check_name,
    episode_name,
    move_to_trash,
    silent_topics,
)
from uwm_ros.msg import EpisodeStatus
from uwm_ros.srv import StartEpisode, StopEpisode

_STATUS_S = 0.5
_GIB = 2**30
_SILENT_S = 1.0


class RecorderNode(Node):
    """Records episodes; see the module."""

    def __init__(self, **options: Any) -> None:
        """Subscribe to everything and wait for `recorder/start`.

        Args:
            **options: Passed to `rclpy.node.Node`.

        Raises:
            UwmError: If a parameter, the embodiment or a message type is not usable.
        """
        super().__init__("recorder", **options)
        read = Parameters(self)
        self._embodiment = Embodiment.load(
            read.text("embodiment", "fr3_sim", "name of a bundled embodiment, or a path")
        )
        self._directory = Path(
            read.text("directory", "episodes", "folder in which the bags are written")
        ).expanduser()
        self._compress = (
            read.text(
                "compression", "none", "of the bags; zstd costs a core", choices=("none", "zstd")
            )
            == "zstd"
        )
        self._extra = list(read.texts("extra_topics", (), "more topics to record; types are found"))
        self._min_free_gib = read.number("min_free_gib", 1.0, "GiB free to start with", 0.0, 1e6)
        self._streams: dict[str, MatchedSubscription] = {}
        self._newest: dict[str, Raw] = {}
        self._rates = Rates(())
        for topic, type_name in self._embodiment.topics.items():
            self._subscribe(topic, type_name)
        self._episode: EpisodeRecording | None = None
        self._about: dict[str, str] = {}
        self._last_kept: Path | None = None
        self._writing = False
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._diagnostics = Diagnostics(self, self._embodiment.name)
        self._status = self.create_publisher(EpisodeStatus, "recorder/status", reliable())
        self.create_service(StartEpisode, "recorder/start", self._on_start)
        self.create_service(StopEpisode, "recorder/stop", self._on_stop)
        self.create_service(Trigger, "recorder/discard", self._on_discard)
        self.create_timer(_STATUS_S, self._tick)
        self._report_leftovers()

    def close(self) -> None:
        """An episode that runs has no outcome: it goes to the trash, readable."""
        if self._episode is not None:
            path = self._finish("discard")
            self.get_logger().warning(f"left while recording; the episode is in {path}")

    # Messages

    def _subscribe(self, topic: str, type_name: str) -> None:
        resolved = self.resolve_topic_name(topic)
        if resolved in self._streams:
            return
        definition(type_name)  # slow the first time, and a start must not wait for it

        def keep(data: bytes, receive_ns: int) -> None:
            message = Raw(resolved, data, receive_ns)
            self._newest[resolved] = message
            self._rates.add(resolved, receive_ns)
            if self._episode is not None:
                self._episode.add(message)

        self._rates.watch(resolved)
        self._streams[resolved] = MatchedSubscription(
            self, type_name, topic, keep, depth=100, raw=True
        )

    def _find_extra(self) -> None:
        """Subscribe to extra topics as soon as somebody tells their type."""
        for topic in list(self._extra):
            offers = publishers(self, topic)
            if offers and self._episode is None:
                self._extra.remove(topic)
                self._subscribe(topic, offers[0].topic_type)

    # Services

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        try:
            response.episode = self._start(request.task, request.role or "expert")
            response.success = True
        except UwmError as error:
            response.message = str(error)
            self.get_logger().error(f"not started: {error}")
        self._tick()
        return response

    def _on_stop(
        self, request: StopEpisode.Request, response: StopEpisode.Response
    ) -> StopEpisode.Response:
        try:
            if self._episode is None:
                raise UwmError("no episode is running; call recorder/start first")
            outcome = check_name("outcome", request.outcome, OUTCOMES)
            response.path = str(self._finish(outcome))
            response.success = True
        except UwmError as error:
            response.message = str(error)
            self.get_logger().error(f"not stopped: {error}")
        self._tick()
        return response

    def _on_discard(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message = str(self._discard())
            response.success = True
        except (UwmError, OSError) as error:
            response.message = str(error)
        self._tick()
        return response

    # Episodes

    def _start(self, task: str, role: str) -> str:
        if self._episode is not None:
            raise UwmError(f"episode {self._episode.name} is running; stop it first")
        check_name("role", role, ROLES)
        self._check_streams(role)
        self._directory.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._directory).free
        if free < self._min_free_gib * _GIB:
            raise UwmError(f"{self._directory} has {free / _GIB:.2f} GiB free; make room first")
        name = episode_name(self._directory, time.strftime("%Y%m%d_%H%M%S"))
        self._about = {"task": task, "role": role}
        metadata = {
            "uwm.task": task,
            "uwm.role": role,
            "uwm.embodiment": self._as_recorded().to_yaml(),
            "uwm.version": uwm_core.__version__,
        }
        writer = BagWriter(self._directory / name, metadata=metadata, compress=self._compress)
        for topic, stream in self._streams.items():
            writer.add_topic(
                topic, stream.type, reliable=stream.is_reliable, latched=stream.is_latched
            )
            stream.keep(True)
        now = now_ns(self)
        lead_in = [m for m in self._newest.values() if m.receive_ns > now - self._allowed_ns(m)]
        self._episode = EpisodeRecording(name, writer, now, lead_in)
        self.get_logger().info(f"recording {name}: {task!r} ({role})")
        return name

    def _finish(self, outcome: str) -> Path:
        episode, self._episode = self._episode, None
        assert episode is not None
        for stream in self._streams.values():
            stream.keep(False)
        trash = self._directory / TRASH if outcome == "discard" else None
        path = episode.finish(outcome, trash)
        self._last_kept = None if trash else path
        self.get_logger().info(f"{outcome}: {episode.counts.total()} messages in {path}")
        return path

    def _discard(self) -> Path:
        """Discard the running episode, or else the last one that was kept."""
        if self._episode is not None:
            return self._finish("discard")
        if self._last_kept is None:
            raise UwmError("no episode is running and none was kept since the start")
        path, self._last_kept = self._last_kept, None
        return move_to_trash(path, self._directory / TRASH)

    def _check_streams(self, role: str) -> None:
        """Refuse to start while a stream is not there."""
        if self._extra:
            raise UwmError(f"{self.resolve_topic_name(self._extra[0])} has no publisher")
        now = now_ns(self)
        for key, spec in self._embodiment.streams.items():
            if key.startswith("action/") and role == "video":
                continue
            resolved = self.resolve_topic_name(spec.topic)
            stream = self._streams[resolved]
            if not stream.count:
                others = "".join(f"; it is published as {t}" for t in stream.wrong_types)
                raise UwmError(f"{resolved} ({key}) has no publisher of {spec.type}{others}")
            # A command stream may begin with the first motion; an observation may not.
            silent_s = self._rates.silent_s(resolved, now)
            if not key.startswith("action/") and silent_s > max(_SILENT_S, 3 / spec.rate_hz):
                since = f"for {silent_s:.1f} s" if silent_s < 1e9 else "since the recorder started"
                raise UwmError(f"{resolved} ({key}) is silent {since}")

    def _as_recorded(self) -> Embodiment:
        """The embodiment with the topics as they are in the bag, where a remapping moved one."""
        space = self.get_namespace().rstrip("/")

        def streams(entries: dict[str, Any]) -> dict[str, Any]:
            moved = {}
            for key, entry in entries.items():
                resolved = self.resolve_topic_name(entry.topic)
                same = resolved in (entry.topic, f"{space}/{entry.topic}")
                moved[key] = entry if same else dataclasses.replace(entry, topic=resolved)
            return moved

        known = self._embodiment
        return dataclasses.replace(
            known,
            cameras=streams(known.cameras),
            state=streams(known.state),
            action=streams(known.action),
        )

    def _allowed_ns(self, message: Raw) -> int:
        """How old a message before the start may be to serve the first tick."""
        ages_s = [
            spec.max_age_s
            for spec in self._embodiment.streams.values()
            if self.resolve_topic_name(spec.topic) == message.topic
        ]
        return round(max(ages_s, default=_SILENT_S) * 1e9)

    # Status

    def _tick(self) -> None:
        self._find_extra()
        now, episode = now_ns(self), self._episode
        topics = list(self._streams)
        status = EpisodeStatus(state="recording" if episode else "idle", topics=topics)
        status.header.stamp = to_stamp(now)
        status.rates_hz = [self._rates.rate_hz(topic, now) for topic in topics]
        status.disk_free_bytes = self._free_bytes()
        status.counts = [0] * len(topics)
        if episode is not None:
            status.episode, status.task, status.role = (
                episode.name,
                self._about["task"],
                self._about["role"],
            )
            status.elapsed_s = (now - episode.started_ns) / 1e9
            status.counts = [episode.counts[topic] for topic in topics]
            status.dropped = episode.dropped.total()
        self._status.publish(status)
        self._alarm(now, status)

    def _alarm(self, now: int, status: EpisodeStatus) -> None:
        """Say at once what is wrong with a take, not in the report afterwards."""
        allowed_s = {
            self.resolve_topic_name(spec.topic): max(_SILENT_S, 3 / spec.rate_hz)
            for spec in self._embodiment.streams.values()
        }
        silent = silent_topics({t: self._rates.silent_s(t, now) for t in allowed_s}, allowed_s)
        episode, wrong = self._episode, [f"{topic} is silent" for topic in silent]
        for topic in allowed_s if episode else ():
            self._edges.update(topic, bad=topic in silent, text=f"{topic} went silent in the take")
        if episode is not None and episode.error is not None:
            wrong.append(f"cannot write: {episode.error}")
            self._edges.update("disk", bad=True, text=wrong[-1])
        if status.dropped:
            wrong.append(f"{status.dropped} messages dropped")
        level = Level.OK if not wrong else Level.ERROR if episode else Level.WARN
        values = dict(zip(status.topics, (f"{r:.1f} Hz" for r in status.rates_hz), strict=True))
        self._diagnostics.update(level, "; ".join(wrong) or status.state, values)

    def _free_bytes(self) -> int:
        for folder in (self._directory, *self._directory.resolve().parents):
            if folder.exists():
                return shutil.disk_usage(folder).free
        return 0

    def _report_leftovers(self) -> None:
        parts = sorted(path.name for path in self._directory.glob("*.part"))
        if parts:
            self.get_logger().warning(
                f"{self._directory} has episodes that were cut off: {', '.join(parts)}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(RecorderNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
