# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks on a chip, for inference: a core per convolution, images without a gap.

- The host sends the rows of an image, packed, with the horizontal padding in them.
- Every convolution has a core. It gathers the windows of a pooled block one after another, drives
  each, and sends the mean of the block's activations on, a pixel of the next layer.
- The pixels of the last convolution go to the tiles of the first fully connected layer at once,
  each of which has whole pixels of the frame; their partial sums run down a chain to the head.
- The head makes activations of the sums, does the other layers and sends the outputs to the host.

Windows of a core follow each other without a pause: while one is integrated, the next one is
gathered, and what is left of the one before is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.convolution import POOL, ConvLayer, ConvNetwork, check_layers
from phasecore.models.compiler.flits import message_flits
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
from phasecore.models.compiler.mapping.learning import Learning
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.placement import place
from phasecore.models.compiler.program import (
    activate,
    gather,
    loop,
    product,
    repeat,
    send,
    send_sums,
    vector,
)
from phasecore.models.compiler.recipe import Recipe
from phasecore.models.compiler.windows import LayerInput, check_rings, window_object
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result, affine_packet, vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    GROUP,
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)

__all__ = ["PipelineMapping"]

X = (0, 1)
"""Slots of windows, in turn."""

Y, POOLED, ZEROS = 2, 3, 2
"""Slots of activations and of their mean; of the head's zeros."""

POOLING = 2
"""Segment of the lines that are pooled."""

MEAN_TABLE = 0
"""Affine table without the half code that a converter's codes have."""

SUMS = 3
"""Object of the sums of pixels while they are cleared, behind those of :class:`PipelineObject`."""

HALT = encode(Opcode.HALT)


class PipelineObject(IntEnum):
    """Objects of a core."""

    FRAME = 0
    CONSTANTS = 1
    """Of the head and of cores with a bias row: what the host puts into slots at first."""
    PARTIALS = 2
    """Partial sums of the tile before, of the head those of the last tile."""


@dataclass(frozen=True)
class PipelineStage:
    """A core that reads windows of a frame.

    Attributes
    ----------
    node, layer : core, and number of its layer
    rows : those of the layer's matrix that it has, the bias row not among them
    bias : it has the bias row, behind them
    frame : object that its windows are of
    """

    node: int
    layer: int
    rows: range
    bias: bool
    reads: LayerInput
    frame: ObjectDescriptor


