# SPDX-License-Identifier: Apache-2.0
"""Registers of a chip: AXI4-Lite slave, pages of the nodes, the chip's own page."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.lib.axi_lite import AxiLiteBus, AxiLiteSlave, RegisterBus
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.chip import (
    ADDRESS_BITS,
    ERROR_COUNTERS,
    EVENTS,
    MASK_NODES,
    PAGE_BITS,
    masks,
    registers,
    windows,
)
from phasecore.rtl.spec.registers.table import WORD_BYTES, Access, ErrorCode, ErrorCounter, Origin

__all__ = ["RegisterHub"]


class RegisterHub(wiring.Component):
    """Passes accesses to the page of a core on to it, answers those to the page of the host.

    An access takes two cycles, one to a core those of the core. Undefined pages and registers,
    writes to read-only registers and writes without all four strobes answer with an error, are
    counted and change nothing; what a core refuses is counted by the core.

    Members
    -------
    s_axil : In(AxiLiteBus)
    buses : Out(RegisterBus), one per node
        Registers of the cores; that of the host's node stays idle.
    start : Out(nodes)
        Strobe: start the program.
    running, halted, failed : In(nodes)
        Of the cores; the bits of the host's node are 0.
    all_halted : Out(1)
        No core runs, and the last program of each that was started ended with HALT.
    table : Out(TableWrite)
        A word of an object or stream of the host is written.
    packet_error, fabric_error : In(8), In(8)
        ErrorCode of what the host bridge drops in this cycle, or NONE.
    router_errors : In(16 * nodes)
    flits_sent, flits_received, credit_stalled : In(1)
        Events of the bridge.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        nodes = config.fabric.nodes
        super().__init__(
            {
                "s_axil": In(AxiLiteBus(ADDRESS_BITS)),
                "buses": Out(RegisterBus()).array(nodes),
                "start": Out(nodes),
                "running": In(nodes),
                "halted": In(nodes),
                "failed": In(nodes),
                "all_halted": Out(1),
                "table": Out(TableWrite()),
                "packet_error": In(8),
                "fabric_error": In(8),
                "router_errors": In(16 * nodes),
                **{name: In(1) for name in EVENTS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.slave = slave = AxiLiteSlave(ADDRESS_BITS)
        connect(m, flipped(self.s_axil), slave.axil)
        self._bus = bus = slave.bus
        self._offset = bus.address[: PAGE_BITS - 2]
        self._page = bus.address[PAGE_BITS - 2 :]
        self._ready, self._error, self._read = Signal(), Signal(8), Signal(32)
        control = Signal(3)
        m.d.sync += control.eq(0)
        self._clear = control[2]
        values: dict[str, Value] = {
            register.name: Const(register.reset, 32)
            for register in registers(config)
            if register.origin is Origin.CONSTANT
        }
        values |= {"CONTROL": control, **self._masks(m), **self._counters(m), **self._errors(m)}
        values |= {
            f"ERRORS_ROUTER_{node}": self.router_errors.word_select(node, 16)
            for node in range(config.fabric.nodes)
        }
        self._answer(m, values)
        self._pass_on(m)
        return m

    def _masks(self, m: Module) -> dict[str, Value]:
        """Registers with one bit per node, and what follows from their bits."""
        config = self.config
        start, started = Signal.like(self.start), Signal.like(self.start)
        m.d.sync += [start.eq(0), started.eq(started | self.start | self.running)]
        m.d.comb += [
            self.start.eq(start & sum(1 << node for node in config.cores)),
            self.all_halted.eq(
                started.any() & ~(started & ~self.halted).any()
                & ~(self.running | self.start).any()
            ),
        ]  # fmt: skip
        shown = {
            "START": start, "RUNNING": self.running, "HALTED": self.halted, "ERROR": self.failed,
        }  # fmt: skip
        return {
            part: value[MASK_NODES * position :][:MASK_NODES]
            for name, value in shown.items()
            for position, part in enumerate(masks(name, config))
        }

    def _counters(self, m: Module) -> dict[str, Value]:
        """Performance counters."""
        values: dict[str, Value] = {}
        for name in EVENTS:
            counter = Signal(32, name=f"count_{name}")
            m.d.sync += counter.eq(Mux(self._clear, 0, counter + getattr(self, name)))
            values[f"COUNT_{name.upper()}"] = counter
        return values

    def _errors(self, m: Module) -> dict[str, Value]:
        """Counters by kind and the record of the first error."""
        refused = Signal(8)
        m.d.comb += refused.eq(Mux(self._ready, self._error, ErrorCode.NONE))
        # The first of those of one cycle is the first error.
        codes = {
            ErrorCounter.PACKET: self.packet_error,
            ErrorCounter.FABRIC: self.fabric_error,
            ErrorCounter.REGISTER: refused,
        }
        values: dict[str, Value] = {}
        for counter in ERROR_COUNTERS:
            count = Signal(32, name=f"errors_{counter.name.lower()}")
            m.d.sync += count.eq(Mux(self._clear, 0, count + codes[counter].any()))
            values[f"ERRORS_{counter.name}"] = count
        total, first, address = Signal(32), Signal(8), Signal(ADDRESS_BITS)
        m.d.sync += total.eq(Mux(self._clear, 0, total + sum(c.any() for c in codes.values())))
        for code in reversed(codes.values()):
            with m.If((first == ErrorCode.NONE) & code.any()):
                m.d.sync += [
                    first.eq(code), address.eq(Mux(code is refused, self._bus.address << 2, 0)),
                ]  # fmt: skip
        with m.If(self._clear):
            m.d.sync += [first.eq(ErrorCode.NONE), address.eq(0)]
        return values | {"ERROR_COUNT": total, "ERROR_CODE": first, "ERROR_ADDRESS": address}

    def _answer(self, m: Module, values: dict[str, Value]) -> None:
        """Accesses to the page of the host, and to pages of nobody."""
        bus, ready, error, read = self._bus, self._ready, self._error, self._read
        partial = ~bus.w_strobe.all()
        begins, write = Signal(), Signal()
        tables, word = self._tables(m, write)
        m.d.comb += [
            begins.eq(bus.valid & ~self._page.matches(*self.config.cores) & ~ready),
            bus.ready.eq(ready),
            bus.r_data.eq(read | word),
            bus.error.eq(error.any()),
        ]
        m.d.sync += ready.eq(begins)
        with m.If(begins):
            m.d.sync += [error.eq(ErrorCode.REGISTER_UNDEFINED), read.eq(0)]
            with m.If(self._page == self.config.host), m.Switch(self._offset):
                for register in registers(self.config):
                    with m.Case(register.offset // WORD_BYTES):
                        value = values[register.name]
                        m.d.sync += error.eq(ErrorCode.NONE)
                        if register.access is Access.READ_ONLY:
                            m.d.sync += read.eq(value)
                            with m.If(bus.write):
                                m.d.sync += error.eq(ErrorCode.REGISTER_READ_ONLY)
                        else:
                            with m.If(bus.write & partial):
                                m.d.sync += error.eq(ErrorCode.REGISTER_PARTIAL)
                            with m.Elif(bus.write):
                                m.d.sync += value.eq(bus.w_data)
                with m.Default(), m.If(tables):
                    m.d.comb += write.eq(bus.write & ~partial)
                    m.d.sync += error.eq(
                        Mux(bus.write & partial, ErrorCode.REGISTER_PARTIAL, ErrorCode.NONE)
                    )

    def _tables(self, m: Module, write: Value) -> tuple[Value, Value]:
        """Memories of the host's objects and streams: address is in one; word read or 0."""
        bus = self._bus
        inside, words = [], []
        for name, window in windows(self.config).items():
            sram = Sram(width=32 * window.words, depth=max(2, window.depth), granularity=32)
            m.submodules[name.lower()] = sram
            selected = Signal(name=f"{name.lower()}_selected")
            shown = Signal(name=f"{name.lower()}_shown")
            low, high = window.offset // WORD_BYTES, window.end // WORD_BYTES
            word_bits = (window.words - 1).bit_length()
            place, entry = self._offset[:word_bits], self._offset[word_bits:][:4]
            m.d.comb += [
                selected.eq((self._offset >= low) & (self._offset < high)),
                sram.r_en.eq(bus.valid),
                sram.r_address.eq(entry),
                sram.w_en.eq(write & selected),
                sram.w_address.eq(entry),
                sram.w_mask.eq(1 << place),
                sram.w_data.eq(bus.w_data.replicate(window.words)),
            ]
            m.d.sync += shown.eq(selected & (self._page == self.config.host))
            with m.If(sram.w_en):
                m.d.comb += [
                    self.table.en.eq(1),
                    self.table.stream.eq(name == "STREAM"),
                    self.table.index.eq(entry),
                    self.table.word.eq(place),
                    self.table.data.eq(bus.w_data),
                ]
            inside.append(selected)
            words.append(Mux(shown, sram.r_data.word_select(place, 32), 0))
        return Cat(inside).any(), words[0] | words[1]

    def _pass_on(self, m: Module) -> None:
        """Accesses to the pages of cores."""
        bus = self._bus
        for node in self.config.cores:
            core = self.buses[node]
            m.d.comb += [
                core.write.eq(bus.write),
                core.address.eq(self._offset),
                core.w_data.eq(bus.w_data),
                core.w_strobe.eq(bus.w_strobe),
            ]
            with m.If(self._page == node):
                m.d.comb += [
                    core.valid.eq(bus.valid),
                    bus.ready.eq(core.ready),
                    bus.r_data.eq(core.r_data),
                    bus.error.eq(core.error),
                ]
