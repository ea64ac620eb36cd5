# SPDX-License-Identifier: Apache-2.0
"""Head flits of messages, and how data flits lie in words of memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import descriptor_word
from phasecore.rtl.spec.instructions import OBJECT, ROUTE
from phasecore.rtl.spec.messages import LINES_PER_FLIT, MESSAGE, MessageKind
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER

__all__ = [
    "EIGHT",
    "FOUR",
    "CreditHead",
    "CreditRoute",
    "Destination",
    "HeadFlit",
    "keep_bytes",
    "message_layout",
    "part_of",
    "spread",
]

FOUR = LINES_PER_FLIT[MessageKind.PARTIAL]
"""Lines of a data flit of 16-bit values: partial sums, scales and offsets."""

EIGHT = LINES_PER_FLIT[MessageKind.VECTOR]
"""Lines of a data flit of bytes."""


def message_layout() -> data.StructLayout:
    """The fields of ``MESSAGE``: what stands above the routers' header of a head flit."""
    return data.StructLayout({name: field.width for name, field in MESSAGE.items()})


class HeadFlit(data.StructLayout):
    """Data bits of a head flit; ``to`` is ``x`` and ``y``, or ``cols`` and ``rows``."""

    def __init__(self) -> None:
        super().__init__(
            {
                **{name: HEADER[name].width for name in ("multicast", "order", "length")},
                "to": HEADER.bits - HEADER["x"].low,
                "message": message_layout(),
            }
        )


class CreditRoute(data.StructLayout):
    """Where a credit goes: member of a route of the node at (x, y), on channel ``vc``."""

    def __init__(self) -> None:
        word = descriptor_word(OBJECT, 0)
        super().__init__({name: word[name].shape for name in ("vc", "x", "y", "route", "member")})


class Destination(data.StructLayout):
    """Where the vectors of a route go: word 0 of its descriptor without ``enable``."""

    def __init__(self) -> None:
        word = descriptor_word(ROUTE, 0)
        super().__init__({name: field.shape for name, field in word if name != "enable"})


class CreditHead(wiring.Component):
    """The one flit of a CREDIT message (combinational).

    Members
    -------
    route : In(CreditRoute)
    count : In(8)
        Credits, 1..255.
    head : Out(HeadFlit)
    """

    def __init__(self, noc: NocConfig):
        self.noc = noc
        super().__init__({"route": In(CreditRoute()), "count": In(8), "head": Out(HeadFlit())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head, route = self.head, self.route
        m.d.comb += [
            head.order.eq(route.vc >= self.noc.xy_channels),
            head.length.eq(1),
            head.to.eq(Cat(route.x, route.y)),
            head.message.kind.eq(MessageKind.CREDIT),
            head.message.object.eq(route.route),
            head.message.start.eq(route.member),
            head.message.value.eq(self.count),
        ]
        return m


def part_of(word: Value, place: Value, width: int) -> Value:
    """Part ``place`` of a word that consists of parts of ``width`` bits."""
    return word.word_select(place, width) if len(place) else word[:width]


def spread(mask: Value, place: Value, lanes: int) -> Value:
    """``mask`` as part ``place`` of a mask of ``lanes`` bits."""
    return (Cat(mask, Const(0, lanes - len(mask))) << (place * len(mask)))[:lanes]


def keep_bytes(word: Value, trim: Value, *, four: Value) -> Value:
    """A data flit without its upper ``trim`` lines: of two bytes with ``four``, else of one."""
    keep = (Const(0xFF, 8) >> Mux(four, trim << 1, trim))[:8]
    return word & Cat(bit.replicate(8) for bit in keep)
