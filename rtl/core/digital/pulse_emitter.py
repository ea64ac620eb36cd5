# SPDX-License-Identifier: Apache-2.0
"""Last stage of the update unit: pulses one by one, and what is counted."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.digital.chi_pipeline import PulseCode
from phasecore.rtl.core.interfaces import Pulse
from phasecore.rtl.lib.trees import FirstOne, OnesCounter
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["PulseEmitter"]


class PulseEmitter(wiring.Component):
    """Keeps the pulses of a chi word until all have left.

    Members
    -------
    stored, row, block, codes, chi_saturated, transfer_saturated : In
        A word that is stored in this cycle, as in ChiPipeline.
    pulses : Out(stream of Pulse)
    advance : Out(1)
        Nothing holds up the words behind this one.
    chi_saturations, transfer_saturations : Out
        Of the word stored in the cycle before.
    """

    pulses: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.update_lanes
        super().__init__(
            {
                "stored": In(1),
                "row": In(config.row_bits),
                "block": In(range(max(2, config.chi_words_per_row))),
                "codes": In(data.ArrayLayout(PulseCode(config), lanes)),
                "chi_saturated": In(lanes),
                "transfer_saturated": In(lanes),
                "pulses": Out(stream.Signature(Pulse(config))),
                "advance": Out(1),
                "chi_saturations": Out(range(lanes + 1)),
                "transfer_saturations": Out(range(lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, pulse = self.config, self.pulses.payload
        lanes, code = config.update_lanes, PulseCode(config)
        m.submodules.search = search = FirstOne(lanes, item_bits=code.size)
        m.submodules.chi_count = chi_count = OnesCounter(lanes)
        m.submodules.transfer_count = transfer_count = OnesCounter(lanes)
        left, clipped, full = Signal(lanes), Signal(lanes), Signal(lanes)
        codes = Signal(code.size * lanes, reset_less=True)
        row, block = Signal.like(self.row), Signal.like(self.block)
        item = data.View(code, search.item)
        m.d.comb += [
            search.bits.eq(left),
            search.items.eq(codes),
            self.pulses.valid.eq(left.any()),
            pulse.row.eq(row),
            pulse.col.eq(Cat(search.index, block)),
            pulse.count.eq(item.count),
            pulse.negative.eq(item.negative),
            self.advance.eq(~self.pulses.valid | (self.pulses.ready & ~search.more)),
            chi_count.bits.eq(clipped),
            transfer_count.bits.eq(full),
            self.chi_saturations.eq(chi_count.count),
            self.transfer_saturations.eq(transfer_count.count),
        ]
        m.d.sync += [clipped.eq(0), full.eq(0)]
        with m.If(self.pulses.ready):
            m.d.sync += left.eq(left & ~(Const(1) << search.index))
        with m.If(self.stored):
            m.d.sync += [
                clipped.eq(self.chi_saturated),
                full.eq(self.transfer_saturated),
                left.eq(Cat(self.codes[lane].count.any() for lane in range(lanes))),
                codes.eq(self.codes),
                row.eq(self.row),
                block.eq(self.block),
            ]
        return m
