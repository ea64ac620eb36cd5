# SPDX-License-Identifier: Apache-2.0
"""Many bits or items at once, all combinational: count, select, search, mask, rotate."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

__all__ = ["FirstOne", "OnesCounter", "first_lanes", "lane_mask", "rotate_lanes", "select"]


def select(items: Sequence[Value], index: Value) -> Value:
    """Item ``index`` of a power of two of items, as a tree of multiplexers.

    Bits of ``index`` beyond what the number of items needs are ignored.
    """
    for bit in index:
        if len(items) > 1:
            pairs = zip(items[::2], items[1::2], strict=True)
            items = [Mux(bit, odd, even) for even, odd in pairs]
    return items[0]


def lane_mask(block: Value, first: Value, last: Value, *, lanes: int) -> Value:
    """Lanes of a block whose lines are among ``first .. last``.

    Lane l of ``block`` is line ``block * lanes + l``. The arguments are used more than once:
    signals rather than expressions.

    Parameters
    ----------
    block : number of a block, 0 and up
    first, last : lines, with ``first <= last``
    lanes : lines per block, a power of two

    Returns
    -------
    one bit per lane
    """
    lane_bits = exact_log2(lanes)
    ones = Const((1 << lanes) - 1, lanes)
    from_first = (ones << first[:lane_bits])[:lanes]
    to_last = ones >> ~last[:lane_bits]
    low, high = first[lane_bits:], last[lane_bits:]
    return (
        Mux(block > low, ones, Mux(block == low, from_first, 0))
        & Mux(block < high, ones, Mux(block == high, to_last, 0))
    )[:lanes]


def first_lanes(count: Value, lanes: int) -> Value:
    """The first ``count`` lanes, all from ``lanes`` on."""
    return Cat(count > lane for lane in range(lanes))


def rotate_lanes(value: Value, amount: Value, width: int) -> Value:
    """``value`` with lane l moved to lane ``l + amount`` modulo the lanes.

    Parameters
    ----------
    value : a power of two of lanes, ``width`` bits each
    amount : as many bits as number a lane
    width : bits of a lane
    """
    for bit, moved in enumerate(amount):
        value = Mux(moved, Value.cast(value).rotate_left(width << bit), value)
    return value


class OnesCounter(wiring.Component):
    """Number of ones, as a tree of adders.

    Fields of doubling width are added side by side, which simulators take as one addition.

    Parameters
    ----------
    width : int

    Members
    -------
    bits : In(width)
    count : Out, 0..width
    """

    WORD = 32
    """Bits that are added side by side."""

    def __init__(self, width: int):
        self.width = width
        super().__init__({"bits": In(width), "count": Out(range(width + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = []
        for low in range(0, self.width, self.WORD):
            fields = self.bits[low : low + self.WORD]
            size, width = len(fields), 1
            while width < size:
                mask = sum(((1 << width) - 1) << i for i in range(0, size, 2 * width))
                added = Signal(size, name=f"fields_{low}_{width}")
                m.d.comb += added.eq((fields & mask) + ((fields >> width) & mask))
                fields, width = added, 2 * width
            counts.append(fields[: size.bit_length()])
        m.d.comb += self.count.eq(sum(counts[1:], counts[0]))
        return m


class FirstOne(wiring.Component):
    """Search for the lowest one among bits that have one item each.

    Parameters
    ----------
    width : number of bits, a power of two
    item_bits : bits of an item

    Members
    -------
    bits : In(width)
    items : In(width * item_bits)
        The item of bit 0 lowest.
    index : Out(log2(width))
        Number of the lowest one; of the last bit without any.
    item : Out(item_bits)
        The item of bit ``index``.
    more : Out(1)
        There are other ones.
    """

    def __init__(self, width: int, item_bits: int = 0):
        self.width, self.item_bits = width, item_bits
        super().__init__(
            {
                "bits": In(width),
                "items": In(width * item_bits),
                "index": Out(exact_log2(width)),
                "item": Out(item_bits),
                "more": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, items = Value.cast(self.bits), Value.cast(self.items)
        index: list[Value] = []
        others: list[Value] = []
        while len(bits) > 1:
            half, middle = len(bits) // 2, len(items) // 2
            low = Signal(name=f"low_{half}")
            kept_bits, kept_items = (
                Signal(half, name=f"bits_{half}"),
                Signal(middle, name=f"items_{half}"),
            )
            m.d.comb += [
                low.eq(bits[:half].any()),
                kept_bits.eq(Mux(low, bits[:half], bits[half:])),
                kept_items.eq(Mux(low, items[:middle], items[middle:])),
            ]
            index.insert(0, ~low)
            others.append(low & bits[half:].any())
            bits, items = kept_bits, kept_items
        m.d.comb += [
            self.index.eq(Cat(index)),
            self.item.eq(items),
            self.more.eq(Cat(others).any()),
        ]
        return m
