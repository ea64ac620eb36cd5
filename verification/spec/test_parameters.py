# SPDX-License-Identifier: Apache-2.0
"""Declared parameters: checks, JSON, schema and table come from the same declaration."""

import json
from dataclasses import dataclass

import pytest

from phasecore.rtl.spec.parameters import Parameters, choice, integer, number, part, text


@dataclass(frozen=True, kw_only=True)
class Inner(Parameters):
    """Something inside."""

    TITLE = KEY = "inner part"

    size: int = integer(8, 4, 64, power_of_two=True)
    """Entries of
    the part."""


@dataclass(frozen=True, kw_only=True)
class Outer(Parameters):
    """Something with a part."""

    TITLE = "outer thing"
    KEY = "outer"

    name: str = text("custom")
    """What it is called."""

    way: str = choice("up", ("up", "down"))
    """Where it goes; ``up`` is away from the ground."""

    share: float = number(0.5, 0.0, 1.0)
    """A fraction."""

    any_number: int = integer(3)
    """Whatever."""

    inner: Inner = part(Inner(size=16))
    """Its part."""


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"name": 5}, TypeError, r"^name must be a string, not 5$"),
        ({"way": "left"}, ValueError, r"^way must be one of up, down, not 'left'$"),
        ({"share": 1.5}, ValueError, r"^share must be in 0\.0\.\.1\.0, not 1\.5$"),
        ({"share": float("nan")}, ValueError, r"^share must be in 0\.0\.\.1\.0, not nan$"),
        ({"share": True}, TypeError, r"^share must be a number, not True$"),
        ({"any_number": 1.0}, TypeError, r"^any_number must be an integer, not 1\.0$"),
        ({"inner": {"size": 12}}, ValueError, r"^size must be a power of two, not 12$"),
        ({"inner": {"size": 2}}, ValueError, r"^size must be in 4\.\.64, not 2$"),
        ({"inner": {"sise": 8}}, ValueError, r"^unknown inner key 'sise'; known: size$"),
        ({"inner": 8}, TypeError, r"^inner must be an object of its fields, not 8$"),
        ({"nam": 8}, ValueError, r"^unknown outer key 'nam'; known: any_number, inner, name,"),
        ([], TypeError, r"^outer must be an object of its fields, not \[\]$"),
    ],
)
def test_errors_name_parameter_and_value(values, error, message):
    with pytest.raises(error, match=message):
        Outer.from_dict(values)


def test_bounds_are_taken():
    assert [Inner(size=size).size for size in (4, 64)] == [4, 64]
    assert [Outer(share=share).share for share in (0, 1)] == [0, 1]


def test_a_part_must_be_of_its_class():
    with pytest.raises(TypeError, match=r"^inner must be a Inner, not 5$"):
        Outer(inner=5)


def test_json_round_trip(tmp_path):
    thing = Outer(name="x", share=0.25, inner=Inner(size=32))
    assert Outer.from_json(thing.to_json()) == thing
    path = tmp_path / "thing.json"
    path.write_text(json.dumps({"inner": {"size": 32}}), encoding="utf-8")
    assert Outer.from_file(path) == Outer(inner=Inner(size=32))
    assert Outer.named("big", {"big": thing}) is thing
    assert Outer.named(str(path), {}) == Outer(inner=Inner(size=32))
    with pytest.raises(
        ValueError, match=r"^outer thing 'small' is neither one of big nor a JSON file$"
    ):
        Outer.named("small", {"big": thing})


def test_changes_are_checked_again():
    assert Inner().replace(size=4).size == 4
    with pytest.raises(ValueError, match=r"^size must be in 4\.\.64, not 128$"):
        Inner().replace(size=128)


def test_schema():
    assert Outer.schema() == {
        "title": "outer thing",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "What it is called.", "default": "custom"},
            "way": {
                "enum": ["up", "down"],
                "description": "Where it goes; ``up`` is away from the ground.",
                "default": "up",
            },
            "share": {
                "type": "number",
                "minimum": 0.0,
                "maximum": 1.0,
                "description": "A fraction.",
                "default": 0.5,
            },
            "any_number": {"type": "integer", "description": "Whatever.", "default": 3},
            "inner": {
                "title": "inner part",
                "type": "object",
                "properties": {
                    "size": {
                        "enum": [4, 8, 16, 32, 64],
                        "description": "Entries of the part.",
                        "default": 8,
                    }
                },
                "additionalProperties": False,
                "description": "Its part.",
            },
        },
        "additionalProperties": False,
    }


def test_table():
    table = Outer.markdown().splitlines()
    assert table[2] == "| `name` | custom | string | What it is called. |"
    assert table[3] == "| `way` | up | up, down | Where it goes; `up` is away from the ground. |"
    assert table[6] == "| `inner` |  | Inner | Its part. |"
    assert Inner.markdown().splitlines()[2] == (
        "| `size` | 8 | 4..64, power of two | Entries of the part. |"
    )
