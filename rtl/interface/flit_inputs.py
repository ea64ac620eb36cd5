# SPDX-License-Identifier: Apache-2.0
"""Flits from a link, one of all channels in turn."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.queue import Queue
from phasecore.rtl.noc.arbiter import Arbiter
from phasecore.rtl.noc.link import Flit, Link
from phasecore.rtl.spec.noc import NocConfig

__all__ = ["FlitInputs"]


class FlitInputs(wiring.Component):
    """Holds the flits of each virtual channel and takes one per cycle, by round robin.

    Members
    -------
    link : In(Link)
    first : Out(Flit), one per channel
        What the channel's buffer offers, if anything.
    blocked : In(channels)
        That flit cannot be taken now.
    taken : Out(channels)
        At most one bit: the flit of this channel is taken.
    flit : Out(Flit)
        That flit.
    waiting : Out(1)
        There are flits.
    """

    def __init__(self, noc: NocConfig):
        self.noc = noc
        channels = noc.virtual_channels
        super().__init__(
            {
                "link": In(Link(noc)),
                "first": Out(Flit(noc)).array(channels),
                "blocked": In(channels),
                "taken": Out(channels),
                "flit": Out(Flit(noc)),
                "waiting": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        link, shape = self.link, Flit(self.noc)
        channels = range(self.noc.virtual_channels)
        queues = [Queue(shape, depth=self.noc.depth) for _ in channels]
        m.submodules.arbiter = arbiter = Arbiter(len(channels))
        for vc, queue in enumerate(queues):
            m.submodules[f"queue_{vc}"] = queue
            m.d.comb += [
                # The sender's credits see to it that there is room.
                queue.i.valid.eq(link.valid & (link.vc == vc)),
                queue.i.payload.eq(link.flit),
                self.first[vc].eq(queue.o.payload),
                arbiter.request[vc].eq(queue.o.valid & ~self.blocked[vc]),
                queue.o.ready.eq(self.taken[vc]),
            ]
        m.d.comb += [
            self.taken.eq(arbiter.grant),
            arbiter.used.eq(self.taken.any()),
            link.credit.eq(self.taken),
            self.waiting.eq(Cat(queue.o.valid for queue in queues).any()),
            Value.cast(self.flit).eq(reduce(or_, (
                Value.cast(self.first[vc]) & self.taken[vc].replicate(shape.size)
                for vc in channels
            ))),
        ]  # fmt: skip
        return m