class PipelineMapping(Mapping):
    """A convolutional network on a chip.

    Parameters
    ----------
    network, chip, profile : what is inferred on what

    Attributes
    ----------
    layers : those of the network
    stages : convolutions in order, then the tiles of the first fully connected layer
    head : node of the other layers
    tables : descriptors by node, the host's among them
    """

    hardware: ChipConfig

    def __init__(self, network: ConvNetwork, chip: ChipConfig, profile: DeviceProfile):
        check_layers(network, chip.core)
        self.layers, self.hardware = network.layers, chip
        self._convolutions = sum(layer.positions > 1 for layer in network.layers)
        self.recipe = Recipe(network, chip.core, profile, carried=self._convolutions)
        dense = network.layers[self._convolutions]
        parts = self._parts(dense)
        tiles, self.head = place(chip, len(parts))
        free = [node for node in chip.cores if node not in (*tiles, self.head)]
        if len(free) < self._convolutions:
            needed = self._convolutions + len(tiles) + 1
            raise ValueError(f"{network.name} needs {needed} cores, not {len(chip.cores)}")
        self._producers = [chip.host, *free[: self._convolutions]]
        self.stages = [self._convolution(index) for index in range(self._convolutions)]
        self.stages += [
            self._tile(number, node, rows, bias=rows.stop == dense.inputs)
            for number, (node, rows) in enumerate(zip(tiles, parts, strict=True))
        ]
        self.tiles = tiles
        self.nodes = (*(stage.node for stage in self.stages), self.head)
        self._places = self._head_places()
        self.tables = {
            **{stage.node: self._stage_tables(stage) for stage in self.stages},
            self.head: self._head_tables(),
            chip.host: self._host_tables(),
        }
        for tables in (self.tables[node] for node in self.nodes):
            check_rings(self.config, tables.objects)
        check_tables(chip, self.tables)

    # What is where

    def _parts(self, dense: ConvLayer) -> list[range]:
        """Rows of the first fully connected layer by tile: whole pixels, the bias row in the last
        one."""
        channels = self.layers[self._convolutions - 1].outputs
        most = self.config.rows // channels * channels
        parts, first = [], 0
        while first < dense.inputs:
            end = min(first + most, dense.inputs)
            if end == dense.inputs and end - first == self.config.rows:
                end -= channels
            parts.append(range(first, end))
            first = end
        return parts

    def _convolution(self, index: int) -> PipelineStage:
        layer = self.layers[index]
        # Only the host sends whole rows.
        packed = index == 0 and layer.channels < GROUP // 2
        reads = LayerInput(
            height=layer.height, width=layer.width, channels=layer.channels,
            kernel=(layer.kernel, layer.kernel), padding=(layer.padding,) * 4,
            block=(POOL, POOL) if layer.pooled else (1, 1), packed=packed,
        )  # fmt: skip
        frame = window_object(
            self.config, reads, base=self.config.slot_words, ahead=2 * reads.block[0],
            **self._from(index),
        )  # fmt: skip
        node = self._producers[index + 1]
        return PipelineStage(node, index, range(layer.inputs), True, reads, frame)

    def _tile(self, number: int, node: int, rows: range, *, bias: bool) -> PipelineStage:
        """Tile ``number`` of the first fully connected layer has room for another frame."""
        layer = self.layers[self._convolutions - 1]
        side = POOL if layer.pooled else 1
        height, width = layer.out_height // side, layer.out_width // side
        reads = LayerInput(
            height=height, width=width, channels=layer.outputs, kernel=(height, width)
        )
        frame = window_object(
            self.config, reads, base=self.config.slot_words, ahead=height * width,
            tile=(rows.start, rows.stop), member=number, **self._from(self._convolutions),
        )  # fmt: skip
        return PipelineStage(node, self._convolutions, rows, bias, reads, frame)

    def _from(self, index: int) -> dict[str, Any]:
        """Producer of a layer's frame."""
        x, y = self.hardware.place(self._producers[index])
        return {"x": x, "y": y, "route": 0}

    def _head_places(self) -> list[tuple[int, int]]:
        """First row and column of the head's layers, below and right of each other."""
        found, row, col = [], 0, 0
        for layer in self.layers[self._convolutions + 1 :]:
            found.append((row, col))
            row, col = -(-(row + layer.rows) // GROUP) * GROUP, col + layer.outputs
        if row > self.config.rows or col > self.config.cols:
            raise ValueError(
                f"{self.network.name} needs {row} rows and {col} columns for the head; the"
                f" crossbar has {self.config.rows} and {self.config.cols}"
            )
        return found

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """A stage has, beside its layer, the rows without the bias and the lines that are pooled.

        The head has the lines of the sums, its layers and the lines of the last outputs.
        """
        found: dict[int, list[Segment]] = {}
        for stage in self.stages:
            rows = len(stage.rows) + stage.bias
            found[stage.node] = [
                self.recipe.segment(stage.layer, eta, rows=rows),
                replace(self.lines(0, stage.layer), row_count=len(stage.rows)),
            ]
            if self.layers[stage.layer].pooled:
                found[stage.node].append(self.lines(self.pool_line(stage), stage.layer))
        head = [self.lines(0, self._convolutions)]
        for index, (row, col) in enumerate(self._places, self._convolutions + 1):
            part = vars(self.recipe.segment(index, eta))
            head.append(Segment(**{**part, "row_start": row, "col_start": col}))
        return {**found, self.head: [*head, self.lines(0, len(self.layers) - 1)]}

    def lines(self, first: int, layer: int) -> Segment:
        """Lines of as many columns as a layer has."""
        outputs = self.layers[layer].outputs
        segment = Segment(row_start=0, row_count=1, col_start=first, col_count=outputs)
        lsb = self.config.lsb_log2_min
        return Segment(**{**vars(segment), "forward_lsb_log2": lsb, "backward_lsb_log2": lsb})

    def place_of(self, layer: int) -> tuple[int, int]:
        """First row and column of a layer of the head."""
        return self._places[layer - self._convolutions - 1]

    def pool_line(self, stage: PipelineStage) -> int:
        """First of the lines that are pooled, behind those of the converters' codes."""
        return -(-self.layers[stage.layer].outputs // GROUP) * GROUP

    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
        found = []
        for index, layer in enumerate(self.layers[: self._convolutions + 1]):
            parts = [
                codes[stage.node][: len(stage.rows) + stage.bias, : layer.outputs]
                for stage in self.stages if stage.layer == index
            ]  # fmt: skip
            found.append(np.concatenate(parts).astype(np.float64))
        for layer, (row, col) in zip(
            self.layers[self._convolutions + 1 :], self._places, strict=True
        ):
            part = codes[self.head][row : row + layer.rows, col : col + layer.outputs]
            found.append(part.astype(np.float64))
        return [part / unit for part, unit in zip(found, self.recipe.weight_units, strict=True)]

    # Descriptors

    def _stage_tables(self, stage: PipelineStage) -> Tables:
        objects = [stage.frame, self._constants(stage.node, len(X))]
        if stage.layer < self._convolutions:
            return Tables(objects, [self.next_route(stage)])
        tile = self.tiles.index(stage.node)
        if tile:
            x, y = self.hardware.place(self.tiles[tile - 1])
            # Its own sums are there first.
            objects.append(ObjectDescriptor(x=x, y=y, route=0, partial=1, arrived=1))
        last = tile + 1 == len(self.tiles)
        x, y = self.hardware.place(self.head if last else self.tiles[tile + 1])
        to = {"x": x, "y": y, "object": PipelineObject.PARTIALS, "credits": int(last)}
        return Tables(objects, [RouteDescriptor(**to)])

    def next_route(self, stage: PipelineStage) -> RouteDescriptor:
        """Where the pixels of a convolution go."""
        readers = [other for other in self.stages if other.layer == stage.layer + 1]
        depth = min(reader.frame.depth for reader in readers)
        if len(readers) == 1:
            x, y = self.hardware.place(readers[0].node)
            return RouteDescriptor(object=PipelineObject.FRAME, x=x, y=y, credits=depth)
        nodes = [reader.node for reader in readers]
        return RouteDescriptor(
            object=PipelineObject.FRAME, credits=depth, **multicast(self.hardware, nodes)
        )

    def _constants(self, node: int, slots: int) -> ObjectDescriptor:
        x, y = self.hardware.place(self.hardware.host)
        return ObjectDescriptor(
            x=x, y=y, route=self._route(node), height=slots, kernel_height=slots,
            **slot_ring(self.config, 0, slots),
        )  # fmt: skip

    def _route(self, node: int) -> int:
        """The host's route of a core's constants; that of its affine table follows."""
        return 1 + 2 * self.nodes.index(node)

    def _head_tables(self) -> Tables:
        x, y = self.hardware.place(self.tiles[-1])
        sums = ObjectDescriptor(x=x, y=y, route=0, partial=1, replace=1)
        constants = self._constants(self.head, self.head_slots)
        x, y = self.hardware.place(self.hardware.host)
        outputs = self.layers[-1].outputs
        flits = message_flits(outputs, self.config)
        results = RouteDescriptor(object=0, x=x, y=y, credits=self.hardware.bridge_flits // flits)
        unused = ObjectDescriptor(enable=0)
        return Tables([unused, constants, sums], [results])

    def _host_tables(self) -> Tables:
        first = self.stages[0]
        x, y = self.hardware.place(first.node)
        routes = [RouteDescriptor(object=PipelineObject.FRAME, x=x, y=y, credits=first.frame.depth)]
        for node in self.nodes:
            x, y = self.hardware.place(node)
            slots = self.tables_objects(node)[PipelineObject.CONSTANTS].depth
            routes += [
                RouteDescriptor(object=PipelineObject.CONSTANTS, x=x, y=y, credits=slots),
                RouteDescriptor(object=MEAN_TABLE, x=x, y=y, credits=0),
            ]
        x, y = self.hardware.place(self.head)
        return Tables([ObjectDescriptor(x=x, y=y, route=0)], routes)

    def tables_objects(self, node: int) -> Sequence[ObjectDescriptor]:
        """Objects of a core."""
        stage = {stage.node: stage for stage in self.stages}.get(node)
        tables = self._stage_tables(stage) if stage else self._head_tables()
        return tables.objects

    # Jobs

    @property
    def head_slots(self) -> int:
        """Slots of the head: inputs of its layers, their last output, zeros."""
        return len(self._places) + 2

    def setup(self) -> Job:
        """Calibration, bias codes and tables; sums of pixels become 0 where a core has them."""
        calibrate = encode(Opcode.CALIBRATE)
        mask = 1 << PipelineObject.CONSTANTS
        wait = [encode(Opcode.AWAIT, objects=mask), encode(Opcode.RELEASE, objects=mask)]
        programs = {node: [calibrate, *wait] for node in self.nodes}
        tables = {**self.tables, **self._clear_sums(programs)}
        for program in programs.values():
            program.append(HALT)
        packets = []
        for stage in self.stages:
            route, line = self._route(stage.node), len(stage.rows)
            codes = np.array([ONE if stage.bias else 0])
            packet = vector(line % self.config.lines, codes, self.config, slot=route)
            packets += [packet] * len(X)
        packets += self._head_constants()
        lines = np.arange(self.config.lines)
        scale, offset = np.full_like(lines, 128), np.zeros_like(lines)
        packets += [
            affine_packet(scale, offset, config=self.config, slot=self._route(node) + 1)
            for node in self.nodes
        ]
        return Job(programs, packets, tables=tables)

    def _clear_sums(self, programs: dict[int, list[int]]) -> dict[int, Tables]:
        """Append to programs, by node, what clears the sums of pixels; the tables for that.

        Where the network cannot learn there are none.
        """
        try:
            learning = self._learning
        except ValueError:
            return {}
        found = {}
        for stage in self.stages:
            if stage.layer:
                entry = learning.clear(programs[stage.node], stage, SUMS)
                given = self.tables[stage.node]
                unused = [ObjectDescriptor(enable=0)] * (SUMS - len(given.objects))
                found[stage.node] = replace(given, objects=[*given.objects, *unused, entry])
        return found

    def _head_constants(self) -> list[bytes]:
        """Bias codes of the head's layers, then zeros."""
        layers = self.layers[self._convolutions + 1 :]
        lines = [row + layer.inputs for layer, (row, _) in zip(layers, self._places, strict=True)]
        codes = [np.array([ONE]) for _ in lines] + [np.zeros(1, dtype=np.int64)]
        zeros = np.zeros(self.layers[self._convolutions].outputs, dtype=np.int64)
        route = self._route(self.head)
        found = [
            vector(line, code, self.config, slot=route)
            for line, code in zip([*lines, 0], codes, strict=True)
        ]
        return [*found, vector(0, zeros, self.config, slot=route)]

    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        learning = self._learning
        targets = learning.target_packets()
        packets = [
            packet
            for vectors, label in zip(self._vectors(images), labels, strict=True)
            for packet in (*vectors, targets[int(label)])
        ]
        programs = learning.programs(len(images), refresh=refresh, read=read)
        return Job(programs, packets, Sent(len(images), len(images)), learning.tables)

    @cached_property
    def _learning(self) -> Learning:
        return Learning(self)

    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        packets = [packet for vectors in self._vectors(images) for packet in vectors]
        programs = {
            stage.node: [*self.windows(stage, len(images)), HALT]
            if stage.layer < self._convolutions else self._sums(stage, len(images))
            for stage in self.stages
        }  # fmt: skip
        release = encode(Opcode.RELEASE, objects=1 << PipelineObject.PARTIALS)
        body = [*self.head_forward(), release, self.results(0)]
        programs[self.head] = [*body, *loop(len(images)), HALT]
        return Job(programs, packets, Sent(len(images), 0), self.tables)

    def _vectors(self, images: Images) -> Iterator[list[bytes]]:
        """Packets of every image."""
        first = self.stages[0].reads
        for frame in images.reshape(-1, first.height, first.width, first.channels):
            vectors = first.vectors(frame, self.config)
            yield [
                vector_packet(codes.astype(np.int64), config=self.config, slot=0)
                for codes in vectors
            ]

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        return [result.codes for result in results]

    # Programs

    def windows(
        self, stage: PipelineStage, images: int, *, frame: int = PipelineObject.FRAME,
        keep: Sequence[int] = (),
    ) -> list[int]:  # fmt: skip
        """A convolution: the first window, then blocks, each with the next one's first window.

        ``frame`` is the object of the windows; ``keep`` does something with the activations of
        every position.
        """
        rows, cols = stage.reads.iterations
        blocks = images * rows * cols
        last = len(stage.reads.places) - 1
        body: list[int] = []
        for index in range(1, last + 1):
            body += [*self._window(stage, index, frame), *keep, self._pool(stage, index - 1)]
            body.append(self._activate(stage))
        end = [*keep, *([self._pool(stage, last)] if last else []), self._send(stage)]
        first = [*self._window(stage, 0, frame)]
        program = [*first, self._activate(stage)]
        repeat(program, [*body, *first, *end, self._activate(stage)], blocks - 1)
        return [*program, *body, *end]

    def _window(self, stage: PipelineStage, index: int, frame: int) -> Iterator[int]:
        """Window ``index`` of a block: gathered and driven; the frame goes on behind the last."""
        row, col = stage.reads.places[index]
        # The first window of a block does not take the slot of the last one before it.
        slot = X[index % len(X)]
        yield gather(frame, slot, row, col)
        yield product(Opcode.FORWARD, self.config, segment=0, slot=slot)
        if index == len(stage.reads.places) - 1:
            yield encode(Opcode.RELEASE, objects=1 << frame)

    def _activate(self, stage: PipelineStage) -> int:
        """Codes of the latest window to activations."""
        layer = self.layers[stage.layer]
        return activate(
            0, layer.function, shift=self.recipe.shifts[stage.layer], destination=Y,
            destination_line=self.pool_line(stage) if layer.pooled else 0,
        )  # fmt: skip

    def _pool(self, stage: PipelineStage, index: int) -> int:
        """Add a window's activations to those of the block; their mean with the last."""
        final = index == len(stage.reads.places) - 1
        return activate(
            POOLING, Function.IDENTITY if final else Function.NONE, from_slot=1, slot=Y,
            accumulate=int(index > 0), affine=1, table=MEAN_TABLE,
            shift=7 + self.layers[stage.layer].shared_log2 if final else 0, destination=POOLED,
        )  # fmt: skip

    def _send(self, stage: PipelineStage) -> int:
        pooled = self.layers[stage.layer].pooled
        return send(0, POOLED if pooled else Y, length=self.layers[stage.layer].outputs)

    def _sums(self, stage: PipelineStage, images: int) -> list[int]:
        """A tile of the first fully connected layer, image by image."""
        tile = self.tiles.index(stage.node)
        body = [*self._window(stage, 0, PipelineObject.FRAME), activate(0, Function.NONE)]
        if tile:
            body.append(encode(Opcode.RELEASE, objects=1 << PipelineObject.PARTIALS))
        body.append(send_sums(
            0, length=self.layers[self._convolutions].outputs,
            behind=PipelineObject.PARTIALS if tile else None,
        ))  # fmt: skip
        return [*body, *loop(images), HALT]

    def head_forward(self) -> Iterator[int]:
        """From the partial sums to the outputs; slot l is the input of the head's layer l."""
        index, zeros = self._convolutions, self.head_slots - 1
        places = [*self._places, None]
        yield encode(Opcode.AWAIT, objects=1 << PipelineObject.PARTIALS)
        yield activate(
            0, self.layers[index].function, axis=Axis.COLS, from_slot=1, slot=zeros, accumulate=1,
            affine=1, table=MEAN_TABLE,
            shift=self.recipe.shifts[index], destination=0,
            destination_line=places[0][0] if places[0] else 0,
        )  # fmt: skip
        for slot in range(len(self._places)):
            index += 1
            yield product(Opcode.FORWARD, self.config, segment=slot + 1, slot=slot)
            following = places[slot + 1]
            yield activate(
                slot + 1, self.layers[index].function, shift=self.recipe.shifts[index],
                destination=slot + 1, destination_line=following[0] if following else 0,
            )  # fmt: skip

    def results(self, route: int) -> int:
        """SEND of the outputs to the host."""
        return send(route, len(self._places), length=self.layers[-1].outputs)

    def bounds(self, counters: dict[str, float]) -> dict[str, float]:
        """Least cycles per training image that a phase's work takes at the hardware's full rate.

        - window: all windows of the first layer, the others' forward ones being hidden behind
          them; one backward window per position of the other convolutions; two per fully connected
          layer. Tiles work at the same time.
        - update: chi words of the average core, one per cycle.
        """
        backward = sum(layer.positions for layer in self.layers[1 : self._convolutions])
        dense = len(self.layers) - self._convolutions
        windows = self.layers[0].positions + backward + 2 * dense
        return {
            "window": windows * self.config.window_cycles,
            "update": counters["chi_words_updated"] / len(self.nodes),
        }
