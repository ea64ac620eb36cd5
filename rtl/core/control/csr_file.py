# SPDX-License-Identifier: Apache-2.0
"""Register file made from ``rtl/spec/registers/core.py``: decoder, counters, memory windows."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.lib.axi_lite import RegisterBus
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Unit
from phasecore.rtl.spec.registers.core import (
    ERROR_COUNTERS,
    WORD_BYTES,
    Access,
    ErrorCode,
    ErrorCounter,
    Origin,
    error_counter,
    events,
    registers,
    windows,
)

__all__ = ["CsrFile", "Events", "SequencerPort", "Settings"]


def Events(config: CoreConfig, *, internal: bool) -> data.StructLayout:
    """What performance counters add up in a cycle: those of the controller, or all others."""
    return data.StructLayout(
        {event.name: event.width for event in events(config) if event.internal == internal}
    )


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
    all four strobes and, while ``running``, writes to program or segments answer with an error,
    are counted and change nothing.

    Members
    -------
    bus : In(RegisterBus)
    sequencer : In(SequencerPort)
    settings : Out(Settings)
    events, controller_events : In(Events)
        Of the units, and of the controller.
    busy : In(6)
        Units that are busy, as in ``Unit``.
    calibrating : In(1)
    malformed, malformed_code : In(1), In(8)
        A dropped packet and its ErrorCode, kept with the address in PC.
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
    fabric_error, fabric_error_code : In(1), In(8)
        Of the network interface, kept with the address in PC.
    table : Out(TableWrite)
        A word of an object or stream descriptor is written.
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
                "fabric_error": In(1),
                "fabric_error_code": In(8),
                "table": Out(TableWrite()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = Signal(3)
        refused, code = Signal(), Signal(8)
        values: dict[str, Value] = {"CONTROL": control}
        m.d.sync += control.eq(0)
        clear = control[2]
        m.d.comb += [
            self.sequencer.start.eq(control[0] | self.start),
            self.sequencer.abort.eq(control[1]),
            self.sequencer.start_address.eq(self.settings.start),
            self.sequencer.watchdog.eq(self.settings.watchdog),
        ]
        values |= self._stored(m)
        with m.If(self.drift_baselined):
            m.d.sync += values["DRIFT_BASELINE"].eq(self.drift_conductance)
        values |= self._event_counters(m, clear)
        values |= self._errors(m, clear, refused, code)
        m.d.comb += self.failed.eq(values["ERROR_CODE"] != ErrorCode.NONE)
        values |= self._shown(self.failed)
        self._decode(m, values, refused, code)
        return m

    def _stored(self, m: Module) -> dict[str, Value]:
        """Constant and host-set registers, by name."""
        values: dict[str, Value] = {}
        for register in registers(self.config):
            if register.origin is Origin.CONSTANT:
                values[register.name] = Const(register.reset, 32)
            elif register.origin is Origin.STORED:
                name = register.name.lower()
                stored = Signal(register.width, init=register.reset, name=name)
                m.d.comb += self.settings[name].eq(stored)
                values[register.name] = stored
        return values

    def _shown(self, failed: Value) -> dict[str, Value]:
        """Registers that show the hardware, by name."""
        sequencer = self.sequencer
        return {
            "STATUS": Cat(
                sequencer.running, sequencer.halted, failed, self.calibrating, Const(0, 4),
                self.busy,
            ),
            "PC": sequencer.pc,
            "CALIBRATION_OFFSET": self.calibration_offset,
            "CALIBRATION_GAIN": self.calibration_gain,
            "DRIFT_SCALE": self.drift_scale,
        }  # fmt: skip

    def _event_counters(self, m: Module, clear: Value) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for event in events(self.config):
            source = self.controller_events if event.internal else self.events
            counter = Signal(32, name=f"count_{event.name}")
            m.d.sync += counter.eq(Mux(clear, 0, counter + source[event.name]))
            values[f"COUNT_{event.name.upper()}"] = counter
        return values

    def _errors(
        self, m: Module, clear: Value, refused: Signal, refused_code: Signal
    ) -> dict[str, Value]:
        """Counters by kind and the record of the first error."""
        values: dict[str, Value] = {}
        sources = (
            (self.sequencer.illegal, self.sequencer.illegal_code),
            (self.malformed, self.malformed_code),
            (self.fabric_error, self.fabric_error_code),
            (refused, refused_code),
        )
        codes: dict[ErrorCounter, list[int]] = {counter: [] for counter in ERROR_COUNTERS}
        for error in ErrorCode:
            if error is not ErrorCode.NONE:
                codes[error_counter(error)].append(int(error))
        amounts = []
        for counter, members in codes.items():
            if counter is ErrorCounter.CALIBRATION:
                amount = self.calibration_errors
            else:
                amount = sum(strobe & code.matches(*members) for strobe, code in sources)
            count = Signal(32, name=f"errors_{counter.name.lower()}")
            m.d.sync += count.eq(Mux(clear, 0, count + amount))
            values[f"ERRORS_{counter.name}"] = count
            amounts.append(amount)
        total = Signal(32)
        m.d.sync += total.eq(Mux(clear, 0, total + sum(amounts)))

        first, address = Signal(8), Signal(16)
        with m.If(clear):
            m.d.sync += [first.eq(ErrorCode.NONE), address.eq(0)]
        with m.Elif(first == ErrorCode.NONE):
            m.d.sync += address.eq(self.sequencer.pc)
            with m.If(self.sequencer.illegal):
                m.d.sync += [
                    first.eq(self.sequencer.illegal_code),
                    address.eq(self.sequencer.illegal_address),
                ]
            with m.Elif(self.malformed):
                m.d.sync += first.eq(self.malformed_code)
            with m.Elif(self.fabric_error):
                m.d.sync += first.eq(self.fabric_error_code)
            with m.Elif(self.calibration_errors.any()):
                m.d.sync += first.eq(ErrorCode.CALIBRATION)
            with m.Elif(refused):
                m.d.sync += [first.eq(refused_code), address.eq(self.bus.address << 2)]
        return values | {
            "ERROR_COUNT": total,
            "ERROR_CODE": first,
            "ERROR_ADDRESS": Mux(first != ErrorCode.NONE, address, 0),
        }

    def _decode(self, m: Module, values: dict[str, Value], refused: Signal, code: Signal) -> None:
        bus = self.bus
        partial = ~bus.w_strobe.all()
        write = Signal()
        read_data = Signal(32)
        ready = Signal()
        error = Signal(8)
        kind = {name: Signal(name=f"reads_{name.lower()}") for name in windows(self.config)}
        memories = self._memories(m, write)

        m.d.comb += [
            bus.ready.eq(ready),
            bus.error.eq(error != ErrorCode.NONE),
            bus.r_data.eq(read_data),
            refused.eq(ready & bus.error),
            code.eq(error),
        ]
        for name, flag in kind.items():
            with m.If(flag):
                word = bus.address[: (memories[name].words - 1).bit_length()]
                m.d.comb += bus.r_data.eq(memories[name].data.word_select(word, 32))

        m.d.sync += ready.eq(0)
        first = Signal()
        m.d.comb += first.eq(bus.valid & ~ready)
        with m.If(first):
            m.d.sync += [ready.eq(1), error.eq(ErrorCode.NONE), read_data.eq(0)]
            m.d.sync += [flag.eq(0) for flag in kind.values()]
            with m.Switch(bus.address):
                for register in registers(self.config):
                    with m.Case(register.offset // WORD_BYTES):
                        value = values[register.name]
                        if register.access is not Access.STROBE:
                            m.d.sync += read_data.eq(value)
                        with m.If(bus.write):
                            if register.access is Access.READ_ONLY:
                                m.d.sync += error.eq(ErrorCode.REGISTER_READ_ONLY)
                            else:
                                with m.If(partial):
                                    m.d.sync += error.eq(ErrorCode.REGISTER_PARTIAL)
                                with m.Else():
                                    m.d.sync += value.eq(bus.w_data)
                with m.Default():
                    m.d.sync += error.eq(ErrorCode.REGISTER_UNDEFINED)
                    for name, memory in memories.items():
                        with m.If(memory.selected):
                            m.d.sync += error.eq(ErrorCode.NONE)
                            with m.If(~bus.write):
                                m.d.sync += [kind[name].eq(1), ready.eq(~memory.fetching)]
                            with m.Elif(partial):
                                m.d.sync += error.eq(ErrorCode.REGISTER_PARTIAL)
                            with m.Elif(self.sequencer.running):
                                m.d.sync += error.eq(ErrorCode.REGISTER_LOCKED)
                            with m.Else():
                                m.d.comb += write.eq(1)

    def _memories(self, m: Module, write: Signal) -> dict[str, "_Memory"]:
        """The memory windows; ``write`` writes the one that the bus address selects."""
        bus = self.bus
        memories = {}
        for name, window in windows(self.config).items():
            sram = Sram(width=32 * window.words, depth=max(2, window.depth), granularity=32)
            m.submodules[name.lower()] = sram
            enable, address = self._fetch(m, name, sram.r_data)
            low = window.offset // WORD_BYTES
            selected = Signal(name=f"{name.lower()}_selected")
            word_bits = (window.words - 1).bit_length()
            entry = bus.address[word_bits:]
            m.d.comb += [
                selected.eq((bus.address >= low) & (bus.address < window.end // WORD_BYTES)),
                sram.r_en.eq(enable | bus.valid),
                sram.r_address.eq(Mux(enable, address, entry)),
                sram.w_en.eq(write & selected),
                sram.w_address.eq(entry),
                sram.w_mask.eq(1 << bus.address[:word_bits]),
                sram.w_data.eq(bus.w_data.replicate(window.words)),
            ]
            if name in ("OBJECT", "STREAM"):
                with m.If(write & selected):
                    m.d.comb += [
                        self.table.en.eq(1),
                        self.table.stream.eq(name == "STREAM"),
                        self.table.index.eq(entry),
                        self.table.word.eq(bus.address[:word_bits]),
                        self.table.data.eq(bus.w_data),
                    ]
            memories[name] = _Memory(selected, enable, sram.r_data, window.words)
        return memories

    def _fetch(self, m: Module, name: str, word: Value) -> tuple[ValueLike, ValueLike]:
        """When and where the sequencer reads a memory; descriptors have copies of their own."""
        port = {"PROGRAM": "instruction", "SEGMENT": "segment"}.get(name)
        if port is None:
            return Const(0), Const(0)
        m.d.comb += getattr(self.sequencer, port).eq(word)
        return getattr(self.sequencer, f"{port}_en"), getattr(self.sequencer, f"{port}_address")


class _Memory:
    """Handles of one memory window: bus address in it, sequencer reads it, word read."""

    def __init__(self, selected: Signal, fetching: Value, data: Value, words: int):
        self.selected, self.fetching, self.data, self.words = selected, fetching, data, words
