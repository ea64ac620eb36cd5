# SPDX-License-Identifier: Apache-2.0
"""Third stage of the window unit for SCATTER: chunks go to the accumulators."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.digital.window_walk import WindowChunk
from phasecore.rtl.core.interfaces import ScatterChunk
from phasecore.rtl.lib.trees import first_lanes
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import SCATTER_SHIFT_MAX

__all__ = ["WindowScatter"]


class WindowScatter(wiring.Component):
    """Offers a chunk until post-processing takes it, and leads to the words of the slot.

    Members
    -------
    begin, block : In(1), In(block_bits)
        A command begins, with this word of its slot.
    unit, exponent : In(signed(8))
        Of the sums, and of the slot.
    chunk : In(WindowChunk)
    take : In(1)
        The chunk is taken; only one that is read with ``ready``.
    arrived, keep : In(1), Out(1)
        Its word is there, in the next cycle, and is to be kept.
    codes : In(8 * post_lanes)
        The word that was kept last.
    ready : Out(1)
        There will be room for a word.
    word : Out(block_bits)
        Of the slot, which the chunk needs.
    busy : Out(1)
        A chunk waits.
    o : Out(stream of ScatterChunk)
    """

    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "block": In(config.block_bits),
                "unit": In(signed(EXPONENT_BITS)),
                "exponent": In(signed(EXPONENT_BITS)),
                "chunk": In(WindowChunk(config)),
                "take": In(1),
                "arrived": In(1),
                "keep": Out(1),
                "codes": In(8 * config.post_lanes),
                "ready": Out(1),
                "word": Out(config.block_bits),
                "busy": Out(1),
                "o": Out(stream.Signature(ScatterChunk(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, chunk, offered = self.config.post_lanes, Signal.like(self.chunk), self.o.payload
        shift = Signal(signed(EXPONENT_BITS + 1))
        kept = Signal(data.StructLayout({
            name: field.shape for name, field in ScatterChunk(self.config) if name != "codes"
        }))  # fmt: skip
        end = Signal(range(2 * lanes))
        m.d.comb += [
            shift.eq(self.exponent - self.unit),
            self.ready.eq(~(self.arrived & chunk.read) & (~self.o.valid | self.o.ready)),
            self.busy.eq(self.o.valid),
            end.eq(chunk.sum_lane + chunk.end - chunk.lane),
            # What is shifted by less than 0 adds nothing.
            self.keep.eq(self.arrived & chunk.read & ~shift[-1]),
            offered.codes.eq(self.codes),
            *(offered[name].eq(kept[name]) for name in kept.shape().members),
        ]
        with m.If(self.begin):
            m.d.sync += self.word.eq(self.block)
        with m.Elif(self.take & self.chunk.full):
            m.d.sync += self.word.eq(self.word + 1)
        with m.If(self.take):
            m.d.sync += chunk.eq(self.chunk)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.keep):
            m.d.sync += [
                self.o.valid.eq(1),
                kept.word.eq(chunk.address),
                kept.mask.eq(first_lanes(end, lanes) & ~first_lanes(chunk.sum_lane, lanes)),
                kept.cut.eq(shift > SCATTER_SHIFT_MAX),
                kept.shift.eq(Mux(shift > SCATTER_SHIFT_MAX, SCATTER_SHIFT_MAX, shift)),
            ]
        return m
