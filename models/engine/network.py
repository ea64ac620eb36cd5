# SPDX-License-Identifier: Apache-2.0
"""Objects and streams of all nodes in arrays: network interfaces, local control, host bridge.

Nodes are numbered as the cores are; the host is behind the last of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from phasecore.models.engine.jit import record
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.fixed_point import Int
from phasecore.models.golden.network_interface import FabricError, payload_flits
from phasecore.rtl.spec.instructions import ObjectDescriptor, StreamDescriptor

__all__ = ["NUMBERS", "Fabric", "FabricState", "nothing"]

NUMBERS = 16
"""Objects and streams that a message can name; entry ``NUMBERS`` of every table is undefined."""

_LOCAL = ("arrived", "dead", "position", "lines")
"""Counters of an object that ``golden.local_control.LocalControl`` has under the same
names."""

OBJECT = record(
    "enable", "partial", "replace", "slot", "depth", "frame", "iterations", "table", "producer",
    "stream", "iteration", *_LOCAL,
)  # fmt: skip
"""``frame``: vectors of one; ``table``: where its iterations are in ``Fabric.need`` and ``.dead``;
``producer``: node, -1 if there is none."""

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
        objects=np.zeros((nodes, NUMBERS + 1), dtype=OBJECT),
        streams=np.zeros((nodes, NUMBERS + 1), dtype=STREAM),
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


class FabricState:
    """The fabric of a chip, whose cores are numbered in the order of ``nodes``."""

    def __init__(self, chip: Chip, nodes: Sequence[int]):
        self._chip = chip
        self._nodes = tuple(nodes)
        self._number = {node: number for number, node in enumerate((*nodes, chip.config.host))}

    def load(self) -> Fabric:
        """The reference's tables and counters as arrays."""
        chip = self._chip
        fabric = _empty(len(self._number), chip.config.core.lines, len(self._nodes))
        self._need: list[int] = []
        self._dead: list[int] = []
        self._consumers: list[int] = []
        for node, number in self._number.items():
            objects, streams = self._tables(node)
            for index, entry in enumerate(objects):
                if entry is not None:
                    self._load_object(fabric.objects[number, index], entry)
            for index, stream in enumerate(streams.descriptors):
                if stream is not None:
                    self._load_stream(fabric.streams[number, index], stream)
                fabric.streams[number, index]["credits"] = streams.credits[index]
        for number, node in enumerate(self._nodes):
            local = chip.interfaces[node].local
            for index, target in enumerate(fabric.objects[number, : len(local.arrived)]):
                for name in _LOCAL:
                    target[name] = getattr(local, name)[index]
                entry = local.descriptors[index]
                width = 0 if entry is None else entry.out_width
                target["iteration"] = local.row[index] * width + local.col[index]
        return fabric._replace(
            need=np.array(self._need, dtype=np.int64),
            dead=np.array(self._dead, dtype=np.int64),
            nodes=np.array(self._consumers, dtype=np.int64),
        )

    def store(self, fabric: Fabric) -> None:
        """Give the reference what has changed."""
        chip = self._chip
        for node, number in self._number.items():
            _, streams = self._tables(node)
            streams.credits[:] = fabric.streams["credits"][number, : len(streams.credits)].tolist()
            owner = chip.host if node == chip.config.host else chip.interfaces[node]
            for error, count in zip(FabricError, fabric.errors[number].tolist(), strict=True):
                owner.errors[error] += count
        for number, node in enumerate(self._nodes):
            local = chip.interfaces[node].local
            local.refused += int(fabric.refused[number])
            records = fabric.objects[number, : len(local.arrived)]
            for name in _LOCAL:
                getattr(local, name)[:] = records[name].tolist()
            for index, entry in enumerate(local.descriptors):
                if entry is not None:
                    iteration = int(records["iteration"][index])
                    local.row[index], local.col[index] = divmod(iteration, entry.out_width)
        chip.host.malformed += int(fabric.malformed[0])
        chip.undeliverable += int(fabric.undeliverable[0])

    def _tables(self, node: int) -> tuple[Sequence[ObjectDescriptor | None], Any]:
        chip = self._chip
        if node == chip.config.host:
            return chip.host.objects, chip.host.streams
        interface = chip.interfaces[node]
        return interface.local.descriptors, interface.streams

    def _load_object(self, target: Any, entry: ObjectDescriptor) -> None:
        producers = self._chip.destinations(entry)
        need, dead = _closed_forms(entry)
        target["enable"] = 1
        for name in ("partial", "replace", "slot", "depth"):
            target[name] = getattr(entry, name)
        target["frame"] = entry.height * entry.width
        target["iterations"] = len(need)
        target["table"] = len(self._need)
        target["producer"] = self._number[producers[0]] if producers else -1
        target["stream"] = min(entry.stream, NUMBERS)
        self._need += need
        self._dead += dead

    def _load_stream(self, target: Any, entry: StreamDescriptor) -> None:
        consumers = self._chip.destinations(entry)
        target["enable"] = 1
        for name in ("consumers", "needed"):
            target[name] = getattr(entry, name)
        target["object"] = min(entry.object, NUMBERS)
        target["first"], target["count"] = len(self._consumers), len(consumers)
        target["flits"] = payload_flits(self._chip.config.fabric, entry)
        self._consumers += [self._number[node] for node in consumers]
