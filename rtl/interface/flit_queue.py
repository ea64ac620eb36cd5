# SPDX-License-Identifier: Apache-2.0
"""Flits on their way to a link."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.link_credits import LinkCredits
from phasecore.rtl.lib.queue import Queue
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["FLITS", "ChannelFlit", "FlitQueue"]

FLITS = 2
"""Enough for one flit per cycle: who fills the queue sees what leaves in the same cycle."""


class ChannelFlit(data.StructLayout):
    """A flit and its virtual channel."""

    def __init__(self, noc: NocConfig):
        super().__init__({"head": 1, "tail": 1, "data": noc.flit_bits, "vc": noc.vc_bits})


class FlitQueue(wiring.Component):
    """Sends flits in order, each with a credit of its channel.

    Members
    -------
    i : In(stream of ChannelFlit)
        Ready while ``left`` is below ``FLITS``.
    left : Out(0..FLITS)
        Flits that wait and do not leave in this cycle.
    waiting : Out(1)
        Flits wait.
    link : Out(Link)
    """

    i: stream.Interface

    def __init__(self, noc: NocConfig):
        self.noc = noc
        super().__init__(
            {
                "i": In(stream.Signature(ChannelFlit(noc))),
                "left": Out(range(FLITS + 1)),
                "waiting": Out(1),
                "link": Out(Link(noc)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        noc, link = self.noc, self.link
        m.submodules.queue = queue = Queue(ChannelFlit(noc), depth=FLITS, refill=True)
        m.submodules.credits = credits = LinkCredits(noc.virtual_channels, noc.depth)
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        flit = queue.o.payload
        m.d.comb += [
            queue.o.ready.eq(credits.count[flit.vc] != 0),
            credits.sent.eq(link.valid << flit.vc),
            credits.returned.eq(link.credit),
            self.left.eq(queue.level - link.valid),
            self.waiting.eq(queue.o.valid),
            link.valid.eq(queue.o.valid & queue.o.ready),
            link.vc.eq(flit.vc),
            *(link.flit[name].eq(flit[name]) for name in ("head", "tail", "data")),
        ]
        return m
