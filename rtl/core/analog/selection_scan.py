# SPDX-License-Identifier: Apache-2.0
"""Selects the devices of a row that masks of columns name, one by one."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.trees import FirstOne
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Selection", "SelectionScan"]


class Selection(data.StructLayout):
    """One device selected for a pulse, as in ``MacroProgram``.

    ``device`` is meant for RESETs; the device of a SET is named by the selection counters.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "row": config.row_bits,
                "col": config.col_bits,
                "negative": 1,
                "device": max(1, (config.devices_per_polarity - 1).bit_length()),
                "reset": 1,
                "fire": 1,
            }
        )


class SelectionScan(wiring.Component):
    """Selects columns in ascending order: all devices of a pair to RESET, one device to SET.

    Members
    -------
    begin, blocks : In(1), In
        Scan these blocks, whose masks stay as they are meanwhile.
    resetting : In(1)
        RESET the columns of ``worn``; otherwise SET those of ``above`` (G+) and ``below`` (G-).
    worn, above, below : In, masks of the columns of every block
    row : In
    o : Out(stream of Selection)
        The last one fires.
    column_done : Out(1)
        The last selection of a column is taken.
    """

    o: stream.Interface

    def __init__(self, config: CoreConfig, *, lanes: int):
        self.config, self.lanes = config, lanes
        blocks = config.cols // lanes
        masks = In(lanes).array(blocks)
        super().__init__(
            {
                "begin": In(1),
                "blocks": In(blocks),
                "resetting": In(1),
                "worn": masks,
                "above": masks,
                "below": masks,
                "row": In(config.row_bits),
                "o": Out(stream.Signature(Selection(config))),
                "column_done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, blocks = self.lanes, len(self.worn)
        devices = self.config.devices_per_polarity
        m.submodules.block_search = block_search = FirstOne(blocks)
        m.submodules.search = search = FirstOne(lanes, item_bits=1)
        remaining, word, below = Signal(blocks), Signal(lanes), Signal(lanes)
        block, next_block = Signal(range(max(2, blocks))), Signal(range(max(2, blocks)))
        copy = Signal(range(2 * devices))
        last_copy = ~self.resetting | (copy == 2 * devices - 1)
        m.d.comb += [
            block_search.bits.eq(remaining),
            next_block.eq(block_search.index),
            search.bits.eq(word),
            search.items.eq(below),
            self.o.valid.eq(word != 0),
            self.o.p.row.eq(self.row),
            self.o.p.col.eq(Cat(search.index, block)),
            self.o.p.negative.eq(Mux(self.resetting, copy[-1], search.item)),
            self.o.p.device.eq(copy[:-1]),
            self.o.p.reset.eq(self.resetting),
            self.o.p.fire.eq(last_copy & ~search.more & (remaining == 0)),
            self.column_done.eq(self.o.valid & self.o.ready & last_copy),
        ]
        with m.If(self.o.valid & self.o.ready):
            with m.If(last_copy):
                m.d.sync += [word.eq(word & (word - 1)), copy.eq(0)]
            with m.Else():
                m.d.sync += copy.eq(copy + 1)
        with m.Elif(~self.o.valid & remaining.any()):
            worn, above = Array(self.worn)[next_block], Array(self.above)[next_block]
            m.d.sync += [
                word.eq(Mux(self.resetting, worn, above | Array(self.below)[next_block])),
                below.eq(Array(self.below)[next_block]),
                block.eq(next_block),
                remaining.eq(remaining & (remaining - 1)),
            ]
        with m.If(self.begin):
            m.d.sync += remaining.eq(self.blocks)
        return m
