# SPDX-License-Identifier: Apache-2.0
"""Objects and streams of all nodes in arrays: network interfaces, local control, host bridge.

Nodes are numbered as the cores are; the host is behind the last of them.
"""

from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from phasecore.models.engine.jit import record, records
from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor, StreamDescriptor
from phasecore.rtl.spec.messages import PAYLOAD_FLITS
from phasecore.rtl.spec.noc import FabricConfig

__all__ = [
    "CREDITS_MAX", "NUMBERS", "Fabric", "FabricError", "FabricState", "Node", "Route",
    "destinations", "nothing", "payload_flits",
]  # fmt: skip

CREDITS_MAX = 255
"""Most credits of one message, and of a stream's counter."""

NUMBERS = 16
"""Objects and streams that a message can name; entry ``NUMBERS`` of every table is undefined."""

Route = ObjectDescriptor | StreamDescriptor
"""Where a message goes: a stream's consumers, or the producer of an object."""


class FabricError(Enum):
    """Why a message was dropped; names as the core's error codes."""

    FABRIC_OBJECT = "object, stream or table undefined or of another kind"
    FABRIC_RANGE = "lines beyond the vector, no data flits, or a credit with data"
    FABRIC_CREDIT = "ring full, or more than 255 credits"
    FABRIC_CANCELLED = "cancelled on the way"


_COUNTERS = ("arrived", "dead", "row", "col", "position", "lines")
"""Of an object: vectors of the present frame and of later ones (negative while vectors that no
iteration of the last frame needed have yet to come); vectors of the present frame that nobody needs
any more; iteration; ring slot, counted from the object's first, that takes the next vector; partial
sums that have come since the last merging SEND, counted from line 0."""

OBJECT = record(
    "enable", "partial", "replace", "slot", "depth", "frame", "width", "height", "table",
    "producer", "stream", *_COUNTERS,
)  # fmt: skip
"""``frame``: vectors of one; ``width``, ``height``: iterations of a row, and rows; ``table``: where
these begin in ``Fabric.need`` and ``.dead``; ``producer``: node, -1 if there is none."""

STREAM = record("enable", "object", "consumers", "needed", "credits", "first", "count", "flits")
"""``first``, ``count``: its part of ``Fabric.nodes``; ``flits``: most data flits of a packet."""


class Fabric(NamedTuple):
    """Tables by node and number, and what messages carry."""

    objects: Any
    streams: Any
    need: Int
    dead: Int
    nodes: Int
    """Consumers of all streams."""
    errors: Int
    """Packets dropped, by node and ``FabricError``."""
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
    host: int
    """Node of the host; -1: there is none."""


def nothing() -> Fabric:
    """Of a core that stands alone."""
    return _empty(0, 0, -1)


