# SPDX-License-Identifier: Apache-2.0
"""``phasecore faults``: every planted fault must make the test that it names fail.

``faults_BLOCK.toml``, beside the tests of a block, holds ``[[fault]]`` tables with the keys of
:class:`Fault`. Each is applied in a temporary copy of the source tree; the checkout itself is never
touched.
"""

import argparse
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from phasecore.progress import counted
from phasecore.scripts import interrupts
from phasecore.scripts.commands.options import positive
from phasecore.scripts.report.results import ROOT, destination, record, write

__all__ = ["Fault", "add_parser", "load", "report", "run", "sweep"]

OPTIONS = ("out", "overwrite")

PREFIX = "faults_"
_NOT_COPIED = shutil.ignore_patterns(
    ".*", "build", "__pycache__", "*.egg-info", "sim_build", "results.xml"
)
# Exit status of pytest: all passed, some failed.
_PASSED, _FAILED = 0, 1

log = logging.getLogger("phasecore")


@dataclass(frozen=True)
class Fault:
    """One replacement of text that some test must notice."""

    block: str
    """Stem of the file that lists it."""

    name: str

    why: str
    """What is broken."""

    file: str
    """Source file, relative to the repository."""

    old: str
    """Text that occurs exactly once in ``file``."""

    new: str

    test: str
    """pytest target that must fail."""

    def planted(self, text: str) -> str:
        """``text`` of ``file`` with the fault."""
        name, count = f"{self.block}/{self.name}", text.count(self.old)
        if count != 1:
            raise ValueError(f"{name}: old text occurs {count} times in {self.file}")
        if self.old == self.new:
            raise ValueError(f"{name}: old and new text are equal")
        return text.replace(self.old, self.new)


