# SPDX-License-Identifier: Apache-2.0
"""The root of a store: its attributes, and so what of it counts.

Writing the root is the commit. Arrays may have rows that it does not speak of (those of a writer
that was killed); nobody looks at them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from uwm_core.data.store_arrays import ArraySpec, array_specs, as_json
from uwm_core.data.store_format import FORMAT, VERSION, EpisodeRecord, ImageCoding
from uwm_core.embodiment import Embodiment
from uwm_core.errors import StoreError, UwmError

ROOT_FILE = "zarr.json"
GROUPS = ("data", "mask", "meta")
NO_HASH = "0" * 64
_HASH = re.compile(rb'("sha256": ")[0-9a-f]{64}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Root:
    """What the root's attributes say.

    Attributes:
        embodiment: The robot; decides the arrays.
        embodiment_text: The same as YAML, as it was when the store was made.
        images: How images are coded.
        rows: Rows per file of every array.
        software: What wrote the store last.
        episodes: One record per episode.
    """

    embodiment: Embodiment
    embodiment_text: str
    images: ImageCoding
    rows: dict[str, int]
    software: str
    episodes: tuple[EpisodeRecord, ...] = ()

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Row after the last of each episode: (E,)."""
        return np.cumsum([record.steps for record in self.episodes], dtype=np.int64)

    @property
    def steps(self) -> int:
        """Number of committed rows."""
        return int(self.ends[-1]) if len(self.episodes) else 0

    @cached_property
    def specs(self) -> dict[str, ArraySpec]:
        """Every array, by name."""
        return array_specs(self.embodiment, self.images, self.rows)

    def rows_of(self, name: str) -> int:
        """Number of committed rows of an array."""
        return len(self.episodes) if name == "meta/episode_ends" else self.steps

    def with_episodes(self, episodes: Iterable[EpisodeRecord], software: str) -> Root:
        """The same store with other episodes."""
        return dataclasses.replace(self, episodes=tuple(episodes), software=software)

    def to_json(self) -> bytes:
        """Content of the root's ``zarr.json``: one line per episode, and a hash of the whole."""
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "software": self.software,
            "embodiment": self.embodiment_text,
            "images": dataclasses.asdict(self.images),
            "rows_per_file": self.rows,
            "sha256": NO_HASH,
            "episodes": [],
        }
        head, bracket, tail = group_json(attributes).decode().rpartition("[]")
        # The lines are kept by the records: a commit must not write out a thousand of them anew.
        lines = ",\n".join(record.json_line for record in self.episodes)
        text = f"{head}[\n{lines}\n]{tail}" if lines else f"{head}{bracket}{tail}"
        data = text.encode()
        return data.replace(NO_HASH.encode(), text_hash(data).encode(), 1)

    @classmethod
    def parse(cls, data: bytes, location: str) -> Root:
        """Read a root.

        Raises:
            StoreError: If it is not that of a store of this version.
        """
        try:
            return cls._parsed(json.loads(data)["attributes"], location)
        except StoreError:
            raise
        except UwmError as error:
            raise StoreError(f"{location}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            shown = " ".join(str(error).split()) or type(error).__name__
            raise StoreError(f"{location}: is damaged: {ROOT_FILE}: {shown}") from None

    @classmethod
    def _parsed(cls, attributes: dict[str, Any], location: str) -> Root:
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{location}: is Zarr, but not a store of this project")
        version = attributes.get("version")
        if version != VERSION:
            older = isinstance(version, int) and version < VERSION
            mend = "convert its bags again" if older else "update this software"
            raise StoreError(
                f"{location}: has version {version}, this software reads {VERSION}; {mend}"
            )
        root = cls(
            embodiment=Embodiment.parse(attributes["embodiment"], f"{location}/embodiment"),
            embodiment_text=attributes["embodiment"],
            images=ImageCoding(**attributes["images"]),
            rows={str(name): int(rows) for name, rows in attributes["rows_per_file"].items()},
            software=str(attributes["software"]),
            episodes=tuple(EpisodeRecord.from_json(entry) for entry in attributes["episodes"]),
        )
        if any(record.steps < 1 for record in root.episodes):
            raise StoreError(f"{location}: is damaged: an episode has no steps")
        missing = [name for name, spec in root.specs.items() if spec.rows < 1]
        if missing:
            raise StoreError(f"{location}: is damaged: {missing[0]} has no rows per file")
        return root


def text_hash(data: bytes) -> str:
    """SHA-256 of the root's ``zarr.json`` with zeros in place of the hash that stands in it."""
    return hashlib.sha256(_HASH.sub(rb"\g<1>" + NO_HASH.encode(), data, count=1)).hexdigest()


def group_json(attributes: dict[str, Any]) -> bytes:
    """Content of a group's ``zarr.json``."""
    return as_json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def metadata_files(root: Root) -> dict[str, bytes]:
    """Every ``zarr.json`` below the root's, by name."""
    groups = {f"{name}/{ROOT_FILE}": group_json({}) for name in GROUPS}
    arrays = {
        f"{name}/{ROOT_FILE}": spec.metadata(root.rows_of(name))
        for name, spec in root.specs.items()
    }
    return {**groups, **arrays}
