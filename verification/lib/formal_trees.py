# SPDX-License-Identifier: Apache-2.0
"""What the trees promise, bit by bit, as assertions over every operand."""

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import exact_log2

from phasecore.rtl.lib.trees import FirstOne, OnesCounter, lane_mask, select

__all__ = ["FirstOneContract", "LaneMaskContract", "OnesCounterContract", "SelectContract"]


class OnesCounterContract(wiring.Component):
    """The count is the sum of the bits."""

    def __init__(self, width: int):
        self.width = width
        super().__init__({"bits": In(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.counter = counter = OnesCounter(self.width)
        m.d.comb += [
            counter.bits.eq(self.bits),
            Assert(counter.count == sum(self.bits, Const(0, 1))),
            Cover(counter.count == self.width),
        ]
        return m


class FirstOneContract(wiring.Component):
    """No bit below the one found is set; ``more`` if any above it is."""

    def __init__(self, width: int, item_bits: int):
        self.width, self.item_bits = width, item_bits
        super().__init__({"bits": In(width), "items": In(width * item_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.search = search = FirstOne(self.width, self.item_bits)
        index = Signal(range(self.width))
        m.d.comb += [
            search.bits.eq(self.bits),
            search.items.eq(self.items),
            index.eq(search.index),
            Assert(search.item == self.items.word_select(index, self.item_bits)),
            Cover(~self.bits.any()),
            Cover(search.more | (self.width == 1)),
        ]
        with m.If(self.bits.any()):
            below = (Const(1, self.width) << index)[: self.width] - 1
            m.d.comb += [
                Assert(self.bits.bit_select(index, 1)),
                Assert((self.bits & below) == 0),
                Assert(search.more == (((self.bits >> index) >> 1) != 0)),
            ]
        with m.Else():
            m.d.comb += [Assert(index == self.width - 1), Assert(~search.more)]
        return m


class SelectContract(wiring.Component):
    """The item is that of an array; index bits that the items do not need change nothing."""

    def __init__(self, count: int, index_bits: int):
        self.count, self.index_bits = count, index_bits
        super().__init__({"items": In(3 * count), "index": In(index_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items = [self.items.word_select(i, 3).as_signed() for i in range(self.count)]
        needed = self.index[: exact_log2(self.count)]
        expected: Value = Array(items)[needed] if len(needed) else items[0]
        m.d.comb += Assert(select(items, self.index) == expected)
        return m


class LaneMaskContract(wiring.Component):
    """A lane is in the mask if its line is between the first and the last."""

    def __init__(self, lanes: int, blocks: int):
        self.lanes, self.blocks = lanes, blocks
        line = range(lanes * blocks)
        super().__init__({"block": In(range(max(2, blocks))), "first": In(line), "last": In(line)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mask = Signal(self.lanes)
        lines = [self.block * self.lanes + lane for lane in range(self.lanes)]
        inside = [(line >= self.first) & (line <= self.last) for line in lines]
        m.d.comb += [
            Assume(self.first <= self.last),
            Assume(self.block < self.blocks),
            mask.eq(lane_mask(self.block, self.first, self.last, lanes=self.lanes)),
            Assert(mask == Cat(inside)),
            Cover(Mux(self.blocks > 1, ~mask.any(), mask.any())),
            Cover(mask.all()),
        ]
        return m
