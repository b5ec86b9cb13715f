# SPDX-License-Identifier: Apache-2.0
"""The parameters of the recorder, read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from uwm_core.errors import UnknownNameError, UwmError
from uwm_ros.bridge.parameters import Parameters
from uwm_ros.bridge.streams import TRANSPORTS, Transport
from uwm_ros.logic.recording_buttons import parse_buttons

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class RecorderOptions:
    """What a recorder is told.

    Attributes:
        embodiment: Name of a bundled embodiment, or a path.
        directory: Where bags are written.
        task: Task sentence of episodes that a button starts.
        compress: Whether chunks are compressed with zstd.
        image_transport: What to take of raw cameras.
        extra_topics: More topics to record.
        buttons: Command by number of button.
        min_free_gib: Room on the disk without which nothing is started.
        reserve_gib: Room on the disk at which a running episode is ended.
        queue_bytes: Room between the wire and the disk.
        store: Zarr store that grows beside the bags; None: none does.
    """

    embodiment: str
    directory: Path
    task: str
    compress: bool
    image_transport: Transport
    extra_topics: tuple[str, ...]
    buttons: dict[int, str] = field(default_factory=dict)
    min_free_gib: float
    reserve_gib: float
    queue_bytes: int
    store: Path | None

    @classmethod
    def read(cls, read: Parameters) -> RecorderOptions:
        """Read the parameters of a node.

        Raises:
            UwmError: If one is not usable.
        """
        transport = read.text(
            "image_transport", "raw", "of raw cameras: raw, compressed or both", TRANSPORTS
        )
        compression = read.text(
            "compression", "none", "of the bags; zstd costs a core", choices=("none", "zstd")
        )
        directory = read.text("directory", "episodes", "folder in which the bags are written")
        return cls(
            embodiment=read.text("embodiment", "fr3_sim", "name of a bundled one, or a path"),
            directory=Path(directory).expanduser(),
            task=read.text("task", "", "task sentence of episodes that a button starts"),
            compress=compression == "zstd",
            image_transport=transport,  # type: ignore[arg-type]  # one of the choices
            extra_topics=read.texts("extra_topics", (), "more topics; their types are found"),
            buttons=parse_buttons(
                read.texts("buttons", (), "commands by button of joy: ['0:toggle', '1:undo']")
            ),
            min_free_gib=read.number("min_free_gib", 1.0, "GiB free to start with", 0.0, 1e6),
            reserve_gib=read.number("reserve_gib", 0.5, "GiB free at which to stop", 0.0, 1e6),
            queue_bytes=read.integer("queue_mib", 512, "MiB that may wait for the disk", 1, 2**20)
            * 2**20,
            store=_store(read),
        )


def _store(read: Parameters) -> Path | None:
    sinks = read.texts("sinks", ("bag",), "where episodes go: bag, and zarr beside it")
    store = read.text("store", "", "of the sink zarr: path of the store that grows")
    if strange := set(sinks) - {"bag", "zarr"}:
        raise UnknownNameError("sink", min(strange), ("bag", "zarr"))
    if "bag" not in sinks:
        raise UwmError("parameter 'sinks' must have bag: a store is made of bags")
    if ("zarr" in sinks) != bool(store):
        raise UwmError("parameter 'store' names the store of the sink zarr: set both, or neither")
    return Path(store).expanduser() if store else None
