# SPDX-License-Identifier: Apache-2.0
"""Logs on edges: say once that it broke, once that it healed."""

from __future__ import annotations

from collections.abc import Callable


class EdgeLog:
    """Turns a condition that is looked at often into one line per change."""

    def __init__(self, warn: Callable[[str], object], info: Callable[[str], object]) -> None:
        """Create with the two ways to speak."""
        self._warn, self._info = warn, info
        self._bad: dict[str, str] = {}

    @property
    def bad(self) -> frozenset[str]:
        """Keys that are bad now."""
        return frozenset(self._bad)

    @property
    def trouble(self) -> str:
        """What is bad now, as it was warned of; empty while all is well."""
        return "; ".join(self._bad.values())

    def update(self, key: str, *, bad: bool, text: str = "") -> None:
        """Tell how `key` is now.

        Args:
            key: What is watched.
            bad: Whether it is broken.
            text: The warning, where it is.
        """
        if bad and key not in self._bad:
            self._bad[key] = text
            self._warn(text)
        elif not bad and key in self._bad:
            del self._bad[key]
            self._info(f"{key} recovered")
