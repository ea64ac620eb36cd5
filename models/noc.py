# SPDX-License-Identifier: Apache-2.0
"""Cycle model of the mesh for curves, and channel dependency graphs for deadlock freedom.

Written from ``docs/fabric.md``. The model follows every flit cycle by cycle (unicast, round robin)
and draws the same traffic as the simulation top, so that packet by packet the times of delivery
can be compared with the RTL.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from rtl.noc.config import FabricConfig

__all__ = [
    "Channel", "Delivery", "Mesh", "Traffic", "channel_dependencies", "find_cycle",
    "mesh_dependencies", "mix", "next_port", "path",
]  # fmt: skip

LOCAL, NORTH, EAST, SOUTH, WEST = range(5)
STEP = {NORTH: (0, 1), EAST: (1, 0), SOUTH: (0, -1), WEST: (-1, 0)}
OPPOSITE = {NORTH: SOUTH, SOUTH: NORTH, EAST: WEST, WEST: EAST}
CLAIM_ORDER = (EAST, WEST, NORTH, SOUTH, LOCAL)


def mix(value: int) -> int:
    """The 32-bit hash of ``docs/architecture.md``."""
    value ^= value >> 16
    value = value * 0x7FEB352D & 0xFFFFFFFF
    value ^= value >> 15
    value = value * 0x846CA68B & 0xFFFFFFFF
    return value ^ value >> 16


def key(seed: int, stream: int, index: int, event: int) -> int:
    """Counter-based random number."""
    return mix(mix(mix(seed ^ (stream * 0x9E3779B9 & 0xFFFFFFFF)) ^ index) ^ event)


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

    def destination(self, shape: FabricConfig, source: int, cycle: int) -> int:
        """Node to which ``source`` sends what it makes in ``cycle``."""
        width, height = shape.width, shape.height
        y, x = divmod(source, width)
        if self.pattern == "transpose":
            return x * width + y
        if self.pattern in ("tornado", "neighbour"):
            shift = [(k + 1) // 2 - 1 if self.pattern == "tornado" else 1 for k in (width, height)]
            return (y + shift[1]) % height * width + (x + shift[0]) % width
        return key(self.seed, 5, source, cycle) * width * height >> 32

    def network(self, shape: FabricConfig, source: int, to: int, count: int) -> int:
        """Virtual network of packet number ``count`` of a source."""
        if shape.virtual_channels == 1:
            return 0
        choice = {"xy": 0, "yx": 1, "alternate": count & 1}
        return choice.get(self.order, key(self.seed, 3, source, to) & 1)

    def made(self, source: int, cycle: int) -> bool:
        """True if ``source`` makes a packet in ``cycle``."""
        rate = min(round(self.load / self.length * 2**32), 2**32 - 1)
        return key(self.seed, 1, source, cycle) < rate


@dataclass
class _Packet:
    source: int
    to: tuple[int, int]
    network: int
    birth: int


@dataclass(frozen=True)
class _Flit:
    packet: _Packet
    head: bool
    tail: bool


class _Router:
    """State of one router; channels are (port, vc)."""

    def __init__(self, shape: FabricConfig, at: tuple[int, int]):
        self.at = at
        channels = [(p, v) for p in range(5) for v in range(shape.virtual_channels)]
        self.buffers: dict[tuple[int, int], deque[_Flit]] = {c: deque() for c in channels}
        self.credits = dict.fromkeys(channels, shape.depth)
        self.holder: dict[tuple[int, int], tuple[int, int] | None] = dict.fromkeys(channels)
        self.open: dict[tuple[int, int], int | None] = dict.fromkeys(channels)
        self.last: list[tuple[int, int]] = [(-1, -1)] * 5

    def winners(self) -> Iterator[tuple[tuple[int, int], int]]:
        """Channels that send in this cycle, each with its output."""
        asking: dict[int, list[tuple[int, int]]] = {}
        for channel, buffer in self.buffers.items():
            if not buffer:
                continue
            port, vc = self.open[channel], channel[1]
            if port is None:
                packet = buffer[0].packet
                port = next_port(self.at, packet.to, packet.network)
                if self.holder[port, vc] is not None:
                    continue
            if self.credits[port, vc]:
                asking.setdefault(port, []).append(channel)
        for port, channels in asking.items():
            later = [channel for channel in channels if channel > self.last[port]]
            yield (later or channels)[0], port


class Mesh:
    """Cycle model of a mesh under unicast traffic."""

    def __init__(self, shape: FabricConfig, traffic: Traffic):
        self.shape, self.traffic = shape, traffic
        self.nodes = shape.width * shape.height
        self.routers = [
            _Router(shape, (n % shape.width, n // shape.width)) for n in range(self.nodes)
        ]
        networks = range(2)
        self.queues: list[list[deque[_Flit]]] = [
            [deque() for _ in networks] for _ in range(self.nodes)
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
        next_router = self.routers[self._neighbour(node, port)]
        next_router.buffers[OPPOSITE[port], vc].append(flit)

    def _credit(self, router: _Router, channel: tuple[int, int]) -> None:
        router.credits[channel] += 1

    def _return_credit(self, node: int, channel: tuple[int, int]) -> None:
        port, vc = channel
        if port == LOCAL:
            self.credits[node][vc] += 1
        else:
            self._credit(self.routers[self._neighbour(node, port)], (OPPOSITE[port], vc))

    def _neighbour(self, node: int, port: int) -> int:
        dx, dy = STEP[port]
        return node + dy * self.shape.width + dx

    def _make(self, node: int) -> None:
        """A new packet joins the queue of its network."""
        shape, traffic = self.shape, self.traffic
        to = traffic.destination(shape, node, self.cycle)
        network = traffic.network(shape, node, to, self.count[node])
        self.count[node] += 1
        packet = _Packet(node, (to % shape.width, to // shape.width), network, self.cycle)
        length = traffic.length
        self.queues[node][network] += [
            _Flit(packet, index == 0, index == length - 1) for index in range(length)
        ]

    def _inject(self, node: int) -> None:
        """One flit, from the network that was not the last if it can."""
        shape = self.shape
        lower = (shape.virtual_channels + 1) // 2
        for network in (1 - self.latest[node], self.latest[node]):
            queue = self.queues[node][network]
            if not queue:
                continue
            x = queue[0].packet.to[0] + 16 * queue[0].packet.to[1]
            upper = shape.virtual_channels - lower
            vc = lower + x % upper if network else x % lower
            if self.credits[node][vc]:
                self.credits[node][vc] -= 1
                self.latest[node] = network
                buffer, flit = self.routers[node].buffers[LOCAL, vc], queue.popleft()
                self._arriving.append(partial(buffer.append, flit))
                return


# Channel dependencies

Channel = tuple[int, int, int, int]
"""Link out of router (x, y) through a port, virtual channel: (x, y, port, vc)."""

def channel_dependencies(
    width: int, height: int, routes: Iterable[tuple[tuple[int, int], list[tuple[int, int]]]]
) -> dict[Channel, set[Channel]]:
    """Edges from every channel to those that a packet holding it may wait for.

    ``routes`` are (source, [(port, vc) of every router on the way]).
    """
    edges: dict[Channel, set[Channel]] = {}
    for at, hops in routes:
        before: Channel | None = None
        for port, vc in hops:
            if not (0 <= at[0] < width and 0 <= at[1] < height):
                raise ValueError(f"a route leaves the {width} x {height} mesh at {at}")
            channel = (*at, port, vc)
            edges.setdefault(channel, set())
            if before is not None:
                edges[before].add(channel)
            before = channel
            if port != LOCAL:
                at = at[0] + STEP[port][0], at[1] + STEP[port][1]
    return edges


def mesh_dependencies(shape: FabricConfig) -> dict[Channel, set[Channel]]:
    """All waiting in a mesh: both networks' unicasts, and the claims of multicasts.

    A packet stays on the channel of its injection. A multicast follows XY paths; where it forks
    it holds some outputs while it waits for a later one of ``CLAIM_ORDER``. It forks only to
    channels with room for all of it, so once it has claimed them all it waits for none of them.
    """
    width, height, channels = shape.width, shape.height, shape.virtual_channels
    nodes = [(x, y) for x in range(width) for y in range(height)]
    lower = (channels + 1) // 2
    edges = channel_dependencies(width, height, (
        (source, [(port, vc) for port in path(source, to, int(vc >= lower))])
        for vc in range(channels) for source in nodes for to in nodes
    ))  # fmt: skip
    for vc in range(lower):
        for x, y in nodes:
            claims = [(x, y, port, vc) for port in CLAIM_ORDER if (x, y, port, vc) in edges]
            for index, held in enumerate(claims):
                edges[held].update(claims[index + 1 :])
    return edges


def find_cycle(edges: dict[Channel, set[Channel]]) -> list[Channel]:
    """Channels of one cycle, or nothing."""
    waiting = dict.fromkeys(edges, 0)
    for ends in edges.values():
        for end in ends:
            waiting[end] += 1
    free = [node for node, count in waiting.items() if count == 0]
    while free:
        for end in edges[free.pop()]:
            waiting[end] -= 1
            if waiting[end] == 0:
                free.append(end)
    left = {node for node, count in waiting.items() if count}
    if not left:
        return []
    # Every channel left has a predecessor left: walking back must close a circle.
    back = {end: node for node in left for end in edges[node] if end in left}
    seen: list[Channel] = []
    node = next(iter(left))
    while node not in seen:
        seen.append(node)
        node = back[node]
    return seen[seen.index(node) :][::-1]
