# SPDX-License-Identifier: Apache-2.0
"""What comes with generated Verilog so that other tools take it as it is.

File list, FuseSoC core, waivers of Verilator's lint with their reasons, table of ports, testbench.
"""

import gc
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from phasecore.models.golden.packets import HEADER_BYTES, header, vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    ObjectDescriptor,
    Opcode,
    PacketKind,
    StreamDescriptor,
    encode,
)
from phasecore.rtl.spec.registers import chip, core
from phasecore.rtl.spec.registers.table import ADDRESS_BITS, Register, Window

__all__ = ["release_files"]

LINES = 8
"""Lines of the testbench's vector: the fewest of a message on a chip."""

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


def release_files(
    config: CoreConfig | ChipConfig, top: str, verilog: str, macros: Sequence[str]
) -> dict[str, str]:
    """Name and text of the files that go with ``verilog``, the file of module ``top``."""
    testbench = f"{top}_tb.v"
    return {
        f"{top}.f": "\n".join([verilog, *macros, ""]),
        f"{top}.core": _fusesoc(top, verilog, macros, testbench),
        f"{top}.vlt": _waivers(verilog, macros),
        f"{top}_ports.md": _ports(config, top, verilog),
        testbench: _testbench(config, top),
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
"""


def _ports(config: CoreConfig | ChipConfig, top: str, verilog: str) -> str:
    from amaranth.hdl import UnusedElaboratable

    from phasecore.rtl.chip.chip import Chip
    from phasecore.rtl.core.core import Core
    from phasecore.scripts.report.ports import table

    with warnings.catch_warnings():
        # Only its ports are wanted, and Amaranth complains when it goes.
        warnings.simplefilter("ignore", UnusedElaboratable)
        ports = table(Chip(config) if isinstance(config, ChipConfig) else Core(config))
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


def _testbench(config: CoreConfig | ChipConfig, top: str) -> str:
    cores = config.core if isinstance(config, ChipConfig) else config
    codes = [line * 30 - 100 for line in range(LINES)]
    sent = vector_packet(codes, config=cores)
    expected = header(PacketKind.RESULT, start=0, length=LINES) + sent[HEADER_BYTES:]
    reads, writes = _chip(config) if isinstance(config, ChipConfig) else _core(config)
    digits = 5 if isinstance(config, ChipConfig) else 4
    bits = chip.ADDRESS_BITS if isinstance(config, ChipConfig) else ADDRESS_BITS
    filled = {
        "TOP": top,
        "ADDRESS_BITS": bits,
        "BYTES": cores.stream_bytes,
        "BEATS": len(expected) // cores.stream_bytes,
        "READS": _calls("check", reads, bits, digits),
        "WRITES": _calls("write", writes, bits, digits),
        "SENDS": _beats("send", sent, cores.stream_bytes),
        "RECEIVES": _beats("receive", expected, cores.stream_bytes),
    }
    text = (Path(__file__).parent / "testbench.v").read_text(encoding="utf-8")
    for name, value in filled.items():
        text = text.replace(f"@{name}@", str(value))
    return text


Words = list[tuple[int, int, str]]
"""Address, value and meaning of accesses to registers."""


def _core(config: CoreConfig) -> tuple[Words, Words]:
    """Registers to read, and to write so that a core sends a vector back."""
    at = core.offsets(config)
    program = {
        "LOAD slot 0": encode(Opcode.LOAD, affine=0, slot=0),
        f"READ {LINES} lines of slot 0": encode(Opcode.READ, slot=0, start=0, length=LINES),
        "HALT": encode(Opcode.HALT),
    }
    return (
        [(at["ID"], core.ID, "ID"), (at["VERSION"], core.VERSION, "VERSION")],
        [
            *_program(config, program),
            (at["START"], 0, "START: the first instruction"),
            (at["CONTROL"], _bit(core.registers(config), "CONTROL", "start"), "CONTROL: start"),
        ],
    )


def _chip(config: ChipConfig) -> tuple[Words, Words]:
    """Likewise of a chip: the host's stream 0 to a core, whose stream 0 is the host's object 0."""
    node = config.cores[0]
    host, page = config.host << chip.PAGE_BITS, node << chip.PAGE_BITS
    (hx, hy), (cx, cy) = config.place(config.host), config.place(node)
    at = chip.offsets(config)
    program = {
        "AWAIT object 0": encode(Opcode.AWAIT, objects=1),
        f"SEND {LINES} lines of slot 0": encode(
            Opcode.SEND, stream=0, partial=0, slot=0, start=0, length=LINES, merge=0, object=0
        ),
        "RELEASE object 0": encode(Opcode.RELEASE, objects=1),
        "HALT": encode(Opcode.HALT),
    }
    mine, theirs = chip.windows(config), core.windows(config.core)
    to_core, from_core = f"object 0 of node {node}", f"stream 0 of node {node}"
    tables: list[tuple[int, Window, ObjectDescriptor | StreamDescriptor, str]] = [
        (page, theirs["OBJECT"], ObjectDescriptor(x=hx, y=hy, stream=0), to_core),
        (host, mine["STREAM"], StreamDescriptor(x=cx, y=cy, object=0, credits=1), "host stream 0"),
        (host, mine["OBJECT"], ObjectDescriptor(x=cx, y=cy, stream=0), "host object 0"),
        (page, theirs["STREAM"], StreamDescriptor(x=hx, y=hy, object=0, credits=1), from_core),
    ]
    writes = [
        (base + window.address(0, word), descriptor.pack() >> 32 * word & 0xFFFFFFFF, name)
        for base, window, descriptor, name in tables
        for word in range(window.words)
    ]
    start, bit = chip.masks("START", config)[node // chip.MASK_NODES], node % chip.MASK_NODES
    return (
        [
            (host + at["ID"], chip.ID, "ID of the chip"),
            (page + core.offsets(config.core)["ID"], core.ID, f"ID of the core at node {node}"),
        ],
        [
            *writes,
            *((page + a, value, name) for a, value, name in _program(config.core, program)),
            (host + at[start], 1 << bit, f"START: node {node}"),
        ],
    )


def _program(config: CoreConfig, program: Mapping[str, int]) -> Iterator[tuple[int, int, str]]:
    window = core.windows(config)["PROGRAM"]
    for index, (name, entry) in enumerate(program.items()):
        for word in range(window.words):
            yield window.address(index, word), entry >> 32 * word & 0xFFFFFFFF, name


def _bit(table: Iterable[Register], register: str, name: str) -> int:
    """Value of a register in which only one field is 1."""
    (found,) = (one for one in table if one.name == register)
    return sum(1 << field.low for field in found.fields if field.name == name)


def _calls(task: str, words: Words, bits: int, digits: int) -> str:
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
