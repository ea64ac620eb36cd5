# SPDX-License-Identifier: Apache-2.0
"""Check of the packets that a node injects."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.noc.link import Flit
from phasecore.rtl.noc.routing import field, masks
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import Header

__all__ = ["FAULTS", "PacketGuard"]

FAULTS = ("destination", "length", "head", "tail", "network", "timeout")
"""Bits of ``Router.error``: unknown destination; length that does not fit the flits; flit outside
a packet; packet inside a packet; virtual network that is not the channel's; packet that stops."""

HEAD_FAULTS = ("destination", "length", "network")
"""Those that a head alone has."""


class PacketGuard(wiring.Component):
    """Lets only well-formed packets of one local channel into the NoC.

    A packet whose head is wrong is taken from the buffer and dropped. One that goes wrong after
    its head has left is ended with a cancelling flit, what is left of it is dropped.

    Members
    -------
    i_valid, i, i_taken : first flit in the buffer
    o_valid, o, o_taken : well-formed packets; steady until taken
    near : only with direct links, as :func:`place` has it
    inside : in a packet, whose flits must come in time
    error : strobes in the order of ``FAULTS``
    """

    def __init__(self, config: NocConfig, *, vc: int, header: Header, flit: Flit):
        self.config, self.vc, self.header = config, vc, header
        super().__init__(
            {
                **({"near": In(config.nodes)} if config.direct else {}),
                "i_valid": In(1),
                "i": In(flit),
                "i_taken": Out(1),
                "o_valid": Out(1),
                "o": Out(flit),
                "o_taken": In(1),
                "inside": Out(1),
                "error": Out(len(FAULTS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside, dropping, expired = self.inside, Signal(), Signal()
        remaining = Signal(self.header.length_bits)
        idle = Signal(range(self.config.timeout + 1))
        good, cut = Signal(), Signal()
        wrong = {name: Signal(name=f"wrong_{name}") for name in HEAD_FAULTS}
        cols, rows = (Signal(self.header.mask_bits, name=name) for name in ("cols", "rows"))
        if self.config.direct:
            named = masks(self.i, self.header)
            m.d.comb += [cols.eq(named[0]), rows.eq(named[1])]
        m.d.comb += [wrong[name].eq(value) for name, value in self._wrong(cols, rows).items()]
        m.d.comb += [
            good.eq(self.i.head & ~Cat(wrong.values()).any()),
            cut.eq(expired | self.i.head | (self.i.tail != (remaining == 1))),
            self.o.eq(self.i),
        ]
        with m.If(~inside):
            m.d.comb += [
                self.o_valid.eq(self.i_valid & good),
                self.i_taken.eq(self.i_valid & (self.o_taken | ~good)),
                self._strobe("head").eq(self.i_valid & ~self.i.head & ~dropping),
            ]
            with m.If(self.i_valid & self.i.head):
                earlier: list[Value] = []
                for name, value in wrong.items():
                    m.d.comb += self._strobe(name).eq(value & ~Cat(earlier).any())
                    earlier.append(value)
            with m.If(self.i_valid & ~good):
                m.d.sync += dropping.eq(~self.i.tail)
            with m.If(self.o_taken):
                m.d.sync += [
                    inside.eq(~self.i.tail),
                    remaining.eq(field(self.i, self.header, "length") - 1),
                    dropping.eq(0),
                ]
        with m.Else():
            m.d.comb += [
                self.o_valid.eq(self.i_valid | expired),
                self.o.head.eq(cut),
                self.o.tail.eq(cut | self.i.tail),
                self.i_taken.eq(self.o_taken & ~expired),
            ]
            with m.If(self.o_taken):
                m.d.sync += remaining.eq(remaining - 1)
                with m.If(cut):
                    m.d.comb += [
                        self._strobe("timeout").eq(expired),
                        self._strobe("tail").eq(~expired & self.i.head),
                        self._strobe("length").eq(~expired & ~self.i.head),
                    ]
                    m.d.sync += dropping.eq(expired | ~self.i.tail)
                with m.If(self.o.tail):
                    m.d.sync += [inside.eq(0), expired.eq(0)]
        with m.If(~inside | self.i_valid):
            m.d.sync += idle.eq(0)
        with m.Elif(~expired):
            m.d.sync += [idle.eq(idle + 1), expired.eq(idle == self.config.timeout)]
        return m

    def _strobe(self, name: str) -> Value:
        return self.error[FAULTS.index(name)]

    def _wrong(self, cols: Value, rows: Value) -> dict[str, Value]:
        """What can be wrong with a head; with direct links ``cols`` and ``rows`` are its masks."""
        config = self.config
        length, order, multicast = (
            field(self.i, self.header, name) for name in ("length", "order", "multicast")
        )
        return {
            "destination": self._far(cols, rows) if config.direct else self._unknown(),
            "length": (
                (length == 0) | (self.i.tail != (length == 1))
                | (multicast & (length > config.depth))
            ),
            "network": (order != config.order(self.vc)) | (multicast & order),
        }  # fmt: skip

    def _unknown(self) -> Value:
        """A destination outside the mesh, or none."""
        config = self.config
        multicast, x, y, cols, rows = (
            field(self.i, self.header, name) for name in ("multicast", "x", "y", "cols", "rows")
        )
        known = (x < config.width) & (y < config.height)
        empty = ~cols.any() | ~rows.any()
        outside = (cols >> config.width).any() | (rows >> config.height).any()
        return Mux(multicast, empty | outside, ~known)

    def _far(self, cols: Value, rows: Value) -> Value:
        """A destination without a link, or none."""
        width, height = self.config.width, self.config.height
        wanted = Cat(cols[:width] & row.replicate(width) for row in rows[:height])
        outside = cols[width:].any() | rows[height:].any()
        return ~wanted.any() | outside | (wanted & ~self.near).any()
