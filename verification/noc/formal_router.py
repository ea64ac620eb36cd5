# SPDX-License-Identifier: Apache-2.0
"""The router's promises, stated beside a narrow one: one byte of header, two buffers."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.noc.arbiter import Arbiter
from phasecore.rtl.noc.link import Link
from phasecore.rtl.noc.router import Router
from phasecore.rtl.noc.routing import PORTS, Port, field, reachable
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import Header

__all__ = ["NARROW", "ArbiterContract", "RouterContract"]

NARROW = Header(length_bits=2, coordinate_bits=2, mask_bits=2)
TAG = NARROW.bits
"""Data bit that marks one flit; the router does not look at it."""


class ArbiterContract(wiring.Component):
    """Who asks all the time is served after at most ``n - 1`` others (``bound`` with ages)."""

    def __init__(self, n: int, age_bits: int = 0):
        self.arbiter = Arbiter(n, age_bits)
        super().__init__(dict(self.arbiter.signature.members))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        n = self.arbiter.n
        m.submodules.arbiter = self.arbiter
        connect(m, flipped(self), self.arbiter)
        bound = n - 1 if not self.arbiter.age_bits else Arbiter.GUARD * n
        m.d.comb += [
            Assume(~ResetSignal()),
            Assume(~self.used | self.grant.any()),
            Assert((self.grant & (self.grant - 1)) == 0),
            Assert((self.grant & ~self.request) == 0),
            Assert(self.grant.any() == self.request.any()),
        ]
        for index in range(n):
            passed = Signal(range(bound + 2), name=f"passed_{index}")
            with m.If(~self.request[index] | (self.used & self.grant[index])):
                m.d.sync += passed.eq(0)
            with m.Elif(self.used):
                m.d.sync += passed.eq(passed + 1)
            m.d.comb += Assert(passed <= bound)
            if not self.arbiter.age_bits:
                # Inductive: how many may come before it, and how many have, are never more.
                later = self.arbiter.later
                before = Mux(later[index], sum(later[:index]), sum(later) + index)
                m.d.comb += [
                    Assert(passed + before <= n - 1),
                    Assert(((later | (later - 1)) + 1)[:n] == 0),
                ]
        m.d.comb += Cover(self.grant[n - 1] & self.used)
        return m


class RouterContract(wiring.Component):
    """A router and neighbours that keep to their credits.

    Always, inductive (``trace`` false): credits and buffers add up to the depth, so none is lost,
    doubled or overdrawn; an output channel has at most one holder, and its flits come from one
    input from head to tail. With ``trace``, for some cycles: packets are whole, and one marked flit
    that comes in at ``port`` leaves in its turn, once, at the outputs that its packet's header
    names.
    """

    def __init__(self, config: NocConfig, *, port: int = Port.WEST, trace: bool = True):
        self.config, self.port, self.trace = config, port, trace
        link = Link(config, TAG + 1)
        super().__init__(
            {
                "x": In(NARROW.coordinate_bits),
                "y": In(NARROW.coordinate_bits),
                "i": In(link).array(PORTS),
                "o": Out(link).array(PORTS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.router = router = Router(config, header=NARROW, bits=TAG + 1)
        steady = Signal(2 * NARROW.coordinate_bits)
        started = Signal()
        here = Cat(self.x, self.y)
        m.d.sync += [started.eq(1), steady.eq(here)]
        m.d.comb += [
            router.x.eq(self.x), router.y.eq(self.y), Assume(~ResetSignal()),
            Assume(~started | (steady == here)),
            Assume((self.x < config.width) & (self.y < config.height)),
        ]  # fmt: skip
        for port in range(PORTS):
            connect(m, flipped(self.i[port]), router.i[port])
            connect(m, router.o[port], flipped(self.o[port]))
            for vc in range(config.virtual_channels):
                self._credits(m, router, port, vc)
                if self.trace:
                    self._whole(m, router, port, vc)
                else:
                    self._held(m, router, port, vc)
        if self.trace:
            self._neighbours(m, router)
            self._marked(m, router)
        return m

    def _credits(self, m: Module, router: Router, port: int, vc: int) -> None:
        """Buffers of both sides of a channel add up."""
        depth = self.config.depth
        channel = router.channels[port, vc]
        mine = Signal(range(depth + 1), init=depth, name=f"mine_{port}_{vc}")
        theirs = Signal(range(depth + 1), name=f"theirs_{port}_{vc}")
        sent = self.o[port].valid & (self.o[port].vc == vc)
        back = self.o[port].credit[vc]
        m.d.sync += [
            mine.eq(mine - channel.write + self.i[port].credit[vc]),
            theirs.eq(theirs + sent - back),
        ]
        m.d.comb += [
            Assume(~channel.write | (mine != 0)),
            Assume(~back | (theirs != 0)),
            Assume(~self.i[port].valid | (self.i[port].vc < self.config.virtual_channels)),
            Assert(mine + channel.queue.level == depth),
            Assert(theirs + router.credits[port].count[vc] == depth),
            Assert(~self.i[port].credit[vc] | (channel.queue.level != 0)),
        ]

    def _held(self, m: Module, router: Router, port: int, vc: int) -> None:
        """An output channel has at most one holder, and only its flits until its tail.

        Inductive: ``taken`` says that some input channel holds it, and what is inside a packet is
        the holder's.
        """
        holders = Signal(PORTS, name=f"holders_{port}_{vc}")
        for source in range(PORTS):
            channel = router.channels[source, vc]
            gone = channel.served[port] & channel.o.tail & channel.present
            m.d.comb += [
                holders[source].eq(
                    Mux(
                        channel.active,
                        channel.holding & channel.held[port] & ~gone,
                        channel.claimed[port],
                    )
                ),
                Assert(channel.active | ~(channel.holding | channel.served.any())),
                Assert(~channel.active | ~channel.claimed.any()),
                Assert((channel.served & ~channel.held) == 0),
                Assert(~channel.active | channel.holding | (channel.present & channel.o.tail)),
                Assert(~channel.served.any() | channel.present),
                Assert(
                    ~channel.claimed.any()
                    | (
                        channel.wide
                        & channel.need.any()
                        & ((channel.claimed & ~channel.route) == 0)
                    )
                ),
            ]
        inside = Signal(name=f"inside_{port}_{vc}")
        owner = Signal(PORTS, name=f"owner_{port}_{vc}")
        sent = self.o[port].valid & (self.o[port].vc == vc)
        who = Cat(router.channels[source, vc].send[port] for source in range(PORTS))
        with m.If(sent):
            m.d.sync += [inside.eq(~self.o[port].flit.tail), owner.eq(who)]
        m.d.comb += [
            Assert((holders & (holders - 1)) == 0),
            Assert(router.taken[port][vc] == holders.any()),
            Assert(~inside | (holders.any() & (owner == holders))),
            Assert(~sent | ((who != 0) & ((who & (who - 1)) == 0))),
            Assert(~sent | ~inside | (owner == who)),
        ]

    def _whole(self, m: Module, router: Router, port: int, vc: int) -> None:
        """Packets on an output channel are whole."""
        inside = Signal(name=f"inside_{port}_{vc}")
        owner = Signal(PORTS, name=f"owner_{port}_{vc}")
        sent = self.o[port].valid & (self.o[port].vc == vc)
        who = Cat(router.channels[source, vc].send[port] for source in range(PORTS))
        with m.If(sent):
            m.d.sync += [inside.eq(~self.o[port].flit.tail), owner.eq(who)]
            m.d.comb += [
                Assert((who != 0) & ((who & (who - 1)) == 0)),
                Assert(inside | self.o[port].flit.head),
                Assert(~inside | (owner == who)),
                Assert(~inside | ~self.o[port].flit.head | self.o[port].flit.tail),
            ]

    def _neighbours(self, m: Module, router: Router) -> None:
        """What comes from other routers is well-formed and goes on as dimension order says."""
        for (port, vc), channel in router.channels.items():
            if port == Port.LOCAL:
                continue
            inside = Signal(name=f"coming_{port}_{vc}")
            flit = channel.i
            with m.If(channel.write):
                m.d.sync += inside.eq(~flit.tail)
                m.d.comb += Assume(flit.head == ~inside)
                with m.If(flit.head):
                    expected = self._outputs(flit, vc)
                    legal = Cat(
                        expected[output] if output in reachable(self.config, port, vc) else 0
                        for output in range(PORTS)
                    )
                    m.d.comb += [
                        Assume(legal == expected),
                        Assume(legal != 0),
                        Assume(~field(flit, NARROW, "multicast") | (
                            (field(flit, NARROW, "length") <= self.config.depth)
                            & (field(flit, NARROW, "length") != 0)
                        )),
                    ]  # fmt: skip

    def _outputs(self, flit, vc: int):
        """Outputs of a packet by its header, in the order of ``Port``."""
        x, y, cols, rows = (field(flit, NARROW, name) for name in ("x", "y", "cols", "rows"))
        later_x, later_y = self.config.order(vc), not self.config.order(vc)
        go_x = (y == self.y) if later_x else 1
        go_y = (x == self.x) if later_y else 1
        single = Cat(
            (x == self.x) & (y == self.y), (y > self.y) & go_y, (x > self.x) & go_x,
            (y < self.y) & go_y, (x < self.x) & go_x,
        )  # fmt: skip
        column = cols.bit_select(self.x, 1)
        size = range(NARROW.mask_bits)
        several = Cat(
            column & rows.bit_select(self.y, 1),
            column & Cat(rows[k] & (k > self.y) for k in size).any(),
            Cat(cols[k] & (k > self.x) for k in size).any(),
            column & Cat(rows[k] & (k < self.y) for k in size).any(),
            Cat(cols[k] & (k < self.x) for k in size).any(),
        )  # fmt: skip
        return Mux(field(flit, NARROW, "multicast"), several, single)

    def _marked(self, m: Module, router: Router) -> None:
        """One marked flit on channel 0 of ``port`` against its place in the queue."""
        channel = router.channels[self.port, 0]
        inside, marked, gone = Signal(), Signal(), Signal()
        ahead = Signal(range(self.config.depth + 1))
        packet, expected, left = Signal(PORTS), Signal(PORTS), Signal(PORTS)
        route = Mux(inside, packet, self._outputs(channel.i, 0))
        tag = channel.i.data[TAG]
        for port, vc in router.channels:
            if (port, vc) != (self.port, 0):
                other = router.channels[port, vc]
                m.d.comb += Assume(~(other.write & other.i.data[TAG]))
        with m.If(channel.write):
            m.d.sync += [inside.eq(~channel.i.tail), packet.eq(route)]
            m.d.comb += Assume(~(tag & marked))
            with m.If(tag):
                m.d.sync += [
                    marked.eq(1), expected.eq(route), ahead.eq(channel.queue.level - channel.pop),
                ]  # fmt: skip
        out = Cat(self.o[port].valid & self.o[port].flit.data[TAG] for port in range(PORTS))
        waiting = marked & ~gone
        m.d.sync += left.eq(left | out)
        with m.If(waiting & channel.pop):
            with m.If(ahead == 0):
                m.d.sync += gone.eq(1)
                m.d.comb += Assert((left | out) == expected)
            with m.Else():
                m.d.sync += ahead.eq(ahead - 1)
        with m.If(~waiting | (ahead != 0)):
            m.d.comb += Assert(out == 0)
        m.d.comb += [Assert((out & (left | ~expected)) == 0), Cover(gone & (ahead == 0))]
