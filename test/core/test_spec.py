# SPDX-License-Identifier: Apache-2.0
"""Laws of the YAML reader: what is written is read back, what is wrong is named with its line."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uwm_core.errors import SpecError
from uwm_core.spec import dump_spec, parse_spec, read_spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wheel:
    radius_m: float
    spokes: int = 32
    kind: Literal["front", "rear"] = "front"

    def __post_init__(self) -> None:
        if self.radius_m <= 0:
            raise ValueError(f"radius_m must be above 0, got {self.radius_m:g}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bicycle:
    name: str
    electric: bool = False
    note: str | None = None
    gears: tuple[int, ...] = ()
    size: tuple[int, float] = (0, 0.0)
    wheels: dict[str, Wheel] = dataclasses.field(default_factory=dict)


TEXT = """\
name: tandem
electric: true
gears: [1, 2, 3]
size: [2, 1]
wheels:
  first:
    radius_m: 1e-1
    kind: rear
"""

numbers = st.floats(allow_nan=False, allow_infinity=False)
wheels = st.builds(
    Wheel,
    radius_m=st.floats(min_value=1e-9, max_value=1e9),
    spokes=st.integers(),
    kind=st.sampled_from(["front", "rear"]),
)
bicycles = st.builds(
    Bicycle,
    name=st.text(),
    electric=st.booleans(),
    note=st.none() | st.text(),
    gears=st.lists(st.integers(), max_size=4).map(tuple),
    size=st.tuples(st.integers(), numbers),
    wheels=st.dictionaries(st.text(), wheels, max_size=3),
)


@settings(max_examples=80, deadline=None)
@given(bicycles)
def test_what_is_written_is_read_back(bicycle: Bicycle) -> None:
    assert parse_spec(dump_spec(bicycle), Bicycle) == bicycle


def test_values_become_the_declared_types() -> None:
    bicycle = parse_spec(TEXT, Bicycle)
    assert bicycle == Bicycle(
        name="tandem",
        electric=True,
        gears=(1, 2, 3),
        size=(2, 1.0),
        wheels={"first": Wheel(radius_m=0.1, kind="rear")},
    )
    assert isinstance(bicycle.size[1], float)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("electric:", "eletric:", 2, "unknown key 'eletric' in bicycle. Did you mean 'electric'?"),
        ("kind: rear", "knd: rear", 8, "unknown key 'knd' in wheels.first. Did you mean 'kind'?"),
        ("kind: rear", "kind: reer", 8, "Did you mean 'rear'?"),
        ("radius_m: 1e-1", "radius_m: -1", 7, "radius_m must be above 0, got -1"),
        ("radius_m: 1e-1", "radius_m: wide", 7, "must be a number, got 'wide'"),
        ("radius_m: 1e-1", "radius_m: '1'", 7, "must be a number"),
        ("radius_m: 1e-1", "radius_m: .nan", 7, "must be a number"),
        ("    radius_m: 1e-1\n", "", 7, "wheels.first lacks 'radius_m'"),
        ("name: tandem\n", "", 1, "bicycle lacks 'name'"),
        ("name: tandem", "name: 12", 1, "must be text, got '12' (put it in quotes)"),
        ("[1, 2, 3]", "[1, two]", 3, "gears.1 must be a whole number, got 'two'"),
        ("[1, 2, 3]", "3", 3, "gears must be a list"),
        ("[2, 1]", "[2, 1, 0]", 4, "size must have 2 entries, got 3"),
        ("electric: true", "electric: 1", 2, "must be true or false"),
        ("electric: true", "name: again", 2, "key 'name' in bicycle is repeated"),
        ("electric: true", "electric: [", 2, "is not valid YAML"),
        ("electric: true", "3: true", 2, "must be text"),
    ],
)
def test_each_fault_is_named_with_its_line(old: str, new: str, line: int, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(TEXT.replace(old, new), Bicycle, source="bike.yaml")
    message = str(caught.value)
    # libyaml reports an unclosed bracket where it stops reading.
    if "not valid YAML" not in says:
        assert message.startswith(f"bike.yaml:{line}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a list\n", "text"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^<string>:1: "):
        parse_spec(text, Bicycle)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: cannot be read"):
        read_spec(tmp_path / "nowhere.yaml", Bicycle)


def test_a_binary_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match=r"b\.yaml"):
        read_spec(tmp_path / "b.yaml", Bicycle)
