# SPDX-License-Identifier: Apache-2.0
"""Input channel of a router: buffer, choice of outputs, claims of their channels."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.lib.queue import Queue
from phasecore.rtl.noc.link import Flit
from phasecore.rtl.noc.packet_guard import FAULTS, PacketGuard
from phasecore.rtl.noc.routing import Port, claim_order, field, masks, place, reachable
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER, Header

__all__ = ["InputChannel"]


class InputChannel(wiring.Component):
    """Buffer and packet state of one virtual channel of one input port.

    The first flit in the buffer asks for its outputs with ``request``; ``grant`` says which it
    gets. A packet claims channel ``vc`` of each of its outputs with its head and holds it until
    its tail has left. A packet with several outputs here claims them in ``claim_order``, each
    only with credits for all its flits, and its first flit leaves when it has them all. So a
    packet that holds several channels and has begun to leave waits for nobody. A packet of a
    single flit holds nothing: it leaves by each output as it can.

    Members
    -------
    x, y, near, to : as :func:`place` has them
    write, i : a flit comes
    o : first flit of the buffer
    free, credits : per output, channel ``vc`` is not held; its credits
    request, grant, send, used : per output: asks, may have, the flit leaves, the grant was used
    claim, release : per output, channel ``vc`` is held, or free, from the next cycle on
    pop : a buffer becomes free (one credit)
    busy : there is a flit, or time runs for the next
    error : strobes in the order of ``FAULTS``, only at the local port
    """

    def __init__(
        self, config: NocConfig, *, port: int, vc: int,
        header: Header = HEADER, bits: int | None = None,
    ):  # fmt: skip
        self.config, self.port, self.vc, self.header = config, port, vc, header
        self.outputs = reachable(config, port, vc)
        self.flit = Flit(config, bits)
        ports = config.ports
        super().__init__(
            {
                **place(config, header),
                "write": In(1),
                "i": In(self.flit),
                "o": Out(self.flit),
                "free": In(ports),
                "credits": In(data.ArrayLayout(config.credit_bits, ports)),
                "request": Out(ports),
                "grant": In(ports),
                "send": Out(ports),
                "used": Out(ports),
                "claim": Out(ports),
                "release": Out(ports),
                "pop": Out(1),
                "busy": Out(1),
                "error": Out(len(FAULTS)),
            }
        )
        self.queue = Queue(self.flit, depth=config.depth)
        self.present = Signal()
        self.active, self.holding = Signal(), Signal()
        self.held, self.served, self.claimed = Signal(ports), Signal(ports), Signal(ports)
        self.route, self.need = Signal(ports), Signal(ports)
        self.ready = [Signal(name=f"ready_{port}") for port in range(ports)]
        self.at_x, self.at_y = Signal(header.mask_bits), Signal(header.mask_bits)
        self.wide = Signal()
        self.done = Signal()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._buffer(m)
        m.d.comb += [
            self.route.eq(Mux(self.active, self.held, self._outputs(m))),
            self.need.eq(self.route & ~self.served & ~self.claimed),
        ]
        if not self.config.order(self.vc):
            several = (self.route & (self.route - 1)).any()
            m.d.comb += self.wide.eq(self.present & ~self.active & several & ~self.o.tail)
        self._request(m)
        self._leave(m)
        return m

    def _buffer(self, m: Module) -> None:
        """Buffer of the channel, guarded at the local port."""
        m.submodules.queue = queue = self.queue
        m.d.comb += [
            # The sender's credits see to it that there is room.
            queue.i.valid.eq(self.write),
            queue.i.payload.eq(self.i),
            queue.o.ready.eq(self.pop),
        ]
        if self.port != Port.LOCAL:
            m.d.comb += [
                self.o.eq(queue.o.payload), self.present.eq(queue.o.valid), self.pop.eq(self.done),
                self.busy.eq(self.present),
            ]  # fmt: skip
            return
        m.submodules.guard = guard = PacketGuard(
            self.config, vc=self.vc, header=self.header, flit=self.flit
        )
        m.d.comb += [
            guard.i.eq(queue.o.payload),
            guard.i_valid.eq(queue.o.valid),
            self.pop.eq(guard.i_taken),
            self.o.eq(guard.o),
            self.present.eq(guard.o_valid),
            guard.o_taken.eq(self.done),
            self.error.eq(guard.error),
            self.busy.eq(guard.i_valid | guard.inside),
        ]
        if self.config.direct:
            m.d.comb += guard.near.eq(self.near)

    def _outputs(self, m: Module) -> Value:
        """Outputs of the packet whose head is first in the buffer, as bits."""
        if not self.config.direct:
            return self._dimension_order(m)
        if self.port != Port.LOCAL:
            return Const(1 << Port.LOCAL, self.config.ports)
        cols, rows = masks(self.o, self.header)
        own = cols.bit_select(self.x, 1) & rows.bit_select(self.y, 1)
        links = (to.linked & cols.bit_select(to.x, 1) & rows.bit_select(to.y, 1) for to in self.to)
        return self._possible(dict(enumerate((own, *links))))

    def _dimension_order(self, m: Module) -> Value:
        """The same in a mesh: along one dimension, then along the other."""
        x, y = field(self.o, self.header, "x"), field(self.o, self.header, "y")
        east, west, north, south = x > self.x, x < self.x, y > self.y, y < self.y
        if self.config.order(self.vc):
            east, west = east & ~(north | south), west & ~(north | south)
        else:
            north, south = north & ~(east | west), south & ~(east | west)
        here = (x == self.x) & (y == self.y)
        single = self._possible({
            Port.LOCAL: here,
            Port.NORTH: north, Port.EAST: east, Port.SOUTH: south, Port.WEST: west,
        })  # fmt: skip
        if self.config.order(self.vc):
            return single
        cols, rows = field(self.o, self.header, "cols"), field(self.o, self.header, "rows")
        at_x, at_y = self.at_x, self.at_y
        m.d.comb += [at_x.eq(1 << self.x), at_y.eq(1 << self.y)]
        column = (cols & at_x).any()
        several = self._possible({
            Port.LOCAL: column & (rows & at_y).any(),
            Port.NORTH: column & (rows & ~(at_y | (at_y - 1))).any(),
            Port.EAST: (cols & ~(at_x | (at_x - 1))).any(),
            Port.SOUTH: column & (rows & (at_y - 1)).any(),
            Port.WEST: (cols & (at_x - 1)).any(),
        })  # fmt: skip
        return Mux(field(self.o, self.header, "multicast"), several, single)

    def _possible(self, to: dict[int, Value]) -> Value:
        """Outputs as bits, without those that cannot be reached from here."""
        ports = range(self.config.ports)
        return Cat(to[port] if port in self.outputs else Const(0) for port in ports)

    def _request(self, m: Module) -> None:
        length = field(self.o, self.header, "length")
        missing: list[Value] = []
        for port in claim_order(self.config):
            if port not in self.outputs:
                continue
            credits, ready = self.credits[port], self.ready[port]
            m.d.comb += ready.eq((credits != 0) & (self.holding | self.free[port]))
            if not self.config.order(self.vc):
                # A grant that cannot be used would keep others from the output for ever.
                with m.If(self.wide):
                    m.d.comb += ready.eq(
                        self.free[port] & (credits != 0) & (credits >= length)
                        & ~Cat(missing).any()
                    )  # fmt: skip
                missing.append(self.need[port] & ~ready)
            m.d.comb += self.request[port].eq(self.present & self.need[port] & ready)

    def _leave(self, m: Module) -> None:
        """What the grants of this cycle do."""
        refused = self.need & ~self.grant
        before: list[Value] = []
        for port in claim_order(self.config):
            blocked = Cat(before).any() if before else Const(0)
            m.d.comb += self.used[port].eq(self.grant[port] & ~(self.wide & blocked))
            before.append(refused[port])
        with m.If(self.wide & refused.any()):
            m.d.comb += self.claim.eq(self.used)
            m.d.sync += self.claimed.eq(self.claimed | self.used)
        with m.Else():
            m.d.comb += [
                self.send.eq(self.grant),
                self.claim.eq(Mux(self.o.tail, 0, self.grant)),
                self.release.eq(Mux(self.o.tail, self.grant, 0)),
            ]
        left = self.route & ~(self.served | self.send)
        m.d.comb += self.done.eq(self.send.any() & ~left.any())
        with m.If(self.send.any()):
            m.d.sync += [
                self.held.eq(self.route),
                self.claimed.eq(0),
                self.served.eq(Mux(self.done, 0, self.served | self.send)),
                self.active.eq(~(self.done & self.o.tail)),
                self.holding.eq(~self.o.tail | (self.holding & ~self.done)),
            ]