def load(root: Path = ROOT) -> list[Fault]:
    """All faults of a source tree, checked for form only."""
    keys = {field.name for field in fields(Fault)} - {"block"}
    faults: list[Fault] = []
    for path in sorted((root / "verification").rglob(f"{PREFIX}*.toml")):
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path.name}: {error}") from error
        if set(document) != {"fault"}:
            raise ValueError(f"{path.name}: only [[fault]] tables are allowed")
        for index, entry in enumerate(document["fault"]):
            name = f"{path.name}: fault {entry.get('name', index)!r}"
            if set(entry) != keys:
                wrong = ", ".join(sorted(set(entry) ^ keys))
                raise ValueError(f"{name}: missing or unknown keys: {wrong}")
            if not all(isinstance(value, str) for value in entry.values()):
                raise ValueError(f"{name}: all values must be strings")
            faults.append(Fault(block=path.stem.removeprefix(PREFIX), **entry))
    names = [(fault.block, fault.name) for fault in faults]
    for block, name in names:
        if names.count((block, name)) > 1:
            raise ValueError(f"{PREFIX}{block}.toml: fault {name!r} occurs more than once")
    return faults


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "faults",
        help="plant faults and see that the tests catch them",
        description=(
            "Apply every fault of the files faults_*.toml to a temporary copy of the tree and run"
            " the test it names, which must fail. The exit status is 1 if a fault survives."
        ),
    )
    parser.add_argument("--block", action="append", metavar="NAME", help="only faults of this file")
    parser.add_argument(
        "--name", dest="fault", action="append", metavar="NAME", help="only faults of this name"
    )
    parser.add_argument("--list", action="store_true", help="list the faults, run nothing")
    parser.add_argument(
        "--jobs", type=positive, default=min(2, os.cpu_count() or 1), help="tests at a time"
    )
    parser.add_argument(
        "--timeout", type=positive, default=600, metavar="SECONDS",
        help="a test that takes longer has noticed the fault (default: 600)",
    )  # fmt: skip
    parser.add_argument(
        "--tree", type=Path, default=ROOT, help="source tree (default: this checkout)"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    root: Path = args.tree.resolve()
    faults = load(root)
    for option, values, known in [
        ("block", args.block, {f.block for f in faults}),
        ("name", args.fault, {f.name for f in faults}),
    ]:
        for value in values or ():
            if value not in known:
                names = ", ".join(sorted(known))
                raise ValueError(f"no fault of {option} {value!r}; known: {names}")
    chosen = [
        fault
        for fault in faults
        if (not args.block or fault.block in args.block)
        and (not args.fault or fault.name in args.fault)
    ]
    if not chosen:
        raise ValueError("no fault to plant")
    for fault in chosen:
        fault.planted(_source(root, fault))
    path = destination(args, args.out, "faults") if args.out else None
    verdicts = {} if args.list else sweep(root, chosen, jobs=args.jobs, timeout=args.timeout)
    entries = [
        {
            "block": fault.block,
            "name": fault.name,
            "why": fault.why,
            "test": fault.test,
            "verdict": verdicts.get(fault, "not run"),
        }
        for fault in chosen
    ]
    caught = sum(entry["verdict"] in ("caught", "timeout") for entry in entries)
    result = record(command=args.command, faults=entries, caught=caught, total=len(entries))
    result["ok"] = args.list or caught == len(entries)
    if path:
        write(path, result, args)
        log.info("written: %s", path)
    return result


def _source(root: Path, fault: Fault) -> str:
    try:
        return (root / fault.file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{fault.block}/{fault.name}: cannot read {fault.file}") from error


def sweep(
    root: Path, faults: Sequence[Fault], *, jobs: int = 1, timeout: float = 600
) -> dict[Fault, str]:
    """Verdict of every fault: ``caught``, ``timeout``, ``survived`` or ``broken``.

    ``broken`` means that pytest could not even collect the test. Raises ``RuntimeError`` if a
    named test does not pass without a fault.
    """
    jobs = max(1, min(jobs, len(faults)))
    with tempfile.TemporaryDirectory(prefix="phasecore-faults-") as folder:
        copies: queue.Queue[Path] = queue.Queue()
        for index in range(jobs):
            copy = Path(folder) / f"copy{index}"
            shutil.copytree(root, copy, symlinks=True, ignore=_NOT_COPIED)
            _check_imports(copy)
            copies.put(copy)

        def in_copy(work: Callable[[Path], str]) -> str:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        def unmodified(target: str) -> str:
            return in_copy(lambda copy: _pytest(copy, target, timeout))

        def planted(fault: Fault) -> str:
            started = time.monotonic()
            verdict = in_copy(lambda copy: _plant(copy, fault, timeout))
            log.info(
                "%-10s %s/%s (%.1f s)", verdict, fault.block, fault.name, time.monotonic() - started
            )
            line.step()
            return verdict

        targets = list(dict.fromkeys(fault.test for fault in faults))
        with ThreadPoolExecutor(jobs) as pool, counted("faults", len(faults), "faults") as line:
            for target, verdict in zip(targets, pool.map(unmodified, targets), strict=True):
                if verdict != "survived":
                    raise RuntimeError(f"{target} does not pass without a fault ({verdict})")
                log.info("passes     %s", target)
            return dict(zip(faults, pool.map(planted, faults), strict=True))


def _plant(copy: Path, fault: Fault, timeout: float) -> str:
    path = copy / fault.file
    text = path.read_text(encoding="utf-8")
    path.write_text(fault.planted(text), encoding="utf-8")
    try:
        return _pytest(copy, fault.test, timeout)
    finally:
        path.write_text(text, encoding="utf-8")


def _environment(copy: Path) -> dict[str, str]:
    """Environment in which the modules of ``copy`` come before installed ones.

    No byte code: its time stamps are too coarse to tell a planted file from a restored one.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    return {
        **kept,
        "PYTHONPATH": str(copy / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PHASECORE_BUILD": str(copy.parent / "build"),
    }


def _check_imports(copy: Path) -> None:
    """Raise unless Python takes every package of the copy from the copy."""
    packages = sorted(path.parent.name for path in copy.glob("*/__init__.py"))
    script = "".join(f"import phasecore.{name} as m; print(m.__file__)\n" for name in packages)
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=copy, env=_environment(copy),
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    for line in result.stdout.splitlines():
        if not Path(line).resolve().is_relative_to(copy.resolve()):
            raise RuntimeError(f"the copy is not imported, but {line}")


def _pytest(copy: Path, target: str, timeout: float) -> str:
    """Run one target; what its outcome means for a planted fault."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", target],
        cwd=copy, env=_environment(copy), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
    )  # fmt: skip
    try:
        with interrupts.child(process):
            output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # The simulator, too: it is in the session of pytest.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout"
    if process.returncode == _PASSED:
        return "survived"
    # Below 0: killed by a signal, as machine code that writes outside of its arrays is.
    if process.returncode == _FAILED or process.returncode < 0:
        return "caught"
    log.info("%s", output[-2000:])
    return "broken"


def report(result: dict[str, Any]) -> str:
    entries = result["faults"]
    widths = [max(len(entry[key]) for entry in entries) for key in ("block", "name")]
    lines = [
        f"{entry['block']:{widths[0]}}  {entry['name']:{widths[1]}}  {entry['verdict']}"
        for entry in entries
    ]
    if all(entry["verdict"] == "not run" for entry in entries):
        return "\n".join([*lines, f"{result['total']} faults"])
    return "\n".join([*lines, f"{result['caught']} of {result['total']} caught"])
