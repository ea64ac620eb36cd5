# SPDX-License-Identifier: Apache-2.0
"""Verilog of a component: the one conversion that simulation, synthesis and release share."""

import gc
import os
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable

__all__ = ["MACRO_SOURCES", "to_rtlil", "to_verilog"]

MACRO_SOURCES = tuple(
    Path(__file__).parents[1] / "macro" / name
    for name in ("crossbar.sv", "sram.sv", "clock_gate.sv")
)
"""Behavioural macros that a simulation adds to the generated Verilog."""


def to_rtlil(component: Elaboratable, *, name: str) -> str:
    """RTLIL text of ``component`` as module ``name``, without source locations.

    Source locations would carry paths of the generating machine.
    """
    # The netlist is millions of small objects that all live until the end: collecting garbage
    # meanwhile finds none and doubles the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return rtlil.convert(component, name=name, emit_src=False)
    finally:
        if collecting:
            gc.enable()


def to_verilog(component: Elaboratable, *, name: str) -> str:
    """Verilog-2005 text of ``component`` as module ``name``; the same bytes on every machine.

    Processes become assignments, because Icarus 11 does not evaluate ``always @*`` at time 0 and
    would start with X.
    """
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    from amaranth._toolchain.yosys import find_yosys

    text = to_rtlil(component, name=name)
    passes = "proc\nmemory_collect\nopt_clean\nwrite_verilog -noattr\n"
    script = f"read_rtlil <<rtlil\n{text}\nrtlil\n{passes}"
    return find_yosys(lambda version: version >= (0, 40)).run(["-q", "-"], script)
