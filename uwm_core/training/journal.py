# SPDX-License-Identifier: Apache-2.0
"""The run's diary: one JSON object a line, and the same for TensorBoard where it is installed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_TIMING = ("step_s", "wait_share")


class Journal:
    """Appends metrics to ``metrics.jsonl`` and to TensorBoard's event files.

    Lines of the phase at or after its first step are dropped, since they are written again; those
    of other phases stay.

    Args:
        folder: The run's folder.
        phase: The phase that begins.
        first: First step that is about to be taken.
    """

    def __init__(self, folder: Path, phase: str, first: int = 0) -> None:
        path = folder / "metrics.jsonl"
        kept = _lines_before(path, phase, first)
        part = path.with_name(path.name + ".part")
        part.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        os.replace(part, path)
        self._file = path.open("a", encoding="utf-8")
        self._board = _summary_writer(folder / "tensorboard")

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Note ``values`` of ``step`` (from 0) of ``phase``, e.g. "model_validation"."""
        entry: dict[str, Any] = {"phase": phase, "step": step, **values}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{phase}/{name}", value, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_journal(folder: Path, *, timing: bool = True) -> list[dict[str, Any]]:
    """Every entry of a run's diary, oldest first; empty when there is none.

    Args:
        folder: The run's folder.
        timing: With how long each step took, in which even the same run differs.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    left_out = () if timing else _TIMING
    return [
        {name: value for name, value in json.loads(line).items() if name not in left_out}
        for line in lines
        if line
    ]


def _lines_before(path: Path, phase: str, first: int) -> list[str]:
    if not path.exists():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that was being written when the run was killed
        if not entry["phase"].startswith(phase) or entry["step"] < first:
            kept.append(line)
    return kept


def _summary_writer(folder: Path) -> Any:
    """TensorBoard's writer, or None without the package: metrics.jsonl says the same."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
