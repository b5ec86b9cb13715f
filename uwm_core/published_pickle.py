# SPDX-License-Identifier: Apache-2.0
"""A pickle read as data: its opcodes build inert values, and nothing in it is ever called.

A pickle is a program. Here a global is a `Name`, a call a `Call` that is not made, a storage a
`Storage` that is not opened; whoever reads the result decides what they mean. Only the opcodes
and the names that a published checkpoint has are known; any other ends the reading.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from uwm_core.errors import CheckpointError

STORAGES: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "DoubleStorage": ("float64", 8),
        "FloatStorage": ("float32", 4),
        "HalfStorage": ("float16", 2),
        "BFloat16Storage": ("bfloat16", 2),
        "LongStorage": ("int64", 8),
        "IntStorage": ("int32", 4),
        "ShortStorage": ("int16", 2),
        "CharStorage": ("int8", 1),
        "ByteStorage": ("uint8", 1),
        "BoolStorage": ("bool", 1),
    }
)
"""Number type and bytes per number of torch's storages."""

NORMALIZER = "datasets.utils.normalizer.LinearNormalizer"
NORMALIZERS = "datasets.utils.normalizer.NestedDictLinearNormalizer"
TENSOR = "torch._utils._rebuild_tensor_v2"
PARAMETER = "torch._utils._rebuild_parameter"
ORDERED = "collections.OrderedDict"
ENCODE = "_codecs.encode"
DTYPE = "numpy.dtype"
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")

_KNOWN = frozenset(
    {
        *(f"torch.{name}" for name in STORAGES),
        *(NORMALIZER, NORMALIZERS, TENSOR, PARAMETER, ORDERED, ENCODE, DTYPE, *ARRAYS),
        *("numpy.ndarray", "torch.Size", "numpy.core.multiarray.scalar"),
        "numpy._core.multiarray.scalar",
    }
)
_LITERALS = frozenset(
    {
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    }
)
_FIXED: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
        "EMPTY_TUPLE": tuple,
        "EMPTY_LIST": list,
        "EMPTY_DICT": dict,
    }
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class Name:
    """A global by its dotted name; not looked up."""

    dotted: str


@dataclass(eq=False)
class Call:
    """A call or a new object as the pickle asks for it; not made.

    Attributes:
        function: Dotted name of what would be called.
        args: What with.
        state: What would be set on the result.
        items: What would be put into the result.
    """

    function: str
    args: tuple[Any, ...]
    state: Any = None
    items: dict[str | int, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Storage:
    """Numbers that lie beside the pickle.

    Attributes:
        kind: A key of `STORAGES`.
        key: Name of their file in the archive.
        count: How many there are said to be.
    """

    kind: str
    key: str
    count: int


def read_pickle(data: bytes, source: str) -> Any:
    """The value that a pickle describes, of plain values, `Call` and `Storage`.

    Args:
        data: The pickle.
        source: What it is called in errors.

    Raises:
        CheckpointError: It names something that no published checkpoint has, uses an opcode that
            none needs, or is broken. Nothing was executed.
    """
    machine = _Machine(source)
    try:
        for opcode, arg, _ in pickletools.genops(data):
            machine.take(opcode.name, arg)
        return machine.pop()
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        what = f"{type(error).__name__} {error}".strip()
        raise CheckpointError(f"{source}: its pickle is broken: {what}") from None


class _Machine:
    """The stack machine that a pickle is a program for, with nothing behind it."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def refuse(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self._source}: {what}; refused, nothing was executed")

    def pop(self) -> Any:
        return self._stack.pop()

    def take(self, name: str, arg: Any) -> None:
        """Do what one opcode says."""
        if name in _LITERALS:
            self._stack.append(arg)
        elif name in _FIXED:
            self._stack.append(_FIXED[name]())
        elif name in _TUPLES:
            size = _TUPLES[name]
            if len(self._stack) < size:
                raise IndexError("the stack is empty")
            self._stack[-size:] = [tuple(self._stack[-size:])]
        elif (handler := getattr(self, f"_do_{name.lower()}", None)) is not None:
            handler(arg)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise self.refuse(f"its pickle uses the opcode {name}, which no checkpoint needs")

    def _do_mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        """Everything since the last mark."""
        found, self._stack = self._stack, self._below.pop()
        return found

    def _do_tuple(self, _: Any) -> None:
        found = self._marked()
        self._stack.append(tuple(found))

    def _do_binput(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    _do_long_binput = _do_binput

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_binget(self, at: int) -> None:
        self._stack.append(self._memo[at])

    _do_long_binget = _do_binget

    def _do_append(self, _: Any) -> None:
        self._extend([self.pop()])

    def _do_appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise TypeError("something is appended to what is no list")
        self._stack[-1].extend(values)

    def _do_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self._put([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._put(self._marked())

    def _put(self, flat: list[Any]) -> None:
        """Keys and values in turn, into the dict or object on top."""
        top = self._stack[-1]
        into = top.items if type(top) is Call else top
        if type(into) is not dict or len(flat) % 2:
            raise TypeError("items are put into what is no dict")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            if not isinstance(key, str | int):
                raise TypeError(f"a key is a {type(key).__name__}")
            into[key] = value

    def _do_global(self, both: str) -> None:
        self._name(*both.split(" ", 1))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("a name is no text")
        dotted = f"{module}.{name}"
        # Compared as they were split too: "a.b" + "c" and "a" + "b.c" are not the same to pickle.
        if "." in name or dotted not in _KNOWN:
            raise self.refuse(f"its pickle names {dotted}, which is no part of a checkpoint")
        self._stack.append(Name(dotted))

    def _do_reduce(self, _: Any) -> None:
        args, function = self.pop(), self.pop()
        if type(function) is not Name:
            raise self.refuse("its pickle calls what is no name")
        if type(args) is not tuple:
            raise TypeError("arguments are no tuple")
        self._stack.append(Call(function.dotted, args))

    # Making an object without calling its class is, unmade, the same thing.
    _do_newobj = _do_reduce

    def _do_build(self, _: Any) -> None:
        state, top = self.pop(), self._stack[-1]
        if type(top) is not Call or top.state is not None:
            raise self.refuse("its pickle changes what it has not made")
        top.state = state

    def _do_binpersid(self, _: Any) -> None:
        match self.pop():
            case ("storage", Name(dotted=dotted), str(key), str(), int(count)) if count >= 0:
                self._stack.append(Storage(dotted.removeprefix("torch."), key, count))
            case _:
                raise self.refuse("its pickle refers to something that is no storage")
