# SPDX-License-Identifier: Apache-2.0
"""Objects and routes of all nodes in arrays: network interfaces, local control, host bridge.

Nodes are numbered as the cores are; the host is behind the last of them.
"""

from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from phasecore.models.engine.jit import record, records
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.window import WINDOW
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import MEMBERS, ObjectDescriptor, RouteDescriptor
from phasecore.rtl.spec.messages import PAYLOAD_FLITS
from phasecore.rtl.spec.noc import NocConfig

__all__ = [
    "NUMBERS",
    "Destination",
    "Noc",
    "NocFault",
    "NocState",
    "Node",
    "destinations",
    "fill",
    "nothing",
    "payload_flits",
]  # fmt: skip

NUMBERS = 16
"""Objects and routes that a message can name; entry ``NUMBERS`` of every table is undefined."""

Destination = ObjectDescriptor | RouteDescriptor
"""Where a message goes: a route's consumers, or the producer of an object."""


class NocFault(Enum):
    """Why a message was dropped; names as the core's error codes."""

    NOC_OBJECT = "object, route or table undefined or of another kind"
    NOC_RANGE = "lines beyond the vector, no data flits, or a credit with data"
    NOC_CREDIT = "ring full, or more than 4,095 credits"
    NOC_CANCELLED = "cancelled on the way"


_COUNTERS = ("arrived", "dead", "row", "col", "frame_number", "at", "lines")
"""Of an object: vectors of the present frame and of later ones (negative while vectors that no
iteration of the last frame needed have yet to come); vectors of the present frame that nobody needs
any more; iteration, and frames before it; byte of the ring that takes the next vector; partial sums
that have come since the last merging SEND, counted from line 0."""

_GIVEN = (
    "enable", "partial", "replace", "cursor", "source", "depth", "packed", "sums", "unit",
    "stride_row", "stride_col", "padding_row", "padding_col", "segment", "rows", "cols",
    "first_col", "skip", "count", "pixel_pitch", "row_pitch", "origin", "col_step", "row_step",
    "frame_step",
)  # fmt: skip
"""Fields of the descriptor that the tables have as they are."""

OBJECT = record(
    *_GIVEN, "ring_base", "ring_size", "pitch", "frame", "frame_height", "frame_width", "width",
    "height", "table", "producer", "route", "member", "cursors", *_COUNTERS,
)  # fmt: skip
"""``ring_base``, ``ring_size``, ``pitch``: in bytes; ``frame``: vectors of one, ``frame_height`` by
``frame_width``; ``width``, ``height``: iterations of a row, and rows; ``table``: where these begin
in ``Noc.need`` and ``.dead``; ``producer``: node, -1 if there is none; ``cursors``: on its ring."""

ROUTE = record("enable", "object", "consumers", "first", "count", "flits")
"""``first``, ``count``: its part of ``Noc.nodes``; ``flits``: most data flits of a packet."""


class Noc(NamedTuple):
    """Tables by node and number, and what messages carry."""

    objects: Any
    routes: Any
    credits: Int
    """By node, route and consumer, ``MEMBERS`` of them; 0 behind the last one."""
    need: Int
    dead: Int
    nodes: Int
    """Consumers of all routes."""
    faults: Int
    """Packets dropped, by node and ``NocFault``."""
    refused: Int
    """By node."""
    malformed: Int
    """Packets of the host (1,)."""
    undeliverable: Int
    """(1,)."""
    values: Int
    """Of the message under way, by line."""
    exponent: Int
    """Of a vector under way (1,)."""
    window: Any
    """Of the GATHER or SCATTER under way (1,), ``window.WINDOW``."""
    host: int
    """Node of the host; -1: there is none."""


def fill(entry: Any, descriptor: ObjectDescriptor, config: CoreConfig) -> None:
    """Write what an ``OBJECT`` record has of a descriptor alone."""
    for name in _GIVEN:
        entry[name] = getattr(descriptor, name)
    lanes = config.post_lanes
    entry["ring_base"], entry["ring_size"] = lanes * descriptor.base, lanes * descriptor.size
    entry["pitch"] = 8 * descriptor.pitch
    entry["frame"] = descriptor.height * descriptor.width
    entry["frame_height"], entry["frame_width"] = descriptor.height, descriptor.width
    entry["height"], entry["width"] = descriptor.out_height, descriptor.out_width
    entry["route"], entry["member"] = min(descriptor.route, NUMBERS), descriptor.member


