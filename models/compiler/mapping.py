# SPDX-License-Identifier: Apache-2.0
"""Perceptrons on a chip: places, segments, objects, streams, programs and packets of the host.

The first layer's rows are dealt out over a chain of tiles, the other layers share the head core
(:class:`~phasecore.models.compiler.network.ChipNetwork`). Per image:

- the host sends every tile its inputs and the head the target;
- each tile adds what it has to the partial sums that come along the chain; the last tile's replace
  the head's accumulators, of which the head makes the hidden layer's activations;
- the head goes on as a single core would, sends the hidden layer's error vector to all tiles at
  once and, if asked to, the outputs to the host;
- tiles and head update their chi and pulse their devices.

Nothing of an image starts before the devices have the pulses of the image before, so results are
those of a single core with as many rows, but for the tiles' roundings.

Who writes what when: a tile's sums belong to its ACTIVATE until RELEASE, which lets the tile before
add its own; so the object of the partial sums is occupied at the start (``arrived``) and the stream
into it has no credit. The head's accumulators take new sums only after the RELEASE that follows the
image's last use of them. X and target vectors come into rings of two slots, so that the host can be
an image ahead: loops run over pairs of images, and :class:`Driver` remembers where the rings are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ONE, ChipNetwork, Recipe
from phasecore.models.golden.fixed_point import Int
from phasecore.models.golden.packets import Result, header
from phasecore.rtl.spec.chip import BRIDGE_FLITS, ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    GROUP,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    Segment,
    StreamDescriptor,
    encode,
)
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, MessageKind

__all__ = ["ChipMapping", "Driver", "Work", "place", "vector_flits"]

RING = 2
"""Slots of the rings that the host fills."""

PARTIALS = 2
"""Object of the partial sums, on tiles and head."""

X, ERRORS = 0, 1
"""Objects of a tile besides; its X ring has the first slots, the error vector the next."""

SUMS = 0
"""Stream of a tile: partial sums to the next."""

TARGETS, CONSTANTS = 0, 1
"""Objects of the head besides."""

BACK, RESULTS = 0, 1
"""Streams of the head: error vectors to all tiles, outputs to the host."""

OUTPUTS = 0
"""Object of the host."""


@dataclass(frozen=True)
class Work:
    """What the chip has to do: ``programs`` by node, and the ``packets`` that the host sends."""

    programs: dict[int, list[int]]
    packets: list[bytes] = field(default_factory=list)


def place(chip: ChipConfig, tiles: int) -> tuple[tuple[int, ...], int]:
    """Nodes of the tiles in the order of the chain, and of the head.

    The tiles fill a rectangle of the mesh (error vectors are multicast to it), the chain winds
    through it along links, its end is as near to the head as can be and then all to the host.
    """
    mesh = chip.fabric

    def distance(a: int, b: int) -> int:
        (ax, ay), (bx, by) = chip.place(a), chip.place(b)
        return abs(ax - bx) + abs(ay - by)

    best: tuple[tuple[int, int], tuple[int, ...], int] | None = None
    for cols, rows in _rectangles(mesh.width, mesh.height, tiles):
        for path in _snakes(cols, rows):
            chain = tuple(y * mesh.width + x for x, y in path)
            if chip.host in chain:
                continue
            for head in chip.cores:
                if head in chain:
                    continue
                hops = sum(distance(chip.host, node) for node in (*chain, head))
                cost = distance(chain[-1], head), hops
                if best is None or cost < best[0]:
                    best = cost, chain, head
    if best is None:
        raise ValueError(
            f"tiles must fill a rectangle of the {mesh.width} x {mesh.height} mesh without host"
            f" ({chip.host}) and head, not {tiles}"
        )
    return best[1], best[2]


def vector_flits(length: int, config: CoreConfig) -> int:
    """Flits of a unicast vector of ``length`` lines from the start of a memory word, with heads."""
    flits = 0
    for start in range(0, length, config.post_lanes):
        lines = min(config.post_lanes, length - start)
        data = -(-lines // LINES_PER_FLIT[MessageKind.VECTOR])
        flits += data + -(-data // PAYLOAD_FLITS)
    return flits


class ChipMapping:
    """A network on a chip.

    Parameters
    ----------
    recipe : of a :class:`~phasecore.models.compiler.network.ChipNetwork`, for the chip's core
    chip : the chip; default: the network's with the recipe's core

    Attributes
    ----------
    tiles : nodes in the order of the chain
    head : node of the other layers
    objects, streams : descriptors by node (the host's among them), each a list by number
    """

    def __init__(self, recipe: Recipe, chip: ChipConfig | None = None):
        network = recipe.network
        if not isinstance(network, ChipNetwork):
            raise TypeError(f"{network.name} is a network of one core")
        self.recipe, self.network = recipe, network
        self.chip = network.chip.replace(core=recipe.config) if chip is None else chip
        self.config = self.chip.core
        if self.config != recipe.config:
            raise ValueError("the recipe must be for the chip's core")
        if network.tiles >= len(self.chip.cores):
            raise ValueError(
                f"{network.name} needs {network.tiles + 1} cores for {network.tiles} tiles and the"
                f" head, not {len(self.chip.cores)}"
            )
        self.tiles, self.head = place(self.chip, network.tiles)
        layers = len(network.layers)
        # Head: outputs of the hidden layers, a vector of zeros, the last output, errors, targets.
        self._zeros = layers - 1
        self._outputs = [*range(layers - 1), layers]
        self._errors = [layers + 1 + layer for layer in range(layers)]
        self._targets = 2 * layers + 1
        self._hidden = layers - 1
        self.objects = {**self._tile_objects(), self.head: self._head_objects()}
        self.streams = {node: self._tile_stream(index) for index, node in enumerate(self.tiles)}
        self.streams[self.head] = self._head_streams()
        self.objects[self.chip.host] = [self._object(self.head, RESULTS)]
        self.streams[self.chip.host] = self._host_streams()
        self.check()

    @property
    def nodes(self) -> tuple[int, ...]:
        """Nodes of all cores in use: the tiles, then the head."""
        return (*self.tiles, self.head)

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """Segment descriptors of every core for one learning rate.

        A tile has its part of layer 0. The head has the other layers and, after them, the hidden
        lines without the bias row, for ACTIVATE.
        """
        recipe, network = self.recipe, self.network
        segments = {
            node: [recipe.segment(0, eta, rows=network.tile_rows(tile))]
            for tile, node in enumerate(self.tiles)
        }
        head = [recipe.segment(index, eta) for index in range(1, len(network.layers))]
        head.append(recipe.segment(1, eta, rows=network.layers[1].inputs))
        return {**segments, self.head: head}

    def weights(self, codes: Mapping[int, Int]) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last, from G+ - G- of the crossbars by node."""
        network, units = self.network, self.recipe.weight_units
        first, *others = network.layers
        whole: NDArray[np.float64] = np.empty((first.rows, first.outputs))
        for tile, node in enumerate(self.tiles):
            part = codes[node][first.row_start :, first.col_start :]
            whole[tile :: network.tiles] = part[: network.tile_rows(tile), : first.outputs]
        head = [
            codes[self.head][layer.row_start :, layer.col_start :][: layer.rows, : layer.outputs]
            for layer in others
        ]
        parts = [whole, *(part.astype(np.float64) for part in head)]
        return [part / unit for part, unit in zip(parts, units, strict=True)]

    def check(self) -> None:
        """Raise ``ValueError``, naming what is short, unless everything fits into the chip."""
        config, chip, name = self.config, self.chip, self.network.name
        layers = len(self.network.layers)
        sizes = [
            ("slots", config.slots, max(self._targets, 1) + RING),
            ("segments", config.segments, layers),
            ("objects", config.objects, PARTIALS + 1),
            ("streams", config.streams, RESULTS + 1),
            ("host_objects", chip.host_objects, OUTPUTS + 1),
            ("host_streams", chip.host_streams, len(self.streams[chip.host])),
            ("program_depth", config.program_depth, self._longest()),
        ]
        for what, size, needed in sizes:
            if size < needed:
                raise ValueError(f"{name} needs {needed} {what}, not {size}")
        self._check_bridge()

    def _check_bridge(self) -> None:
        """The bridge must hold what all streams to the host may send without a credit back."""
        place_ = self.chip.place(self.chip.host)
        flits = vector_flits(self._read_lines[1], self.config)
        credits = sum(
            stream.credits
            for node in self.nodes
            for stream in self.streams[node]
            if not stream.multicast and (stream.x, stream.y) == place_
        )
        if credits * flits > BRIDGE_FLITS or not credits:
            raise ValueError(
                f"{self.network.name} sends the host vectors of {flits} flits with {credits}"
                f" credits; the bridge holds {BRIDGE_FLITS} flits"
            )

    def _longest(self) -> int:
        """Instructions of the longest program."""
        return max(
            len(program) for program in self.training_programs(5, refresh=True, read=True).values()
        )

    # Descriptors

    def _object(self, producer: int, stream: int, **values: int) -> ObjectDescriptor:
        x, y = self.chip.place(producer)
        return ObjectDescriptor(x=x, y=y, stream=stream, **values)

    def _stream(self, consumer: int, object_: int, **values: int) -> StreamDescriptor:
        x, y = self.chip.place(consumer)
        return StreamDescriptor(x=x, y=y, object=object_, **values)

    def _tile_objects(self) -> dict[int, list[ObjectDescriptor]]:
        objects: dict[int, list[ObjectDescriptor]] = {}
        for tile, node in enumerate(self.tiles):
            objects[node] = [
                self._object(self.chip.host, tile, slot=0, depth=RING),
                self._object(self.head, BACK, slot=RING),
            ]
            if tile:
                before = self.tiles[tile - 1]
                # Its own sums are there first.
                objects[node].append(self._object(before, SUMS, partial=1, arrived=1))
        return objects

    def _head_objects(self) -> list[ObjectDescriptor]:
        constants = len(self.network.layers)
        tiles = len(self.tiles)
        return [
            self._object(self.chip.host, tiles, slot=self._targets, depth=RING),
            self._object(
                self.chip.host, tiles + 1, slot=0, depth=constants, height=constants,
                kernel_height=constants,
            ),
            self._object(self.tiles[-1], SUMS, partial=1, replace=1),
        ]  # fmt: skip

    def _tile_stream(self, tile: int) -> list[StreamDescriptor]:
        """Partial sums: to the next tile when that has its own, to the head at once."""
        is_last = self.tiles[tile] == self.tiles[-1]
        after = self.head if is_last else self.tiles[tile + 1]
        return [self._stream(after, PARTIALS, credits=int(is_last))]

    def _head_streams(self) -> list[StreamDescriptor]:
        places = [self.chip.place(node) for node in self.tiles]
        tiles = len(self.tiles)
        flits = vector_flits(self._read_lines[1], self.config)
        return [
            StreamDescriptor(
                object=ERRORS, multicast=1,
                cols=sum(1 << x for x in {x for x, _ in places}),
                rows=sum(1 << y for y in {y for _, y in places}),
                credits=tiles, consumers=tiles, needed=tiles,
            ),
            self._stream(self.chip.host, OUTPUTS, credits=BRIDGE_FLITS // flits),
        ]  # fmt: skip

    def _host_streams(self) -> list[StreamDescriptor]:
        return [
            *(self._stream(node, X, credits=RING) for node in self.tiles),
            self._stream(self.head, TARGETS, credits=RING),
            self._stream(self.head, CONSTANTS, credits=len(self.network.layers)),
        ]

    # Programs

    def setup_programs(self) -> dict[int, list[int]]:
        """Programs to run once before training: calibration, then the head's constants."""
        calibrate, halt = encode(Opcode.CALIBRATE), encode(Opcode.HALT)
        programs = {node: [calibrate, halt] for node in self.tiles}
        mask = 1 << CONSTANTS
        wait = [encode(Opcode.AWAIT, objects=mask), encode(Opcode.RELEASE, objects=mask)]
        return {**programs, self.head: [calibrate, *wait, halt]}

    def training_programs(
        self, images: int, *, x: int = 0, target: int = 0, refresh: bool = False, read: bool = False
    ) -> dict[int, list[int]]:
        """Programs that train on ``images`` images, one at a time.

        Parameters
        ----------
        x, target : ring slots that the first image and the first target come into
        refresh : rebuild worn pairs of all layers at the end
        read : send the output vector of every image
        """
        programs = {}
        for tile, node in enumerate(self.tiles):
            body = [
                [*self._tile_forward(tile, slot), *self._tile_backward(slot)] for slot in (0, 1)
            ]
            programs[node] = _alternating(body, images, x)
        body = [[*self._head_forward(), *self._head_backward(slot, read)] for slot in (0, 1)]
        programs[self.head] = _alternating(body, images, target)
        if refresh:
            for node, program in programs.items():
                program += self._refresh(node)
        return {node: [*program, encode(Opcode.HALT)] for node, program in programs.items()}

    def inference_programs(self, images: int, *, x: int = 0) -> dict[int, list[int]]:
        """Programs that send the output vectors of ``images`` images."""
        programs = {
            node: _alternating(
                [[*self._tile_forward(tile, slot, release=1 << X)] for slot in (0, 1)], images, x
            )
            for tile, node in enumerate(self.tiles)
        }
        sums = encode(Opcode.RELEASE, objects=1 << PARTIALS)
        body = [*self._head_forward(), sums, self._read()]
        programs[self.head] = [*body, *_loop(0, images)]
        return {node: [*program, encode(Opcode.HALT)] for node, program in programs.items()}

    def _tile_forward(self, tile: int, slot: int, *, release: int = 0) -> Iterator[int]:
        """Partial sums; ``release`` names objects that are done with by then."""
        first = self.network.layers[0]
        yield encode(Opcode.AWAIT, objects=1 << X)
        yield self._product(Opcode.FORWARD, 0, slot)
        yield self._activate(0, Function.NONE)
        if tile:
            release |= 1 << PARTIALS
        if release:
            yield encode(Opcode.RELEASE, objects=release)
        yield encode(
            Opcode.SEND, stream=SUMS, partial=1, slot=0, start=first.col_start,
            length=first.outputs, merge=int(tile > 0), object=PARTIALS if tile else 0,
        )  # fmt: skip

    def _tile_backward(self, slot: int) -> Iterator[int]:
        yield encode(Opcode.AWAIT, objects=1 << ERRORS)
        yield encode(Opcode.OUTER, segment=0, slot=slot, error=RING, transfer=1)
        yield encode(Opcode.RELEASE, objects=1 << X | 1 << ERRORS)

    def _head_forward(self) -> Iterator[int]:
        """From the partial sums to the last layer's outputs; layer l has segment l - 1."""
        layers = self.network.layers
        yield encode(Opcode.AWAIT, objects=1 << PARTIALS)
        yield self._activate(
            self._hidden, Function.SIGMOID, side=1, from_slot=1, slot=self._zeros, accumulate=1,
            shift=self.recipe.shifts[0], destination=self._outputs[0], start=layers[1].row_start,
        )  # fmt: skip
        for index in range(1, len(layers)):
            is_last = index == self.network.last
            yield self._product(Opcode.FORWARD, index - 1, self._outputs[index - 1])
            yield self._activate(
                index - 1, Function.SIGMOID, shift=self.recipe.shifts[index],
                destination=self._outputs[index],
                start=layers[index].col_start if is_last else layers[index + 1].row_start,
            )  # fmt: skip

    def _head_backward(self, target: int, read: bool) -> Iterator[int]:
        """Error vectors down to the tiles', which leaves before the head's own update."""
        layers, last = self.network.layers, self.network.last
        yield encode(Opcode.AWAIT, objects=1 << TARGETS)
        yield self._error(last, last - 1, from_slot=1, slot=self._targets + target)
        for index in reversed(range(last)):
            yield self._product(Opcode.BACKWARD, index, self._errors[index + 1])
            yield self._error(index, index, side=1)
        yield encode(
            Opcode.SEND, stream=BACK, partial=0, slot=self._errors[0], start=layers[0].col_start,
            length=layers[0].outputs, merge=0, object=0,
        )  # fmt: skip
        if read:
            yield self._read()
        for index in reversed(range(1, last + 1)):
            yield encode(
                Opcode.OUTER, segment=index - 1, slot=self._outputs[index - 1],
                error=self._errors[index], transfer=1,
            )  # fmt: skip
        yield encode(Opcode.RELEASE, objects=1 << TARGETS | 1 << PARTIALS)

    def _refresh(self, node: int) -> list[int]:
        """Rows have one dirty bit: of layers side by side all but the first visit all rows."""
        count = len(self.network.layers) - 1 if node == self.head else 1
        return [
            encode(Opcode.REFRESH, segment=segment, all_rows=int(segment > 0))
            for segment in range(count)
        ]

    def _product(self, opcode: Opcode, segment: int, slot: int) -> int:
        return encode(
            opcode, segment=segment, slot=slot, precision=self.config.input_bits, input_signs=3,
            polarities=3,
        )  # fmt: skip

    def _activate(self, segment: int, function: Function, **values: int) -> int:
        unused = dict.fromkeys(
            ("side", "from_slot", "slot", "accumulate", "shift", "destination", "start"), 0
        )
        return encode(
            Opcode.ACTIVATE, segment=segment, function=function, affine=0, table=0,
            **{**unused, **values},
        )  # fmt: skip

    def _error(self, layer: int, segment: int, **values: int) -> int:
        """Error vector of a layer, with the derivative at its outputs."""
        unused = dict.fromkeys(("side", "from_slot", "slot"), 0)
        return encode(
            Opcode.ERROR, segment=segment, output=self._outputs[layer], function=Function.SIGMOID,
            bias=self.recipe.biases[layer], destination=self._errors[layer],
            start=self.network.layers[layer].col_start, **self.network.training.error_fields,
            **{**unused, **values},
        )  # fmt: skip

    @property
    def _read_lines(self) -> tuple[int, int]:
        """First line and number of lines that the host gets."""
        layer = self.network.layers[-1]
        start = layer.col_start // GROUP * GROUP
        return start, layer.col_start + layer.outputs - start

    def _read(self) -> int:
        start, length = self._read_lines
        return encode(
            Opcode.SEND, stream=RESULTS, partial=0, slot=self._outputs[-1], start=start,
            length=length, merge=0, object=0,
        )  # fmt: skip

    # Packets

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        """Output vector of every image; a long one comes in several packets."""
        codes = [result.codes for result in results]
        joined = np.concatenate([np.zeros(0, dtype=np.int8), *codes])
        return list(joined.reshape(-1, self._read_lines[1]))

    def setup_packets(self) -> list[bytes]:
        """Constants of the head: the bias code of every hidden layer's outputs, then zeros."""
        layers, stream = self.network.layers, len(self.tiles) + 1
        packets = [_packet(stream, layer.bias_line, np.array([ONE])) for layer in layers[1:]]
        zeros = np.zeros(layers[0].outputs, dtype=np.int64)
        return [*packets, _packet(stream, layers[1].row_start, zeros)]

    def image_packets(self, images: NDArray[np.uint8]) -> list[list[bytes]]:
        """Packets of every image, one per tile: its inputs and, in one of them, the bias code."""
        first, tiles = self.network.layers[0], self.network.tiles
        if images.ndim != 2 or images.shape[1] != first.inputs:
            raise ValueError(
                f"images must have shape (images, {first.inputs}), not {tuple(images.shape)}"
            )
        driven = np.pad(images, ((0, 0), (0, 1)), constant_values=ONE)
        dealt = [np.ascontiguousarray(driven[:, tile::tiles]) for tile in range(tiles)]
        heads = [
            header(PacketKind.VECTOR, slot=tile, start=first.row_start, length=part.shape[1])
            for tile, part in enumerate(dealt)
        ]
        return [
            [head + row.tobytes() for head, row in zip(heads, rows, strict=True)]
            for rows in zip(*dealt, strict=True)
        ]

    def target_packets(self) -> list[bytes]:
        """Target packet by label."""
        layer = self.network.layers[-1]
        codes = self.network.training.targets(layer.outputs)
        return [_packet(len(self.tiles), layer.col_start, row) for row in codes]


class Driver:
    """The host's part: programs and packets of one stretch of images after another.

    Attributes
    ----------
    images, targets : vectors sent so far to each tile and to the head
    """

    def __init__(self, mapping: ChipMapping):
        self.mapping = mapping
        self.images = 0
        self.targets = 0

    def setup(self) -> Work:
        """What is done once."""
        return Work(self.mapping.setup_programs(), self.mapping.setup_packets())

    def training(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], *, refresh: bool = False,
        read: bool = False,
    ) -> Work:  # fmt: skip
        """Learn ``images`` in order; see :meth:`ChipMapping.training_programs`."""
        programs = self.mapping.training_programs(
            len(images), x=self.images % RING, target=self.targets % RING, refresh=refresh,
            read=read,
        )  # fmt: skip
        targets = self.mapping.target_packets()
        packets = [
            packet
            for parts, label in zip(self.mapping.image_packets(images), labels, strict=True)
            for packet in (*parts, targets[int(label)])
        ]
        self.images += len(images)
        self.targets += len(images)
        return Work(programs, packets)

    def inference(self, images: NDArray[np.uint8]) -> Work:
        """Send the outputs of ``images``."""
        programs = self.mapping.inference_programs(len(images), x=self.images % RING)
        packets = [packet for parts in self.mapping.image_packets(images) for packet in parts]
        self.images += len(images)
        return Work(programs, packets)


def _alternating(body: Sequence[Sequence[int]], images: int, first: int) -> list[int]:
    """Program that runs the two bodies in turn, ``images`` in all, from body ``first``."""
    if images < 1:
        raise ValueError(f"images must be at least 1, not {images}")
    one, other = body[first], body[1 - first]
    pairs = [*one, *other, *_loop(0, images // 2)] if images > 1 else []
    return [*pairs, *(one if images % 2 else ())]


def _loop(counter: int, count: int) -> list[int]:
    """Back to the start of the program until what is before has run ``count`` times."""
    return [encode(Opcode.LOOP, counter=counter, target=0, count=count)] if count > 1 else []


def _packet(stream: int, line: int, codes: Int) -> bytes:
    """VECTOR packet for ``line`` and up, with zeros before to the start of a group."""
    skipped = line % GROUP
    padded = np.pad(codes, (skipped, 0)).astype(np.int8)
    head = header(PacketKind.VECTOR, slot=stream, start=line - skipped, length=len(padded))
    return head + padded.tobytes()


def _rectangles(width: int, height: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Columns and rows of all rectangles of ``size`` nodes of a mesh."""
    for cols in range(1, min(width, size) + 1):
        rows, rest = divmod(size, cols)
        if rest or rows > height:
            continue
        for x in range(width - cols + 1):
            for y in range(height - rows + 1):
                yield list(range(x, x + cols)), list(range(y, y + rows))


def _snakes(cols: list[int], rows: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Paths (x, y) that wind through a rectangle, row by row or column by column."""
    corners = [(xs, ys) for xs in (cols, cols[::-1]) for ys in (rows, rows[::-1])]
    for xs, ys in corners:
        yield [(x, y) for i, y in enumerate(ys) for x in (xs, xs[::-1])[i % 2]]
    for xs, ys in corners:
        yield [(x, y) for i, x in enumerate(xs) for y in (ys, ys[::-1])[i % 2]]
