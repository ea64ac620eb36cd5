# SPDX-License-Identifier: Apache-2.0
"""Wormhole router: one cycle per hop, static virtual channels, multicast, checked injection.

The same router serves a mesh and, with other ports and another choice of outputs, a fabric of
direct links, where the packets of links only go to the local port.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.noc import FabricConfig
from phasecore.rtl.spec.packets import HEADER, Header

__all__ = ["ERRORS", "PORTS", "Arbiter", "Flit", "InputChannel", "Link", "PacketGuard", "Port",
           "Router", "place", "reachable"]  # fmt: skip


class Port:
    """Ports of a mesh's router; a link to the north goes to the router at y + 1.

    With direct links port k + 1 belongs to neighbour k.
    """

    LOCAL, NORTH, EAST, SOUTH, WEST = range(5)


PORTS = 5
"""Of a mesh's router; in general ``FabricConfig.ports``."""

OPPOSITE = {
    Port.NORTH: Port.SOUTH, Port.SOUTH: Port.NORTH, Port.EAST: Port.WEST, Port.WEST: Port.EAST,
}  # fmt: skip

CLAIM_ORDER = (Port.EAST, Port.WEST, Port.NORTH, Port.SOUTH, Port.LOCAL)
"""A multicast claims its outputs in this order, so that claims never wait in a circle."""

ERRORS = ("destination", "length", "head", "tail", "network", "timeout")
"""Bits of ``Router.error``: unknown destination; length that does not fit the flits; flit outside
a packet; packet inside a packet; virtual network that is not the channel's; packet that stops."""


def reachable(config: FabricConfig, port: int, vc: int) -> tuple[int, ...]:
    """Outputs that a flit of channel ``vc`` at input ``port`` may take."""
    if port == Port.LOCAL:
        return tuple(range(config.ports))
    if config.direct:
        return (Port.LOCAL,)
    straight = (Port.LOCAL, OPPOSITE[port])
    turns = (Port.EAST, Port.WEST) if config.order(vc) else (Port.NORTH, Port.SOUTH)
    return straight if port in turns else tuple(sorted({*straight, *turns}))


def claim_order(config: FabricConfig) -> tuple[int, ...]:
    """Outputs in the order in which a multicast claims them."""
    return (*range(1, config.ports), Port.LOCAL) if config.direct else CLAIM_ORDER


def place(config: FabricConfig, header: Header = HEADER) -> dict[str, wiring.Member]:
    """Inputs, constant, that tell a router where it is.

    ``x``, ``y``; with direct links also ``near``, one bit per node that it reaches, itself
    included, and ``to``, the coordinates of each neighbour, ``linked`` or not.
    """
    coordinates = {"x": header.coordinate_bits, "y": header.coordinate_bits}
    members: dict[str, wiring.Member] = {name: In(width) for name, width in coordinates.items()}
    if config.direct:
        neighbour = data.StructLayout({"linked": 1, **coordinates})
        members |= {
            "near": In(config.nodes), "to": In(data.ArrayLayout(neighbour, config.ports - 1)),
        }  # fmt: skip
    return members


class Flit(data.StructLayout):
    """A flit in a buffer; ``birth`` (time of injection) only with ``arbiter = "age"``.

    A flit with ``head`` and ``tail`` inside a packet ends and cancels it: the receiver drops what
    has come.
    """

    def __init__(self, config: FabricConfig, bits: int | None = None):
        birth = {"birth": config.age_bits} if config.arbiter == "age" else {}
        super().__init__({"head": 1, "tail": 1, "data": bits or config.flit_bits, **birth})


class Link(wiring.Signature):
    """One direction of a link, seen from the sender.

    ``flit`` is sent on channel ``vc`` in every cycle with ``valid``; the sender has a credit for
    it. Bit v of ``credit`` returns one credit of channel v; a sender starts with ``depth`` each.
    """

    def __init__(self, config: FabricConfig, bits: int | None = None):
        super().__init__(
            {
                "valid": Out(1),
                "vc": Out(config.vc_bits),
                "flit": Out(Flit(config, bits)),
                "credit": In(config.virtual_channels),
            }
        )


