# SPDX-License-Identifier: Apache-2.0
"""Register file made from ``rtl/spec/registers/core.py``: decoder, counters, memory windows."""

from amaranth.hdl import Cat, Const, DomainRenamer, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.control.csr_parts import (
    EventCounters,
    Events,
    FaultRecord,
    MemoryWindow,
)
from phasecore.rtl.core.interfaces import MemoryPort, TableWrite
from phasecore.rtl.lib.axi_lite import RegisterBus
from phasecore.rtl.lib.clock_gate import gated_domain
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Unit
from phasecore.rtl.spec.registers.core import events, registers, windows
from phasecore.rtl.spec.registers.table import (
    FAULT_COUNTERS,
    WORD_BYTES,
    Access,
    FaultCode,
    Origin,
    Register,
)

__all__ = ["CsrFile", "SequencerPort", "Settings"]


def Settings(config: CoreConfig) -> data.StructLayout:
    """Registers that the host sets."""
    return data.StructLayout(
        {
            register.name.lower(): register.width
            for register in registers(config)
            if register.origin is Origin.STORED
        }
    )


class SequencerPort(wiring.Signature):
    """Registers and memories by which the controller and the register file meet.

    Seen from the controller. A word read with ``instruction_en`` or ``segment_en`` comes in the
    next cycle and must be taken then. ``illegal`` reports an error with its code and address.
    """

    def __init__(self, config: CoreConfig):
        pc_bits = (config.program_depth - 1).bit_length()
        super().__init__(
            {
                "start": In(1),
                "abort": In(1),
                "start_address": In(pc_bits),
                "watchdog": In(32),
                "running": Out(1),
                "halted": Out(1),
                "pc": Out(pc_bits),
                "illegal": Out(1),
                "illegal_code": Out(8),
                "illegal_address": Out(16),
                "instruction_en": Out(1),
                "instruction_address": Out(pc_bits),
                "instruction": In(64),
                "segment_en": Out(1),
                "segment_address": Out(max(1, (config.segments - 1).bit_length())),
                "segment": In(128),
            }
        )


