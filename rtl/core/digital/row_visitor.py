# SPDX-License-Identifier: Apache-2.0
"""Second stage of the update unit: which chi word comes next."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import UpdateCommand
from phasecore.rtl.lib.trees import FirstOne
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["RowVisitor"]


class RowVisitor(wiring.Component):
    """Visits the chi words of the rows left, in ascending order and without a gap.

    Members
    -------
    command : In(UpdateCommand)
    rows : In(rows)
        Rows that are left, too; their elements of ``x`` are there in the next cycle.
    x : In, one per word of post_lanes elements
    advance : In(1)
        The word shown is taken, and the next one is shown.
    valid, row, block, element : Out
        A word, and the element of x of its row.
    busy : Out(1)
        Rows are left, or a word is shown.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "command": In(UpdateCommand(config)),
                "rows": In(config.rows),
                "x": In(8 * lanes).array(config.rows // lanes),
                "advance": In(1),
                "valid": Out(1),
                "row": Out(config.row_bits),
                "block": Out(range(max(2, config.chi_words_per_row))),
                "element": Out(signed(8)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        word_bits = (config.update_lanes - 1).bit_length()
        last = (command.col_start + command.col_count - 1)[word_bits : config.col_bits]
        m.submodules.search = search = FirstOne(config.rows, item_bits=8)
        left, visited, step = Signal(config.rows), Signal(config.rows), Signal()
        m.d.comb += [
            search.bits.eq(left),
            search.items.eq(Cat(*self.x)),
            step.eq(self.valid & self.advance),
            self.busy.eq(left.any() | self.valid),
        ]
        with m.If(step):
            m.d.sync += self.block.eq(self.block + 1)
        with m.If(~self.valid | (step & (self.block == last))):
            # Words of x arrive in ascending order, so the lowest row here is the lowest of all.
            m.d.sync += [
                self.valid.eq(left.any()),
                self.row.eq(search.index),
                self.element.eq(search.item),
                self.block.eq(command.col_start[word_bits:]),
            ]
            m.d.comb += visited.eq(Const(1) << search.index)
        m.d.sync += left.eq((left & ~visited) | self.rows)
        return m
