# SPDX-License-Identifier: Apache-2.0
"""Perceptrons on a chip: places, segments, objects, routes, programs and packets of the host.

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
add its own; so the object of the partial sums is occupied at the start (``arrived``) and the route
into it has no credit. The head's accumulators take new sums only after the RELEASE that follows the
image's last use of them. X and target vectors come into rings of two slots, so that the host can be
an image ahead: loops run over pairs of images, and jobs are told where the rings are.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.flits import message_flits, multicast_flits
from phasecore.models.compiler.mapping.base import (
    NONE_SENT,
    Images,
    Job,
    Labels,
    Mapping,
    Sent,
    Tables,
    check_tables,
    multicast,
)
from phasecore.models.compiler.network import ONE, ChipNetwork
from phasecore.models.compiler.placement import check_tiles, place
from phasecore.models.compiler.program import (
    activate,
    delta,
    driven,
    loop,
    outer,
    output_lines,
    product,
    send,
    send_sums,
    target_packets,
    vector,
)
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result, header
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    Axis,
    DeltaSource,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, MessageKind

__all__ = ["ChipMapping"]

RING = 2
"""Slots of the rings that the host fills."""


class TileObject(IntEnum):
    """Objects of a tile. The ring of X has the first slots, the error vector the next."""

    X = 0
    DELTAS = 1
    PARTIALS = 2
    """Partial sums of the tile before; the first tile has none."""


class HeadObject(IntEnum):
    """Objects of the head."""

    TARGETS = 0
    CONSTANTS = 1
    PARTIALS = 2


class TileRoute(IntEnum):
    """Routes of a tile."""

    SUMS = 0
    """Partial sums to the next tile, or to the head."""


class HeadRoute(IntEnum):
    """Routes of the head."""

    BACK = 0
    """Error vectors to all tiles."""
    RESULTS = 1
    """Outputs to the host."""


class HostObject(IntEnum):
    """Objects of the host."""

    OUTPUTS = 0


class ChipMapping(Mapping):
    """A network on a chip.

    Parameters
    ----------
    network, chip, profile : what is trained on what

    Attributes
    ----------
    tiles : nodes in the order of the chain
    head : node of the other layers
    tables : descriptors by node, the host's among them
    """

    hardware: ChipConfig

    def __init__(self, network: ChipNetwork, chip: ChipConfig, profile: DeviceProfile):
        check_tiles(network, chip.core)
        self._network = network
        self.recipe, self.hardware = Recipe(network, chip.core, profile), chip
        if network.tiles >= len(chip.cores):
            raise ValueError(
                f"{network.name} needs {network.tiles + 1} cores for {network.tiles} tiles and the"
                f" head, not {len(chip.cores)}"
            )
        self.tiles, self.head = place(chip, network.tiles)
        self.nodes = (*self.tiles, self.head)
        layers = len(network.layers)
        # Head: outputs of the hidden layers, a vector of zeros, the last output, errors, targets.
        self._zeros = layers - 1
        self._outputs = [*range(layers - 1), layers]
        self._deltas = [layers + 1 + layer for layer in range(layers)]
        self._targets = 2 * layers + 1
        self._hidden = layers - 1
        self.tables = {
            **{node: self._tile_tables(tile) for tile, node in enumerate(self.tiles)},
            self.head: self._head_tables(),
            chip.host: self._host_tables(),
        }
        self.check()

    @property
    def network(self) -> ChipNetwork:
        return self._network

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """A tile has its part of layer 0. The head has the other layers and, after them, the hidden
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

    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
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
        config, chip, name = self.config, self.hardware, self.network.name
        layers = len(self.network.layers)
        sizes = [
            ("slots", config.slots, max(self._targets, 1) + RING),
            ("segments", config.segments, layers),
            ("objects", config.objects, len(TileObject)),
            ("routes", config.routes, len(HeadRoute)),
            ("host_objects", chip.host_objects, len(HostObject)),
            ("host_routes", chip.host_routes, len(self.tables[chip.host].routes)),
            ("program_depth", config.program_depth, self._longest()),
        ]
        for what, size, needed in sizes:
            if size < needed:
                raise ValueError(f"{name} needs {needed} {what}, not {size}")
        self._check_bridge()
        check_tables(chip, self.tables)

    def _check_bridge(self) -> None:
        """The bridge must hold what all routes to the host may send without a credit back."""
        at_host = self.hardware.place(self.hardware.host)
        flits = message_flits(self._read_lines[1], self.config)
        credits = sum(
            route.credits
            for node in self.nodes
            for route in self.tables[node].routes
            if not route.multicast and (route.x, route.y) == at_host
        )
        if credits * flits > self.hardware.bridge_flits or not credits:
            raise ValueError(
                f"{self.network.name} sends the host vectors of {flits} flits with {credits}"
                f" credits; the bridge holds {self.hardware.bridge_flits} flits"
            )

    def _longest(self) -> int:
        """Instructions of the longest program."""
        return max(
            len(program) for program in self.training_programs(5, refresh=True, read=True).values()
        )

    # Descriptors

    def _object(self, producer: int, route: int, **values: int) -> ObjectDescriptor:
        x, y = self.hardware.place(producer)
        return ObjectDescriptor(x=x, y=y, route=route, **values)

    def _stream(self, consumer: int, object_: int, **values: int) -> RouteDescriptor:
        x, y = self.hardware.place(consumer)
        return RouteDescriptor(x=x, y=y, object=object_, **values)

    def _tile_tables(self, tile: int) -> Tables:
        """Partial sums go to the next tile when that has its own, to the head at once."""
        objects = [
            self._object(self.hardware.host, tile, **slot_ring(self.config, 0, RING)),
            self._object(self.head, HeadRoute.BACK, member=tile, **slot_ring(self.config, RING)),
        ]
        if tile:
            before = self.tiles[tile - 1]
            # Its own sums are there first.
            objects.append(self._object(before, TileRoute.SUMS, partial=1, arrived=1))
        if tile + 1 < len(self.tiles):
            after = self._stream(self.tiles[tile + 1], TileObject.PARTIALS, credits=0)
        else:
            after = self._stream(self.head, HeadObject.PARTIALS, credits=1)
        return Tables(objects, [after])

    def _head_tables(self) -> Tables:
        constants, tiles = len(self.network.layers), len(self.tiles)
        host = self.hardware.host
        objects = [
            self._object(host, tiles, **slot_ring(self.config, self._targets, RING)),
            self._object(
                host, tiles + 1, height=constants, kernel_height=constants,
                **slot_ring(self.config, 0, constants),
            ),
            self._object(self.tiles[-1], TileRoute.SUMS, partial=1, replace=1),
        ]  # fmt: skip
        flits = message_flits(self._read_lines[1], self.config)
        routes = [
            RouteDescriptor(
                object=TileObject.DELTAS, credits=1, **multicast(self.hardware, self.tiles)
            ),
            self._stream(host, HostObject.OUTPUTS, credits=self.hardware.bridge_flits // flits),
        ]  # fmt: skip
        return Tables(objects, routes)

    def _host_tables(self) -> Tables:
        routes = [
            *(self._stream(node, TileObject.X, credits=RING) for node in self.tiles),
            self._stream(self.head, HeadObject.TARGETS, credits=RING),
            self._stream(self.head, HeadObject.CONSTANTS, credits=len(self.network.layers)),
        ]
        return Tables([self._object(self.head, HeadRoute.RESULTS)], routes)

    # Jobs

    def setup(self) -> Job:
        """Calibration, then the head's constants: the bias code of every hidden layer's outputs,
        and zeros."""
        calibrate, halt = encode(Opcode.CALIBRATE), encode(Opcode.HALT)
        programs = {node: [calibrate, halt] for node in self.tiles}
        mask = 1 << HeadObject.CONSTANTS
        wait = [encode(Opcode.AWAIT, objects=mask), encode(Opcode.RELEASE, objects=mask)]
        layers, route = self.network.layers, len(self.tiles) + 1
        constants = [(layer.bias_line, np.array([ONE])) for layer in layers[1:]]
        constants.append((layers[1].row_start, np.zeros(layers[0].outputs, dtype=np.int64)))
        return Job(
            {**programs, self.head: [calibrate, *wait, halt]},
            [vector(line, codes, self.config, slot=route) for line, codes in constants],
            tables=self.tables,
        )

    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        programs = self.training_programs(
            len(images), x=sent.images % RING, target=sent.targets % RING, refresh=refresh,
            read=read,
        )  # fmt: skip
        targets = target_packets(self.recipe, slot=len(self.tiles))
        packets = [
            packet
            for parts, label in zip(self._image_packets(images), labels, strict=True)
            for packet in (*parts, targets[int(label)])
        ]
        return Job(programs, packets, Sent(len(images), len(images)))

    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        programs = self.inference_programs(len(images), x=sent.images % RING)
        packets = [packet for parts in self._image_packets(images) for packet in parts]
        return Job(programs, packets, Sent(len(images), 0))

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        """A long vector comes in several packets."""
        codes = [result.codes for result in results]
        joined = np.concatenate([np.zeros(0, dtype=np.int8), *codes])
        outputs = self.network.layers[-1].outputs
        return list(joined.reshape(-1, self._read_lines[1])[:, -outputs:])

    # Programs

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
                [[*self._tile_forward(tile, slot, release=1 << TileObject.X)] for slot in (0, 1)],
                images,
                x,
            )
            for tile, node in enumerate(self.tiles)
        }
        sums = encode(Opcode.RELEASE, objects=1 << HeadObject.PARTIALS)
        body = [*self._head_forward(), sums, self._read()]
        programs[self.head] = [*body, *loop(images)]
        return {node: [*program, encode(Opcode.HALT)] for node, program in programs.items()}

    def _tile_forward(self, tile: int, slot: int, *, release: int = 0) -> Iterator[int]:
        """Partial sums; ``release`` names objects that are done with by then."""
        first = self.network.layers[0]
        yield encode(Opcode.AWAIT, objects=1 << TileObject.X)
        yield product(Opcode.FORWARD, self.config, segment=0, slot=slot)
        yield activate(0, Function.NONE)
        if tile:
            release |= 1 << TileObject.PARTIALS
        if release:
            yield encode(Opcode.RELEASE, objects=release)
        yield send_sums(
            TileRoute.SUMS, first_line=first.col_start, length=first.outputs,
            behind=TileObject.PARTIALS if tile else None,
        )  # fmt: skip

    def _tile_backward(self, slot: int) -> Iterator[int]:
        yield encode(Opcode.AWAIT, objects=1 << TileObject.DELTAS)
        yield outer(0, slot=slot, delta=RING)
        yield encode(Opcode.RELEASE, objects=1 << TileObject.X | 1 << TileObject.DELTAS)

    def _head_forward(self) -> Iterator[int]:
        """From the partial sums to the last layer's outputs; layer l has segment l - 1."""
        layers = self.network.layers
        yield encode(Opcode.AWAIT, objects=1 << HeadObject.PARTIALS)
        yield activate(
            self._hidden, Function.SIGMOID, axis=Axis.ROWS, from_slot=1, slot=self._zeros,
            accumulate=1,
            shift=self.recipe.shifts[0], destination=self._outputs[0],
            destination_line=layers[1].row_start,
        )  # fmt: skip
        for index in range(1, len(layers)):
            is_last = index == self.network.last
            slot = self._outputs[index - 1]
            yield product(Opcode.FORWARD, self.config, segment=index - 1, slot=slot)
            line = layers[index].col_start if is_last else layers[index + 1].row_start
            yield activate(
                index - 1, Function.SIGMOID, shift=self.recipe.shifts[index],
                destination=self._outputs[index], destination_line=line,
            )  # fmt: skip

    def _head_backward(self, target: int, read: bool) -> Iterator[int]:
        """Error vectors down to the tiles', which leaves before the head's own update."""
        layers, last = self.network.layers, self.network.last
        yield encode(Opcode.AWAIT, objects=1 << HeadObject.TARGETS)
        yield self._delta(
            last, last - 1, source=DeltaSource.DIFFERENCE, slot=self._targets + target
        )
        for index in reversed(range(last)):
            slot = self._deltas[index + 1]
            yield product(Opcode.BACKWARD, self.config, segment=index, slot=slot)
            yield self._delta(index, index, axis=1)
        yield send(
            HeadRoute.BACK, self._deltas[0], first_line=layers[0].col_start,
            length=layers[0].outputs,
        )  # fmt: skip
        if read:
            yield self._read()
        for index in reversed(range(1, last + 1)):
            yield outer(index - 1, slot=self._outputs[index - 1], delta=self._deltas[index])
        done = 1 << HeadObject.TARGETS | 1 << HeadObject.PARTIALS
        yield encode(Opcode.RELEASE, objects=done)

    def _refresh(self, node: int) -> list[int]:
        """Rows have one dirty bit: of layers side by side all but the first visit all rows."""
        count = len(self.network.layers) - 1 if node == self.head else 1
        return [
            encode(Opcode.REFRESH, segment=segment, all_rows=int(segment > 0))
            for segment in range(count)
        ]

    def _delta(self, layer: int, segment: int, **values: int) -> int:
        return delta(
            self.recipe, layer, segment=segment, output=self._outputs[layer],
            destination=self._deltas[layer], **values,
        )  # fmt: skip

    @property
    def _read_lines(self) -> tuple[int, int]:
        """First line and number of lines that the host gets."""
        return output_lines(self.network.layers[-1])

    def _read(self) -> int:
        start, length = self._read_lines
        return send(HeadRoute.RESULTS, self._outputs[-1], first_line=start, length=length)

    def _image_packets(self, images: NDArray[np.uint8]) -> list[list[bytes]]:
        """Packets of every image, one per tile: its inputs and, in one of them, the bias code."""
        first, tiles = self.network.layers[0], self.network.tiles
        codes = driven(images, first.inputs)
        dealt = [np.ascontiguousarray(codes[:, tile::tiles]) for tile in range(tiles)]
        heads = [
            header(PacketKind.VECTOR, slot=tile, start=first.row_start, length=part.shape[1])
            for tile, part in enumerate(dealt)
        ]
        return [
            [head + row.tobytes() for head, row in zip(heads, rows, strict=True)]
            for rows in zip(*dealt, strict=True)
        ]

    def bounds(self, counters: dict[str, float]) -> dict[str, float]:
        """Least cycles per training image that a phase's work takes at the hardware's full rate.

        - window: one forward product per layer and one backward product per layer but the first;
          tiles work at the same time.
        - post_processing: words of ``post_lanes`` lines of every result, one per cycle.
        - partial_sums: flits of the hidden layer's sums, heads included, through one port; the
          chain adds on the way.
        - transfer: flits of the hidden layer's error vector, a multicast.
        - update: chi words, one per cycle, of the average core.

        What of this an earlier phase hides is counted there, so a phase can be below its bound.
        """
        core, layers = self.config, self.network.layers
        hidden = [layer.outputs for layer in layers[:-1]]
        words = [-(-outputs // core.post_lanes) for outputs in hidden]
        last = -(-layers[-1].outputs // core.post_lanes)
        # The tiles' sums, then ACTIVATE and DELTA of every layer.
        passes = words[0] + 2 * sum(words) + 2 * last
        sums = -(-hidden[0] // LINES_PER_FLIT[MessageKind.PARTIAL])
        return {
            "window": (2 * len(layers) - 1) * core.window_cycles,
            "post_processing": passes,
            "partial_sums": sums + -(-sums // PAYLOAD_FLITS),
            "transfer": multicast_flits(hidden[0], core, self.hardware.noc.depth - 1),
            "update": counters["chi_words_updated"] / len(self.nodes),
        }


def _alternating(body: Sequence[Sequence[int]], images: int, first: int) -> list[int]:
    """Program that runs the two bodies in turn, ``images`` in all, from body ``first``."""
    if images < 1:
        raise ValueError(f"images must be at least 1, not {images}")
    one, other = body[first], body[1 - first]
    pairs = [*one, *other, *loop(images // 2)] if images > 1 else []
    return [*pairs, *(one if images % 2 else ())]
