# SPDX-License-Identifier: Apache-2.0
"""Result files: what was measured, by which command, on which commit, with which configuration."""

import argparse
import json
import logging
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.arithmetic import ARITHMETIC
from phasecore.paths import CHECKOUT
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.rtl.spec.parameters import file_text, to_object
from phasecore.scripts.commands import command_of
from phasecore.scripts.report.sources import sources

__all__ = [
    "RESULTS", "ROOT", "commit", "commits_since", "destination", "file_of", "inputs",
    "preset_name", "rates", "read", "record", "warn", "write",
]  # fmt: skip

ROOT = CHECKOUT or Path.cwd()
FIGURES = (
    "images", "mismatches", "accuracy_rtl", "accuracy_model", "cycles_per_image",
    "images_per_second",
)  # fmt: skip
"""Keys that every result has, whatever was run."""

NEUTRAL = {
    "before", "checkpoint", "command", "config", "config_name", "data", "debug", "jobs", "json",
    "list", "name", "out", "overwrite", "resume", "seed_given", "timeline",
    "timeout", "tree", "version", "waves",
}  # fmt: skip
"""Options that say where and how, not what is measured."""

LONG = 8
"""Rows from which on a table is written by column."""

SHORT = 100
"""Characters of a line that may hold tables, too."""

RESULTS = ROOT / "docs" / "results"
"""Committed results; a command writes there when told to with ``--out``."""


log = logging.getLogger("phasecore")


def commit() -> str:
    """Hash of the checked-out commit, ``-dirty`` after it if a tracked file differs.

    Result files do not count: writing the first of several must not taint the next.
    """
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/results")
    return f"{head}-dirty" if changes else head


def commits_since(commit: str, folders: Collection[str]) -> int | None:
    """Number of commits since ``commit`` to folders; None if git does not know it."""
    if _git("cat-file", "-e", f"{commit}^{{commit}}") is None:
        return None
    count = _git("rev-list", "--count", f"{commit}..HEAD", "--", *folders)
    return None if count is None else int(count)


def _git(*arguments: str) -> str | None:
    """Output of a git command in this checkout, or ``None``."""
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def preset_name(config: CoreConfig | ChipConfig) -> str:
    """Name of the preset (of a core or a chip) that equals ``config``, or ``custom``."""
    presets = [*PRESETS.items(), *CHIPS.items()]
    return next((name for name, preset in presets if preset == config), "custom")


def record(
    *,
    command: str,
    config: CoreConfig | ChipConfig | None = None,
    seed: int | None = None,
    **values: Any,
) -> dict[str, Any]:
    """One result with the keys that all have in common, then the measured ``values``.

    The figures of a training run are null where a command does not measure them.
    """
    return {
        "command": command,
        "commit": commit(),
        "preset": preset_name(config) if config else None,
        "config": asdict(config) if config else None,
        "seed": seed,
        **dict.fromkeys(FIGURES),
        "arithmetic": ARITHMETIC,
        "sources": sources(command_of(command)),
        **values,
    }


def rates(recipe: Recipe) -> dict[str, Any]:
    """Fields of a result: the learning rates that the integers stand for, by layer, at the start
    and the end of the run, and what there is to warn of."""
    training = recipe.network.training
    ends = (training.eta, training.eta_end)
    used = [[float(f"{rate:.6g}") for rate in recipe.rates(eta)] for eta in ends]
    return {"rates_used": used, "warnings": recipe.warnings()}


def warn(recipe: Recipe, where: str = "") -> None:
    """Write to the log what there is to warn of the rates; ``where`` stands before."""
    for text in recipe.warnings():
        log.warning("warning: %s%s", where, text)


def inputs(args: argparse.Namespace) -> dict[str, Any]:
    """What a command measures, from its options, as a result file has it."""
    chosen = {name: value for name, value in vars(args).items() if name not in NEUTRAL}
    if getattr(args, "config_name", None):
        chosen["config"] = args.config
    text = json.dumps({"command": command_of(args.command), **chosen}, default=_plain)
    found: dict[str, Any] = json.loads(text)
    return found


