# SPDX-License-Identifier: Apache-2.0
"""Parameters that are declared once: checks, JSON, schema and documentation follow.

::

    @dataclass(frozen=True, kw_only=True)
    class Shape(Parameters):
        rows: int = integer(16, 8, 1024, power_of_two=True)
        \"\"\"Rows of the array.\"\"\"

``Shape(rows=9)`` raises a ``ValueError`` that names parameter, bounds and value. No Amaranth
import.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

__all__ = ["Parameters", "choice", "file_text", "integer", "number", "part", "text", "to_object"]


@dataclass(frozen=True)
class _Rule:
    """Which values a field takes."""

    check: Callable[[str, Any], None]
    """Called with name and value; raises if the value is none of them."""

    schema: dict[str, Any]
    """The same as a JSON schema."""

    words: str
    """The same for readers."""

    of: "type[Parameters] | None" = None
    """Parameters that are the field's value."""


def _within(name: str, value: float, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value}")


def _bounds(low: float | None, high: float | None) -> dict[str, float]:
    found = {"minimum": low, "maximum": high}
    return {key: bound for key, bound in found.items() if bound is not None}


def integer(
    default: int, low: int | None = None, high: int | None = None, *, power_of_two: bool = False
) -> Any:
    """Field for an integer in ``low..high``, or for any integer."""

    def check(name: str, value: Any) -> None:
        if type(value) is not int:
            raise TypeError(f"{name} must be an integer, not {value!r}")
        _within(name, value, low, high)
        if power_of_two and (value < 1 or value & (value - 1)):
            raise ValueError(f"{name} must be a power of two, not {value}")

    schema: dict[str, Any] = {"type": "integer", **_bounds(low, high)}
    words = "integer" if low is None else str(low) if low == high else f"{low}..{high}"
    if power_of_two and low is not None and high is not None:
        allowed = [1 << bit for bit in range(high.bit_length()) if low <= 1 << bit <= high]
        schema, words = {"enum": allowed}, f"{words}, power of two"
    return field(default=default, metadata={"rule": _Rule(check, schema, words)})


def number(default: float, low: float, high: float) -> Any:
    """Field for a real number in ``low..high``."""

    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, not {value!r}")
        _within(name, value, low, high)

    rule = _Rule(check, {"type": "number", **_bounds(low, high)}, f"{low}..{high}")
    return field(default=default, metadata={"rule": rule})


def text(default: str) -> Any:
    """Field for a string."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {value!r}")

    return field(default=default, metadata={"rule": _Rule(check, {"type": "string"}, "string")})


def choice(default: str, choices: tuple[str, ...]) -> Any:
    """Field for one of some strings."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")

    rule = _Rule(check, {"enum": list(choices)}, ", ".join(choices))
    return field(default=default, metadata={"rule": rule})


def part(default: "Parameters") -> Any:
    """Field for parameters of its own, of the class of ``default``."""
    kind = type(default)

    def check(name: str, value: Any) -> None:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")

    rule = _Rule(check, {"type": "object"}, kind.__name__, of=kind)
    return field(default_factory=lambda: default, metadata={"rule": rule})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Base of frozen dataclasses whose fields are declared with the functions of this module."""

    TITLE: ClassVar[str]
    """What an error calls such parameters."""

    KEY: ClassVar[str]
    """What an error calls one of them."""

    def __post_init__(self) -> None:
        for one in fields(self):
            if "rule" in one.metadata:
                one.metadata["rule"].check(one.name, getattr(self, one.name))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed (checked again)."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_dict(cls, values: Any, key: str | None = None) -> Self:
        """Build from values by field; missing ones keep their defaults, others are refused.

        ``key`` is what an error calls a field, instead of ``KEY``.
        """
        key = key or cls.KEY
        if not isinstance(values, dict):
            raise TypeError(f"{key} must be an object of its fields, not {values!r}")
        known = {one.name: one for one in fields(cls)}
        found = {}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"unknown {key} key {name!r}; known: {', '.join(sorted(known))}")
            rule = known[name].metadata.get("rule")
            found[name] = rule.of.from_dict(value, name) if rule and rule.of else value
        return cls(**found)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Build from the text of one JSON object."""
        return cls.from_dict(to_object(text, cls.TITLE))

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Build from a file with one JSON object."""
        return cls.from_dict(to_object(file_text(path, cls.TITLE), f"{cls.TITLE} {path}"))

    @classmethod
    def named(cls, name: str | Path, known: Mapping[str, Self]) -> Self:
        """Those of that name, or those in that JSON file."""
        if str(name) in known:
            return known[str(name)]
        if not Path(name).exists():
            names = ", ".join(known)
            raise ValueError(f"{cls.TITLE} {str(name)!r} is neither one of {names} nor a JSON file")
        return cls.from_file(name)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """The docstring under each field, without line breaks inside a paragraph."""
        found: dict[str, str] = {}
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(before, ast.AnnAssign)
                and isinstance(before.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[before.target.id] = " ".join(str(after.value.value).split())
        return found

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of a file with such parameters."""
        meanings = cls.meanings()
        properties: dict[str, Any] = {}
        for one in fields(cls):
            rule = one.metadata.get("rule")
            entry = {} if rule is None else rule.of.schema() if rule.of else dict(rule.schema)
            entry["description"] = meanings[one.name]
            if one.default is not MISSING:
                entry["default"] = one.default
            properties[one.name] = entry
        return {
            "title": cls.TITLE,
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }

    @classmethod
    def markdown(cls) -> str:
        """Table of all fields: name, default, values, meaning."""
        meanings = cls.meanings()
        lines = ["| parameter | default | values | meaning |", "|---|---|---|---|"]
        for one in fields(cls):
            rule = one.metadata.get("rule")
            default = "" if one.default is MISSING else f"{one.default}"
            words = rule.words if rule else ""
            meaning = meanings[one.name].replace("``", "`")
            lines.append(f"| `{one.name}` | {default} | {words} | {meaning} |")
        return "\n".join(lines)


def file_text(path: str | Path, what: str) -> str:
    """Text of a file of the user; an error calls it ``what`` and names it."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {what} {path}: not UTF-8 text") from error


def to_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object that ``text`` is; an error calls it ``what``."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object, not {type(values).__name__}")
    return values