def nothing() -> Noc:
    """Of a core that stands alone."""
    return _empty(0, 0, -1)


def _empty(nodes: int, lines: int, host: int) -> Noc:
    def numbers(*shape: int) -> Int:
        return np.zeros(shape, dtype=np.int64)

    return Noc(
        objects=records((nodes, NUMBERS + 1), OBJECT),
        routes=records((nodes, NUMBERS + 1), ROUTE),
        credits=numbers(nodes, NUMBERS + 1, MEMBERS),
        need=numbers(0), dead=numbers(0), nodes=numbers(0),
        faults=numbers(nodes, len(NocFault)), refused=numbers(nodes), malformed=numbers(1),
        undeliverable=numbers(1), values=numbers(lines), exponent=numbers(1),
        window=records(1, WINDOW), host=host,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _closed_forms(descriptor: ObjectDescriptor) -> tuple[list[int], list[int]]:
    """need and dead of all iterations."""
    places = [
        (row, col) for row in range(descriptor.out_height) for col in range(descriptor.out_width)
    ]
    return (
        [descriptor.need(row, col) for row, col in places],
        [descriptor.dead(row, col) for row, col in places],
    )


def payload_flits(noc: NocConfig, route: Destination) -> int:
    """Most data flits of a packet with this route."""
    if isinstance(route, RouteDescriptor) and route.multicast:
        return min(PAYLOAD_FLITS, noc.depth - 1)
    return PAYLOAD_FLITS


def destinations(mesh: NocConfig, route: Destination) -> tuple[int, ...]:
    """Nodes that a message with this route comes to."""
    if isinstance(route, RouteDescriptor) and route.multicast:
        return tuple(
            node
            for node in range(mesh.nodes)
            if route.cols >> node % mesh.width & 1 and route.rows >> node // mesh.width & 1
        )
    inside = route.x < mesh.width and route.y < mesh.height
    return (route.y * mesh.width + route.x,) if inside else ()


class NocState:
    """Tables of all nodes of a chip, and what has happened to them.

    Attributes
    ----------
    numbers : of the nodes: cores in their order, then the host
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        self.numbers = {node: at for at, node in enumerate((*config.cores, config.host))}
        self._noc = _empty(len(self.numbers), config.core.lines, len(config.cores))
        self._objects: dict[tuple[int, int], ObjectDescriptor] = {}
        self._routes: dict[tuple[int, int], RouteDescriptor] = {}
        self._stale = False

    def define_object(self, node: int, index: int, descriptor: ObjectDescriptor) -> None:
        """Write an object's descriptor, which restarts it.

        ``enable = 0``, or at the host a channel that does not exist, undefines it. ``ValueError``
        for a ring or a window that cannot be, see :meth:`ObjectDescriptor.check`.
        """
        at_host = node == self.config.host
        most = self.config.host_objects if at_host else self.config.core.objects
        if not 0 <= index < most:
            raise ValueError(f"object must be in 0..{most - 1}, not {index}")
        if not at_host:
            descriptor.check(self.config.core)
        exists = not at_host or descriptor.vc < self.config.noc.virtual_channels
        number = self.numbers[node]
        target = self._noc.objects[number, index]
        for name in OBJECT.names or ():
            target[name] = 0
        target["arrived"] = descriptor.arrived
        self._objects.pop((number, index), None)
        if descriptor.enable and exists:
            self._objects[number, index] = descriptor
            producers = destinations(self.config.noc, descriptor)
            fill(target, descriptor, self.config.core)
            target["producer"] = self.numbers[producers[0]] if producers else -1
        self._stale = True

    def define_route(self, node: int, index: int, descriptor: RouteDescriptor) -> None:
        """Write a route's descriptor, which restarts its credits.

        ``enable = 0``, or a channel that does not exist, undefines it. ``ValueError`` for
        consumers that cannot be counted, see :meth:`RouteDescriptor.check`.
        """
        at_host = node == self.config.host
        most = self.config.host_routes if at_host else self.config.core.routes
        if not 0 <= index < most:
            raise ValueError(f"route must be in 0..{most - 1}, not {index}")
        descriptor.check()
        exists = descriptor.vc < self.config.noc.virtual_channels
        number = self.numbers[node]
        target = self._noc.routes[number, index]
        for name in ROUTE.names or ():
            target[name] = 0
        self._noc.credits[number, index] = 0
        self._noc.credits[number, index, : descriptor.consumers] = descriptor.credits
        self._routes.pop((number, index), None)
        if descriptor.enable and exists:
            self._routes[number, index] = descriptor
            target["enable"] = 1
            target["consumers"] = descriptor.consumers
            target["object"] = min(descriptor.object, NUMBERS)
            target["flits"] = payload_flits(self.config.noc, descriptor)
        self._stale = True

    def noc(self) -> Noc:
        """The tables as kernels take them."""
        if self._stale:
            need: list[int] = []
            dead: list[int] = []
            for where, entry in self._objects.items():
                target = self._noc.objects[where]
                target["table"], target["cursors"] = len(need), self._cursors(*where)
                forms = _closed_forms(entry)
                need, dead = need + forms[0], dead + forms[1]
            nodes: list[int] = []
            for where, route in self._routes.items():
                consumers = destinations(self.config.noc, route)
                target = self._noc.routes[where]
                target["first"], target["count"] = len(nodes), len(consumers)
                nodes += [self.numbers[node] for node in consumers]
            self._noc = self._noc._replace(
                need=np.array(need, dtype=np.int64), dead=np.array(dead, dtype=np.int64),
                nodes=np.array(nodes, dtype=np.int64),
            )  # fmt: skip
            self._stale = False
        return self._noc

    def _cursors(self, number: int, index: int) -> int:
        """Cursors on the ring of an object."""
        return sum(
            bool(other.cursor) and node == number and other.source == index
            for (node, _), other in self._objects.items()
        )

    def descriptor(self, number: int, index: int) -> ObjectDescriptor | None:
        """Descriptor of an enabled object of node ``number``."""
        return self._objects.get((number, index))

    @property
    def undeliverable(self) -> int:
        """Messages to places outside the mesh."""
        return int(self._noc.undeliverable[0])

    def node(self, node: int) -> "Node":
        """Views of a node's tables."""
        return Node(self, node)


class Objects:
    """Counters of a node's objects, int64 arrays by object; see ``_COUNTERS``."""

    arrived: Int
    dead: Int
    row: Int
    col: Int
    frame_number: Int
    at: Int
    lines: Int

    def __init__(self, tables: Any, refused: Int):
        for name in _COUNTERS:
            setattr(self, name, tables[name])
        self._refused = refused

    @property
    def refused(self) -> int:
        """Objects that a RELEASE named and that were not ready or not enabled."""
        return int(self._refused[0])


class Routes:
    """A node's routes; ``credits``: int64 array by route and consumer, 0 behind the last one."""

    def __init__(self, credits_: Int):
        self.credits = credits_


class Node:
    """Network interface of a core, or the host bridge.

    Attributes
    ----------
    local : :class:`Objects`
    routes : :class:`Routes`
    """

    def __init__(self, state: NocState, node: int):
        config, number = state.config, state.numbers[node]
        at_host = node == config.host
        objects = config.host_objects if at_host else config.core.objects
        routes = config.host_routes if at_host else config.core.routes
        tables = state.noc()
        self.local = Objects(tables.objects[number, :objects], tables.refused[number : number + 1])
        self.routes = Routes(tables.credits[number, :routes])
        self._faults, self._malformed = tables.faults[number], tables.malformed

    @property
    def faults(self) -> dict[NocFault, int]:
        """Packets dropped, by reason."""
        return dict(zip(NocFault, self._faults.tolist(), strict=True))

    @property
    def malformed(self) -> int:
        """Packets of the host that were dropped."""
        return int(self._malformed[0])