def _plain(value: Any) -> Any:
    """JSON has this in the place of what it knows not."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.name if isinstance(value, Path) else str(value)


def destination(
    args: argparse.Namespace, folder: Path, name: str, *others: str, growing: Collection[str] = ()
) -> Path:
    """Path of the result ``folder/name.json``, before the work: it and the ``others`` (suffixes)
    can be written.

    Without ``--overwrite`` the result of a run is refused that has other inputs, but for those in
    ``growing``.
    """
    path = files.check_folder(folder) / f"{files.check_name(name)}.json"
    for suffix in (".json", *others):
        files.check_target(path.with_suffix(suffix))
    if path.exists() and not args.overwrite:
        _check_same(path, inputs(args), growing)
    return path


def read(path: Path) -> dict[str, Any]:
    """The result in a file, tables as lists of rows."""
    found: dict[str, Any] = _rows(to_object(file_text(path, "result"), str(path)))
    return found


def _check_same(path: Path, mine: Mapping[str, Any], growing: Collection[str]) -> None:
    """Raise ``ValueError`` if a file holds another run than that of the inputs ``mine``."""
    how = "--overwrite replaces it, another --out keeps it"
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        names = [name for name in {**mine, **theirs} if name not in growing]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} does not say which run it holds: {how}") from None
    for name in names:
        old, new = theirs.get(name), mine.get(name)
        if old != new:
            raise ValueError(f"{path} holds a run with {name} {old}, not {new}: {how}")


def write(path: Path, result: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Write a result of the command that ``args`` are of to its :func:`destination`."""
    files.write(path, file_of({**result, "inputs": inputs(args)}))


def file_of(result: Mapping[str, Any]) -> str:
    """Text of a result's file: a table of many rows of numbers is an object ``columns`` that has
    the list of each column, null where a row has none.
    """
    return f"{_text(_columns(result))}\n"


def _columns(value: Any) -> Any:
    """``value`` with its long tables by column."""
    if isinstance(value, Mapping):
        return {key: _columns(part) for key, part in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if len(value) < LONG or not all(isinstance(row, Mapping) for row in value):
        return [_columns(part) for part in value]
    if any(type(part) not in (int, float) for row in value for part in row.values()):
        return [_columns(part) for part in value]
    names = dict.fromkeys(name for row in value for name in row)
    return {"columns": {name: [row.get(name) for row in value] for name in names}}


def _rows(value: Any) -> Any:
    """What :func:`_columns` was given; rows have their keys in the order of the columns."""
    if isinstance(value, dict) and set(value) == {"columns"}:
        columns = value["columns"]
        rows = zip(*columns.values(), strict=True)
        return [
            {name: part for name, part in zip(columns, row, strict=True) if part is not None}
            for row in rows
        ]
    if isinstance(value, dict):
        return {key: _rows(part) for key, part in value.items()}
    return [_rows(part) for part in value] if isinstance(value, list) else value


def _is_pair(value: Any) -> bool:
    """Two or three numbers, such as a link or a point."""
    return isinstance(value, list | tuple) and len(value) < 4 and not any(
        isinstance(part, Mapping | list | tuple) for part in value
    )  # fmt: skip


def _filled(lines: list[str]) -> Iterator[str]:
    """Neighbours together on lines of ``SHORT`` characters."""
    filled = ""
    for line in lines:
        both = f"{filled}, {line}" if filled else line
        if filled and (len(both) > SHORT or "\n" in both):
            yield filled
            both = line
        filled = both
    yield filled


def _text(value: Any, indent: str = "") -> str:
    """JSON with a line for whatever is short or holds numbers, pairs of them and names only: a
    point, a row."""
    flat = json.dumps(value)
    if not isinstance(value, Mapping | list | tuple):
        return flat
    parts = value.values() if isinstance(value, Mapping) else value
    nested = [part for part in parts if part and isinstance(part, Mapping | list | tuple)]
    pairs = isinstance(value, list | tuple) and all(_is_pair(part) for part in nested)
    if len(flat) <= SHORT or not nested or pairs:
        return flat
    deeper = f"{indent}  "
    if isinstance(value, Mapping):
        lines = [f"{json.dumps(key)}: {_text(part, deeper)}" for key, part in value.items()]
        # Of rows that hold more than numbers: what is short stands side by side.
        lines = list(_filled(lines)) if indent else lines
        left, right = "{}"
    else:
        lines = [_text(part, deeper) for part in value]
        left, right = "[]"
    inside = ",\n".join(f"{deeper}{line}" for line in lines)
    return f"{left}\n{inside}\n{indent}{right}"
