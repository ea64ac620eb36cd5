# SPDX-License-Identifier: Apache-2.0
"""``phasecore pipelines``: random pipelines of a chip in RTL, beside the golden model."""

import argparse
import logging
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from phasecore.progress import counted, working
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import positive
from phasecore.scripts.report import results
from phasecore.scripts.report.sources import sources
from phasecore.verification.cosim import chip as chip_session
from phasecore.verification.cosim.random_runs import CHIP, KINDS, STALLS, Case, Verdict, run_cases

__all__ = ["add_parser", "report", "run"]

OPTIONS = ("seed", "out", "overwrite")

COUNT = 100
"""Pipelines unless said otherwise."""

AT_ONCE = 20
"""Pipelines that follow one another in a simulation."""

FIRST = 20
"""Mismatches that the result spells out, of each pipeline one."""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "pipelines",
        help="run random pipelines of a chip in the RTL against the golden model",
        description=(
            "Run random pipelines of a small chip in RTL and golden model, and compare every code,"
            f" vector byte, packet, chi word and device. Kinds take turns: {', '.join(KINDS)}."
            f" The host waits in {', '.join(map(str, STALLS))} of 256 cycles. Of every window of a"
            " ring it is checked, too, that no byte of it was read before or after its time."
            " --out names the folder of the JSON result (default: build/pipelines); a run that was"
            " stopped goes on from what is there."
        ),
    )
    parser.add_argument(
        "--count", type=positive, default=COUNT, metavar="N", help=f"pipelines (default {COUNT})"
    )
    parser.add_argument("--sim", choices=["verilator", "icarus"], default="verilator")
    parser.add_argument("--name", default="random-pipelines", help="name of the result file")
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    folder: Path = args.out or Path("build") / "pipelines"
    path = results.destination(args, folder, args.name, growing=["count"])
    totals = _earlier(path)
    done = sum(entry["runs"] for entry in totals["kinds"])
    with working(f"building the {args.sim} simulation, kept for the next run"):
        build = chip_session.build_top(CHIP, sim=args.sim)

    def write() -> dict[str, Any]:
        result = results.record(
            command=args.command, config=CHIP, seed=args.seed, simulator=args.sim,
            complete=done >= args.count, runs=done,
            mismatches=sum(entry["mismatches"] for entry in totals["kinds"]),
            values_compared=sum(entry["values_compared"] for entry in totals["kinds"]), **totals,
        )  # fmt: skip
        results.write(path, result, args)
        return result

    how_to_go_on = "the same command goes on"
    with (
        counted("random pipelines", args.count, "pipelines", done) as line,
        interrupts.explained(how_to_go_on),
        interrupts.deferred() as stop,
    ):
        while done < args.count:
            group = done // AT_ONCE
            end = min((group + 1) * AT_ONCE, args.count)
            cases = [case_of(args.seed, index) for index in range(done, end)]
            stall = STALLS[group % len(STALLS)]
            with tempfile.TemporaryDirectory(prefix="phasecore-") as scratch:
                verdicts = run_cases(
                    CHIP, cases, Path(scratch), build=build, sim=args.sim, stall=stall,
                    seed=Random(f"{args.seed}/{group}").getrandbits(31),
                )  # fmt: skip
            # The signal may have ended the simulator, too.
            stop.check()
            _add(totals, verdicts, stall)
            done += len(verdicts)
            write()
            line.to(done, f"{sum(entry['mismatches'] for entry in totals['kinds'])} mismatches")
    result = write()
    return {**result, "ok": not result["mismatches"], "out": str(path)}


def case_of(seed: int, index: int) -> Case:
    """Pipeline ``index`` of a run: the first drawn whose programs fit the cores."""
    kind, random = tuple(KINDS)[index % len(KINDS)], Random(f"{seed}/{index}")
    while True:
        case = Case(kind, random.getrandbits(32))
        programs = KINDS[kind].make(CHIP, case.seed).programs()
        if max(map(len, programs.values())) <= CHIP.core.program_depth:
            return case


def _earlier(path: Path) -> dict[str, Any]:
    """Figures by kind that a run with these inputs left, if the sources are the same still."""
    if path.exists():
        before = results.read(path)
        if before.get("sources") == sources("pipelines"):
            return {name: before[name] for name in ("kinds", "first_mismatches")}
    kinds = [
        {
            "kind": kind, "runs": 0, "mismatches": 0, "values_compared": 0, "windows_watched": 0,
            "with": {}, "stalls": {str(stall): 0 for stall in STALLS},
        }
        for kind in KINDS
    ]  # fmt: skip
    return {"kinds": kinds, "first_mismatches": []}


def _add(totals: dict[str, Any], verdicts: list[Verdict], stall: int) -> None:
    """Count what a simulation gave."""
    entries = {entry["kind"]: entry for entry in totals["kinds"]}
    for verdict in verdicts:
        entry = entries[verdict.case.kind]
        entry["runs"] += 1
        entry["mismatches"] += len(verdict.mismatches)
        entry["values_compared"] += verdict.values
        entry["windows_watched"] += verdict.windows
        entry["stalls"][str(stall)] += 1
        entry["with"] = dict(Counter(entry["with"]) + Counter(verdict.features))
        for text in verdict.mismatches[:1]:
            where = f"{verdict.case.kind}, seed {verdict.case.seed}, stall {stall}: {text}"
            log.error("mismatch: %s", where)
            if len(totals["first_mismatches"]) < FIRST:
                totals["first_mismatches"].append(where)


def report(result: dict[str, Any]) -> str:
    lines = []
    for entry in result["kinds"]:
        having = ", ".join(f"{name} {count}" for name, count in entry["with"].items())
        watched = entry["windows_watched"]
        lines.append(
            f"{entry['kind']:12s}{entry['runs']:5d} runs, {entry['mismatches']} mismatches in"
            f" {entry['values_compared']} values"
            + (f", {watched} windows read in their time" if watched else "")
        )
        lines.append(f"{'':12s}with {having}")
    return "\n".join([*lines, *result["first_mismatches"], f"written {result['out']}"])
