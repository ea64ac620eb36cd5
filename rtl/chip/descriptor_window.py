# SPDX-License-Identifier: Apache-2.0
"""Descriptors of the host as registers: what was written can be read back."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.registers.chip import PAGE_BITS
from phasecore.rtl.spec.registers.table import WORD_BYTES, Window

__all__ = ["DescriptorWindow"]


class DescriptorWindow(wiring.Component):
    """Memory behind a window of registers; a written word is passed on.

    Members
    -------
    offset, page : In, In(1)
        Word address in a page, which is the host's.
    valid, write, data : In(1), In(1), In(32)
        An access is asked for; the word is written in this cycle.
    selected : Out(1)
        The address is in the window (combinational).
    word : Out(32)
        One cycle later: what is at the address, or 0 outside the window.
    table : Out(TableWrite)
        All 0 unless a word of the window is written.
    """

    def __init__(self, window: Window):
        self.window = window
        super().__init__(
            {
                "offset": In(PAGE_BITS - 2),
                "page": In(1),
                "valid": In(1),
                "write": In(1),
                "data": In(32),
                "selected": Out(1),
                "word": Out(32),
                "table": Out(TableWrite()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        window = self.window
        m.submodules.sram = sram = Sram(
            width=32 * window.words, depth=max(2, window.depth), granularity=32
        )
        shown = Signal()
        low, high = window.offset // WORD_BYTES, window.end // WORD_BYTES
        word_bits = exact_log2(window.stride)
        place, entry = self.offset[:word_bits], self.offset[word_bits:][:4]
        m.d.comb += [
            self.selected.eq((self.offset >= low) & (self.offset < high) & (place < window.words)),
            sram.r_en.eq(self.valid),
            sram.r_address.eq(entry),
            sram.w_en.eq(self.write & self.selected),
            sram.w_address.eq(entry),
            sram.w_mask.eq(1 << place),
            sram.w_data.eq(self.data.replicate(window.words)),
            self.word.eq(Mux(shown, sram.r_data.word_select(place, 32), 0)),
        ]
        m.d.sync += shown.eq(self.selected & self.page)
        with m.If(sram.w_en):
            m.d.comb += [
                self.table.en.eq(1),
                self.table.route.eq(window.name == "ROUTE"),
                self.table.index.eq(entry),
                self.table.word.eq(place),
                self.table.data.eq(self.data),
            ]
        return m
