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

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

from uwm_core.embodiment import Embodiment
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.diagnostics import Diagnostics, Level
from uwm_ros.bridge.machine import free_bytes, machine_facts
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.recorder_options import GIB, RecorderOptions
from uwm_ros.bridge.recorder_status import fill_streams
from uwm_ros.bridge.runtime import run_node
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.streams import Streams
from uwm_ros.bridge.takes import Takes
from uwm_ros.logic.alarms import Alarm
from uwm_ros.logic.doctor import check_machine, refuse
from uwm_ros.logic.edges import EdgeLog
from uwm_ros.logic.recording_buttons import Buttons
from uwm_ros.msg import EpisodeStatus
from uwm_ros.srv import CheckStreams, NoteEpisode, RelabelEpisode, StartEpisode, StopEpisode

_STATUS_S = 0.5


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
        self._log = SideLog(self)
        embodiment = Embodiment.load(self._options.embodiment)
        self._streams = Streams(
            self,
            embodiment,
            self._log,
            extra=self._options.extra_topics,
            transport=self._options.image_transport,
        )
        self._takes = Takes(self, self._options, self._streams, self._log, self._publish)
        # What a button starts: like the last episode that was started otherwise.
        self._task, self._role = self._options.task, "expert"
        self._buttons = Buttons(self._options.buttons)
        self._written = (0, 0)
        self._edges = EdgeLog(self._log.warning, self._log.info)
        self._diagnostics = Diagnostics(self, embodiment.name)
        self._status = self.create_publisher(EpisodeStatus, "recorder/status", reliable())
        self._offer_services()
        if self._options.buttons:
            self.create_subscription(Joy, "joy", self._on_joy, reliable())
        self.create_timer(_STATUS_S, self._tick)
        self._report_cut_off()

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
        self._takes.close()
        self._streams.close()
        self._log.close()

    # Services and buttons

    def _answering(self, name: str, act: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """A service that answers with what `act` refuses, and tells how things are."""

        def serve(request: Any, response: Any) -> Any:
            try:
                act(request, response)
                response.success = True
            except (UwmError, OSError) as error:
                response.message = " ".join(str(error).split())
                self._log.error(f"recorder/{name} refused: {response.message}")
            self._tick()
            return response

        return serve

    def _on_start(self, request: StartEpisode.Request, response: StartEpisode.Response) -> None:
        role = request.role or "expert"
        response.episode = self._takes.start(request.task, role)
        self._task, self._role = request.task, role

    def _on_stop(self, request: StopEpisode.Request, response: StopEpisode.Response) -> None:
        response.path = str(self._takes.stop(request.outcome).path)

    def _on_discard(self, _: Trigger.Request, response: Trigger.Response) -> None:
        response.message = str(self._takes.discard().path)

    def _on_undo(self, _: Trigger.Request, response: Trigger.Response) -> None:
        response.message = str(self._takes.undo().path)

    def _on_relabel(
        self, request: RelabelEpisode.Request, response: RelabelEpisode.Response
    ) -> None:
        shelved = self._takes.relabel(
            request.episode, outcome=request.outcome, task=request.task, role=request.role
        )
        response.path = str(shelved.path)

    def _on_note(self, request: NoteEpisode.Request, response: NoteEpisode.Response) -> None:
        response.noted = self._takes.note(request.text, request.episode)

    def _on_check(self, _: CheckStreams.Request, response: CheckStreams.Response) -> None:
        now, idle = now_ns(self), self._takes.current is None
        lines = self._streams.check(now)
        facts = self._streams.facts(now)
        lines += check_machine(machine_facts(self, self._options.directory, facts, probe=idle))
        response.subjects = [line.subject for line in lines]
        response.levels = [line.level for line in lines]
        response.found = [line.found for line in lines]
        response.advice = [line.advice for line in lines]
        refuse(lines)

    def _on_joy(self, message: Joy) -> None:
        for command in self._buttons.update(message.buttons, now_ns(self)):
            try:
                self._press(command)
            except (UwmError, OSError) as error:
                self._log.error(f"button {command} refused: {error}")
            self._tick()

    def _press(self, command: str) -> None:
        if command == "toggle":
            command = "success" if self._takes.current else "start"
        if command == "start":
            self._takes.start(self._task, self._role)
        elif command == "undo":
            self._takes.undo()
        else:
            self._takes.stop(command)

    # Status

    def _tick(self) -> None:
        self._streams.refresh()
        self._guard_disk()
        self._publish()

    def _guard_disk(self) -> None:
        """End an episode in order before the disk is full, while there is room to finish it."""
        take = self._takes.current
        if take is None:
            return
        free = free_bytes(self._options.directory) - take.recording.waiting_bytes
        if free < self._options.reserve_gib * GIB:
            take.remarks.append("stopped by the recorder: the disk was nearly full")
            try:
                path = self._takes.stop("failure").path
                self._log.error(f"the disk is nearly full: stopped, kept as {path}")
            except (UwmError, OSError) as error:
                self._log.error(str(error))

    def _publish(self) -> None:
        now, take, last = now_ns(self), self._takes.current, self._takes.shelf.last
        status = EpisodeStatus(state="recording" if take else "idle", kept=self._takes.shelf.kept)
        if self._takes.is_writing:
            status.state = "writing"
        fill_streams(status, self._streams, take, now)
        status.disk_free_bytes = free_bytes(self._options.directory)
        if last is not None:
            status.last_episode, status.last_outcome = last.name, last.outcome
        status.write_bytes_per_s = self._write_speed(now)
        sink = self._takes.sink
        status.store = sink.state if sink else "off"
        status.store_waiting = sink.waiting if sink else 0
        alarms = self._alarms(now, status)
        status.alarms = [alarm.text for alarm in alarms]
        self._status.publish(status)
        self._tell(alarms, status)

    def _write_speed(self, now: int) -> float:
        take, (before, when) = self._takes.current, self._written
        written = take.recording.bytes_written if take else 0
        self._written = (written, now)
        # Less than before: of another episode.
        return max(written - before, 0) * 1e9 / max(now - when, 1)

    def _alarms(self, now: int, status: EpisodeStatus) -> list[Alarm]:
        found, take = self._streams.alarms(now), self._takes.current
        if take is not None:
            found += take.alarms()
        if status.disk_free_bytes < (self._options.min_free_gib + self._options.reserve_gib) * GIB:
            free_gib = status.disk_free_bytes / GIB
            found.append(Alarm("disk", f"the disk has {free_gib:.2f} GiB left; make room"))
        return found

    def _tell(self, alarms: Sequence[Alarm], status: EpisodeStatus) -> None:
        """Say on edges what is wrong in a take, and on `/diagnostics` how things are."""
        recording = self._takes.current is not None
        if not recording:  # the end of a take mends nothing, so nothing is said to recover
            self._edges = EdgeLog(self._log.warning, self._log.info)
        texts = {alarm.key: alarm.text for alarm in alarms} if recording else {}
        for key in self._edges.bad | texts.keys():
            self._edges.update(key, bad=key in texts, text=texts.get(key, ""))
        level = Level.OK if not alarms else Level.ERROR if recording else Level.WARN
        values = dict(zip(status.topics, (f"{r:.1f} Hz" for r in status.rates_hz), strict=True))
        self._diagnostics.update(level, "; ".join(status.alarms) or status.state, values)

    def _report_cut_off(self) -> None:
        for path in self._takes.shelf.cut_off():
            self._log.warning(
                f"{path} was cut off when a recorder was killed; make a bag of it with: "
                f"uwm bag recover {path}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the node; returns the exit code."""
    return run_node(RecorderNode, argv)


if __name__ == "__main__":
    raise SystemExit(main())
