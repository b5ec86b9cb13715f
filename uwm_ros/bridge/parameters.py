# SPDX-License-Identifier: Apache-2.0
"""Typed reading of a node's parameters, each with a range and a description.

All are read once at start and read-only afterwards: a node that changed half of itself while an
arm moves would be worse than one that must be started again. Whole numbers are taken where a
float is asked for, since `rate:=10` on a command line is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from uwm_core.errors import UnknownNameError, UwmError


class Parameters:
    """Declares and reads parameters of one node.

    Every method declares the parameter, checks it, and returns its value.
    """

    def __init__(self, node: Node) -> None:
        """Read the parameters of `node`."""
        self._node = node

    def text(
        self, name: str, default: str, description: str, choices: Sequence[str] | None = None
    ) -> str:
        """Read a string.

        Raises:
            UwmError: If it is no string, or not one of `choices`.
        """
        # A YAML reader makes a number of `task:=1`; as a text it is "1" again.
        value = self._declare(name, default, ParameterDescriptor(description=description))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(name, value, "a text")
        if choices is not None and str(value) not in choices:
            raise UnknownNameError(f"value of parameter {name!r}", str(value), choices)
        return str(value)

    def number(
        self,
        name: str,
        default: float,
        description: str,
        low: float = -math.inf,
        high: float = math.inf,
    ) -> float:
        """Read a float in [low, high].

        Raises:
            UwmError: If it is no number, not finite, or out of range.
        """
        limits = FloatingPointRange(from_value=low, to_value=high)
        descriptor = ParameterDescriptor(description=description, floating_point_range=[limits])
        value = self._declare(name, float(default), descriptor)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, value, "a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise self._wrong(name, value, f"between {low:g} and {high:g}")
        return float(value)

    def integer(
        self, name: str, default: int, description: str, low: int = -(2**62), high: int = 2**62
    ) -> int:
        """Read a whole number in [low, high].

        Raises:
            UwmError: If it is no whole number or out of range.
        """
        limits = IntegerRange(from_value=low, to_value=high, step=1)
        descriptor = ParameterDescriptor(description=description, integer_range=[limits])
        value = self._declare(name, int(default), descriptor)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, value, "a whole number")
        if not low <= value <= high:
            raise self._wrong(name, value, f"between {low} and {high}")
        return int(value)

    def flag(self, name: str, default: bool, description: str) -> bool:
        """Read true or false.

        Raises:
            UwmError: If it is neither.
        """
        value = self._declare(name, default, ParameterDescriptor(description=description))
        if not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def texts(self, name: str, default: Sequence[str], description: str) -> tuple[str, ...]:
        """Read a list of strings; empty ones are dropped, so `['']` can stand for an empty list.

        Raises:
            UwmError: If it is no list of strings.
        """
        # rclpy cannot tell the type of an empty list.
        descriptor = ParameterDescriptor(description=description)
        value = self._declare(name, list(default) or [""], descriptor)
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise self._wrong(name, value, "a list of texts")
        return tuple(v for v in value if v)

    def _declare(self, name: str, default: Any, descriptor: ParameterDescriptor) -> Any:
        descriptor.read_only = True
        # Dynamic, so that a wrong type reaches our own check and its one line.
        descriptor.dynamic_typing = True
        if self._node.has_parameter(name):
            return self._node.get_parameter(name).value
        try:
            return self._node.declare_parameter(name, default, descriptor).value
        except Exception as error:  # rclpy raises several unrelated classes for a bad value
            raise UwmError(f"parameter {name!r}: {error}") from error

    def _wrong(self, name: str, value: Any, wanted: str) -> UwmError:
        return UwmError(f"parameter {name!r} must be {wanted}, got {value!r}")
