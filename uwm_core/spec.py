# SPDX-License-Identifier: Apache-2.0
"""YAML text to a tree of frozen dataclasses and back; the only place where settings are read.

A file is checked against the dataclass that it must become: unknown keys, missing keys, wrong
types, and whatever the dataclass itself refuses in ``__post_init__``, all become one ``SpecError``
that starts with ``file:line:``. Below this line no dict of settings is passed around.

Understood: str, int, float (an integer or ``1e-4`` will do), bool, ``X | None``, ``Literal``,
``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, and dataclasses of these.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from uwm_core.errors import SpecError, UwmError, did_you_mean

T = TypeVar("T")


def _whole(text: str) -> int:
    return int(text.replace("_", ""), 0)


def _number(text: str) -> float:
    # YAML 1.1 takes 1e-4 for text, since it has no dot; nobody who writes it means text.
    special = {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}
    lowered = text.lower().replace("_", "")
    if lowered in special:
        return special[lowered]
    value = float(lowered)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def _truth(text: str) -> bool:
    return text.lower() in ("true", "yes", "on")


_SCALARS: dict[type, tuple[str, str, Callable[[str], Any]]] = {
    str: ("tag:yaml.org,2002:str", "text", str),
    int: ("tag:yaml.org,2002:int", "a whole number", _whole),
    float: ("tag:yaml.org,2002:float", "a number", _number),
    bool: ("tag:yaml.org,2002:bool", "true or false", _truth),
}
# The same loader in C where PyYAML was built with it: a store's embodiment is read often.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Metadata of a field that is written only where it says something. For keys that came later: what
# does not use them is written as before, byte for byte, and an older version can still read it.
NEWER = {"newer": True}
_NULL = "tag:yaml.org,2002:null"


def read_spec(path: Path | str, cls: type[T]) -> T:
    """Read a YAML file into a dataclass.

    Args:
        path: File to read.
        cls: Dataclass that the file must become.

    Returns:
        The instance; its own checks have passed.

    Raises:
        SpecError: If the file is missing or does not say what ``cls`` needs.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not UTF-8 text") from None
    return parse_spec(text, cls, source=str(path))


def parse_spec(text: str, cls: type[T], source: str = "<string>") -> T:
    """Read YAML text into a dataclass; see ``read_spec``.

    Args:
        text: YAML.
        cls: Dataclass that the text must become.
        source: What the text is called in messages.

    Returns:
        The instance.

    Raises:
        SpecError: If the text is not YAML or does not say what ``cls`` needs.
    """
    try:
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise SpecError(f"{source}:{line}: is not valid YAML: {problem}") from None
    if root is None:
        raise SpecError(f"{source}:1: is empty; it must describe one {cls.__name__}")
    return typing.cast(T, _Reader(source).build(root, cls, ()))


