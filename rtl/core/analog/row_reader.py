# SPDX-License-Identifier: Apache-2.0
"""Brings the bytes of a row, block by block, from the converter or from a slot."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import AdcRead, VectorRead
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RowReader"]


class RowReader(wiring.Component):
    """Asks for all blocks in ascending order, one per cycle.

    Members
    -------
    begin : In(1)
        Blocks are asked for from the next cycle on.
    loading, collecting : In(1)
        From the slot, or from the converter.
    slot : In(slot_bits)
    adc, read : Out(AdcRead), Out(VectorRead)
    fetch, fetch_block : Out(1), Out
        Codes of this block arrive in the next cycle.
    arrived, arrived_block : Out(1), Out
        Bytes of this block are there.
    arrived_last : Out(1)
        Those of the last one.
    """

    def __init__(self, config: CoreConfig, *, lanes: int):
        self.config, self.lanes = config, lanes
        block = range(max(2, config.cols // lanes))
        super().__init__(
            {
                "begin": In(1),
                "loading": In(1),
                "collecting": In(1),
                "slot": In(config.slot_bits),
                "adc": Out(AdcRead(config)),
                "read": Out(VectorRead(config)),
                "fetch": Out(1),
                "fetch_block": Out(block),
                "arrived": Out(1),
                "arrived_block": Out(block),
                "arrived_last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        last_block = config.cols // self.lanes - 1
        block, asking, asked = Signal.like(self.fetch_block), Signal(), Signal()
        # Words of the converter and of the vector memory hold several blocks.
        word = block // (config.post_lanes // self.lanes)
        taken = self.read.valid & self.read.ready
        m.d.comb += [
            self.adc.block.eq(word),
            self.adc.en.eq(asking & self.collecting),
            self.read.address.eq(self.slot * config.blocks + word),
            self.read.valid.eq(asking & self.loading),
            asked.eq(self.adc.en | taken),
            self.arrived_last.eq(self.arrived & (self.arrived_block == last_block)),
        ]
        with m.If(asked):
            m.d.sync += [block.eq(block + 1), asking.eq(block != last_block)]
        with m.If(self.begin):
            m.d.sync += [block.eq(0), asking.eq(1)]
        m.d.sync += [
            self.fetch.eq(self.adc.en),
            self.fetch_block.eq(block),
            self.arrived.eq(self.fetch | taken),
            self.arrived_block.eq(Mux(self.loading, block, self.fetch_block)),
        ]
        return m
