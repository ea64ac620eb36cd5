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
from phasecore.scripts.flow.design import ChipDesign, CoreDesign, design
from phasecore.scripts.flow.release import release_files
from phasecore.scripts.report.results import preset_name, record

__all__ = ["add_parser", "files", "report", "run"]

OPTIONS = ("config", "seed", "out")

LICENCE = "// SPDX-License-Identifier: Apache-2.0"


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "generate",
        help="write Verilog, register map and C header of a core or a chip",
        description=(
            f"Write the Verilog of a core (module {CoreDesign.top}) or, with --chip, of cores on a"
            f" noc (module {ChipDesign.top}), its behavioural macros for simulation, their black"
            " boxes for synthesis, the register map as Markdown and C header, the configuration,"
            " and what other tools take: file list, FuseSoC core, lint waivers, table of ports,"
            " testbench."
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
    top = design(config).top
    check_target(check_folder(folder) / f"{top}.v")
    with working(f"generating {top}"):
        generated = generate(config)
    generated.write(folder)
    return record(
        command=args.command, config=config, seed=args.seed, out=str(folder), top=generated.top,
        files=generated.checksums(),
    )  # fmt: skip


def files(config: CoreConfig | ChipConfig) -> dict[str, str]:
    """Name and text of every generated file."""
    from phasecore.rtl.lib.verilog import MACRO_SOURCES

    macros = {
        f"phasecore_{path.stem}.sv": path.read_text(encoding="utf-8") for path in MACRO_SOURCES
    }
    own = design(config)
    return {
        f"{own.top}.v": own.verilog(),
        **own.registers(),
        **release_files(own, list(macros)),
        **macros,
        "phasecore_blackboxes.v": "\n".join([LICENCE, *map(black_box, macros.values())]),
        "config.json": config.to_json() + "\n",
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
