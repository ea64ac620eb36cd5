# SPDX-License-Identifier: Apache-2.0
"""Random layers that read frames of the host window by window (GATHER) and send the windows back.

A core has an object on a ring, and perhaps cursors on the same ring: further tiles of the layer's
rows, or another layer, which goes through the frame first. Rings lie in the slots or behind them,
are as short as may be and end anywhere in a vector; vectors come whole, as packed rows of pixels,
or in parts from two routes. What the host gets is known from the frames alone, by numpy.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.windows import LayerInput, window_object
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    GROUP,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
)
from phasecore.verification.cosim.hazards import RingReads

__all__ = ["FRAMES", "RandomWindows", "random_layer", "windows_of"]

FRAMES = 2
"""Frames of a program."""

_TILES = 3
"""Most tiles of a layer on a core."""


def windows_of(
    frame: NDArray[Any], layer: LayerInput, tile: tuple[int, int]
) -> NDArray[Any]:  # fmt: skip
    """Windows of a frame, shape (iterations, places of a block, lines of the tile)."""
    found = [
        (window.max((0, 1)) if layer.largest else window.reshape(-1))[slice(*tile)]
        for window in _windows(frame, layer, -128 if layer.largest else 0)
    ]
    return np.reshape(found, (-1, len(layer.places), tile[1] - tile[0]))


def _windows(frame: NDArray[Any], layer: LayerInput, padding: int) -> Iterator[NDArray[Any]]:
    """Slices of the padded frame, shape (kernel rows, columns, channels), place by place."""
    top, left, bottom, right = layer.padding
    padded = np.pad(frame, ((top, bottom), (left, right), (0, 0)), constant_values=padding)
    step = [block * stride for block, stride in zip(layer.block, layer.stride, strict=True)]
    for row, col in itertools.product(*map(range, layer.iterations)):
        for place in layer.places:
            y, x = row * step[0] + place[0], col * step[1] + place[1]
            yield padded[y : y + layer.kernel[0], x : x + layer.kernel[1]]


def random_layer(random: Random, lines: int, *, packed: bool | None = None) -> LayerInput:
    """A layer over a small frame whose vectors have at most ``lines`` bytes."""
    while True:
        rows = random.random() < 0.4 if packed is None else packed
        kernel = random.randint(1, 3), random.randint(1, 3)
        padding = [random.choice([0, random.randrange(size)]) for size in kernel * 2]
        try:
            return LayerInput(
                height=random.randint(1, 5), width=random.randint(1, 6),
                channels=random.randint(1, 3) if rows else random.choice([1, 3, 8, 11, lines]),
                kernel=kernel, padding=(padding[0], padding[1], padding[2], padding[3]),
                stride=(random.randint(1, 2), random.randint(1, 2)),
                block=random.choice([(1, 1), (1, 1), (2, 2), (1, 2), (2, 1)]), packed=rows,
            )  # fmt: skip
        except ValueError:
            # The kernel or the block is larger than the frame.
            continue


@dataclass(frozen=True)
class Tap:
    """What is read of a frame through an object, and where in a slot its windows go."""

    index: int
    layer: LayerInput
    tile: tuple[int, int]
    slot: int
    block: int


@dataclass(frozen=True)
class Stage:
    """A core: its node, and its taps by turns; those of one turn go through a frame together.

    ``objects`` and ``routes`` are without producers and consumers; ``released`` are the objects
    that are released in each turn.
    """

    node: int
    turns: list[list[Tap]]
    objects: list[ObjectDescriptor]
    released: list[int]
    starts: list[int]
    """First line of the part of a vector that each route of the host fills."""


class RandomWindows:
    """Random layers on two cores of a chip.

    Attributes
    ----------
    stages : cores in use
    objects, routes : descriptors by node, the host's among them
    segment : for the programs, which use none
    """

    def __init__(self, config: ChipConfig, seed: int):
        self.config, self._random = config, Random(seed)
        core = config.core
        self.segment = Segment(
            row_start=0, row_count=core.rows, col_start=0, col_count=core.cols
        )  # fmt: skip
        nodes = self._random.sample(list(config.cores), 2)
        self.stages = [self._stage(node) for node in nodes]
        self._channel = self._random.randrange(config.noc.virtual_channels)
        self._expected: dict[int, list[NDArray[Any]]] = {}
        self._tables()

    def programs(self) -> dict[int, list[int]]:
        """Programs of the next frames, by node."""
        return {stage.node: [*self._program(stage), encode(Opcode.HALT)] for stage in self.stages}

    def packets(self) -> list[bytes]:
        """Packets of the next frames."""
        packets, route = [], 0
        self._expected = {}
        for number, stage in enumerate(self.stages):
            self._expected[number] = []
            for _ in range(FRAMES):
                layer = stage.turns[-1][0].layer
                size = layer.height * layer.width * layer.channels
                codes = np.array([self._random.randint(-127, 127) for _ in range(size)], np.int8)
                frame = codes.reshape(layer.height, layer.width, layer.channels)
                packets += self._vectors(stage, layer, frame, route)
                self._expected[number] += self._sent(stage, frame)
            route += len(stage.starts)
        return packets

    def expected(self, number: int) -> list[NDArray[Any]]:
        """Vectors of the latest packets that core ``stages[number]`` sends, in order."""
        return self._expected[number]

    def reads(self, stage: Stage) -> RingReads:
        """What the windows of a core read of its ring."""
        core, layer, frame = self.config.core, stage.turns[-1][0].layer, []
        for taps in stage.turns:
            windows = [self._groups(tap) for tap in taps]
            places = [len(tap.layer.places) for tap in taps]
            for iteration in range(len(windows[0]) // places[0]):
                for groups, count in zip(windows, places, strict=True):
                    frame += groups[iteration * count : (iteration + 1) * count]
        pitch = layer.pitch(core)
        numbers = np.zeros((layer.height, layer.width, layer.channels), dtype=np.int64)
        sizes = [-(-len(vector) // GROUP) for vector in layer.vectors(numbers, core)]
        written = np.arange(pitch) < np.reshape(sizes, (-1, 1))
        return RingReads(stage.objects[0], frame, written.reshape(-1))

    def _groups(self, tap: Tap) -> list[NDArray[Any]]:
        """Groups of 8 bytes, counted from those of the frame's first pixel, of every window."""
        core, layer, shown = self.config.core, tap.layer, slice(tap.tile[0], None)
        shape = layer.height, layer.width, layer.channels
        # Pixels are their own numbers, from 1 on; 0 is padding.
        numbers = 1 + np.arange(np.prod(shape)).reshape(shape)
        group = np.zeros(numbers.size + 1, dtype=np.int64)
        for index, vector in enumerate(layer.vectors(numbers, core)):
            group[vector] = index * layer.pitch(core) + np.arange(len(vector)) // GROUP
        found = []
        for window in _windows(numbers, layer, 0):
            lines = window.reshape(-1, layer.channels) if layer.largest else window.reshape(1, -1)
            read = lines[:, shown][:, : self._length(tap)]
            found.append(np.unique(group[read[read > 0]]))
        return found

    def _vectors(
        self, stage: Stage, layer: LayerInput, frame: NDArray[Any], route: int
    ) -> Iterator[bytes]:
        """A frame, its vectors in the parts that the routes take."""
        for codes in layer.vectors(frame, self.config.core):
            ends = [*stage.starts[1:], len(codes)]
            for part, (start, end) in enumerate(zip(stage.starts, ends, strict=True)):
                yield vector_packet(
                    codes[start:end], config=self.config.core, start=start, slot=route + part
                )

    def _sent(self, stage: Stage, frame: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """What a core sends of a frame."""
        for taps in stage.turns:
            windows = [
                windows_of(frame, tap.layer, tap.tile)[..., : self._length(tap)] for tap in taps
            ]
            for iteration in range(len(windows[0])):
                for tap in windows:
                    yield from tap[iteration]

    def _length(self, tap: Tap) -> int:
        """Lines of a window that the slot has room for."""
        core = self.config.core
        return min(tap.tile[1] - tap.tile[0], core.lines - tap.block * core.post_lanes)

    def _program(self, stage: Stage) -> list[int]:
        """Windows of all turns, frame by frame."""
        program: list[int] = []
        for taps, released in zip(stage.turns, stage.released, strict=True):
            target = len(program)
            if self._random.random() < 0.3:
                program.append(encode(Opcode.AWAIT, objects=released))
            for tap in taps:
                program += self._tap(tap, released)
            program.append(encode(Opcode.RELEASE, objects=released))
            rows, cols = taps[0].layer.iterations
            if rows * cols > 1:
                counter = self._random.choice([0, 1, 3])
                program.append(
                    encode(Opcode.LOOP, counter=counter, target=target, count=rows * cols)
                )
        return [*program, encode(Opcode.LOOP, counter=2, target=0, count=FRAMES)]

    def _tap(self, tap: Tap, released: int) -> Iterator[int]:
        """An iteration's windows, each sent to the host."""
        core = self.config.core
        for row, col in tap.layer.places:
            # Another part of the pixels comes by an object of its own.
            if released & ~(1 << tap.index):
                yield encode(Opcode.AWAIT, objects=released)
            yield encode(
                Opcode.GATHER, object=tap.index, destination=tap.slot, block=tap.block,
                block_row=row, block_col=col, largest=int(tap.layer.largest),
            )  # fmt: skip
            yield encode(
                Opcode.SEND, route=0, partial=0, slot=tap.slot,
                first_line=tap.block * core.post_lanes, length=self._length(tap), merge=0, object=0,
            )  # fmt: skip

    def _stage(self, node: int) -> Stage:
        """A core with one of the kinds of readers that fits its memory."""
        while True:
            kind = self._random.choice([self._tiles, self._two_layers, self._two_parts])
            try:
                return kind(node)
            except ValueError:
                # The rings are longer than the memory.
                continue

    def _tiles(self, node: int) -> Stage:
        """A layer whose tiles are read by cursors beside the first one, all at once."""
        random, core = self._random, self.config.core
        layer = random_layer(random, core.lines)
        ends = [0]
        while ends[-1] < layer.matrix_rows and len(ends) <= _TILES:
            ends.append(min(layer.matrix_rows, ends[-1] + random.randint(1, core.lines)))
        tiles = list(itertools.pairwise(ends))
        alone = [window_object(core, layer, base=0, tile=tile) for tile in tiles]
        # The first tile's releases are those of the whole window.
        order = list(itertools.product(range(alone[0].out_height), range(alone[0].out_width)))
        dead = [0, *(alone[0].dead(*place) for place in order)]
        depth = max(
            entry.need(*place) - before
            for entry in alone
            for place, before in zip(order, dead, strict=False)
        )
        size = max([-(-depth * 8 * alone[0].pitch // core.post_lanes), *(o.size for o in alone)])
        size += random.randint(0, 2)
        base, slots = self._places(size)
        objects = [
            window_object(
                core, layer, base=base, size=size, tile=tile, source=0, cursor=int(index > 0)
            )
            for index, tile in enumerate(tiles)
        ]
        taps = [self._new_tap(index, layer, tile, slots) for index, tile in enumerate(tiles)]
        return Stage(node, [taps], objects, [(1 << len(tiles)) - 1], [0])

    def _two_layers(self, node: int) -> Stage:
        """Another layer, or a pooling, has gone through a frame before this one releases it."""
        random, core = self._random, self.config.core
        layer = random_layer(random, core.lines, packed=False)
        other = replace(
            random_layer(random, core.lines, packed=False),
            **{name: getattr(layer, name) for name in ("height", "width", "channels")},
        )
        whole = min(layer.matrix_rows, core.lines)
        other = replace(other, largest=random.random() < 0.6)
        rows = other.matrix_rows
        tile = (random.randrange(rows), rows)
        tile = (max(tile[0], tile[1] - core.lines), tile[1])
        vectors = layer.height * layer.width
        size = -(-vectors * 8 * layer.pitch(core) // core.post_lanes) + random.randint(0, 2)
        base, slots = self._places(size)
        objects = [
            window_object(core, layer, base=base, size=size, tile=(0, whole)),
            window_object(core, other, base=base, size=size, tile=tile, source=0, cursor=1),
        ]
        turns = [
            [self._new_tap(1, other, tile, slots)],
            [self._new_tap(0, layer, (0, whole), slots)],
        ]
        return Stage(node, turns, objects, [0b10, 0b01], [0])

    def _two_parts(self, node: int) -> Stage:
        """Pixels whose channels come by two routes, in two objects on one ring."""
        core = self.config.core
        layer = replace(random_layer(self._random, core.lines, packed=False), channels=core.lines)
        whole = min(layer.matrix_rows, core.lines)
        alone = window_object(core, layer, base=0, tile=(0, whole))
        base, slots = self._places(alone.size)
        entry = window_object(core, layer, base=base, size=alone.size, tile=(0, whole))
        taps = [self._new_tap(0, layer, (0, whole), slots)]
        return Stage(node, [taps], [entry, entry], [0b11], [0, GROUP])

    def _places(self, size: int) -> tuple[int, list[int]]:
        """First word of a ring of ``size`` words, and slots that are not in it."""
        core, random = self.config.core, self._random
        first = random.choice([0, core.slot_words, core.slot_words])
        base = random.randint(first, max(first, core.memory_words - size))
        free = [
            slot for slot in range(core.slots)
            if (slot + 1) * core.blocks <= base or slot * core.blocks >= base + size
        ]  # fmt: skip
        if not free:
            raise ValueError("the ring covers all slots")
        return base, free

    def _new_tap(
        self, index: int, layer: LayerInput, tile: tuple[int, int], slots: Sequence[int]
    ) -> Tap:
        block = self._random.choice([0, 0, self._random.randrange(self.config.core.blocks)])
        return Tap(index, layer, tile, self._random.choice(slots), block)

    def _tables(self) -> None:
        """Routes from the host to every core and back, with a credit for every place of a ring."""
        host, channel = self.config.host, self._channel
        x, y = self.config.place(host)
        self.objects: dict[int, list[ObjectDescriptor]] = {host: []}
        self.routes: dict[int, list[RouteDescriptor]] = {host: []}
        for number, stage in enumerate(self.stages):
            node_x, node_y = self.config.place(stage.node)
            objects = []
            for index, entry in enumerate(stage.objects):
                route = len(self.routes[host])
                objects.append(replace(entry, x=x, y=y, vc=channel, route=route))
                if not entry.cursor:
                    self.routes[host].append(
                        RouteDescriptor(
                            object=index, x=node_x, y=node_y, vc=channel, credits=entry.depth
                        )
                    )
            self.objects[stage.node] = objects
            self.routes[stage.node] = [
                RouteDescriptor(object=number, x=x, y=y, vc=channel, credits=2)
            ]
            self.objects[host].append(
                ObjectDescriptor(x=node_x, y=node_y, route=0, vc=channel)
            )  # fmt: skip
