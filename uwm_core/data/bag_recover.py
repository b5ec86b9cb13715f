# SPDX-License-Identifier: Apache-2.0
"""Makes a whole bag of what a killed recorder left; the remains stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from uwm_core.data.bag import BagReader
from uwm_core.data.bag_folder import parse
from uwm_core.data.bag_types import Definition, standard_types
from uwm_core.data.bag_writer import BagWriter

SUFFIX = "_recovered"


def recover_bag(path: Path | str) -> Path:
    """Write a whole bag beside a broken one.

    Args:
        path: What is left: ``<name>.part``, a folder without ``metadata.yaml``, or a file.

    Returns:
        The new bag, ``<name>_recovered``; it carries the metadata that the recorder had noted, and
        ``uwm.recovered`` with the name of the old one.

    Raises:
        DataError: If nothing can be saved, or the new bag exists already.
    """
    path = Path(path)
    name = path.name if path.is_dir() and path.suffix != ".part" else path.stem
    target = path.with_name(f"{name}{SUFFIX}")
    with BagReader(path, recover=True) as reader:
        metadata = {**reader.metadata, "uwm.recovered": path.name}
        with BagWriter(target, metadata=metadata) as writer:
            for stream in reader.streams:
                reliable, latched = _offered(stream.qos)
                carried = reader.definitions.get(stream.type, Definition(""))
                writer.add_topic(
                    stream.topic,
                    stream.type,
                    reliable=reliable,
                    latched=latched,
                    known=None if stream.type in standard_types().fielddefs else carried,
                )
            for topic, message, log_ns in reader.messages(reader.topics):
                writer.write(topic, message.raw, log_ns)
    return target


def _offered(qos: str) -> tuple[bool, bool]:
    """Whether a topic was offered reliably and latched; numbers before Jazzy, words since."""
    try:
        first: dict[str, Any] = (parse(qos) or [{}])[0]
        return (
            first.get("reliability") not in (2, "best_effort"),
            first.get("durability") in (1, "transient_local"),
        )
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError):
        return True, False
