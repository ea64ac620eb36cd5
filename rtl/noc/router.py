# SPDX-License-Identifier: Apache-2.0
"""Wormhole router: one cycle per hop, static virtual channels, multicast, checked injection.

The same router serves a mesh and, with other ports and another choice of outputs, a NoC of
direct links, where the packets of links only go to the local port.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.link_credits import LinkCredits
from phasecore.rtl.noc.arbiter import Arbiter
from phasecore.rtl.noc.input_channel import InputChannel
from phasecore.rtl.noc.link import Link
from phasecore.rtl.noc.packet_guard import FAULTS
from phasecore.rtl.noc.routing import Port, place
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER, Header

__all__ = ["Router"]


class Router(wiring.Component):
    """Router of a mesh, or switch between a node and its direct links.

    A packet stays on the virtual channel of its injection, which its header's ``order`` must fit.
    Every output chooses among all input channels, so two channels of one input can leave in one
    cycle. Outputs depend on registers only.

    Members
    -------
    x, y, near, to : as :func:`place` has them
    i, o : links in the order of ``Port``; ``i[0]`` injects, ``o[0]`` ejects
    busy : registers may change although nothing comes in
    error : strobes in the order of ``FAULTS``: a packet was dropped or cancelled
    errors : how many, saturating
    """

    i: list[wiring.PureInterface]
    o: list[wiring.PureInterface]

    def __init__(self, config: NocConfig, *, header: Header = HEADER, bits: int | None = None):
        self.config, self.header, self.bits = config, header, bits
        link = Link(config, bits)
        super().__init__(
            {
                **place(config, header),
                "i": In(link).array(config.ports),
                "o": Out(link).array(config.ports),
                "busy": Out(1),
                "error": Out(len(FAULTS)),
                "errors": Out(16),
            }
        )
        self.channels = {
            (port, vc): InputChannel(config, port=port, vc=vc, header=header, bits=bits)
            for port in range(config.ports)
            for vc in range(config.virtual_channels)
        }
        self.credits = [
            LinkCredits(config.virtual_channels, config.depth) for _ in range(config.ports)
        ]
        self.taken = [
            Signal(config.virtual_channels, name=f"taken_{port}") for port in range(config.ports)
        ]
        # Of an output channel: a flit is sent, it is claimed, it is released.
        self.strobes = {
            (port, vc): [
                Signal(name=f"{name}_{port}_{vc}") for name in ("send", "claim", "release")
            ]
            for port in range(config.ports)
            for vc in range(config.virtual_channels)
        }
        self.now = Signal(config.age_bits)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.config.arbiter == "age":
            m.d.sync += self.now.eq(self.now + 1)
        for (port, vc), channel in self.channels.items():
            m.submodules[f"channel_{port}_{vc}"] = channel
            link = self.i[port]
            m.d.comb += [
                *(getattr(channel, name).eq(getattr(self, name)) for name in place(self.config)),
                channel.write.eq(link.valid & (link.vc == vc)),
                channel.i.eq(link.flit),
                link.credit[vc].eq(channel.pop),
            ]
            if self.config.arbiter == "age" and port == Port.LOCAL:
                m.d.comb += channel.i.birth.eq(self.now)
            m.d.comb += [
                statement
                for output in range(self.config.ports)
                for statement in (
                    channel.free[output].eq(~self.taken[output][vc]),
                    channel.credits[output].eq(self.credits[output].count[vc]),
                )
            ]
        for output in range(self.config.ports):
            self._output(m, output)
        now, total = Signal(range(self.config.virtual_channels + 1)), Signal(17)
        self._count(m, now, total)
        by_age = self.config.arbiter == "age"
        m.d.comb += self.busy.eq(
            by_age | Cat(channel.busy for channel in self.channels.values()).any()
        )
        return m

    def _output(self, m: Module, output: int) -> None:
        """Arbiter, multiplexer, credits of one output."""
        config, link = self.config, self.o[output]
        sources = [
            (vc, channel) for (_, vc), channel in self.channels.items() if output in channel.outputs
        ]
        age_bits = config.age_bits if config.arbiter == "age" else 0
        arbiter = Arbiter(len(sources), age_bits)
        m.submodules[f"arbiter_{output}"] = arbiter
        for index, (_, channel) in enumerate(sources):
            m.d.comb += [
                arbiter.request[index].eq(channel.request[output]),
                channel.grant[output].eq(arbiter.grant[index]),
            ]
            if age_bits:
                m.d.comb += arbiter.age[index].eq(self.now - channel.o.birth)
        m.d.comb += [
            arbiter.used.eq(Cat(channel.used[output] for _, channel in sources).any()),
            link.valid.eq(Cat(channel.send[output] for _, channel in sources).any()),
            Value.cast(link.flit).eq(reduce(or_, (
                Value.cast(channel.o) & arbiter.grant[index].replicate(channel.flit.size)
                for index, (_, channel) in enumerate(sources)
            ))),
        ]  # fmt: skip
        m.submodules[f"credits_{output}"] = credits = self.credits[output]
        for vc in range(config.virtual_channels):
            members = [channel for other, channel in sources if other == vc]
            send, claim, release = self.strobes[output, vc]
            m.d.comb += [
                send.eq(Cat(channel.send[output] for channel in members).any()),
                claim.eq(Cat(channel.claim[output] for channel in members).any()),
                release.eq(Cat(channel.release[output] for channel in members).any()),
            ]
            m.d.comb += [credits.sent[vc].eq(send), credits.returned[vc].eq(link.credit[vc])]
            with m.If(claim):
                m.d.sync += self.taken[output][vc].eq(1)
            with m.If(release):
                m.d.sync += self.taken[output][vc].eq(0)
            with m.If(send):
                m.d.comb += link.vc.eq(vc)

    def _count(self, m: Module, now: Signal, total: Signal) -> None:
        """Errors of all local channels."""
        local = [self.channels[Port.LOCAL, vc] for vc in range(self.config.virtual_channels)]
        m.d.comb += [
            self.error.eq(reduce(or_, (channel.error for channel in local))),
            now.eq(sum(channel.error.any() for channel in local)),
            total.eq(self.errors + now),
        ]
        m.d.sync += self.errors.eq(Mux(total[16], 0xFFFF, total))
