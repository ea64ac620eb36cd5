# SPDX-License-Identifier: Apache-2.0
"""What comes with generated Verilog so that other tools take it as it is.

File list, FuseSoC core, waivers of Verilator's lint with their reasons, table of ports, testbench.
"""

import gc
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phasecore.models.golden.packets import HEADER_BYTES, header, vector_packet
from phasecore.rtl.spec.instructions import PacketKind
from phasecore.scripts.flow.design import LINES, Design, Words

__all__ = ["release_files"]

GENERATED = {
    "DECLFILENAME": "one file has all modules",
    "UNUSEDSIGNAL": "blocks pass whole structures on, of which a reader may need some fields only;"
    " synthesis drops the others",
    "WIDTHEXPAND": "Yosys writes operands as wide as they are: Verilog extends them as it means",
    "WIDTHTRUNC": "... and cuts results whose upper bits are zero or not wanted",
    "CASEOVERLAP": "a casez whose first match holds is a priority encoder",
    "PROCASSINIT": "registers have their reset values from power-up as well, for FPGAs and for"
    " simulators; silicon takes the reset",
    "UNSIGNED": "comparisons with a lower bound that is zero in this configuration",
    "CMPCONST": "... and with an upper bound that no value exceeds",
    "UNOPTFLAT": "fields of one packed signal, of which some depend on others; there is no loop of"
    " gates, which Yosys would report",
}
"""Rules of ``verilator -Wall`` that Verilog from Amaranth and Yosys cannot keep, and why."""

MACROS = {
    "WIDTHEXPAND": "arithmetic of 64 bits takes narrower values",
    "WIDTHTRUNC": "... and its results are clipped before they are cut",
    "PROCASSINIT": "an open gate before the first edge, as registers have their reset values",
    "BLKSEQ": "sums within one clock edge, in variables that nothing else reads",
    "VARHIDDEN": "names of tasks' arguments",
    "UNUSEDSIGNAL": "parameters and times that only some device profiles need",
    "UNUSEDPARAM": "constants of one geometry only",
}
"""Likewise of the macros, which are models for simulation and never synthesized."""


def release_files(design: Design, macros: Sequence[str]) -> dict[str, str]:
    """Name and text of the files that go with a design's Verilog, ``top``.v, and its macros."""
    top, verilog = design.top, f"{design.top}.v"
    testbench = f"{top}_tb.v"
    return {
        f"{top}.f": "\n".join([verilog, *macros, ""]),
        f"{top}.core": _fusesoc(top, verilog, macros, testbench),
        f"{top}.vlt": _waivers(verilog, macros),
        f"{top}_ports.md": _ports(design, verilog),
        testbench: _testbench(design),
    }


def _waivers(verilog: str, macros: Iterable[str]) -> str:
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        "// Warnings of Verilator that are known, and why they are nothing to mend.",
        "`verilator_config",
    ]
    for files, rules in (([verilog], GENERATED), (macros, MACROS)):
        for rule, reason in rules.items():
            lines.append(f"// {rule}: {reason}.")
            lines += [f'lint_off -rule {rule} -file "*{file}"' for file in files]
    return "\n".join([*lines, ""])


def _fusesoc(top: str, verilog: str, macros: Sequence[str], testbench: str) -> str:
    """CAPI2 description: targets default, lint, sim (Icarus) and synth (macros as boxes)."""
    try:
        number = version("phasecore")
    except PackageNotFoundError:
        number = "0"
    behavioural = "".join(f"      - {name}\n" for name in macros)
    return f"""\
CAPI=2:
# SPDX-License-Identifier: Apache-2.0
name: "phasecore:phasecore:{top}:{number}"
description: "In-memory-computing hardware that trains neural networks"
filesets:
  rtl:
    files:
      - {verilog}
    file_type: verilogSource-2005
  macros:
    files:
{behavioural}    file_type: systemVerilogSource
  blackboxes:
    files:
      - phasecore_blackboxes.v
    file_type: verilogSource-2005
  waivers:
    files:
      - {top}.vlt
    file_type: vlt
  testbench:
    files:
      - {testbench}
    file_type: verilogSource-2005
targets:
  default:
    filesets: [rtl, macros]
    toplevel: {top}
  lint:
    filesets: [waivers, rtl, macros]
    toplevel: {top}
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
  sim:
    filesets: [rtl, macros, testbench]
    toplevel: {top}_tb
    default_tool: icarus
    tools:
      icarus:
        iverilog_options: [-g2012]
  synth:
    filesets: [rtl, blackboxes]
    toplevel: {top}
    default_tool: yosys
    tools:
      yosys:
        arch: xilinx
        output_format: json
"""


def _ports(design: Design, verilog: str) -> str:
    from amaranth.hdl import UnusedElaboratable

    from phasecore.scripts.report.ports import table

    top = design.top
    with warnings.catch_warnings():
        # Only its ports are wanted, and Amaranth complains when it goes.
        warnings.simplefilter("ignore", UnusedElaboratable)
        ports = table(design.component())
        gc.collect()
    return f"""\
# Ports of `{top}`

Two inputs of one bit come before those of the table:

- `clk`, the only clock: everything works on its rising edges. Units without work stop their own
  copies of it in `phasecore_clock_gate`, in the place of which a technology's own cell goes.
- `rst`, active high and synchronous to `clk`: at a rising edge with `rst` high all registers take
  their reset values. Memories keep what they hold, and so do the devices of the crossbar.

{ports}

| file | what |
| --- | --- |
| `{verilog}` | the modules, Verilog-2005 |
| `{top}.f` | all sources of a simulation, in order |
| `{top}.vlt` | waivers: `verilator --lint-only -Wall --top-module {top} {top}.vlt -f {top}.f` |
| `{top}.core` | FuseSoC core, with targets lint, sim and synth |
| `{top}_tb.v` | testbench: `iverilog -g2012 -s {top}_tb {top}_tb.v -c {top}.f`, then `vvp a.out` |
| `phasecore_blackboxes.v` | headers of the macros, for synthesis, in the place of the `.sv` files |
"""


def _testbench(design: Design) -> str:
    codes = [line * 30 - 100 for line in range(LINES)]
    sent = vector_packet(codes, config=design.core)
    expected = header(PacketKind.RESULT, start=0, length=LINES) + sent[HEADER_BYTES:]
    reads, writes = design.accesses()
    bits, size = design.address_bits, design.core.axis_bytes
    filled = {
        "TOP": design.top,
        "ADDRESS_BITS": bits,
        "BYTES": size,
        "BEATS": len(expected) // size,
        "READS": _calls("check", reads, bits),
        "WRITES": _calls("write", writes, bits),
        "SENDS": _beats("send", sent, size),
        "RECEIVES": _beats("receive", expected, size),
    }
    text = (Path(__file__).parent / "testbench.v").read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _calls(task: str, words: Words, bits: int) -> str:
    digits = -(-bits // 4)
    return "\n".join(
        f"        {task}({bits}'h{address:0{digits}x}, 32'h{value:08x});  // {name}"
        for address, value, name in words
    )


def _beats(task: str, packet: bytes, size: int) -> str:
    beats = [packet[start : start + size] for start in range(0, len(packet), size)]
    return "\n".join(
        f"        {task}({8 * size}'h{int.from_bytes(beat, 'little'):0{2 * size}x},"
        f" 1'b{int(number == len(beats))});"
        for number, beat in enumerate(beats, 1)
    )
