# SPDX-License-Identifier: Apache-2.0
"""Messages of a bag as rosbags gives them, every one decoded: the peer of our reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import Reader

from uwm_core.data.bag_types import standard_types


def plain_messages(path: Path) -> Iterator[tuple[str, Any, int]]:
    """Topic, message and log time of everything in a whole and undamaged bag, in log order."""
    types = standard_types()
    with Reader(path) as reader:
        for connection, log_ns, data in reader.messages():
            yield connection.topic, types.deserialize_cdr(data, connection.msgtype), log_ns
