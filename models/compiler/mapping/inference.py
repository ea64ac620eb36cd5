# SPDX-License-Identifier: Apache-2.0
"""Graphs of layers on a chip, for inference: a core per row tile, images without a gap.

- The host sends the first layer's pixels, or packed rows of them.
- A core gathers the windows of its tile one after another and drives each. While one is integrated,
  the next one is gathered, and what is left of the one before is done.
- Tiles of a layer add up on the way: each sends its partial sums to the next one. The last one adds
  the bias and, of a residual, the codes of the other branch, which wait in a ring of their own;
  then it applies the function, pools, and sends the vector to every reader.
- Weights come by PROGRAM; constants and tables through the registers of the memory access, which
  reach every core of any network.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.graph import INPUT, Graph, Pool
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
from phasecore.models.compiler.mapping.depths import Depths
from phasecore.models.compiler.mapping.stage import ALL, HALT, GraphObject, Stage, Y, words
from phasecore.models.compiler.placement import multicasts, place_edges
from phasecore.models.compiler.program import LOOPED
from phasecore.models.compiler.quantise import QuantLayer
from phasecore.models.compiler.windows import check_rings, smallest_depth, window_object
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import Result, vector_bytes, vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    CREDITS_MAX,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
)
from phasecore.rtl.spec.registers.core import vector_address

__all__ = ["InferenceMapping"]

PROGRAMS = 16
"""Rows that a job programs at most."""


class Readers(NamedTuple):
    """What a route of a tensor goes to."""

    object: int
    first: int
    """Line of the object's vectors that the tensor's first channel takes."""
    nodes: tuple[int, ...]
    """That have the object."""


class InferenceMapping(Mapping):
    """A quantised graph on a chip.

    Parameters
    ----------
    graph, layers : what is inferred, and its integers for ``chip``'s cores and ``profile``
    chip, profile : on what

    Attributes
    ----------
    stages : in order of the layers, tile by tile
    tables : descriptors by node, the host's among them

    Raises
    ------
    ValueError
        naming what the chip has too little of
    """

    hardware: ChipConfig

    def __init__(
        self, graph: Graph, layers: Sequence[QuantLayer], chip: ChipConfig, profile: DeviceProfile
    ):
        self._graph, self.hardware, self._profile = graph, chip, profile
        stages = list(_stages(graph, layers))
        free = len(chip.cores)
        if len(stages) > free:
            raise ValueError(f"{graph.name} needs {len(stages)} cores, not {free}")
        readers: dict[str, list[int]] = {}
        for at, stage in enumerate(stages):
            for source in stage.sources:
                readers.setdefault(source, []).append(at)
        nodes = place_edges(
            chip, len(stages), tuple(_edges(graph, stages)), tuple(map(tuple, readers.values()))
        )
        self.stages = [replace(stage, node=node) for node, stage in zip(nodes, stages, strict=True)]
        self.nodes = tuple(nodes)
        self._readers = self._find_readers()
        for stage in self.stages:
            stage.check(chip.core, self._lines_of(stage))
        self._depths = Depths(graph)
        for stage in self.stages:
            self._depths.note(stage, self._frame(stage, 0))
        self._room = self._rooms()
        objects = {stage.node: self._objects(stage) for stage in self.stages}
        self.tables = {
            stage.node: Tables(objects[stage.node], self._routes(stage, objects))
            for stage in self.stages
        }
        self.tables[chip.host] = self._host_tables(objects)
        for stage in self.stages:
            check_rings(self.config, self.tables[stage.node].objects)
        check_tables(chip, self.tables)

    @property
    def network(self) -> Any:
        return self._graph

    @property
    def config(self) -> CoreConfig:
        return self.hardware.core

    @property
    def profile(self) -> DeviceProfile:
        return self._profile

    # What is where

    def _find_readers(self) -> dict[str, list[Readers]]:
        """Routes of a tensor: objects of cores that read it, of several by a multicast."""
        found: dict[str, dict[tuple[int, int, bool], list[int]]] = {INPUT: {}}

        def add(tensor: str, node: int, number: int, first: int = 0) -> None:
            key = (number, first, node == self.hardware.host)
            found[tensor].setdefault(key, []).append(node)

        for stage in self.stages:
            layer = stage.layer
            found.setdefault(layer.name, {})
            for at, (tensor, first) in enumerate(stage.sources.items()):
                add(tensor, stage.node, _object(at), first)
            if stage.is_last and layer.skip is not None:
                add(layer.skip, stage.node, GraphObject.SKIP)
        for number, layer in enumerate(self._graph.results):
            add(layer.name, self.hardware.host, number)
        return {
            tensor: [
                Readers(number, first, part)
                for (number, first, _), nodes in readers.items()
                for part in (
                    [(node,) for node in nodes] if number == GraphObject.SKIP
                    else multicasts(self.hardware, nodes)
                )
            ]
            for tensor, readers in found.items()
        }  # fmt: skip

    def _lines_of(self, stage: Stage) -> list[int]:
        """By route of a core, the line of its vectors that the first channel takes."""
        return [one.first for one in self._readers[stage.layer.name]] if stage.is_last else [0]

    def _maker(self, tensor: str) -> int:
        """Node that sends a tensor."""
        if tensor == INPUT:
            return self.hardware.host
        return next(s.node for s in self.stages if s.layer.name == tensor and s.is_last)

    def _from(self, tensor: str, node: int, number: int) -> dict[str, Any]:
        """Producer of an object of a core."""
        x, y = self.hardware.place(self._maker(tensor))
        route, nodes = next(
            (route, one.nodes) for route, one in enumerate(self._readers[tensor])
            if one.object == number and node in one.nodes
        )  # fmt: skip
        return {"x": x, "y": y, "route": route, "member": nodes.index(node)}

    def segments(self, eta: float) -> dict[int, list[Segment]]:
        """Segments of every core; ``eta`` is of no account."""
        return {stage.node: stage.segments() for stage in self.stages}

    def weights(self, codes: dict[int, Int]) -> list[NDArray[np.float64]]:
        """In codes of conductance, of all copies, without bias, which is no weight here."""
        found: dict[int, NDArray[np.float64]] = {}
        for stage in self.stages:
            layer = stage.layer
            matrix = found.setdefault(stage.number, np.zeros(layer.weights.shape))
            if layer.only_pools:
                continue
            part = codes[stage.node][stage.tile.lines(), : stage.columns].sum(axis=0)
            matrix[stage.tile.index(layer)] += part
        return list(found.values())

    # Descriptors

    def _objects(self, stage: Stage) -> list[ObjectDescriptor]:
        unused = ObjectDescriptor(enable=0)
        layer = stage.layer
        objects = [unused] * (GraphObject.JOINED + len(stage.sources) - 1)
        ahead = self._room[stage.node] - smallest_depth(self._frame(stage, 0))
        for at in range(len(stage.sources)):
            objects[_object(at)] = self._frame(stage, ahead, at)
        frame = objects[GraphObject.FRAME]
        if stage.is_last and layer.skip is not None:
            objects[GraphObject.SKIP] = self._skip(stage, layer.skip, frame.base + frame.size)
        if stage.part:
            before = self.stages[self.stages.index(stage) - 1]
            x, y = self.hardware.place(before.node)
            objects[GraphObject.PARTIALS] = ObjectDescriptor(
                x=x, y=y, route=0, partial=1, replace=1
            )
        if layer.pool is Pool.LARGEST:
            objects[GraphObject.BLOCK] = self._block(stage)
        while objects[-1] is unused:
            objects.pop()
        return objects

    def _rooms(self) -> dict[int, int]:
        """Vectors that the frame of every core must hold; a multicast has as much room at each."""
        found = {}
        for stage in self.stages:
            frame = self._frame(stage, 0)
            ahead = self._depths.ahead(stage, frame, self.config)
            found[stage.node] = smallest_depth(frame) + ahead
        for readers in self._readers.values():
            for one in readers:
                if one.object != GraphObject.SKIP and one.nodes != (self.hardware.host,):
                    most = max(found[node] for node in one.nodes)
                    found.update(dict.fromkeys(one.nodes, most))
        return found

    def _frame(self, stage: Stage, ahead: int, source: int = 0) -> ObjectDescriptor:
        """Pixels that a core reads, with room for some beside those that its windows need.

        ``source``: number of the tensor that has a part of them.
        """
        given: dict[str, Any] = {
            "base": self.config.slot_words,
            "tile": (stage.tile.rows.start, stage.tile.rows.stop),
        }
        try:
            found = window_object(self.config, stage.reads, ahead=ahead, **given)
            if len(stage.sources) > 1:
                # A whole number of vectors: bytes that no source has stay so, and 0.
                whole = 8 * found.pitch // math.gcd(8 * found.pitch, self.config.post_lanes)
                size = -(-found.size // whole) * whole
                found = window_object(self.config, stage.reads, ahead=ahead, size=size, **given)
        except ValueError as error:
            raise ValueError(f"layer {stage.name}: {error}") from error
        return replace(found, **self._from([*stage.sources][source], stage.node, _object(source)))

    def _skip(self, stage: Stage, tensor: str, base: int) -> ObjectDescriptor:
        """Codes of the other branch, pixel by pixel; they wait until this one is as far."""
        rows, cols = stage.layer.reads.iterations
        reads = replace(
            stage.layer.reads, height=rows, width=cols, channels=stage.layer.outputs, kernel=(1, 1),
            stride=(1, 1), padding=(0, 0, 0, 0), block=(1, 1), packed=False, largest=False,
        )  # fmt: skip
        lag = self._depths.lag(stage.layer, tensor)
        try:
            found = window_object(self.config, reads, base=base, ahead=lag)
        except ValueError as error:
            raise ValueError(f"residual of layer {stage.name}: {error}") from error
        return replace(found, **self._from(tensor, stage.node, GraphObject.SKIP))

    def _block(self, stage: Stage) -> ObjectDescriptor:
        """Slots of a block's activations as a frame that is always there.

        Nobody sends it: its producer is the core itself, of a route behind those that there are.
        """
        x, y = self.hardware.place(stage.node)
        config, (rows, cols) = self.config, stage.layer.reads.block
        count = rows * cols
        return ObjectDescriptor(
            base=Y * config.blocks, size=count * config.blocks, pitch=config.lines // 8,
            depth=count, arrived=count, height=rows, width=cols, kernel_height=rows,
            kernel_width=cols, rows=rows, cols=cols, segment=stage.layer.outputs,
            count=stage.layer.outputs, pixel_pitch=config.lines,
            row_pitch=cols * config.lines % (count * config.lines), source=GraphObject.BLOCK,
            x=x, y=y, route=len(self._readers[stage.layer.name]),
        )  # fmt: skip

    def _routes(
        self, stage: Stage, objects: dict[int, list[ObjectDescriptor]]
    ) -> list[RouteDescriptor]:
        """To the next tile, or to all readers of the layer's tensor."""
        if not stage.is_last:
            after = self.stages[self.stages.index(stage) + 1]
            x, y = self.hardware.place(after.node)
            return [RouteDescriptor(object=GraphObject.PARTIALS, x=x, y=y)]
        return [self._route(readers, objects) for readers in self._readers[stage.layer.name]]

    def _route(
        self, readers: Readers, objects: dict[int, list[ObjectDescriptor]]
    ) -> RouteDescriptor:  # fmt: skip
        """To an object of one or several cores, or of the host."""
        number, _, nodes = readers
        if nodes == (self.hardware.host,):
            depth = self._results_ahead
        else:
            depth = min(objects[node][number].depth for node in nodes)
        room = {"object": number, "credits": min(depth, CREDITS_MAX)}
        if len(nodes) == 1:
            x, y = self.hardware.place(nodes[0])
            return RouteDescriptor(x=x, y=y, **room)
        return RouteDescriptor(**multicast(self.hardware, nodes), **room)

    @property
    def _results_ahead(self) -> int:
        """Vectors of each part of the output for which the host bridge has room."""
        flits = sum(message_flits(layer.outputs, self.config) for layer in self._graph.results)
        present = self.hardware.bridge_flits
        if flits > present:
            raise ValueError(
                f"bridge_flits must be at least {flits} for the outputs of {self._graph.name}, not"
                f" {present}"
            )
        return present // flits

    def _host_tables(self, objects: dict[int, list[ObjectDescriptor]]) -> Tables:
        host, count = self.hardware.host, len(self._graph.results)
        if count > self.hardware.host_objects:
            raise ValueError(
                f"host_objects must be at least {count} for the outputs of {self._graph.name}, not"
                f" {self.hardware.host_objects}"
            )
        made = [
            ObjectDescriptor(**self._from(layer.name, host, number))
            for number, layer in enumerate(self._graph.results)
        ]
        routes = [self._route(readers, objects) for readers in self._readers[INPUT]]
        return Tables(made, routes)

    # Jobs

    def setup(self) -> Job:
        """Calibration, descriptors, constants and tables."""
        program = [encode(Opcode.CALIBRATE), HALT]
        memory = {stage.node: list(stage.constants(self.config)) for stage in self.stages}
        return Job(dict.fromkeys(self.nodes, program), tables=self.tables, memory=memory)

    def programming(self) -> Iterator[Job]:
        """The weights, by program-and-verify, some rows of all cores at a time.

        They pass through the slots of the constants: :meth:`setup` comes before, to calibrate, and
        again behind.
        """
        most = max(stage.tile.height for stage in self.stages)
        at_once = min(PROGRAMS, self.config.slots)
        for first in range(0, most, at_once):
            programs, memory = {}, {}
            for stage in self.stages:
                targets = stage.tile.targets[first : first + at_once]
                memory[stage.node] = [
                    (
                        vector_address(self.config, slot),
                        words(vector_bytes(row, config=self.config)),
                    )
                    for slot, row in enumerate(targets)
                ]
                programs[stage.node] = [
                    *(
                        encode(Opcode.PROGRAM, segment=ALL, row=first + slot, slot=slot)
                        for slot in range(len(targets))
                    ),
                    HALT,
                ]
            yield Job(programs, memory=memory)

    def training(
        self, images: Images, labels: Labels, sent: Sent = NONE_SENT, *, refresh: bool = True,
        read: bool = True,
    ) -> Job:  # fmt: skip
        """Refused: a graph only infers."""
        raise ValueError(f"{self.network.name} does not learn on a chip, it infers only")

    @property
    def vectors(self) -> int:
        """Vectors that the host gets of an image."""
        return sum(layer.vectors for layer in self._graph.results)

    @property
    def code(self) -> float:
        """Real value of an output code."""
        first = self._graph.results[0]
        return float(next(s.quantised.code[0] for s in self.stages if s.layer.name == first.name))

    @property
    def most_images(self) -> int:
        """Images that a job has at most: its loops count to no more."""
        return LOOPED // max(stage.layer.windows for stage in self.stages)

    def programs(self, images: int) -> dict[int, list[int]]:
        """Programs of all cores for so many images; ``ValueError`` for too many."""
        if images > self.most_images:
            raise ValueError(f"images must be at most {self.most_images}, not {images}")
        return {
            stage.node: stage.program(self.config, images, self._lines_of(stage))
            for stage in self.stages
        }

    def inference(self, images: Images, sent: Sent = NONE_SENT) -> Job:
        programs = self.programs(len(images))
        first = self._graph.layers[0].reads
        frames = images.reshape(-1, *self._graph.shape)
        packets = [
            vector_packet(codes.astype(np.int64), config=self.config, slot=route, start=one.first)
            for frame in frames for codes in first.vectors(frame, self.config)
            for route, one in enumerate(self._readers[INPUT])
        ]  # fmt: skip
        return Job(programs, packets, Sent(len(images), 0))

    def outputs(self, results: Sequence[Result]) -> list[NDArray[np.int8]]:
        if not results:
            return []
        # A vector may come in several packets.
        parts = [
            np.concatenate([result.codes for result in results if result.slot == number])
            for number in range(len(self._graph.results))
        ]  # fmt: skip
        ends = zip(parts, self._graph.results, strict=True)
        return [*np.concatenate([part.reshape(-1, end.outputs) for part, end in ends], axis=1)]


