# SPDX-License-Identifier: Apache-2.0
"""A measured figure: what every benchmark and evaluation prints, for people or as JSON lines."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number, beside the peer's number from the same run where there is one.

    Attributes:
        bench: Which benchmark measured it, e.g. ``drive``.
        metric: What was measured, e.g. ``inference_p95``.
        value: The number.
        unit: Its unit; ``unitless`` for shares and ratios, ``count`` for counts.
        peer: What it is compared with, or None.
        peer_value: The peer's number, in the same unit.
    """

    bench: str
    metric: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None

    @property
    def ratio(self) -> float | None:
        """``value`` over ``peer_value``; None without a peer or with a peer of 0."""
        return self.value / self.peer_value if self.peer_value else None

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(
            {
                "bench": self.bench,
                "metric": self.metric,
                "value": self.value,
                "unit": self.unit,
                "peer": self.peer,
                "peer_value": self.peer_value,
                "ratio": self.ratio,
                "machine": machine(),
            }
        )

    def to_text(self) -> str:
        """One line for people."""
        unit = "" if self.unit in ("unitless", "count") else f" {self.unit}"
        line = f"{self.bench} {self.metric}: {self.value:.4g}{unit}"
        if self.peer is None or self.peer_value is None or self.ratio is None:
            return line
        return f"{line} ({self.peer}: {self.peer_value:.4g}{unit}; ratio {self.ratio:.3f})"


def machine() -> str:
    """Processor, cores and system of this machine, as one short text."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    )
