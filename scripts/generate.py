# SPDX-License-Identifier: Apache-2.0
"""``phasecore generate``: everything needed to use a core in somebody else's flow.

The same configuration gives the same bytes on every machine.
"""

import argparse
import hashlib
import logging
from pathlib import Path
from typing import Any

from rtl import csr
from rtl.config import CoreConfig
from scripts.results import preset_name, record

__all__ = ["TOP", "add_parser", "files", "report", "run"]

TOP = "phasecore_core"
LICENCE = "// SPDX-License-Identifier: Apache-2.0"

log = logging.getLogger("phasecore")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "generate",
        help="write Verilog, register map and C header of a core",
        description=(
            f"Write the Verilog of a core (module {TOP}), its behavioural macros for simulation,"
            " their black boxes for synthesis, the register map as Markdown and C header, and the"
            " configuration. --out names the folder (default: build/generated/PRESET)."
        ),
    )
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    folder: Path = args.out or Path("build") / "generated" / preset_name(args.config)
    log.info("generating %s", TOP)
    texts = files(args.config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    written = {
        name: {"bytes": len(text.encode()), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in texts.items()
    }
    return record(
        command=args.command, config=args.config, seed=args.seed, out=str(folder), top=TOP,
        files=written,
    )  # fmt: skip


def files(config: CoreConfig) -> dict[str, str]:
    """Name and text of every generated file."""
    from rtl.core.core import Core
    from rtl.verilog import MACRO_SOURCES, to_verilog

    macros = {f"phasecore_{path.stem}.sv": path.read_text() for path in MACRO_SOURCES}
    return {
        f"{TOP}.v": to_verilog(Core(config), name=TOP),
        **macros,
        "phasecore_blackboxes.v": "\n".join([LICENCE, *map(black_box, macros.values())]),
        "phasecore_registers.md": csr.markdown(config),
        "phasecore_registers.h": csr.c_header(config),
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