def _object(source: int) -> int:
    """Object of the tensor of that number among those that windows are of."""
    return GraphObject.JOINED + source - 1 if source else GraphObject.FRAME


def _stages(graph: Graph, layers: Sequence[QuantLayer]) -> Iterator[Stage]:
    """Tiles of all layers, on no node yet."""
    for number, one in enumerate(layers):
        lines = graph.lines(one.layer)
        for part, tile in enumerate(one.tiles):
            channels, reads = tile.channels, one.layer.reads
            sources = {
                tensor: line for tensor, line in zip(one.layer.sources, lines, strict=True)
                if line.start < channels.stop and channels.start < line.stop
            }  # fmt: skip
            first = min(line.start for line in sources.values())
            if not reads.packed:
                reads = replace(
                    reads, channels=len(channels), offset=channels.start - first,
                    span=max(line.stop for line in sources.values()) - first,
                )  # fmt: skip
            firsts = {tensor: line.start - first for tensor, line in sources.items()}
            yield Stage(0, number, part, one, firsts, reads)


def _edges(graph: Graph, stages: Sequence[Stage]) -> Iterator[tuple[int | None, int | None]]:
    """Numbers of stages that send to one another; None is the host."""
    last: dict[str, int | None] = {INPUT: None}
    for at, stage in enumerate(stages):
        yield from ((last[source], at) for source in stage.sources)
        if stage.part:
            yield at - 1, at
        if stage.is_last:
            if stage.layer.skip is not None:
                yield last[stage.layer.skip], at
            last[stage.layer.name] = at
    yield from ((last[layer.name], None) for layer in graph.results)
