# SPDX-License-Identifier: Apache-2.0
"""Recorded results: what each says it is of, whether the tree has changed since, and again.

``records.toml`` says how every result in ``docs/results`` is made.
"""

import io
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.models.golden.arithmetic import ARITHMETIC
from phasecore.paths import IMPORT_PATH
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands import command_of
from phasecore.scripts.report import results
from phasecore.scripts.report.sources import rooms, sources

__all__ = ["Record", "contradictions", "load", "make", "outdated", "read"]

TABLE = Path(__file__).parent / "records.toml"

ARITHMETICAL = {"ablate", "bench aihwkit", "bench model", "device-curves", "simulate", "train"}
"""Commands whose results have bits of the arithmetic."""

OUT = "docs/results"
"""Where results are, from the root of a checkout; records name it, wherever they were made."""

log = logging.getLogger("phasecore")


@dataclass(frozen=True)
class Record:
    """A recorded result.

    Attributes
    ----------
    commands : without ``phasecore``; the last one writes the result. None: not to be made again
    stale : why it contradicts the tree, if that is known
    """

    name: str
    commands: tuple[str, ...]
    stale: str = ""

    @property
    def command(self) -> str:
        """The one that writes it."""
        return f"phasecore {' '.join(self.commands[-1].split())}" if self.commands else ""


def load(path: Path = TABLE) -> list[Record]:
    """All records of a table, in the order in which they are made."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Record(name, tuple(entry["commands"]), entry.get("stale", ""))
        for name, entry in table.items()
    ]


def read(record: Record, folder: Path) -> dict[str, Any] | None:
    """The result, or None if there is no file."""
    path = folder / f"{record.name}.json"
    return results.read(path) if path.exists() else None


def contradictions(record: Record, result: Mapping[str, Any]) -> list[str]:
    """What a result says that is not so in this tree."""
    return list(_contradictions(record, result))


def _contradictions(record: Record, result: Mapping[str, Any]) -> Iterator[str]:
    command = str(result.get("command", ""))
    mine = _inputs(command)
    if isinstance(mine, str):
        yield f"its command is none any more: {mine}"
    elif record.commands and mine != _inputs(record.command):
        yield f"it is of {command!r}, not of {record.command!r}"
    kind = command_of(command)
    if kind in ARITHMETICAL and result.get("arithmetic") != ARITHMETIC:
        yield f"arithmetic {result.get('arithmetic', 'before 2')}, now {ARITHMETIC}"
    if result.get("complete") is False:
        yield "the run was stopped"
    if kind == "synth":
        preset = PRESETS.get(str(result["preset"]))
        if preset is None or result["crossbar_devices"] != preset.devices:
            yield f"{result['crossbar_devices']} devices of {result['preset']}"
    if kind == "faults":
        from phasecore.scripts.commands import faults

        known = {(fault.block, fault.name) for fault in faults.load()}
        held = {(entry["block"], entry["name"]) for entry in result["faults"]}
        if known != held:
            yield f"{len(known - held)} faults are new, {len(held - known)} are gone"
    yield from _other_configuration(result)


def _other_configuration(result: Mapping[str, Any]) -> Iterator[str]:
    """Fields in which the configuration is not that of the preset that it names."""
    config = result.get("config") or {}
    presets: Mapping[str, CoreConfig | ChipConfig] = CHIPS if "core" in config else PRESETS
    preset = presets.get(str(result.get("preset")))
    if preset is None:
        return
    now = dict(_flat(json.loads(preset.to_json())))
    for name, value in _flat(config):
        if now.get(name) != value:
            yield f"{name} {value} of {result['preset']}, now {now.get(name, 'no such field')}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Fields by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _inputs(command: str) -> dict[str, Any] | str:
    """What a command line measures, by the present parser, or why it does not take it."""
    from phasecore.scripts.cli import parsed

    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            _, args = parsed(shlex.split(command)[1:])
    except SystemExit:
        return complaint.getvalue().strip().removeprefix("phasecore: error: ") or "not a command"
    except ValueError as error:
        return str(error)
    return results.inputs(args)


def outdated(result: Mapping[str, Any]) -> list[str]:
    """Sources under a result that have changed since: by its digests, or else by git."""
    command = command_of(str(result.get("command", "")))
    if "sources" in result:
        now = sources(command)
        then = result["sources"]
        return [f"{room} has changed" for room in now if then.get(room) != now[room]]
    commit = str(result.get("commit", "unknown")).removesuffix("-dirty")
    changed = results.commits_since(commit, rooms(command))
    if changed is None:
        return [f"of commit {commit}, which this repository does not know"]
    return [f"{changed} commits to {', '.join(rooms(command))} since"] if changed else []


def make(record: Record, folder: Path, work: Path) -> None:
    """Run the commands of a record; its files come into ``folder`` when all have ended well.

    ``work`` keeps what an interrupted run left: trainings go on from their checkpoints.
    ``RuntimeError`` if a command fails.
    """
    begun = work / "begun"
    if not begun.exists():
        shutil.rmtree(work, ignore_errors=True)
        out = files.check_folder(work / OUT)
        # Tables of several results are made from all of them.
        for path in folder.glob("*.json"):
            if path.stem != record.name:
                shutil.copy2(path, out)
        begun.touch()
    for number, command in enumerate(record.commands, 1):
        log.info("%s, %d of %d: phasecore %s", record.name, number, len(record.commands), command)
        words = [*command.split(), *_resumed(command.split(), work)]
        status = _run([*words, "--out", OUT, "--overwrite"], work)
        if status:
            raise RuntimeError(f"{record.name}: phasecore {command} ended with status {status}")
    for path in sorted((work / OUT).glob(f"{record.name}.*")):
        files.write(folder / path.name, path.read_bytes())
    for path in sorted((work / OUT).glob("*.md")):
        files.write(folder / path.name, path.read_bytes())
    shutil.rmtree(work)


def _run(words: list[str], work: Path) -> int:
    """Exit status of a command; told to stop, it may save first."""
    program = [sys.executable, "-m", "phasecore.scripts.cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(IMPORT_PATH)}
    with (
        interrupts.deferred() as stop,
        subprocess.Popen(program, cwd=work, env=environment, stdout=subprocess.DEVNULL) as process,
    ):
        told = False
        while process.poll() is None:
            # Ctrl-C reaches it, too.
            if stop.number not in (0, signal.SIGINT) and not told:
                process.send_signal(stop.number)
                told = True
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        stop.check("stopped")
    return process.returncode


def _resumed(words: list[str], work: Path) -> list[str]:
    """Options with which a training goes on from the checkpoints that it left in ``work``."""
    if "--checkpoint" not in words or "--resume" in words:
        return []
    checkpoint = Path(words[words.index("--checkpoint") + 1])
    found = any(work.glob(f"{checkpoint.stem}*{checkpoint.suffix}"))
    return ["--resume", str(checkpoint)] if found else []
