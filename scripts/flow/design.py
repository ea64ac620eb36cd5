# SPDX-License-Identifier: Apache-2.0
"""What is generated: a core or a chip, its Verilog, registers, and a job for its testbench."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import singledispatch
from typing import TYPE_CHECKING

from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, Opcode, RouteDescriptor, encode
from phasecore.rtl.spec.registers import chip, core
from phasecore.rtl.spec.registers.table import ADDRESS_BITS, Register, Window

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["LINES", "ChipDesign", "CoreDesign", "Design", "Words", "design"]

LINES = 8
"""Lines of the testbench's vector: the fewest of a message on a chip."""

Words = list[tuple[int, int, str]]
"""Address, value and meaning of accesses to registers."""


class Design(ABC):
    """What is generated of a configuration; Amaranth is imported when it is needed.

    Attributes
    ----------
    top : name of the top module
    address_bits : of the AXI-Lite port
    core : configuration of its cores
    """

    top: str
    address_bits: int
    core: CoreConfig

    @abstractmethod
    def component(self) -> "Component":
        """The top in Amaranth."""

    @abstractmethod
    def verilog(self) -> str:
        """All modules but the macros."""

    @abstractmethod
    def accesses(self) -> tuple[Words, Words]:
        """Registers to read, and to write so that a vector that is sent comes back."""

    def registers(self) -> dict[str, str]:
        """Name and text of the register maps and headers."""
        return {
            "phasecore_registers.md": core.markdown(self.core),
            "phasecore_registers.h": core.c_header(self.core),
        }


class CoreDesign(Design):
    """A stand-alone core."""

    top = "phasecore_core"
    address_bits = ADDRESS_BITS

    def __init__(self, config: CoreConfig):
        self.config = self.core = config

    def component(self) -> "Component":
        from phasecore.rtl.core.core import Core

        return Core(self.config)

    def verilog(self) -> str:
        from phasecore.rtl.lib.verilog import to_verilog

        return to_verilog(self.component(), name=self.top)

    def accesses(self) -> tuple[Words, Words]:
        config = self.config
        at = core.offsets(config)
        program = {
            "LOAD slot 0": encode(Opcode.LOAD, affine=0, slot=0),
            f"READ {LINES} lines of slot 0": encode(
                Opcode.READ, slot=0, first_line=0, length=LINES
            ),
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


class ChipDesign(Design):
    """Cores on a NoC. The registers of a core are those of every page but the host's."""

    top = "phasecore_chip"
    address_bits = chip.ADDRESS_BITS

    def __init__(self, config: ChipConfig):
        self.config, self.core = config, config.core

    def component(self) -> "Component":
        from phasecore.rtl.chip.chip import Chip

        return Chip(self.config)

    def verilog(self) -> str:
        from phasecore.rtl.chip.chip import chip_verilog

        return chip_verilog(self.config)

    def registers(self) -> dict[str, str]:
        return {
            **super().registers(),
            "phasecore_chip_registers.md": chip.markdown(
                self.config, core_page="phasecore_registers.md"
            ),
            "phasecore_chip_registers.h": chip.c_header(self.config),
        }

    def accesses(self) -> tuple[Words, Words]:
        """The host's route 0 goes to a core, whose route 0 goes to the host's object 0."""
        config = self.config
        node = config.cores[0]
        host, page = config.host << chip.PAGE_BITS, node << chip.PAGE_BITS
        (hx, hy), (cx, cy) = config.place(config.host), config.place(node)
        at = chip.offsets(config)
        program = {
            "AWAIT object 0": encode(Opcode.AWAIT, objects=1),
            f"SEND {LINES} lines of slot 0": encode(
                Opcode.SEND,
                route=0,
                partial=0,
                slot=0,
                first_line=0,
                length=LINES,
                merge=0,
                object=0,
            ),
            "RELEASE object 0": encode(Opcode.RELEASE, objects=1),
            "HALT": encode(Opcode.HALT),
        }
        mine, theirs = chip.windows(config), core.windows(config.core)
        to_core, from_core = f"object 0 of node {node}", f"route 0 of node {node}"
        forth = RouteDescriptor(x=cx, y=cy, object=0, credits=1)
        back = RouteDescriptor(x=hx, y=hy, object=0, credits=1)
        tables: list[tuple[int, Window, ObjectDescriptor | RouteDescriptor, str]] = [
            (page, theirs["OBJECT"], ObjectDescriptor(x=hx, y=hy, route=0), to_core),
            (host, mine["ROUTE"], forth, "host route 0"),
            (host, mine["OBJECT"], ObjectDescriptor(x=cx, y=cy, route=0), "host object 0"),
            (page, theirs["ROUTE"], back, from_core),
        ]
        writes = [
            (base + window.address(0, word), value, name)
            for base, window, descriptor, name in tables
            for word, value in enumerate(descriptor.pack()[: window.words])
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


@singledispatch
def design(config: object) -> Design:
    """What is generated of a ``CoreConfig`` or a ``ChipConfig``."""
    raise TypeError(f"nothing is generated of {type(config).__name__}")


design.register(CoreConfig, CoreDesign)
design.register(ChipConfig, ChipDesign)


def _program(config: CoreConfig, program: Mapping[str, int]) -> Iterator[tuple[int, int, str]]:
    window = core.windows(config)["PROGRAM"]
    for index, (name, entry) in enumerate(program.items()):
        for word in range(window.words):
            yield window.address(index, word), entry >> 32 * word & 0xFFFFFFFF, name


def _bit(table: Iterable[Register], register: str, name: str) -> int:
    """Value of a register in which only one field is 1."""
    (found,) = (one for one in table if one.name == register)
    return sum(1 << field.low for field in found.fields if field.name == name)
