# SPDX-License-Identifier: Apache-2.0
"""``phasecore plot``: draw the pictures of recorded results again, from their JSON files."""

import argparse
import importlib
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.scripts.commands import command_of, module_of
from phasecore.scripts.report import results

__all__ = ["add_parser", "draw", "run"]

OPTIONS = ("out",)

DRAWING = (
    "simulate",
    "train",
    "map",
    "run",
    "ablate",
    "device-curves",
    "energy",
    "noc",
    "networks",
)
"""Commands whose results have a picture: ``plot(result, path)`` of their modules."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "plot",
        help="draw the picture of a recorded result again",
        description=(
            "Draw the picture of a result again from its JSON file, without running anything, and"
            f" write it as PNG beside the file or in the folder --out. {', '.join(DRAWING)} have"
            " one."
        ),
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    for path in args.results:
        files.check_target((args.out or path.parent) / f"{path.stem}.png")
    return {"written": [str(draw(path, args.out or path.parent)) for path in args.results]}


def report(result: dict[str, Any]) -> str:
    return "\n".join(f"written  {path}" for path in result["written"])


def draw(source: Path, folder: Path) -> Path:
    """Draw the picture of a result file into a folder; return its path."""
    result = results.read(source)
    command = command_of(str(result.get("command", "")))
    if command not in DRAWING:
        raise ValueError(f"{source} has no picture: its 'command' is none of {', '.join(DRAWING)}")
    path = folder / f"{source.stem}.png"
    try:
        importlib.import_module(module_of(command)).plot(result, path)
    except (KeyError, IndexError, TypeError) as error:
        text = f"{source} is not a whole result of phasecore {command}: {error!r}"
        raise ValueError(text) from error
    return path
