# SPDX-License-Identifier: Apache-2.0
"""Joins an embodiment and a recording: which robot a bag names, which topics are whose."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from uwm_core.embodiment import Embodiment
from uwm_core.errors import DataError, did_you_mean


class Recording(Protocol):
    """What a bag says of itself (``data.bag.BagReader`` is one)."""

    path: Path

    @property
    def metadata(self) -> dict[str, str]:
        """What the recorder wrote beside the messages."""
        ...


def embodiment_of(recording: Recording) -> Embodiment:
    """The embodiment that a recording names.

    Raises:
        DataError: If it names none.
        SpecError: If what it names is no embodiment.
    """
    if text := recording.metadata.get("uwm.embodiment"):
        return Embodiment.parse(text, f"{recording.path}/embodiment")
    raise DataError(f"{recording.path}: does not say its embodiment; name one (--embodiment fr3)")


def resolve_topics(
    wanted: Iterable[str], present: Iterable[str], namespace: str | None = None
) -> dict[str, str]:
    """Find an embodiment's relative topics among a bag's absolute ones.

    All of them live under one namespace; it is found by itself where only one fits.

    Args:
        wanted: Topics of the embodiment; a leading slash is taken literally.
        present: Topics of the bag.
        namespace: Which namespace to take, e.g. ``/left``; needed only where several fit.

    Returns:
        The bag's topic by the embodiment's.

    Raises:
        DataError: If a topic is missing, or several namespaces fit.
    """
    wanted, known = list(dict.fromkeys(wanted)), set(present)
    absolute = [topic for topic in wanted if topic.startswith("/")]
    relative = [topic for topic in wanted if not topic.startswith("/")]
    if namespace is not None:
        spaces = ["/" + namespace.strip("/") if namespace.strip("/") else ""]
    else:
        ends = [(topic, f"/{name}") for topic in known for name in relative]
        spaces = sorted({t.removesuffix(end) for t, end in ends if t.endswith(end)})
    # The namespace that has most of them: a missing topic is then named under the right one.
    counts = {s: sum(f"{s}/{name}" in known for name in relative) for s in spaces}
    best = [s for s in spaces if counts[s] == max(counts.values())] or [""]
    found = {name: f"{best[0]}/{name}" for name in relative}
    found |= {topic: topic for topic in absolute}
    for topic in found.values():
        if topic not in known:
            listed = ", ".join(sorted(known)) or "none"
            hint = did_you_mean(topic, known)
            raise DataError(f"no topic {topic}.{hint} The bag has: {listed}")
    if len(best) > 1:
        shown = ", ".join(space or "/" for space in best)
        raise DataError(f"the topics are there under several namespaces ({shown}); choose one")
    return found