def field(flit: data.View, header: Header, name: str) -> Value:
    """A field of the header in a head flit."""
    position = header[name]
    return flit.data[position.low : position.low + position.width]


def masks(flit: data.View, header: Header) -> tuple[Value, Value]:
    """Columns and rows that a head flit names, one bit each, for unicasts and multicasts."""
    several = field(flit, header, "multicast")
    return tuple(
        Mux(several, field(flit, header, many), (1 << field(flit, header, one))[: header.mask_bits])
        for one, many in (("x", "cols"), ("y", "rows"))
    )


class Arbiter(wiring.Component):
    """Gives one of ``n`` requesters the output.

    Round robin: who was served last has the lowest priority. By age: the largest ``age`` wins, but
    every eighth grant is round robin, so that no one waits for ever when times of injection wrap.

    Members
    -------
    request : one bit per requester
    age : ages, only with ``age_bits``
    grant : at most one bit, combinational
    used : the grant was used; it counts
    """

    GUARD = 8

    def __init__(self, n: int, age_bits: int = 0):
        self.n, self.age_bits = n, age_bits
        self.later = Signal(n)
        age = {"age": In(data.ArrayLayout(age_bits, n))} if age_bits else {}
        super().__init__({"request": In(n), "grant": Out(n), "used": In(1), **age})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        later = self.later
        preferred, turn = Signal(self.n), Signal(self.n)
        m.d.comb += [
            preferred.eq(self.request & later),
            turn.eq(Mux(preferred.any(), preferred & -preferred, self.request & -self.request)),
            self.grant.eq(turn),
        ]
        with m.If(self.used):
            m.d.sync += later.eq(~(self.grant | (self.grant - 1)))
        if self.age_bits:
            grants = Signal(range(self.GUARD))
            with m.If(grants != 0):
                m.d.comb += self.grant.eq(self._oldest(m))
            with m.If(self.used):
                m.d.sync += grants.eq(grants + 1)
        return m

    def _oldest(self, m: Module) -> Value:
        """Requester of the largest age, as one bit; of equal ones the first."""
        best = [
            (self.request[index], self.age[index], Const(1 << index, self.n))
            for index in range(self.n)
        ]
        while len(best) > 1:
            merged = [best[-1]] if len(best) % 2 else []
            pairs = []
            for (valid_a, age_a, who_a), (valid_b, age_b, who_b) in zip(
                best[0::2], best[1::2], strict=False
            ):
                second = Signal()
                valid, age, who = Signal(), Signal(self.age_bits), Signal(self.n)
                m.d.comb += [
                    second.eq(valid_b & (~valid_a | (age_b > age_a))),
                    valid.eq(valid_a | valid_b),
                    age.eq(Mux(second, age_b, age_a)),
                    who.eq(Mux(second, who_b, who_a)),
                ]
                pairs.append((valid, age, who))
            best = pairs + merged
        valid, _, who = best[0]
        return Mux(valid, who, 0)