def _empty(nodes: int, lines: int, host: int) -> Fabric:
    def numbers(*shape: int) -> Int:
        return np.zeros(shape, dtype=np.int64)

    return Fabric(
        objects=records((nodes, NUMBERS + 1), OBJECT),
        streams=records((nodes, NUMBERS + 1), STREAM),
        need=numbers(0), dead=numbers(0), nodes=numbers(0),
        errors=numbers(nodes, len(FabricError)), refused=numbers(nodes), malformed=numbers(1),
        undeliverable=numbers(1), values=numbers(lines), exponent=numbers(1),
        host=host,
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


def payload_flits(fabric: FabricConfig, route: Route) -> int:
    """Most data flits of a packet with this route."""
    if isinstance(route, StreamDescriptor) and route.multicast:
        return min(PAYLOAD_FLITS, fabric.depth - 1)
    return PAYLOAD_FLITS


def destinations(mesh: FabricConfig, route: Route) -> tuple[int, ...]:
    """Nodes that a message with this route comes to."""
    if isinstance(route, StreamDescriptor) and route.multicast:
        return tuple(
            node
            for node in range(mesh.nodes)
            if route.cols >> node % mesh.width & 1 and route.rows >> node // mesh.width & 1
        )
    inside = route.x < mesh.width and route.y < mesh.height
    return (route.y * mesh.width + route.x,) if inside else ()


class FabricState:
    """Tables of all nodes of a chip, and what has happened to them.

    Attributes
    ----------
    numbers : of the nodes: cores in their order, then the host
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        self.numbers = {node: at for at, node in enumerate((*config.cores, config.host))}
        self._fabric = _empty(len(self.numbers), config.core.lines, len(config.cores))
        self._objects: dict[tuple[int, int], ObjectDescriptor] = {}
        self._streams: dict[tuple[int, int], StreamDescriptor] = {}
        self._stale = False

    def define_object(self, node: int, index: int, descriptor: ObjectDescriptor) -> None:
        """Write an object's descriptor, which restarts it.

        ``enable = 0``, or at the host a channel that does not exist, undefines it.
        """
        at_host = node == self.config.host
        most = self.config.host_objects if at_host else self.config.core.objects
        if not 0 <= index < most:
            raise ValueError(f"object must be in 0..{most - 1}, not {index}")
        exists = not at_host or descriptor.vc < self.config.fabric.virtual_channels
        number = self.numbers[node]
        target = self._fabric.objects[number, index]
        for name in OBJECT.names or ():
            target[name] = 0
        target["arrived"] = descriptor.arrived
        self._objects.pop((number, index), None)
        if descriptor.enable and exists:
            self._objects[number, index] = descriptor
            producers = destinations(self.config.fabric, descriptor)
            for name in ("enable", "partial", "replace", "slot", "depth"):
                target[name] = getattr(descriptor, name)
            target["frame"] = descriptor.height * descriptor.width
            target["width"], target["height"] = descriptor.out_width, descriptor.out_height
            target["producer"] = self.numbers[producers[0]] if producers else -1
            target["stream"] = min(descriptor.stream, NUMBERS)
        self._stale = True

    def define_stream(self, node: int, index: int, descriptor: StreamDescriptor) -> None:
        """Write a stream's descriptor, which restarts its credits.

        ``enable = 0``, or a channel that does not exist, undefines it.
        """
        at_host = node == self.config.host
        most = self.config.host_streams if at_host else self.config.core.streams
        if not 0 <= index < most:
            raise ValueError(f"stream must be in 0..{most - 1}, not {index}")
        exists = descriptor.vc < self.config.fabric.virtual_channels
        number = self.numbers[node]
        target = self._fabric.streams[number, index]
        for name in STREAM.names or ():
            target[name] = 0
        target["credits"] = descriptor.credits
        self._streams.pop((number, index), None)
        if descriptor.enable and exists:
            self._streams[number, index] = descriptor
            target["enable"] = 1
            for name in ("consumers", "needed"):
                target[name] = getattr(descriptor, name)
            target["object"] = min(descriptor.object, NUMBERS)
            target["flits"] = payload_flits(self.config.fabric, descriptor)
        self._stale = True

    def fabric(self) -> Fabric:
        """The tables as kernels take them."""
        if self._stale:
            need: list[int] = []
            dead: list[int] = []
            for where, entry in self._objects.items():
                self._fabric.objects[where]["table"] = len(need)
                forms = _closed_forms(entry)
                need, dead = need + forms[0], dead + forms[1]
            nodes: list[int] = []
            for where, route in self._streams.items():
                consumers = destinations(self.config.fabric, route)
                target = self._fabric.streams[where]
                target["first"], target["count"] = len(nodes), len(consumers)
                nodes += [self.numbers[node] for node in consumers]
            self._fabric = self._fabric._replace(
                need=np.array(need, dtype=np.int64), dead=np.array(dead, dtype=np.int64),
                nodes=np.array(nodes, dtype=np.int64),
            )  # fmt: skip
            self._stale = False
        return self._fabric

    @property
    def undeliverable(self) -> int:
        """Messages to places outside the mesh."""
        return int(self._fabric.undeliverable[0])

    def node(self, node: int) -> "Node":
        """Views of a node's tables."""
        return Node(self, node)


class Objects:
    """Counters of a node's objects, int64 arrays by object; see ``_COUNTERS``."""

    arrived: Int
    dead: Int
    row: Int
    col: Int
    position: Int
    lines: Int

    def __init__(self, tables: Any, refused: Int):
        for name in _COUNTERS:
            setattr(self, name, tables[name])
        self._refused = refused

    @property
    def refused(self) -> int:
        """Objects that a RELEASE named and that were not ready or not enabled."""
        return int(self._refused[0])


class Streams:
    """A node's streams; ``credits``: int64 array by stream."""

    credits: Int

    def __init__(self, tables: Any):
        self.credits = tables["credits"]


class Node:
    """Network interface of a core, or the host bridge.

    Attributes
    ----------
    local : :class:`Objects`
    streams : :class:`Streams`
    """

    def __init__(self, state: FabricState, node: int):
        config, number = state.config, state.numbers[node]
        at_host = node == config.host
        objects = config.host_objects if at_host else config.core.objects
        streams = config.host_streams if at_host else config.core.streams
        tables = state.fabric()
        self.local = Objects(tables.objects[number, :objects], tables.refused[number : number + 1])
        self.streams = Streams(tables.streams[number, :streams])
        self._errors, self._malformed = tables.errors[number], tables.malformed

    @property
    def errors(self) -> dict[FabricError, int]:
        """Packets dropped, by reason."""
        return dict(zip(FabricError, self._errors.tolist(), strict=True))

    @property
    def malformed(self) -> int:
        """Packets of the host that were dropped."""
        return int(self._malformed[0])
