# SPDX-License-Identifier: Apache-2.0
"""Digests of the sources that a result depends on, which comments, words and moves leave alone."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from phasecore.paths import PACKAGE

__all__ = ["ROOMS", "rooms", "sources"]

ROOMS = {
    "ablate": ("models", "rtl/spec"),
    "bench core": ("models", "rtl", "verification/cosim"),
    "bench chip": ("models", "rtl", "verification/cosim"),
    "bench aihwkit": ("models", "rtl/spec"),
    "device-curves": ("models/golden", "rtl/spec"),
    "energy": ("models/studies",),
    "faults": ("models", "rtl", "verification"),
    "noc": ("rtl/lib", "rtl/noc", "rtl/spec", "verification/noc"),
    "pipelines": ("models", "rtl", "verification/cosim"),
    "simulate": ("models", "rtl", "verification/cosim"),
    "bench model": ("models", "rtl/spec"),
    "run": ("models", "rtl/spec"),
    "synth": ("rtl",),
    "train": ("models", "rtl/spec"),
}
"""Folders that decide what a command measures."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def rooms(command: str) -> tuple[str, ...]:
    """Folders on which the results of a command depend."""
    return ROOMS.get(command, ("models", "rtl"))


def sources(command: str) -> dict[str, str]:
    """Digest of every folder on which the results of a command depend."""
    return {room: digest(PACKAGE / room) for room in rooms(command)}


@cache
def digest(folder: Path) -> str:
    """Digest of the Python and Verilog in a folder, whatever its files are called.

    Comments, docstrings, layout and imports do not count.
    """
    found = [_python(path) for path in folder.resolve().rglob("*.py")]
    found += [_verilog(path) for path in folder.resolve().rglob("*.sv*")]
    return hashlib.sha256("\0".join(sorted(found)).encode()).hexdigest()[:16]


def _python(path: Path) -> str:
    return repr(_shape(ast.parse(path.read_text(encoding="utf-8"))))


def _verilog(path: Path) -> str:
    return " ".join(_COMMENT.sub(" ", path.read_text(encoding="utf-8")).split())


def _shape(node: Any) -> Any:
    """A syntax tree as nested lists, the same in every version of Python."""
    if isinstance(node, list):
        return [_shape(part) for part in node if not _is_silent(part)]
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return [type(node).__name__, *((name, _shape(value)) for name, value in fields)]


def _is_silent(node: Any) -> bool:
    """True for imports, and for texts that are statements: docstrings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    return isinstance(node, ast.Import | ast.ImportFrom)
