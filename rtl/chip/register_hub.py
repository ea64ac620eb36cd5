# SPDX-License-Identifier: Apache-2.0
"""Registers of a chip: AXI4-Lite slave, pages of the nodes, the chip's own page."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.chip.descriptor_window import DescriptorWindow
from phasecore.rtl.chip.fault_log import FaultLog
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.lib.axi_lite import AxiLiteBus, AxiLiteSlave, RegisterBus
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.chip import (
    ADDRESS_BITS,
    EVENTS,
    MASK_NODES,
    PAGE_BITS,
    masks,
    registers,
    windows,
)
from phasecore.rtl.spec.registers.table import WORD_BYTES, Access, FaultCode, FaultCounter, Origin

__all__ = ["RegisterHub"]

KINDS = (FaultCounter.PACKET, FaultCounter.NOC, FaultCounter.REGISTER)
"""Counters of errors; of the errors of one cycle that of the first kind is the first."""


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
        A word of an object or route of the host is written.
    packet_fault, noc_fault : In(8), In(8)
        FaultCode of what the host bridge drops in this cycle, or NONE.
    router_faults : In(16 * nodes)
    flits_sent, flits_received, credit_stalled : In(1)
        Events of the bridge.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        nodes = config.noc.nodes
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
                "packet_fault": In(8),
                "noc_fault": In(8),
                "router_faults": In(16 * nodes),
                **{name: In(1) for name in EVENTS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.slave = slave = AxiLiteSlave(ADDRESS_BITS)
        m.submodules.log = log = FaultLog(len(KINDS))
        connect(m, flipped(self.s_axil), slave.axil)
        bus, page = slave.bus, slave.bus.address[PAGE_BITS - 2 :]
        # Answer to an access to the host's page, or to one of nobody: in the second cycle.
        begins, ready, error, read = Signal(), Signal(), Signal(8), Signal(32)
        write, in_table, word = Signal(), Signal(), Signal(32)
        # Commands, which last one cycle; nodes that have ever been started.
        control, start = Signal(3), Signal.like(self.start)
        started = Signal.like(self.start)
        events = {name: Signal(32, name=f"count_{name}") for name in EVENTS}
        clear = control[2]
        m.d.sync += [
            control.eq(0),
            ready.eq(begins),
            *(
                counter.eq(Mux(clear, 0, counter + getattr(self, name)))
                for name, counter in events.items()
            ),
        ]
        m.d.sync += [start.eq(0), started.eq(started | self.start | self.running)]
        m.d.comb += [
            begins.eq(bus.valid & ~page.matches(*config.cores) & ~ready),
            bus.ready.eq(ready),
            bus.r_data.eq(read | word),
            bus.error.eq(error.any()),
            self.start.eq(start & sum(1 << node for node in config.cores)),
            self.all_halted.eq(
                started.any() & ~(started & ~self.halted).any()
                & ~(self.running | self.start).any()
            ),
            log.clear.eq(clear),
        ]  # fmt: skip
        refused = Mux(ready, error, FaultCode.NONE)
        self._log(m, log, bus, refused)
        self._tables(m, bus, write, in_table, word)
        values = {
            "CONTROL": control,
            **self._masks(start),
            **{f"COUNT_{name.upper()}": counter for name, counter in events.items()},
            **self._errors(log),
        }
        with m.If(begins):
            m.d.sync += [error.eq(FaultCode.REGISTER_UNDEFINED), read.eq(0)]
            with m.If(page == config.host):
                self._answer(m, bus, values, error, read, write, in_table)
        self._pass_on(m, bus, page)
        return m

    def _masks(self, start: Signal) -> dict[str, Value]:
        """Registers with one bit per node."""
        shown = {
            "START": start, "RUNNING": self.running, "HALTED": self.halted, "FAULT": self.failed,
        }  # fmt: skip
        return {
            part: value[MASK_NODES * position :][:MASK_NODES]
            for name, value in shown.items()
            for position, part in enumerate(masks(name, self.config))
        }

    def _log(self, m: Module, log: FaultLog, bus: wiring.PureInterface, refused: Value) -> None:
        """Errors of the bridge have no address."""
        codes = (self.packet_fault, self.noc_fault, refused)
        m.d.comb += [source.eq(code) for source, code in zip(log.code, codes, strict=True)]
        m.d.comb += log.address[-1].eq(bus.address << 2)

    def _errors(self, log: FaultLog) -> dict[str, Value]:
        """Registers of errors: the host's, and those of the routers."""
        counts = {
            f"FAULTS_{kind.name}": count for kind, count in zip(KINDS, log.count, strict=True)
        }
        routers = {
            f"FAULTS_ROUTER_{node}": self.router_faults.word_select(node, 16)
            for node in range(self.config.noc.nodes)
        }
        first = {"FAULT_CODE": log.first, "FAULT_ADDRESS": log.first_address}
        return {**counts, "FAULT_COUNT": log.total, **first, **routers}

    def _answer(
        self, m: Module, bus: wiring.PureInterface, values: dict[str, Value], error: Signal,
        read: Signal, write: Signal, in_table: Signal,
    ) -> None:  # fmt: skip
        """An access to the page of the host."""
        partial = ~bus.w_strobe.all()
        with m.Switch(bus.address[: PAGE_BITS - 2]):
            for register in registers(self.config):
                value = (
                    Const(register.reset, 32)
                    if register.origin is Origin.CONSTANT
                    else values[register.name]
                )
                with m.Case(register.offset // WORD_BYTES):
                    m.d.sync += error.eq(FaultCode.NONE)
                    if register.access is Access.READ_ONLY:
                        m.d.sync += read.eq(value)
                        with m.If(bus.write):
                            m.d.sync += error.eq(FaultCode.REGISTER_READ_ONLY)
                    else:
                        with m.If(bus.write & partial):
                            m.d.sync += error.eq(FaultCode.REGISTER_PARTIAL)
                        with m.Elif(bus.write):
                            m.d.sync += value.eq(bus.w_data)
            with m.Default(), m.If(in_table):
                m.d.comb += write.eq(bus.write & ~partial)
                m.d.sync += error.eq(
                    Mux(bus.write & partial, FaultCode.REGISTER_PARTIAL, FaultCode.NONE)
                )

    def _tables(
        self, m: Module, bus: wiring.PureInterface, write: Signal, in_table: Signal, word: Signal
    ) -> None:
        """Memories of the host's objects and routes: the address is in one; word read or 0."""
        found = []
        for name, window in windows(self.config).items():
            memory = DescriptorWindow(window)
            m.submodules[name.lower()] = memory
            m.d.comb += [
                memory.offset.eq(bus.address[: PAGE_BITS - 2]),
                memory.page.eq(bus.address[PAGE_BITS - 2 :] == self.config.host),
                memory.valid.eq(bus.valid),
                memory.write.eq(write),
                memory.data.eq(bus.w_data),
            ]
            found.append(memory)
        first, second = found
        m.d.comb += [
            in_table.eq(Cat(memory.selected for memory in found).any()),
            word.eq(first.word | second.word),
            Value.cast(self.table).eq(Value.cast(first.table) | Value.cast(second.table)),
        ]

    def _pass_on(self, m: Module, bus: wiring.PureInterface, page: Value) -> None:
        """Accesses to the pages of cores."""
        for node in self.config.cores:
            core = self.buses[node]
            m.d.comb += [
                core.write.eq(bus.write),
                core.address.eq(bus.address[: PAGE_BITS - 2]),
                core.w_data.eq(bus.w_data),
                core.w_strobe.eq(bus.w_strobe),
            ]
            with m.If(page == node):
                m.d.comb += [
                    core.valid.eq(bus.valid),
                    bus.ready.eq(core.ready),
                    bus.r_data.eq(core.r_data),
                    bus.error.eq(core.error),
                ]