class PacketGuard(wiring.Component):
    """Lets only well-formed packets of one local channel into the fabric.

    A packet whose head is wrong is taken from the buffer and dropped. One that goes wrong after
    its head has left is ended with a cancelling flit, what is left of it is dropped.

    Members
    -------
    i_valid, i, i_taken : first flit in the buffer
    o_valid, o, o_taken : well-formed packets; steady until taken
    near : only with direct links, as :func:`place` has it
    inside : in a packet, whose flits must come in time
    error : strobes in the order of ``ERRORS``
    """

    def __init__(self, config: FabricConfig, *, vc: int, header: Header, flit: Flit):
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
                "error": Out(len(ERRORS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inside, dropping, expired = self.inside, Signal(), Signal()
        remaining = Signal(self.header.length_bits)
        idle = Signal(range(self.config.timeout + 1))
        good, cut = Signal(), Signal()
        wrong = self._wrong(m)
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
        return self.error[ERRORS.index(name)]

    def _wrong(self, m: Module) -> dict[str, Value]:
        """What can be wrong with a head."""
        config = self.config
        length, order, multicast = (
            field(self.i, self.header, name) for name in ("length", "order", "multicast")
        )
        wrong = {
            "destination": self._far(m) if config.direct else self._unknown(),
            "length": (
                (length == 0) | (self.i.tail != (length == 1))
                | (multicast & (length > config.depth))
            ),
            "network": (order != config.order(self.vc)) | (multicast & order),
        }  # fmt: skip
        named = {name: Signal(name=f"wrong_{name}") for name in wrong}
        m.d.comb += [named[name].eq(value) for name, value in wrong.items()]
        return named

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

    def _far(self, m: Module) -> Value:
        """A destination without a link, or none."""
        width, height = self.config.width, self.config.height
        cols, rows = (Signal(self.header.mask_bits, name=name) for name in ("cols", "rows"))
        m.d.comb += [mask.eq(value) for mask, value in
                     zip((cols, rows), masks(self.i, self.header), strict=True)]  # fmt: skip
        wanted = Cat(cols[:width] & row.replicate(width) for row in rows[:height])
        outside = cols[width:].any() | rows[height:].any()
        return ~wanted.any() | outside | (wanted & ~self.near).any()


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
    error : strobes in the order of ``ERRORS``, only at the local port
    """

    def __init__(
        self, config: FabricConfig, *, port: int, vc: int,
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
                "error": Out(len(ERRORS)),
            }
        )
        self.level = Signal(range(config.depth + 1))
        self.head, self.tail = Signal(range(config.depth)), Signal(range(config.depth))
        self.present = Signal()
        self.active, self.holding = Signal(), Signal()
        self.held, self.served, self.claimed = Signal(ports), Signal(ports), Signal(ports)
        self.route, self.need = Signal(ports), Signal(ports)
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
        """First-in first-out buffer, guarded at the local port."""
        depth = self.config.depth
        m.submodules.storage = storage = memory.Memory(shape=self.flit, depth=depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")
        head, tail = self.head, self.tail
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(tail), write.data.eq(self.i), read.addr.eq(head),
        ]  # fmt: skip
        with m.If(self.write):
            m.d.sync += tail.eq(Mux(tail == depth - 1, 0, tail + 1))
        with m.If(self.pop):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        m.d.sync += self.level.eq(self.level + self.write - self.pop)
        if self.port != Port.LOCAL:
            m.d.comb += [
                self.o.eq(read.data), self.present.eq(self.level != 0), self.pop.eq(self.done),
                self.busy.eq(self.present),
            ]  # fmt: skip
            return
        m.submodules.guard = guard = PacketGuard(
            self.config, vc=self.vc, header=self.header, flit=self.flit
        )
        m.d.comb += [
            guard.i.eq(read.data),
            guard.i_valid.eq(self.level != 0),
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
        return self._possible(m, dict(enumerate((own, *links))))

    def _dimension_order(self, m: Module) -> Value:
        x, y = field(self.o, self.header, "x"), field(self.o, self.header, "y")
        east, west, north, south = x > self.x, x < self.x, y > self.y, y < self.y
        if self.config.order(self.vc):
            east, west = east & ~(north | south), west & ~(north | south)
        else:
            north, south = north & ~(east | west), south & ~(east | west)
        here = (x == self.x) & (y == self.y)
        single = self._possible(m, {
            Port.LOCAL: here,
            Port.NORTH: north, Port.EAST: east, Port.SOUTH: south, Port.WEST: west,
        })  # fmt: skip
        if self.config.order(self.vc):
            return single
        cols, rows = field(self.o, self.header, "cols"), field(self.o, self.header, "rows")
        at_x, at_y = Signal(self.header.mask_bits), Signal(self.header.mask_bits)
        m.d.comb += [at_x.eq(1 << self.x), at_y.eq(1 << self.y)]
        column = (cols & at_x).any()
        several = self._possible(m, {
            Port.LOCAL: column & (rows & at_y).any(),
            Port.NORTH: column & (rows & ~(at_y | (at_y - 1))).any(),
            Port.EAST: (cols & ~(at_x | (at_x - 1))).any(),
            Port.SOUTH: column & (rows & (at_y - 1)).any(),
            Port.WEST: (cols & (at_x - 1)).any(),
        })  # fmt: skip
        return Mux(field(self.o, self.header, "multicast"), several, single)

    def _possible(self, m: Module, to: dict[int, Value]) -> Signal:
        """Outputs as bits, without those that cannot be reached from here."""
        outputs = Signal(self.config.ports)
        m.d.comb += [outputs[port].eq(to[port]) for port in self.outputs]
        return outputs

    def _request(self, m: Module) -> None:
        length = field(self.o, self.header, "length")
        missing: list[Value] = []
        for port in claim_order(self.config):
            if port not in self.outputs:
                continue
            credits = self.credits[port]
            ready = Signal(name=f"ready_{port}")
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
        claiming = Signal()
        m.d.comb += claiming.eq(self.wide & refused.any())
        before: list[Value] = []
        for port in claim_order(self.config):
            blocked = Cat(before).any() if before else Const(0)
            m.d.comb += self.used[port].eq(self.grant[port] & ~(self.wide & blocked))
            before.append(refused[port])
        with m.If(claiming):
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
    error : strobes in the order of ``ERRORS``: a packet was dropped or cancelled
    errors : how many, saturating
    """

    i: list[wiring.PureInterface]
    o: list[wiring.PureInterface]

    def __init__(self, config: FabricConfig, *, header: Header = HEADER, bits: int | None = None):
        self.config, self.header, self.bits = config, header, bits
        link = Link(config, bits)
        super().__init__(
            {
                **place(config, header),
                "i": In(link).array(config.ports),
                "o": Out(link).array(config.ports),
                "busy": Out(1),
                "error": Out(len(ERRORS)),
                "errors": Out(16),
            }
        )
        self.channels = {
            (port, vc): InputChannel(config, port=port, vc=vc, header=header, bits=bits)
            for port in range(config.ports)
            for vc in range(config.virtual_channels)
        }
        self.credits = [
            [Signal(config.credit_bits, init=config.depth, name=f"credits_{port}_{vc}")
             for vc in range(config.virtual_channels)]
            for port in range(config.ports)
        ]  # fmt: skip
        self.taken = [
            Signal(config.virtual_channels, name=f"taken_{port}") for port in range(config.ports)
        ]
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
                    channel.credits[output].eq(self.credits[output][vc]),
                )
            ]
        for output in range(self.config.ports):
            self._output(m, output)
        self._count(m)
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
        for vc in range(config.virtual_channels):
            members = [channel for other, channel in sources if other == vc]
            send, claim, release = (Signal(name=f"{n}_{output}_{vc}") for n in
                                    ("send", "claim", "release"))  # fmt: skip
            credits = self.credits[output][vc]
            m.d.comb += [
                send.eq(Cat(channel.send[output] for channel in members).any()),
                claim.eq(Cat(channel.claim[output] for channel in members).any()),
                release.eq(Cat(channel.release[output] for channel in members).any()),
            ]
            m.d.sync += credits.eq(credits + link.credit[vc] - send)
            with m.If(claim):
                m.d.sync += self.taken[output][vc].eq(1)
            with m.If(release):
                m.d.sync += self.taken[output][vc].eq(0)
            with m.If(send):
                m.d.comb += link.vc.eq(vc)

    def _count(self, m: Module) -> None:
        """Errors of all local channels."""
        local = [self.channels[Port.LOCAL, vc] for vc in range(self.config.virtual_channels)]
        now, total = Signal(range(len(local) + 1)), Signal(17)
        m.d.comb += [
            self.error.eq(reduce(or_, (channel.error for channel in local))),
            now.eq(sum(channel.error.any() for channel in local)),
            total.eq(self.errors + now),
        ]
        m.d.sync += self.errors.eq(Mux(total[16], 0xFFFF, total))
