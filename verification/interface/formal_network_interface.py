# SPDX-License-Identifier: Apache-2.0
"""What a network interface promises its router: credits of the links, whole packets."""

from amaranth.hdl import Assert, Assume, Cover, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import connect, flipped

from phasecore.rtl.interface.network_interface import NetworkInterface
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.messages import MESSAGE, PAYLOAD_FLITS, MessageKind
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER

__all__ = ["NetworkContract"]


class NetworkContract(wiring.Component):
    """A NetworkInterface whose links are watched; the router's side keeps its own promises.

    Sent: never a flit without a credit; packets of one head, as many flits as it says and one
    tail, on one channel, not interleaved; no longer than the NoC takes. Received: never more
    flits taken than have come, so that credits neither over- nor underflow.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        self.noc = noc
        self._component = NetworkInterface(config, noc)
        super().__init__(self._component.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.component = component = self._component
        connect(m, flipped(self), component)
        m.d.comb += Assume(~ResetSignal())
        send = component.i.payload
        with m.If(component.i.valid):
            # The controller refuses others.
            m.d.comb += [
                Assume(send.length != 0), Assume(send.first_line[:3] == 0),
                Assume(send.first_line + send.length <= component.config.lines),
            ]  # fmt: skip
        with m.If(component.grants.valid):
            m.d.comb += Assume(component.grants.payload.count != 0)
        self._credits(m)
        self._packets(m)
        self._router(m)
        return m

    def _credits(self, m: Module) -> None:
        """Flits in the buffers on either side, by channel."""
        depth = self.noc.depth
        for vc in range(self.noc.virtual_channels):
            for name, link, ours in (("out", self.link_out, True), ("in", self.link_in, False)):
                held = Signal(range(depth + 2), name=f"held_{name}_{vc}")
                come, gone = link.valid & (link.vc == vc), link.credit[vc]
                m.d.sync += held.eq(held + come - gone)
                room, there = held < depth, held != 0
                with m.If(come):
                    m.d.comb += Assert(room) if ours else Assume(room)
                with m.If(gone):
                    m.d.comb += Assume(there) if ours else Assert(there)

    def _packets(self, m: Module) -> None:
        """Packets on the link out."""
        link, header = self.link_out, HEADER["length"]
        length = link.flit.data[header.low : header.low + header.width]
        kind = link.flit.data[MESSAGE["kind"].low : MESSAGE["kind"].low + MESSAGE["kind"].width]
        several = link.flit.data[HEADER["multicast"].low]
        most = Mux(several, min(PAYLOAD_FLITS, self.noc.depth - 1), PAYLOAD_FLITS)
        left, channel = Signal(header.width), Signal.like(link.vc)
        with m.If(link.valid):
            m.d.sync += channel.eq(link.vc)
            with m.If(link.flit.head):
                m.d.sync += left.eq(length - 1)
                m.d.comb += [
                    Assert(left == 0),
                    Assert(link.flit.tail == (length == 1)),
                    Assert((kind == MessageKind.CREDIT) == (length == 1)),
                    Assert(length <= most + 1),
                    Cover(several),
                ]
            with m.Else():
                m.d.sync += left.eq(left - 1)
                m.d.comb += [
                    Assert(left != 0),
                    Assert(link.flit.tail == (left == 1)),
                    Assert(link.vc == channel),
                    Cover(link.flit.tail),
                ]

    def _router(self, m: Module) -> None:
        """Packets on the link in: a router lets no others through, but may cancel them."""
        link = self.link_in
        for vc in range(self.noc.virtual_channels):
            inside = Signal(name=f"inside_{vc}")
            with m.If(link.valid & (link.vc == vc)):
                m.d.sync += inside.eq(~link.flit.tail)
                m.d.comb += Assume(inside | link.flit.head)
                with m.If(inside & link.flit.head):
                    m.d.comb += Assume(link.flit.tail)
