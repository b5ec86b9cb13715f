# SPDX-License-Identifier: Apache-2.0
"""Writes bags from serialized messages, as a recorder gets them off the wire: no decoding."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from uwm_core.data import bag_mcap as mcap
from uwm_core.data.bag_folder import TopicSummary, describe, dump, write_metadata
from uwm_core.data.bag_mcap_writer import McapWriter
from uwm_core.data.bag_types import Definition, definition
from uwm_core.errors import DataError

_FOREVER = "{sec: 9223372036, nsec: 854775807}"


def _qos(reliable: bool, latched: bool) -> str:
    """Offered quality of service as rosbag2 keeps it: YAML with the numbers of the middleware."""
    if reliable and not latched:
        # The default of every player; unsaid, it spares each reader the parsing of it.
        return ""
    return (
        f"[{{history: 1, depth: 10, reliability: {1 if reliable else 2}, "
        f"durability: {1 if latched else 2}, deadline: {_FOREVER}, lifespan: {_FOREVER}, "
        f"liveliness: 1, liveliness_lease_duration: {_FOREVER}, "
        "avoid_ros_namespace_conventions: false}]"
    )


class BagWriter:
    """Writes serialized messages into an MCAP bag that ``ros2 bag`` and Foxglove read.

    For a recorder::

        writer = BagWriter(folder / "episode_0001", {"/front/color/image_raw": IMAGE_TYPE})
        writer.set_metadata("uwm.task", "lift the cube")
        writer.write("/front/color/image_raw", raw_bytes, receive_ns)  # from any thread
        writer.close()  # the bag now exists; abort() instead throws it away

    The bag appears under ``path`` only when it is whole; until then it is ``path.part``. Every
    method may be called from any thread; they exclude one another. Each 768 KiB, and each half
    second of messages, goes to the file at once: a recorder that is killed loses no more than that,
    and ``bag_recover`` makes a bag of what it leaves.

    Args:
        path: Folder of the bag; must not exist.
        topics: Type by absolute topic name; more may be added later.
        metadata: Text by key, kept in the bag's ``custom_data``.
        compress: Compress chunks with zstd (costs about a core for raw images).

    Raises:
        DataError: If the path exists, or a type's definition is not to be found.
    """

    def __init__(
        self,
        path: Path | str,
        topics: Mapping[str, str] | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        compress: bool = False,
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._lock = threading.Lock()
        self._topics: dict[str, tuple[int, TopicSummary]] = {}
        self._counts: dict[str, int] = {}
        self._custom: dict[str, str] = dict(metadata or {})
        for taken in (self.path, self._part):
            if taken.exists():
                raise DataError(f"{taken}: exists already; choose another name or remove it")
        self._part.mkdir(parents=True)
        self._writer: McapWriter | None = McapWriter(
            self._part / self._file_name, compress=compress
        )
        try:
            if self._custom:
                self._writer.add_metadata(mcap.OWN_METADATA, self._custom)
            for topic, type_name in (topics or {}).items():
                self.add_topic(topic, type_name)
        except BaseException:
            self.abort()
            raise

    @property
    def _file_name(self) -> str:
        return f"{self.path.name}.mcap"

    def add_topic(
        self,
        topic: str,
        type_name: str,
        *,
        reliable: bool = True,
        latched: bool = False,
        known: Definition | None = None,
    ) -> None:
        """Announce a topic; must come before its first message.

        Args:
            topic: Absolute name.
            type_name: E.g. ``sensor_msgs/msg/Image``.
            reliable: Reliability that the publisher offered, for playing back.
            latched: Durability that the publisher offered (transient local).
            known: Its definition, where it need not be looked for.

        Raises:
            DataError: If the type's definition is not to be found.
        """
        digest = ""
        if known is None:
            text, digest = definition(type_name)
            known = Definition(text)
        qos = _qos(reliable, latched)
        with self._lock:
            if topic not in self._topics:
                channel = self._open.add_channel(topic, type_name, known, qos)
                self._topics[topic] = channel, TopicSummary(topic, type_name, qos, digest)
                self._counts[topic] = 0

    def write(self, topic: str, data: bytes | memoryview, receive_ns: int) -> None:
        """Append one message.

        Args:
            topic: A topic that was announced.
            data: The serialized message (CDR), as a raw subscription gives it.
            receive_ns: When it was received.

        Raises:
            DataError: If the topic was not announced or the bag is closed.
        """
        # Of memory that the caller may use again a copy is needed; bytes stay as they are.
        data = data if isinstance(data, bytes) else bytes(data)
        with self._lock:
            known = self._topics.get(topic)
            if known is None:
                raise DataError(f"{self.path}: {topic} was not announced by add_topic")
            self._open.write(known[0], receive_ns, data)
            self._counts[topic] += 1

    def set_metadata(self, key: str, value: str) -> None:
        """Keep a text with the bag; may be called until it is closed."""
        with self._lock:
            self._open.add_metadata(mcap.OWN_METADATA, {key: value})
            self._custom[key] = value

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return dict(self._counts)

    def close(self) -> Path:
        """Finish the bag; it is whole and under its own name when this returns.

        Returns:
            The bag's folder.

        Raises:
            DataError: If the disk is full; the part is left for ``bag_recover``.
        """
        with self._lock:
            writer, self._writer = self._open, None
            try:
                writer.flush()
                topics = [
                    dataclasses.replace(topic, messages=self._counts[topic.name])
                    for _, topic in self._topics.values()
                ]
                span_ns = writer.span_ns or (0, 0)
                content = describe(self._file_name, topics, span_ns, self._custom)
                writer.add_metadata(mcap.ROSBAG2_METADATA, {"serialized_metadata": dump(content)})
                writer.close()
                write_metadata(self._part, content)
                os.replace(self._part, self.path)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be written: {error.strerror}") from None
            finally:
                writer.abandon()
        return self.path

    def abort(self) -> None:
        """Throw the bag away; does nothing if it is closed."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.abandon()
                shutil.rmtree(self._part, ignore_errors=True)

    @property
    def _open(self) -> McapWriter:
        if self._writer is None:
            raise DataError(f"{self.path}: is closed")
        return self._writer

    def __enter__(self) -> BagWriter:
        """For ``with``: closed at the end, aborted on an exception."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it, or abort it if something was raised."""
        if kind is None:
            self.close()
        else:
            self.abort()
