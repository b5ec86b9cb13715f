# SPDX-License-Identifier: Apache-2.0
"""Writes bags from serialized messages, as a recorder gets them off the wire: no decoding."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from uwm_core.data.bag_types import definition
from uwm_core.errors import DataError


def _qos(reliable: bool, latched: bool) -> list[Qos]:
    if reliable and not latched:
        # The default of every player; unsaid, it spares each reader the parsing of it.
        return []
    forever = QosTime(9223372036, 854775807)
    profile = Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=forever,
        lifespan=forever,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=forever,
        avoid_ros_namespace_conventions=False,
    )
    return [profile]


class BagWriter:
    """Writes serialized messages into an MCAP bag that ``ros2 bag`` and Foxglove read.

    For a recorder::

        writer = BagWriter(folder / "episode_0001", {"/front/color/image_raw": IMAGE_TYPE})
        writer.set_metadata("uwm.task", "lift the cube")
        writer.write("/front/color/image_raw", raw_bytes, receive_ns)  # from any thread
        writer.close()  # the bag now exists; abort() instead throws it away

    The bag appears under ``path`` only when it is whole; until then it is ``path.part``. Every
    method may be called from any thread; they exclude one another. A write costs a copy of the
    message, and a disk write for each MiB.

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
        self._connections: dict[str, Connection] = {}
        self._counts: dict[str, int] = {}
        for taken in (self.path, self._part):
            if taken.exists():
                raise DataError(f"{taken}: exists already; choose another name or remove it")
        self._part.mkdir(parents=True)
        # The file inside is named after its folder, so the folder has its last name from the start.
        writer = Writer(self._part / self.path.name, version=8, storage_plugin=StoragePlugin.MCAP)
        if compress:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        writer.open()
        self._writer: Writer | None = writer
        try:
            for key, value in (metadata or {}).items():
                self.set_metadata(key, value)
            for topic, type_name in (topics or {}).items():
                self.add_topic(topic, type_name)
        except BaseException:
            self.abort()
            raise

    def add_topic(
        self, topic: str, type_name: str, *, reliable: bool = True, latched: bool = False
    ) -> None:
        """Announce a topic; must come before its first message.

        Args:
            topic: Absolute name.
            type_name: E.g. ``sensor_msgs/msg/Image``.
            reliable: Reliability that the publisher offered, for playing back.
            latched: Durability that the publisher offered (transient local).

        Raises:
            DataError: If the type's definition is not to be found.
        """
        text, digest = definition(type_name)
        with self._lock:
            if topic in self._connections:
                return
            self._connections[topic] = self._open.add_connection(
                topic,
                type_name,
                msgdef=text,
                rihs01=digest,
                offered_qos_profiles=_qos(reliable, latched),
            )
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
        with self._lock:
            connection = self._connections.get(topic)
            if connection is None:
                raise DataError(f"{self.path}: {topic} was not announced by add_topic")
            self._open.write(connection, receive_ns, data)
            self._counts[topic] += 1

    def set_metadata(self, key: str, value: str) -> None:
        """Keep a text with the bag; may be called until it is closed."""
        with self._lock:
            self._open.set_custom_data(key, value)

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return dict(self._counts)

    def close(self) -> Path:
        """Finish the bag; it is whole and under its own name when this returns.

        Returns:
            The bag's folder.
        """
        with self._lock:
            writer, self._writer = self._open, None
            writer.close()
            os.replace(self._part / self.path.name, self.path)
            self._part.rmdir()
        return self.path

    def abort(self) -> None:
        """Throw the bag away; does nothing if it is closed."""
        with self._lock:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.abort()
                shutil.rmtree(self._part, ignore_errors=True)

    @property
    def _open(self) -> Writer:
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
