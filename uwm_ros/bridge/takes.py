# SPDX-License-Identifier: Apache-2.0
"""Episodes as an operator handles them: started, stopped, undone, relabelled, noted.

Between the streams, which bring the messages, and the shelf, which keeps the bags. Every step is a
mark: JSON on `recorder/mark`, published and written into the bag that is open.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from rclpy.node import Node
from rclpy.serialization import serialize_message
from std_msgs.msg import String

import uwm_core
from uwm_core.data.bag import BagWriter
from uwm_core.errors import UwmError
from uwm_ros.bridge.clock import now_ns
from uwm_ros.bridge.machine import free_bytes
from uwm_ros.bridge.qos import reliable
from uwm_ros.bridge.recorder_options import GIB, RecorderOptions
from uwm_ros.bridge.recorder_status import stream_figures
from uwm_ros.bridge.side_log import SideLog
from uwm_ros.bridge.streams import Streams
from uwm_ros.logic.doctor import refuse
from uwm_ros.logic.recording import OUTCOMES, ROLES, EpisodeRecording, Raw, Take, check_name
from uwm_ros.logic.recording_shelf import DISCARD, Shelf, Shelved
from uwm_ros.logic.recording_sink import StoreSink

MARK = "recorder/mark"
_STRING = "std_msgs/msg/String"


class Takes:
    """The running episode and those before it.

    Attributes:
        current: The running episode; None while there is none.
        shelf: The finished ones.
        is_writing: The last messages of an episode are on their way to the disk.
        sink: The store that grows beside the bags; None: none does.
    """

    def __init__(
        self,
        node: Node,
        options: RecorderOptions,
        streams: Streams,
        log: SideLog,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait for a start.

        Args:
            node: The node.
            options: How it records.
            streams: Where messages come from.
            log: Where it says what it does.
            changed: Called when writing begins, which takes a while.
        """
        self.current: Take | None = None
        self.shelf = Shelf(options.directory)
        self.is_writing = False
        self._node, self._options, self._streams, self._log = node, options, streams, log
        self._changed = changed
        self._topic = str(node.resolve_topic_name(MARK))
        self._marks = node.create_publisher(String, MARK, reliable())
        self.sink: StoreSink | None = None
        if options.store is not None:
            self.sink = StoreSink(options.store, log.error)
            # What an earlier recorder had no time to add.
            for shelved in self.shelf.kept_before():
                self.sink.follow(shelved)

    def start(self, task: str, role: str) -> str:
        """Start an episode; returns its name.

        Raises:
            UwmError: If one is running, or something is missing for a good one.
        """
        if self.current is not None:
            raise UwmError(f"episode {self.current.name} is running; stop it first")
        check_name("role", role, ROLES)
        refuse(self._streams.check(now_ns(self._node), actions=role != "video"))
        directory = self._options.directory
        free = free_bytes(directory)
        if free < self._options.min_free_gib * GIB:
            raise UwmError(f"{directory} has {free / GIB:.2f} GiB free; make room first")
        directory.mkdir(parents=True, exist_ok=True)
        name = self.shelf.free_name(time.strftime("%Y%m%d_%H%M%S"))
        writer = self._writer(name, {"uwm.task": task, "uwm.role": role})
        recording = EpisodeRecording(name, writer, now_ns(self._node), self._options.queue_bytes)
        self._streams.begin(recording, recording.started_ns)
        self.current = Take(recording, task, role)
        self._say("start", name, task=task, role=role)
        self._log.info(f"recording {name}: {task!r} ({role})")
        return name

    def stop(self, outcome: str) -> Shelved:
        """End the running episode; its bag is whole when this returns.

        Raises:
            UwmError: If none is running, the outcome is not known, or writing failed.
        """
        take = self.current
        if take is None:
            raise UwmError("no episode is running; call recorder/start first")
        check_name("outcome", outcome, OUTCOMES)
        self._streams.end()
        self._say("stop", take.name, outcome=outcome)
        figures = stream_figures(self._streams, take, now_ns(self._node))
        labels = {"uwm.outcome": outcome, "uwm.streams": json.dumps(figures)}
        if take.remarks:
            labels["uwm.remarks"] = json.dumps(take.remarks)
        self.is_writing = True
        self._changed()
        self.current = None
        try:
            path = take.recording.finish(labels)
        finally:
            self.is_writing = False
        shelved = self._follow(self.shelf.put(path, outcome))
        count = take.recording.counts.total()
        self._log.info(f"{outcome}: {count} messages in {shelved.path}")
        return shelved

    def discard(self) -> Shelved:
        """Discard the running episode, or else the last one that was kept.

        Raises:
            UwmError: If there is neither.
        """
        return self.stop(DISCARD) if self.current else self.relabel("", outcome=DISCARD)

    def undo(self) -> Shelved:
        """Take back the last decision; a second time takes that back.

        Raises:
            UwmError: If an episode is running, or there is nothing to undo.
        """
        if self.current is not None:
            raise UwmError(f"episode {self.current.name} is running; stop or discard it first")
        return self._tell(self.shelf.undo())

    def relabel(self, name: str, *, outcome: str = "", task: str = "", role: str = "") -> Shelved:
        """Change what a finished episode is called; see `Shelf.relabel`.

        Raises:
            UwmError: If there is no such episode, or a value is not known.
        """
        return self._tell(self.shelf.relabel(name, outcome=outcome, task=task, role=role))

    def note(self, text: str, name: str = "") -> str:
        """Keep a remark with an episode; returns its name.

        Raises:
            UwmError: If the text is empty, or there is no such episode.
        """
        if not text.strip():
            raise UwmError("a note needs a text")
        take = self.current
        if take is not None and name in ("", take.name):
            take.remarks.append(text)
            noted = take.name
        else:
            noted = self._follow(self.shelf.note(text, name)).name
        self._say("note", noted, text=text)
        return noted

    def close(self) -> None:
        """Discard what runs: it has no outcome. A store that still grows does so by itself."""
        if self.current is not None:
            shelved = self.stop(DISCARD)
            self._log.warning(f"left while recording; the episode is in {shelved.path}")
        if self.sink is not None and not self.sink.close():
            self._log.info(f"{self._options.store} goes on growing by itself")

    def _follow(self, shelved: Shelved) -> Shelved:
        if self.sink is not None:
            self.sink.follow(shelved.path)
        return shelved

    def _tell(self, shelved: Shelved) -> Shelved:
        self._follow(shelved)
        about = {"outcome": shelved.outcome, "task": shelved.task, "role": shelved.role}
        self._say("relabel", shelved.name, **about)
        self._log.info(f"{shelved.path} is now: {', '.join(about.values())}")
        return shelved

    def _writer(self, name: str, labels: dict[str, str]) -> BagWriter:
        labels["uwm.embodiment"] = self._streams.as_recorded().to_yaml()
        labels["uwm.version"] = uwm_core.__version__
        writer = BagWriter(
            self._options.directory / name, metadata=labels, compress=self._options.compress
        )
        for topic, tap in self._streams.taps.items():
            writer.add_topic(topic, tap.type, reliable=tap.is_reliable, latched=tap.is_latched)
        writer.add_topic(self._topic, _STRING)
        return writer

    def _say(self, event: str, episode: str, **details: str) -> None:
        """Publish a mark, and write it into the bag that is open."""
        now = now_ns(self._node)
        text = json.dumps({"event": event, "episode": episode, "stamp_ns": now, **details})
        message = String(data=text)
        self._marks.publish(message)
        if self.current is not None:
            self.current.recording.add(Raw(self._topic, serialize_message(message), now))
