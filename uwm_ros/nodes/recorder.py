# SPDX-License-Identifier: Apache-2.0
"""The recorder: every stream of the embodiment, raw, into one MCAP bag per episode.

Nothing is decoded. Subscriptions exist from the start, since discovery takes time; messages are
kept while an episode runs. The last message of each stream from just before the start goes in
first, so that the first tick of the grid finds every stream.

In: all topics of the embodiment, `extra_topics`, and buttons on `joy`. Out: `recorder/status` at
2 Hz and on change, `recorder/mark` (what happened when; in every bag too), `/diagnostics`.
Services: `recorder/start`, `stop`, `discard`, `undo`, `relabel`, `note`, `check`. What is discarded
goes into `trash/`; nothing is ever deleted.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import Trigger

import uwm_core
from uwm_core.data.bag import BagWriter
from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.machine import free_bytes, machine_facts
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.recorder_options import RecorderOptions
from uwm_ros.bridge.recorder_status import fill_streams, stream_figures
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.streams import Streams
from uwm_ros.logic.alarms import Alarm
from uwm_ros.logic.doctor import Line, check_machine, failures
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.recording import OUTCOMES, ROLES, EpisodeRecording, Raw, Take, check_name
from uwm_ros.logic.recording_buttons import Buttons
from uwm_ros.logic.recording_shelf import DISCARD, Shelf, Shelved
from uwm_ros.msg import EpisodeStatus
from uwm_ros.srv import CheckStreams, NoteEpisode, RelabelEpisode, StartEpisode, StopEpisode

_STATUS_S = 0.5
_GIB = 2**30
_STRING = "std_msgs/msg/String"


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
        self._options = RecorderOptions.read(Parameters(self))
        embodiment = Embodiment.load(self._options.embodiment)
        self._streams = Streams(
            self, embodiment, self._options.extra_topics, self._options.image_transport
        )
        self._shelf = Shelf(self._options.directory)
        self._buttons = Buttons(self._options.buttons)
        self._take: Take | None = None
        self._task, self._role = self._options.task, "expert"
        self._state = "idle"
        self._written = (0, 0)
        self._edges = EdgeLog(self.get_logger().warning, self.get_logger().info)
        self._diagnostics = Diagnostics(self, embodiment.name)
        self._status = self.create_publisher(EpisodeStatus, "recorder/status", reliable())
        self._mark = self.create_publisher(String, "recorder/mark", reliable())
        self._offer_services()
        if self._options.buttons:
            self.create_subscription(Joy, "joy", self._on_joy, reliable())
        self.create_timer(_STATUS_S, self._tick)
        self._report_cut_off()
        # What exists now stays: the collector need not look at it while messages pour in.
        gc.freeze()

    def _offer_services(self) -> None:
        for kind, name, act in (
            (StartEpisode, "start", self._on_start),
            (StopEpisode, "stop", self._on_stop),
            (Trigger, "discard", self._on_discard),
            (Trigger, "undo", self._on_undo),
            (RelabelEpisode, "relabel", self._on_relabel),
            (NoteEpisode, "note", self._on_note),
            (CheckStreams, "check", self._on_check),
        ):
            self.create_service(kind, f"recorder/{name}", self._answering(name, act))

    def close(self) -> None:
        """An episode that runs has no outcome: it goes to the trash, readable."""
        if self._take is not None:
            shelved = self._finish(DISCARD)
            self.get_logger().warning(f"left while recording; the episode is in {shelved.path}")
        self._streams.close()

    # Services

    def _answering(self, name: str, act: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """A service that answers with what `act` refuses, and tells how things are."""

        def serve(request: Any, response: Any) -> Any:
            try:
                act(request, response)
                response.success = True
            except (UwmError, OSError) as error:
                response.message = " ".join(str(error).split())
                self.get_logger().error(f"recorder/{name} refused: {response.message}")
            self._tick()
            return response

        return serve

    def _on_start(self, request: StartEpisode.Request, response: StartEpisode.Response) -> None:
        response.episode = self._start(request.task, request.role or "expert")

    def _on_stop(self, request: StopEpisode.Request, response: StopEpisode.Response) -> None:
        response.path = str(self._stop(request.outcome).path)

    def _on_discard(self, _: Trigger.Request, response: Trigger.Response) -> None:
        """Discard the running episode, or else the last one that was kept."""
        if self._take is not None:
            response.message = str(self._finish(DISCARD).path)
        else:
            response.message = str(self._relabel("", outcome=DISCARD).path)

    def _on_undo(self, _: Trigger.Request, response: Trigger.Response) -> None:
        response.message = str(self._undo().path)

    def _on_relabel(
        self, request: RelabelEpisode.Request, response: RelabelEpisode.Response
    ) -> None:
        shelved = self._relabel(
            request.episode, outcome=request.outcome, task=request.task, role=request.role
        )
        response.path = str(shelved.path)

    def _on_note(self, request: NoteEpisode.Request, response: NoteEpisode.Response) -> None:
        if not request.text.strip():
            raise UwmError("a note needs a text")
        take = self._take
        if take is not None and request.episode in ("", take.name):
            take.remarks.append(request.text)
            response.noted = take.name
        else:
            response.noted = self._shelf.note(request.text, request.episode).name
        self._say("note", response.noted, text=request.text)

    def _on_check(self, _: CheckStreams.Request, response: CheckStreams.Response) -> None:
        lines = self._check(probe=self._take is None)
        response.subjects = [line.subject for line in lines]
        response.levels = [line.level for line in lines]
        response.found = [line.found for line in lines]
        response.advice = [line.advice for line in lines]
        _refuse(lines)

    def _on_joy(self, message: Joy) -> None:
        for command in self._buttons.update(message.buttons, now_ns(self)):
            try:
                self._press(command)
            except (UwmError, OSError) as error:
                self.get_logger().error(f"button {command}: {error}")
            self._tick()

    def _press(self, command: str) -> None:
        if command == "toggle":
            command = "start" if self._take is None else "success"
        if command == "start":
            self._start(self._task, self._role)
        elif command == "undo":
            self._undo()
        else:
            self._stop(command)

    # Episodes

    def _start(self, task: str, role: str) -> str:
        if self._take is not None:
            raise UwmError(f"episode {self._take.name} is running; stop it first")
        check_name("role", role, ROLES)
        _refuse(self._streams.check(now_ns(self), actions=role != "video"))
        directory = self._options.directory
        free = free_bytes(directory)
        if free < self._options.min_free_gib * _GIB:
            raise UwmError(f"{directory} has {free / _GIB:.2f} GiB free; make room first")
        directory.mkdir(parents=True, exist_ok=True)
        name = self._shelf.free_name(time.strftime("%Y%m%d_%H%M%S"))
        labels = {
            "uwm.task": task,
            "uwm.role": role,
            "uwm.embodiment": self._streams.as_recorded().to_yaml(),
            "uwm.version": uwm_core.__version__,
        }
        recording = EpisodeRecording(
            name, self._writer(name, labels), now_ns(self), self._options.queue_bytes
        )
        self._streams.begin(recording, recording.started_ns)
        self._task, self._role = task, role
        self._take = Take(recording, task, role)
        self._written = (0, recording.started_ns)
        self._say("start", name, task=task, role=role)
        self._state = "recording"
        self.get_logger().info(f"recording {name}: {task!r} ({role})")
        return name

    def _writer(self, name: str, labels: dict[str, str]) -> BagWriter:
        writer = BagWriter(
            self._options.directory / name, metadata=labels, compress=self._options.compress
        )
        for topic, tap in self._streams.taps.items():
            writer.add_topic(topic, tap.type, reliable=tap.is_reliable, latched=tap.is_latched)
        writer.add_topic(self.resolve_topic_name("recorder/mark"), _STRING)
        return writer

    def _stop(self, outcome: str) -> Shelved:
        if self._take is None:
            raise UwmError("no episode is running; call recorder/start first")
        return self._finish(check_name("outcome", outcome, OUTCOMES))

    def _finish(self, outcome: str) -> Shelved:
        take = self._take
        assert take is not None
        self._streams.end()
        self._say("stop", take.name, outcome=outcome)
        self._state = "writing"
        self._publish()
        self._take, self._state = None, "idle"
        figures = stream_figures(self._streams, take, now_ns(self))
        labels = {"uwm.outcome": outcome, "uwm.streams": json.dumps(figures)}
        if take.remarks:
            labels["uwm.remarks"] = json.dumps(take.remarks)
        path = take.recording.finish(labels)
        shelved = self._shelf.put(path, outcome)
        self.get_logger().info(
            f"{outcome}: {take.recording.counts.total()} messages in {shelved.path}"
        )
        return shelved

    def _undo(self) -> Shelved:
        if self._take is not None:
            raise UwmError(f"episode {self._take.name} is running; stop or discard it first")
        shelved = self._shelf.undo()
        self._say("relabel", shelved.name, outcome=shelved.outcome)
        self.get_logger().info(f"undone: {shelved.path} is {shelved.outcome}")
        return shelved

    def _relabel(self, name: str, **changes: str) -> Shelved:
        shelved = self._shelf.relabel(name, **changes)
        self._say("relabel", shelved.name, **{k: v for k, v in changes.items() if v})
        self.get_logger().info(f"relabelled: {shelved.path} is {shelved.outcome}")
        return shelved

    def _say(self, event: str, episode: str, **details: str) -> None:
        """Publish what has happened, and write it into the bag that is open."""
        now = now_ns(self)
        text = json.dumps({"event": event, "episode": episode, "stamp_ns": now, **details})
        message = String(data=text)
        self._mark.publish(message)
        if self._take is not None:
            topic = self.resolve_topic_name("recorder/mark")
            self._take.recording.add(Raw(topic, serialize_message(message), now))

    def _check(self, *, probe: bool) -> list[Line]:
        now = now_ns(self)
        facts = self._streams.facts(now)
        machine = machine_facts(self, self._options.directory, facts, probe=probe)
        return [*self._streams.check(now), *check_machine(machine)]

    # Status

    def _tick(self) -> None:
        self._streams.refresh()
        self._guard_disk()
        self._publish()

    def _guard_disk(self) -> None:
        """End an episode in order before the disk is full, while there is room to finish it."""
        if self._take is None:
            return
        free = free_bytes(self._options.directory) - self._take.recording.waiting_bytes
        if free < self._options.reserve_gib * _GIB:
            self._take.remarks.append("stopped by the recorder: the disk was nearly full")
            try:
                path = self._finish("failure").path
                self.get_logger().error(f"the disk is nearly full: stopped, kept as {path}")
            except UwmError as error:
                self.get_logger().error(str(error))

    def _publish(self) -> None:
        now, take = now_ns(self), self._take
        status = EpisodeStatus(state=self._state, kept=self._shelf.kept)
        fill_streams(status, self._streams, take, now)
        status.disk_free_bytes = free_bytes(self._options.directory)
        if self._shelf.last is not None:
            status.last_episode, status.last_outcome = (
                self._shelf.last.name,
                self._shelf.last.outcome,
            )
        if take is not None:
            status.write_bytes_per_s = self._write_speed(take.recording, now)
        alarms = self._alarms(now, status)
        status.alarms = [alarm.text for alarm in alarms]
        self._status.publish(status)
        self._tell(alarms, status)

    def _write_speed(self, recording: EpisodeRecording, now: int) -> float:
        before, when = self._written
        self._written = (recording.bytes_written, now)
        return (recording.bytes_written - before) * 1e9 / max(now - when, 1)

    def _alarms(self, now: int, status: EpisodeStatus) -> list[Alarm]:
        found, take = self._streams.alarms(now), self._take
        if take is not None:
            found += take.alarms()
        warn_at = (self._options.min_free_gib + self._options.reserve_gib) * _GIB
        if status.disk_free_bytes < warn_at:
            free_gib = status.disk_free_bytes / _GIB
            found.append(Alarm("disk", f"the disk has {free_gib:.2f} GiB left; make room"))
        return found

    def _tell(self, alarms: Sequence[Alarm], status: EpisodeStatus) -> None:
        """Say on edges what is wrong in a take, and on `/diagnostics` how things are."""
        texts = {alarm.key: alarm.text for alarm in alarms} if self._take is not None else {}
        for key in self._edges.bad | texts.keys():
            self._edges.update(key, bad=key in texts, text=texts.get(key, ""))
        level = Level.OK if not alarms else Level.ERROR if self._take else Level.WARN
        values = dict(zip(status.topics, (f"{r:.1f} Hz" for r in status.rates_hz), strict=True))
        self._diagnostics.update(level, "; ".join(status.alarms) or status.state, values)

    def _report_cut_off(self) -> None:
        for path in self._shelf.cut_off():
            self.get_logger().warning(
                f"{path} was cut off when a recorder was killed; make a bag of it with: "
                f"uwm recover {path}"
            )


def _refuse(lines: Sequence[Line]) -> None:
    """Raise what failed among lines, with what to do about it."""
    if failed := failures(lines):
        raise UwmError("; ".join(f"{line.subject} {line.found} ({line.advice})" for line in failed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(RecorderNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
