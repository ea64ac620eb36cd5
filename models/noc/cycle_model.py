# SPDX-License-Identifier: Apache-2.0
"""Cycle models of the NoCs, for curves of latency and throughput.

Written from ``docs/contract/router.md``. The model follows every flit cycle by cycle (unicast,
round robin) and draws the same traffic as the simulation top, so that packet by packet the times of
delivery can be compared with the RTL.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from phasecore.rtl.spec.noc import NocConfig

__all__ = ["Delivery", "Direct", "Mesh", "Traffic", "mix", "next_port", "path"]

LOCAL, NORTH, EAST, SOUTH, WEST = range(5)
STEP = {NORTH: (0, 1), EAST: (1, 0), SOUTH: (0, -1), WEST: (-1, 0)}
OPPOSITE = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}
CLAIM_ORDER = (EAST, WEST, NORTH, SOUTH, LOCAL)


def mix(value: int) -> int:
    """The 32-bit hash of ``docs/contract/device.md``."""
    value ^= value >> 16
    value = value * 0x7FEB352D & 0xFFFFFFFF
    value ^= value >> 15
    value = value * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


def key(seed: int, draw: int, index: int, event: int) -> int:
    """Counter-based random number."""
    return mix(mix(mix(seed ^ (draw * 0x9E3779B9 & 0xFFFFFFFF)) ^ index) ^ event)


def next_port(at: tuple[int, int], to: tuple[int, int], order: int) -> int:
    """Output of the router ``at`` for a packet to ``to``: order 0 XY, 1 YX."""
    horizontal = EAST if to[0] > at[0] else WEST if to[0] < at[0] else None
    vertical = NORTH if to[1] > at[1] else SOUTH if to[1] < at[1] else None
    first, second = (vertical, horizontal) if order else (horizontal, vertical)
    return next(port for port in (first, second, LOCAL) if port is not None)


def path(source: tuple[int, int], to: tuple[int, int], order: int) -> list[int]:
    """Outputs of all routers on the way, the last one LOCAL."""
    ports: list[int] = []
    at = source
    while not ports or ports[-1] != LOCAL:
        port = next_port(at, to, order)
        ports.append(port)
        if port != LOCAL:
            at = at[0] + STEP[port][0], at[1] + STEP[port][1]
    return ports


# Cycle model


@dataclass(frozen=True)
class Delivery:
    """A packet whose tail came out: in which cycle, where, from where, made when."""

    cycle: int
    node: int
    source: int
    birth: int


@dataclass(frozen=True)
class Traffic:
    """Random unicast traffic, drawn like the simulation top does."""

    load: float
    pattern: str = "uniform"
    length: int = 1
    order: str = "xy"
    seed: int = 1

    def destination(self, shape: NocConfig, source: int, cycle: int) -> int | None:
        """Node to which ``source`` sends what it makes in ``cycle``, if to any."""
        width, height = shape.width, shape.height
        y, x = divmod(source, width)
        if self.pattern == "transpose":
            return x * width + y
        if self.pattern in ("tornado", "neighbour"):
            shift = [(k + 1) // 2 - 1 if self.pattern == "tornado" else 1 for k in (width, height)]
            return (y + shift[1]) % height * width + (x + shift[0]) % width
        choices: Sequence[int] = range(shape.nodes)
        if self.pattern == "forward":
            choices = sorted(target for start, target in shape.edges if start == source)
        elif shape.direct:
            choices = shape.neighbours[source]
        if not choices:
            return None
        return choices[key(self.seed, 5, source, cycle) * len(choices) >> 32]

    def channel(self, shape: NocConfig, source: int, to: int, count: int) -> int:
        """Virtual channel of packet number ``count`` of a source: those of a network in turn."""
        lower, channels = shape.xy_channels, shape.virtual_channels
        if channels == lower:
            return count % channels
        choice = {"xy": 0, "yx": 1, "alternate": count & 1}
        network = choice.get(self.order, key(self.seed, 3, source, to) & 1)
        turn = count // 2 if self.order == "alternate" else count
        return lower + turn % (channels - lower) if network else turn % lower

    def made(self, source: int, cycle: int) -> bool:
        """True if ``source`` makes a packet in ``cycle``."""
        rate = min(round(self.load / self.length * 2**32), 2**32 - 1)
        return key(self.seed, 1, source, cycle) < rate


@dataclass
class _Packet:
    source: int
    to: tuple[int, int]
    birth: int


@dataclass(frozen=True)
class _Flit:
    packet: _Packet
    head: bool
    tail: bool


class _Router:
    """State of one router; channels are (port, vc)."""

    def __init__(self, shape: NocConfig, route: Callable[[_Packet, int], int]):
        self.route = route
        channels = [(p, v) for p in range(shape.ports) for v in range(shape.virtual_channels)]
        self.buffers: dict[tuple[int, int], deque[_Flit]] = {c: deque() for c in channels}
        self.credits = dict.fromkeys(channels, shape.depth)
        self.holder: dict[tuple[int, int], tuple[int, int] | None] = dict.fromkeys(channels)
        self.open: dict[tuple[int, int], int | None] = dict.fromkeys(channels)
        self.last: list[tuple[int, int]] = [(-1, -1)] * shape.ports

    def winners(self) -> Iterator[tuple[tuple[int, int], int]]:
        """Channels that send in this cycle, each with its output."""
        asking: dict[int, list[tuple[int, int]]] = {}
        for channel, buffer in self.buffers.items():
            if not buffer:
                continue
            port, vc = self.open[channel], channel[1]
            if port is None:
                port = self.route(buffer[0].packet, vc)
                if self.holder[port, vc] is not None:
                    continue
            if self.credits[port, vc]:
                asking.setdefault(port, []).append(channel)
        for port, channels in asking.items():
            later = [channel for channel in channels if channel > self.last[port]]
            yield (later or channels)[0], port


class Mesh:
    """Cycle model of a mesh under unicast traffic."""

    def __init__(self, shape: NocConfig, traffic: Traffic):
        self.shape, self.traffic = shape, traffic
        self.nodes = shape.nodes
        self.routers = [_Router(shape, partial(self._route, n)) for n in range(self.nodes)]
        self.queues: list[list[deque[_Flit]]] = [
            [deque() for _ in range(shape.virtual_channels)] for _ in range(self.nodes)
        ]
        self.credits = [[shape.depth] * shape.virtual_channels for _ in range(self.nodes)]
        self.latest = [0] * self.nodes
        self.count = [0] * self.nodes
        self.cycle = 0
        self.deliveries: list[Delivery] = []
        self._arriving: list[Callable[[], None]] = []

    def run(self, cycles: int) -> list[Delivery]:
        """Go on for some cycles; all deliveries so far."""
        for _ in range(cycles):
            self._step()
        return self.deliveries

    def _step(self) -> None:
        """What the registers of cycle - 1 sent arrives; then sources and routers send."""
        moves = [
            (node, channel, port)
            for node, router in enumerate(self.routers)
            for channel, port in router.winners()
        ]
        arriving, self._arriving = self._arriving, []
        for arrive in arriving:
            arrive()
        for node, channel, port in moves:
            self._move(node, channel, port)
        for node in range(self.nodes):
            if self.traffic.made(node, self.cycle):
                self._make(node)
        for node in range(self.nodes):
            self._inject(node)
        self.cycle += 1

    def _move(self, node: int, channel: tuple[int, int], port: int) -> None:
        """The first flit of a channel crosses the router and the link."""
        router, vc = self.routers[node], channel[1]
        flit = router.buffers[channel].popleft()
        router.last[port] = channel
        router.open[channel] = None if flit.tail else port
        router.holder[port, vc] = None if flit.tail else channel
        router.credits[port, vc] -= 1
        self._return_credit(node, channel)
        if port == LOCAL:
            if flit.tail:
                packet = flit.packet
                self.deliveries.append(Delivery(self.cycle, node, packet.source, packet.birth))
            self._arriving.append(partial(self._credit, router, (port, vc)))
            return
        after, entry = self._other_end(node, port)
        self.routers[after].buffers[entry, vc].append(flit)

    def _credit(self, router: _Router, channel: tuple[int, int]) -> None:
        router.credits[channel] += 1

    def _return_credit(self, node: int, channel: tuple[int, int]) -> None:
        port, vc = channel
        if port == LOCAL:
            self.credits[node][vc] += 1
        else:
            before, exit_ = self._other_end(node, port)
            self._credit(self.routers[before], (exit_, vc))

    def _route(self, node: int, packet: _Packet, vc: int) -> int:
        """Output of the router of ``node`` for a packet on channel ``vc``."""
        y, x = divmod(node, self.shape.width)
        return next_port((x, y), packet.to, self.shape.order(vc))

    def _other_end(self, node: int, port: int) -> tuple[int, int]:
        """Node and port at the other end of a link."""
        dx, dy = STEP[port]
        return node + dy * self.shape.width + dx, OPPOSITE[port]

    def _make(self, node: int) -> None:
        """A new packet joins the queue of its channel."""
        shape, traffic = self.shape, self.traffic
        to = traffic.destination(shape, node, self.cycle)
        if to is None:
            return
        vc = traffic.channel(shape, node, to, self.count[node])
        self.count[node] += 1
        packet = _Packet(node, (to % shape.width, to // shape.width), self.cycle)
        length = traffic.length
        self.queues[node][vc] += [
            _Flit(packet, index == 0, index == length - 1) for index in range(length)
        ]

    def _inject(self, node: int) -> None:
        """One flit, from the channels in turn."""
        channels = self.shape.virtual_channels
        for step in range(1, channels + 1):
            vc = (self.latest[node] + step) % channels
            if self.queues[node][vc] and self.credits[node][vc]:
                self.credits[node][vc] -= 1
                self.latest[node] = vc
                buffer = self.routers[node].buffers[LOCAL, vc]
                self._arriving.append(partial(buffer.append, self.queues[node][vc].popleft()))
                return


class Direct(Mesh):
    """Cycle model of direct links: from the source's switch to the destination's, or to itself."""

    def _route(self, node: int, packet: _Packet, vc: int) -> int:
        to = packet.to[1] * self.shape.width + packet.to[0]
        return LOCAL if to == node else 1 + self.shape.neighbours[node].index(to)

    def _other_end(self, node: int, port: int) -> tuple[int, int]:
        other = self.shape.neighbours[node][port - 1]
        return other, 1 + self.shape.neighbours[other].index(node)
