# SPDX-License-Identifier: Apache-2.0
"""Parts of the register file: counters of events and errors, and memory windows."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.registers.core import events
from phasecore.rtl.spec.registers.table import (
    FAULT_COUNTERS,
    WORD_BYTES,
    FaultCode,
    FaultCounter,
    Window,
    fault_counter,
)

__all__ = ["EventCounters", "Events", "FaultRecord", "MemoryWindow"]


def Events(config: CoreConfig, *, internal: bool) -> data.StructLayout:
    """What performance counters add up in a cycle: those of the controller, or all others."""
    return data.StructLayout(
        {event.name: event.width for event in events(config) if event.internal == internal}
    )


class EventCounters(wiring.Component):
    """Performance counters.

    Members
    -------
    clear : In(1)
    events, controller_events : In(Events)
    counts : Out(32) each, in the order of ``events`` of the register table
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "clear": In(1),
                "events": In(Events(config, internal=False)),
                "controller_events": In(Events(config, internal=True)),
                "counts": Out(32).array(len(events(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for event, count in zip(events(self.config), self.counts, strict=True):
            source = self.controller_events if event.internal else self.events
            m.d.sync += count.eq(Mux(self.clear, 0, count + source[event.name]))
        return m


class FaultRecord(wiring.Component):
    """Counters of errors by kind and the record of the first one.

    Members
    -------
    clear : In(1)
    illegal, illegal_code, illegal_address : In
        Of the sequencer.
    malformed, malformed_code, noc, noc_code : In
        Of packets, and of the network.
    refused, refused_code, refused_address : In
        Of the register bus, in bytes.
    calibration : In
        Lines that could not be calibrated.
    pc : In(16)
        Address of an error that has none of its own.
    counts : Out(32) each, as in ``FAULT_COUNTERS``
    total : Out(32)
    first, address : Out(8), Out(16)
        FaultCode and address of the first error since ``clear``.
    """

    def __init__(self, config: CoreConfig):
        codes = ("illegal", "malformed", "noc", "refused")
        super().__init__(
            {
                "clear": In(1),
                **{name: In(1) for name in codes},
                **{f"{name}_code": In(8) for name in codes},
                "illegal_address": In(16),
                "refused_address": In(16),
                "calibration": In(config.lines.bit_length()),
                "pc": In(16),
                "counts": Out(32).array(len(FAULT_COUNTERS)),
                "total": Out(32),
                "first": Out(8),
                "address": Out(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sources = (
            (self.illegal, self.illegal_code),
            (self.malformed, self.malformed_code),
            (self.noc, self.noc_code),
            (self.refused, self.refused_code),
        )
        codes: dict[FaultCounter, list[int]] = {counter: [] for counter in FAULT_COUNTERS}
        for error in FaultCode:
            if error is not FaultCode.NONE:
                codes[fault_counter(error)].append(int(error))
        amounts = []
        for (counter, members), count in zip(codes.items(), self.counts, strict=True):
            if counter is FaultCounter.CALIBRATION:
                amount = self.calibration
            else:
                amount = sum(strobe & code.matches(*members) for strobe, code in sources)
            m.d.sync += count.eq(Mux(self.clear, 0, count + amount))
            amounts.append(amount)
        m.d.sync += self.total.eq(Mux(self.clear, 0, self.total + sum(amounts)))

        first, address = self.first, self.address
        with m.If(self.clear):
            m.d.sync += [first.eq(FaultCode.NONE), address.eq(0)]
        with m.Elif(first == FaultCode.NONE):
            m.d.sync += address.eq(self.pc)
            with m.If(self.illegal):
                m.d.sync += [first.eq(self.illegal_code), address.eq(self.illegal_address)]
            with m.Elif(self.malformed):
                m.d.sync += first.eq(self.malformed_code)
            with m.Elif(self.noc):
                m.d.sync += first.eq(self.noc_code)
            with m.Elif(self.calibration.any()):
                m.d.sync += first.eq(FaultCode.CALIBRATION)
            with m.Elif(self.refused):
                m.d.sync += [first.eq(self.refused_code), address.eq(self.refused_address)]
        return m


class MemoryWindow(wiring.Component):
    """A memory behind the register bus, which the sequencer reads first.

    Parameters
    ----------
    window : of the register table
    address_bits : of a word on the bus

    Members
    -------
    address : In(address_bits)
        Word on the bus.
    selected : Out(1)
        It is in this window.
    read, write, w_data : In(1), In(1), In(32)
        Access of the bus; a write only if it is in this window.
    fetch, fetch_address : In(1), In
        The sequencer reads an entry instead.
    entry : Out(32 * words)
        Read in the cycle before.
    r_data : Out(32)
        The word of it that the bus address names.
    """

    def __init__(self, window: Window, *, address_bits: int):
        self.window = window
        self.depth = max(2, window.depth)
        super().__init__(
            {
                "address": In(address_bits),
                "selected": Out(1),
                "read": In(1),
                "write": In(1),
                "w_data": In(32),
                "fetch": In(1),
                "fetch_address": In(range(self.depth)),
                "entry": Out(32 * window.words),
                "r_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        window = self.window
        m.submodules.sram = sram = Sram(width=32 * window.words, depth=self.depth, granularity=32)
        word_bits = exact_log2(window.stride)
        low, high = window.offset // WORD_BYTES, window.end // WORD_BYTES
        word, entry = self.address[:word_bits], self.address[word_bits:]
        m.d.comb += [
            self.selected.eq((self.address >= low) & (self.address < high) & (word < window.words)),
            sram.r_en.eq(self.fetch | self.read),
            sram.r_address.eq(Mux(self.fetch, self.fetch_address, entry)),
            sram.w_en.eq(self.write & self.selected),
            sram.w_address.eq(entry),
            sram.w_mask.eq(1 << word),
            sram.w_data.eq(self.w_data.replicate(window.words)),
            self.entry.eq(sram.r_data),
            self.r_data.eq(sram.r_data.word_select(word, 32)),
        ]
        return m