def dump_spec(obj: Any) -> str:
    """Write a dataclass tree as YAML that ``parse_spec`` reads back to an equal tree."""
    return yaml.dump(_plain(obj), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Walks YAML nodes and types side by side; knows the file for its messages."""

    source: str

    def fail(self, node: yaml.Node, message: str) -> SpecError:
        return SpecError(f"{self.source}:{node.start_mark.line + 1}: {message}")

    def build(self, node: yaml.Node, wanted: Any, where: tuple[str, ...]) -> Any:
        if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
            return self._dataclass(node, wanted, where)
        origin = typing.get_origin(wanted)
        if origin in (typing.Union, types.UnionType):
            return self._union(node, wanted, where)
        if origin is typing.Literal:
            return self._literal(node, wanted, where)
        if origin is tuple:
            return self._tuple(node, wanted, where)
        if origin is dict:
            return self._dict(node, wanted, where)
        if wanted in _SCALARS:
            return self._scalar(node, wanted, where)
        raise TypeError(f"spec cannot read the type {wanted!r} of {_dotted(where)}")

    def _entries(
        self, node: yaml.Node, where: tuple[str, ...], what: str
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Keys of a mapping, each with its key node (for the line) and value node."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{_dotted(where) or what} must be a mapping of keys to values")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag != _SCALARS[str][0]:
                raise self.fail(key, f"key {key.value!r} in {_dotted(where) or what} must be text")
            if key.value in found:
                raise self.fail(key, f"key {key.value!r} in {_dotted(where) or what} is repeated")
            found[key.value] = (key, value)
        return found

    def _dataclass(self, node: yaml.Node, cls: Any, where: tuple[str, ...]) -> Any:
        what = _dotted(where) or cls.__name__.lower()
        entries = self._entries(node, where, what)
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        for name, (key, _) in entries.items():
            if name not in fields:
                known = ", ".join(sorted(fields))
                hint = did_you_mean(name, fields)
                raise self.fail(key, f"unknown key {name!r} in {what}.{hint} Known: {known}.")
        values = {
            name: self.build(value, hints[name], (*where, name))
            for name, (_, value) in entries.items()
        }
        missing = [
            name
            for name, field in fields.items()
            if name not in values
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise self.fail(node, f"{what} lacks {', '.join(repr(name) for name in missing)}")
        try:
            return cls(**values)
        except (ValueError, UwmError) as error:
            message = str(error)
            # Messages begin with the name of the field at fault: point at its line.
            field_node = entries.get(message.split(" ", 1)[0].split("[", 1)[0].rstrip(":"))
            raise self.fail(field_node[0] if field_node else node, f"{what}: {message}") from None

    def _union(self, node: yaml.Node, wanted: Any, where: tuple[str, ...]) -> Any:
        options = typing.get_args(wanted)
        if type(None) in options and node.tag == _NULL:
            return None
        errors = []
        for option in options:
            if option is type(None):
                continue
            try:
                return self.build(node, option, where)
            except SpecError as error:
                errors.append(error)
        # One real option: its own message is the best. Several: the last was the most general.
        raise errors[-1]

    def _literal(self, node: yaml.Node, wanted: Any, where: tuple[str, ...]) -> Any:
        options = typing.get_args(wanted)
        for option in options:
            try:
                if self._scalar(node, type(option), where) == option:
                    return option
            except SpecError:
                continue
        given = getattr(node, "value", "")
        names = [str(option) for option in options]
        hint = did_you_mean(given, names) if isinstance(given, str) else ""
        shown = repr(given) if isinstance(given, str) else "a collection"
        raise self.fail(
            node, f"{_dotted(where)} is {shown}, must be one of: {', '.join(names)}.{hint}"
        )

    def _tuple(self, node: yaml.Node, wanted: Any, where: tuple[str, ...]) -> tuple[Any, ...]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, f"{_dotted(where)} must be a list, like [a, b]")
        items = typing.get_args(wanted)
        if len(items) == 2 and items[1] is Ellipsis:
            items = (items[0],) * len(node.value)
        if len(items) != len(node.value):
            raise self.fail(
                node, f"{_dotted(where)} must have {len(items)} entries, got {len(node.value)}"
            )
        return tuple(
            self.build(value, item, (*where, str(index)))
            for index, (value, item) in enumerate(zip(node.value, items, strict=True))
        )

    def _dict(self, node: yaml.Node, wanted: Any, where: tuple[str, ...]) -> dict[str, Any]:
        _, item = typing.get_args(wanted)
        entries = self._entries(node, where, "mapping")
        return {
            name: self.build(value, item, (*where, name)) for name, (_, value) in entries.items()
        }

    def _scalar(self, node: yaml.Node, wanted: type, where: tuple[str, ...]) -> Any:
        tag, name, convert = _SCALARS[wanted]
        if isinstance(node, yaml.ScalarNode) and (
            node.tag == tag or (wanted is float and not node.style)
        ):
            try:
                return convert(node.value)
            except ValueError:
                pass
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a collection"
        quote = " (put it in quotes)" if wanted is str and shown != "a collection" else ""
        raise self.fail(node, f"{_dotted(where)} must be {name}, got {shown}{quote}")


def _dotted(where: tuple[str, ...]) -> str:
    return ".".join(where)


class _Dumper(yaml.SafeDumper):
    """Leaf lists on one line, nested ones indented: reads like the files in config/."""


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    flow = not any(isinstance(item, list | dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # Unicode's own line breaks survive only in double quotes, where they are escaped.
    style = '"' if any(mark in value for mark in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)


def _plain(obj: Any) -> Any:
    """Dataclasses and tuples to dicts and lists."""
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {
            field.name: _plain(getattr(obj, field.name))
            for field in dataclasses.fields(obj)
            if field.init
            and not (field.metadata.get("newer") and getattr(obj, field.name) == field.default)
        }
    if isinstance(obj, dict):
        return {key: _plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_plain(item) for item in obj]
    return obj