class CsrFile(wiring.Component):
    """All registers of a core, its program memory and its segment table.

    An access takes two cycles, one to the program or the segments waits for a cycle in which the
    sequencer does not fetch. Undefined addresses, writes to read-only registers, writes without
    all four strobes and, while ``running``, writes to program, segments or MEMORY_DATA answer with
    an error, are counted and change nothing; so do accesses to MEMORY_DATA behind the end of a
    memory. Others wait until the memory is free.

    Members
    -------
    bus : In(RegisterBus)
    sequencer : In(SequencerPort)
    settings : Out(Settings)
    events, controller_events : In(Events)
        Of the units, and of the controller.
    busy : In(7)
        Units that are busy, as in ``Unit``.
    calibrating : In(1)
    malformed, malformed_code : In(1), In(8)
        A dropped packet and its FaultCode, kept with the address in PC.
    calibration_errors : In
        Lines that could not be calibrated, this cycle.
    calibration_offset, calibration_gain : In
        Calibration of the line in ``settings.calibration_line``.
    drift_conductance, drift_baselined : In, In(1)
        What takes the place of ``settings.drift_baseline`` in a cycle with ``drift_baselined``.
    drift_scale : In
        Scale of the gains.
    start : In(1)
        Starts the program like CONTROL.start.
    failed : Out(1)
        An error since the counters were cleared.
    noc_fault, noc_fault_code : In(1), In(8)
        Of the network interface, kept with the address in PC.
    table : Out(TableWrite)
        A word of an object or route descriptor is written.
    memory : Out(MemoryPort)
        Accesses to MEMORY_DATA.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "bus": In(RegisterBus()),
                "sequencer": In(SequencerPort(config)),
                "settings": Out(Settings(config)),
                "events": In(Events(config, internal=False)),
                "controller_events": In(Events(config, internal=True)),
                "busy": In(len(Unit)),
                "calibrating": In(1),
                "malformed": In(1),
                "malformed_code": In(8),
                "calibration_errors": In(config.lines.bit_length()),
                "calibration_offset": In(signed(config.calibration_offset_bits)),
                "calibration_gain": In(config.gain_bits),
                "drift_conductance": In(config.drift_bits),
                "drift_baselined": In(1),
                "drift_scale": In(config.drift_scale_bits),
                "start": In(1),
                "failed": Out(1),
                "noc_fault": In(1),
                "noc_fault_code": In(8),
                "table": Out(TableWrite()),
                "memory": Out(MemoryPort()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bus = self.config, self.bus
        # What only the bus, or a calibration, can change.
        gated_domain(m, "bus", bus.valid | self.drift_baselined)
        control, clear, read_data = Signal(3), Signal(), Signal(32)
        ready, error, write, written = Signal(), Signal(8), Signal(), Signal()
        values: dict[str, Value] = {"CONTROL": control}
        for register in registers(config):
            if register.origin is Origin.CONSTANT:
                values[register.name] = Const(register.reset, 32)
            elif register.origin is Origin.STORED:
                name = register.name.lower()
                stored = Signal(register.width, init=register.reset, name=name)
                m.d.comb += self.settings[name].eq(stored)
                values[register.name] = stored
        # Memories that answer the read in work.
        answers = {
            name: Signal(name=f"reads_{name.lower()}") for name in (*windows(config), "MEMORY")
        }
        self._command(m, control)
        m.d.comb += [
            clear.eq(control[2]),
            bus.ready.eq(ready),
            bus.error.eq(error != FaultCode.NONE),
            bus.r_data.eq(read_data),
        ]
        with m.If(self.drift_baselined):
            m.d.bus += values["DRIFT_BASELINE"].eq(self.drift_conductance)
        values |= self._event_counters(m, clear)
        values |= self._errors(m, clear, ready & bus.error, error)
        values |= self._shown()

        memories = self._memories(m, write, written)
        words = {name: memory.r_data for name, memory in memories.items()}
        for name, answer in answers.items():
            with m.If(answer):
                m.d.comb += bus.r_data.eq(words.get(name, self.memory.r_data))
        m.d.bus += ready.eq(0)
        with m.If(bus.valid & ~ready):
            m.d.bus += [ready.eq(1), error.eq(FaultCode.NONE), read_data.eq(0)]
            m.d.bus += [answer.eq(0) for answer in answers.values()]
            with m.Switch(bus.address):
                for register in registers(config):
                    with m.Case(register.offset // WORD_BYTES):
                        if register.name == "MEMORY_DATA":
                            address = values["MEMORY_ADDRESS"]
                            self._memory_data(m, address, answers["MEMORY"], ready, error)
                        else:
                            self._access(m, register, values[register.name], read_data, error)
                with m.Default():
                    m.d.bus += error.eq(FaultCode.REGISTER_UNDEFINED)
                    for name, memory in memories.items():
                        with m.If(memory.selected):
                            self._window(m, memory, answers[name], write, ready, error)
        return m

    def _window(
        self, m: Module, memory: MemoryWindow, answer: Signal, write: Signal, ready: Signal,
        error: Signal,
    ) -> None:  # fmt: skip
        """Read and write the memory of a window."""
        m.d.bus += error.eq(FaultCode.NONE)
        with m.If(~self.bus.write):
            m.d.bus += [answer.eq(1), ready.eq(~memory.fetch)]
        with m.Else():
            self._write(m, write, error)

    def _access(
        self, m: Module, register: Register, value: Value, read_data: Signal, error: Signal
    ) -> None:
        """Read and write a register."""
        if register.access is not Access.STROBE:
            m.d.bus += read_data.eq(value)
        with m.If(self.bus.write):
            if register.access is Access.READ_ONLY:
                m.d.bus += error.eq(FaultCode.REGISTER_READ_ONLY)
            else:
                with m.If(self._partial):
                    m.d.bus += error.eq(FaultCode.REGISTER_PARTIAL)
                with m.Else():
                    m.d.bus += value.eq(self.bus.w_data & _writable(register))

    def _memory_data(
        self, m: Module, address: Signal, answer: Signal, ready: Signal, error: Signal
    ) -> None:
        """Read and write MEMORY_DATA."""
        memory = self.memory
        with m.If(~memory.known):
            m.d.bus += error.eq(FaultCode.REGISTER_RANGE)
        with m.Elif(self.bus.write):
            self._write(m, memory.write, error)
        with m.Else():
            m.d.comb += memory.read.eq(1)
            m.d.bus += answer.eq(1)
        with m.If(memory.read | memory.write):
            m.d.bus += ready.eq(memory.ready)
            with m.If(memory.ready):
                m.d.bus += address.eq(address + WORD_BYTES)

    def _write(self, m: Module, write: Signal, error: Signal) -> None:
        """Write to a memory."""
        with m.If(self._partial):
            m.d.bus += error.eq(FaultCode.REGISTER_PARTIAL)
        with m.Elif(self.sequencer.running):
            m.d.bus += error.eq(FaultCode.REGISTER_LOCKED)
        with m.Else():
            m.d.comb += write.eq(1)

    def _command(self, m: Module, control: Signal) -> None:
        """To the sequencer, for a cycle, and what the memories are asked."""
        sequencer, memory = self.sequencer, self.memory
        m.d.bus += control.eq(0)
        m.d.comb += [
            sequencer.start.eq(control[0] | self.start),
            sequencer.abort.eq(control[1]),
            sequencer.start_address.eq(self.settings.start),
            sequencer.watchdog.eq(self.settings.watchdog),
            memory.address.eq(self.settings.memory_address),
            memory.w_data.eq(self.bus.w_data),
        ]

    @property
    def _partial(self) -> Value:
        """Not all bytes of a register are written."""
        return ~self.bus.w_strobe.all()

    def _shown(self) -> dict[str, Value]:
        """Registers that show the hardware, by name."""
        sequencer = self.sequencer
        return {
            "STATUS": Cat(
                sequencer.running, sequencer.halted, self.failed, self.calibrating, Const(0, 4),
                self.busy,
            ),
            "PC": sequencer.pc,
            "CALIBRATION_OFFSET": self.calibration_offset,
            "CALIBRATION_GAIN": self.calibration_gain,
            "DRIFT_SCALE": self.drift_scale,
        }  # fmt: skip

    def _event_counters(self, m: Module, clear: Value) -> dict[str, Value]:
        """Performance counters, by name."""
        m.submodules.counters = counters = EventCounters(self.config)
        m.d.comb += [
            counters.clear.eq(clear),
            counters.events.eq(self.events),
            counters.controller_events.eq(self.controller_events),
        ]
        names = (event.register for event in events(self.config))
        return dict(zip(names, counters.counts, strict=True))

    def _errors(
        self, m: Module, clear: Value, refused: Value, refused_code: Signal
    ) -> dict[str, Value]:
        """Counters of errors and the first one, by name."""
        sequencer = self.sequencer
        m.submodules.errors = errors = FaultRecord(self.config)
        m.d.comb += [
            errors.clear.eq(clear),
            errors.illegal.eq(sequencer.illegal),
            errors.illegal_code.eq(sequencer.illegal_code),
            errors.illegal_address.eq(sequencer.illegal_address),
            errors.malformed.eq(self.malformed),
            errors.malformed_code.eq(self.malformed_code),
            errors.noc.eq(self.noc_fault),
            errors.noc_code.eq(self.noc_fault_code),
            errors.refused.eq(refused),
            errors.refused_code.eq(refused_code),
            errors.refused_address.eq(self.bus.address << 2),
            errors.calibration.eq(self.calibration_errors),
            errors.pc.eq(sequencer.pc),
            self.failed.eq(errors.first != FaultCode.NONE),
        ]
        names = (f"FAULTS_{counter.name}" for counter in FAULT_COUNTERS)
        return {
            **dict(zip(names, errors.counts, strict=True)),
            "FAULT_COUNT": errors.total,
            "FAULT_CODE": errors.first,
            "FAULT_ADDRESS": Mux(errors.first != FaultCode.NONE, errors.address, 0),
        }

    def _memories(self, m: Module, write: Signal, written: Signal) -> dict[str, MemoryWindow]:
        """The memory windows; ``write`` writes the one that the bus address selects.

        The bus holds its request for the cycle in which it is ``written``.
        """
        bus, sequencer = self.bus, self.sequencer
        m.d.bus += written.eq(write)
        memories = {}
        for name, window in windows(self.config).items():
            memory = MemoryWindow(window, address_bits=len(bus.address))
            fetched = name in ("PROGRAM", "SEGMENT")
            m.submodules[name.lower()] = memory if fetched else DomainRenamer("bus")(memory)
            memories[name] = memory
            m.d.comb += [
                memory.address.eq(bus.address),
                memory.read.eq(bus.valid),
                memory.write.eq(write),
                memory.w_data.eq(bus.w_data),
            ]
            # Descriptors have copies of their own, which are written in the next cycle.
            if name in ("OBJECT", "ROUTE"):
                word_bits = exact_log2(window.stride)
                with m.If(written & memory.selected):
                    m.d.comb += [
                        self.table.en.eq(1),
                        self.table.route.eq(name == "ROUTE"),
                        self.table.index.eq(bus.address[word_bits:]),
                        self.table.word.eq(bus.address[:word_bits]),
                        self.table.data.eq(bus.w_data),
                    ]
        for name, port in (("PROGRAM", "instruction"), ("SEGMENT", "segment")):
            memory = memories[name]
            m.d.comb += [
                memory.fetch.eq(getattr(sequencer, f"{port}_en")),
                memory.fetch_address.eq(getattr(sequencer, f"{port}_address")),
                getattr(sequencer, port).eq(memory.entry),
            ]
        return memories


def _writable(register: Register) -> int:
    """Mask of the bits that are in a field."""
    return sum((1 << field.width) - 1 << field.low for field in register.fields)
