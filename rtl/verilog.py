# SPDX-License-Identifier: Apache-2.0
"""Verilog of a component: the one conversion that simulation, synthesis and release share."""

import os
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

__all__ = ["MACRO_SOURCES", "to_verilog"]

MACRO_SOURCES = tuple(Path(__file__).parent / "macro" / name for name in ("crossbar.sv", "sram.sv"))
"""Behavioural macros that a simulation adds to the generated Verilog."""


def to_verilog(component: Elaboratable, *, name: str) -> str:
    """Verilog-2005 text of ``component`` as module ``name``; the same bytes on every machine.

    Processes become assignments, because Icarus 11 does not evaluate ``always @*`` at time 0 and
    would start with X. No source locations: they would carry paths of the generating machine.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth._toolchain.yosys import find_yosys

    text = rtlil.convert(component, name=name, emit_src=False)
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\n"
    script += "proc\nmemory_collect\nopt_clean\nwrite_verilog -noattr\n"
    return find_yosys(lambda version: version >= (0, 40)).run(["-q", "-"], script)
