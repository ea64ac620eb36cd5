# SPDX-License-Identifier: Apache-2.0
"""``phasecore generate``: everything needed to use a core, or a chip, in somebody else's flow.

The same configuration gives the same bytes on every machine.
"""

import argparse
from pathlib import Path
from typing import Any

from phasecore.api import generate
from phasecore.files import check_folder, check_target
from phasecore.progress import working
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.registers import chip as registers
from phasecore.rtl.spec.registers import core as csr
from phasecore.scripts.flow.release import release_files
from phasecore.scripts.report.results import preset_name, record

__all__ = ["TOP", "add_parser", "files", "report", "run", "top"]

OPTIONS = ("config", "seed", "out")

TOP = "phasecore_core"
CHIP_TOP = "phasecore_chip"
LICENCE = "// SPDX-License-Identifier: Apache-2.0"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "generate",
        help="write Verilog, register map and C header of a core or a chip",
        description=(
            f"Write the Verilog of a core (module {TOP}) or, with --chip, of cores on a fabric"
            f" (module {CHIP_TOP}), its behavioural macros for simulation, their black boxes for"
            " synthesis, the register map as Markdown and C header, the configuration, and what"
            " other tools take: file list, FuseSoC core, lint waivers, table of ports, testbench."
            " --out names the folder (default: build/generated/NAME, or chip-NAME)."
        ),
    )
    parser.add_argument(
        "--chip", metavar="NAME|FILE", help=f"a chip: {', '.join(CHIPS)}, or a JSON file with"
        " fields of rtl/spec/chip.py; --config is of a single core",
    )  # fmt: skip
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.chip and args.config_name:
        raise ValueError("--chip names the whole chip: --config does not go with it")
    config = ChipConfig.load(args.chip) if args.chip else args.config
    name = f"chip-{Path(args.chip).stem}" if args.chip else preset_name(args.config)
    folder: Path = args.out or Path("build") / "generated" / name
    check_target(check_folder(folder) / f"{top(config)}.v")
    with working(f"generating {top(config)}"):
        generated = generate(config)
    generated.write(folder)
    return record(
        command=args.command, config=config, seed=args.seed, out=str(folder), top=generated.top,
        files=generated.checksums(),
    )  # fmt: skip


def top(config: CoreConfig | ChipConfig) -> str:
    """Name of the top module."""
    return CHIP_TOP if isinstance(config, ChipConfig) else TOP


def files(config: CoreConfig | ChipConfig) -> dict[str, str]:
    """Name and text of every generated file."""
    from phasecore.rtl.lib.verilog import MACRO_SOURCES

    macros = {
        f"phasecore_{path.stem}.sv": path.read_text(encoding="utf-8") for path in MACRO_SOURCES
    }
    own = _chip(config) if isinstance(config, ChipConfig) else _core(config)
    name = top(config)
    return {
        **own,
        **release_files(config, name, f"{name}.v", list(macros)),
        **macros,
        "phasecore_blackboxes.v": "\n".join([LICENCE, *map(black_box, macros.values())]),
        "config.json": config.to_json() + "\n",
    }


def _core(config: CoreConfig) -> dict[str, str]:
    """Files of a stand-alone core."""
    from phasecore.rtl.core.core import Core
    from phasecore.rtl.lib.verilog import to_verilog

    return {f"{TOP}.v": to_verilog(Core(config), name=TOP), **_registers(config)}


def _chip(config: ChipConfig) -> dict[str, str]:
    """Files of a chip: the registers of a core are those of every page but the host's."""
    from phasecore.rtl.chip.chip import chip_verilog

    return {
        f"{CHIP_TOP}.v": chip_verilog(config),
        **_registers(config.core),
        "phasecore_chip_registers.md": registers.markdown(
            config, core_page="phasecore_registers.md"
        ),
        "phasecore_chip_registers.h": registers.c_header(config),
    }


def _registers(config: CoreConfig) -> dict[str, str]:
    return {
        "phasecore_registers.md": csr.markdown(config),
        "phasecore_registers.h": csr.c_header(config),
    }


def black_box(source: str) -> str:
    """The header of a macro's only module, without its body, for synthesis."""
    start = source.index("\nmodule ") + 1
    end = source.index("\n);\n", start) + 4
    return f"(* blackbox *)\n{source[start:end]}endmodule\n"


def report(result: dict[str, Any]) -> str:
    lines = [f"{result['out']}:"]
    lines += [f"  {entry['bytes']:>9}  {name}" for name, entry in result["files"].items()]
    return "\n".join(lines)
