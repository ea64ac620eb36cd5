# SPDX-License-Identifier: Apache-2.0
"""``phasecore record``: recorded results, whether the tree has changed since, and again."""

import argparse
import logging
from pathlib import Path
from typing import Any

from phasecore.paths import BUILD, CHECKOUT
from phasecore.scripts import interrupts
from phasecore.scripts.report import records
from phasecore.scripts.report.results import RESULTS

__all__ = ["add_parser", "report", "run"]

OPTIONS = ()

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "record",
        help="list recorded results, and make the stale ones again",
        description=(
            "List every result in docs/results with its command, its commit and what has changed"
            " in the hardware, the arithmetic or the models since. With --run those for which"
            " something has are made again, one after the other; a run that is stopped goes on"
            " with those that are left, trainings from their checkpoints. The documents are then"
            " made by python -m phasecore.scripts.report.readme."
        ),
    )
    parser.add_argument("--run", action="store_true", help="make the stale ones again")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME",
        help="these and no others; with --run they are made again in any case",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="only list them (the default)")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    if CHECKOUT is None:
        raise ValueError("results are recorded in a checkout of the repository only")
    if args.run and args.list:
        raise ValueError("--list runs nothing: not with --run")
    known = {record.name: record for record in records.load()}
    for name in args.only or ():
        if name not in known:
            raise ValueError(f"--only: no record {name!r}; known: {', '.join(known)}")
    chosen = [record for record in known.values() if not args.only or record.name in args.only]
    entries = [described(record, RESULTS) for record in chosen]
    if args.run:
        todo = [
            record
            for record, entry in zip(chosen, entries, strict=True)
            if record.commands and (entry["stale"] or args.only)
        ]
        for number, record in enumerate(todo, 1):
            log.info("record %d of %d", number, len(todo))
            with interrupts.explained("phasecore record --run goes on"):
                records.make(record, RESULTS, BUILD.resolve() / "records" / record.name)
        entries = [described(record, RESULTS) for record in chosen]
    return {"records": entries, "stale": sum(bool(entry["stale"]) for entry in entries)}


def described(record: records.Record, folder: Path) -> dict[str, Any]:
    """Command and commit of a record, and why it is stale: nothing if it is not."""
    result = records.read(record, folder)
    if result is None:
        return {
            "name": record.name, "command": record.command, "commit": None,
            "stale": ["not recorded"],
        }  # fmt: skip
    return {
        "name": record.name,
        "command": result.get("command"),
        "commit": result.get("commit"),
        "stale": [*records.contradictions(record, result), *records.outdated(result)],
    }


def report(result: dict[str, Any]) -> str:
    lines = []
    for entry in result["records"]:
        state = "stale" if entry["stale"] else "fresh"
        lines.append(f"{state}  {entry['name']:26s}{(entry['commit'] or '-')[:10]:12s}")
        lines.append(f"         {entry['command']}")
        lines += [f"       - {reason}" for reason in entry["stale"]]
    return "\n".join([*lines, f"{result['stale']} of {len(result['records'])} are stale"])
