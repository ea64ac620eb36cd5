# SPDX-License-Identifier: Apache-2.0
"""Programs with which a convolutional network on a chip learns, one image after another.

Every core keeps what it needs of an image until that is learnt: a convolution its input frame and
its activations, which it sends to itself, the other cores a slot or two. Then errors go back:

- The head does its layers as a core on its own, and sends the error vector of the tiles' layer to
  all tiles at once.
- Tiles and convolutions drive it backward, add the sums to those of their input's pixels
  (SCATTER), and send every pixel's sum as mantissas with an exponent of its own (NORMALISE).
- A convolution multiplies the mantissas of a pooled pixel by the derivative of each of its
  activations (DELTA), which are its own error vectors, position by position. Each updates chi with
  the window of its position (OUTER).

What is sent down is a sum of mantissas that DELTA made of codes with the derivative of the
identity, ``127**2``; the recipe knows (``carried`` of
:class:`~phasecore.models.compiler.recipe.Recipe`).
"""

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.mapping.base import Tables, check_tables, multicast
from phasecore.models.compiler.program import (
    activate,
    delta,
    gather,
    loop,
    outer,
    product,
    repeat,
    send,
    send_sums,
    vector,
)
from phasecore.models.compiler.windows import LayerInput, check_rings, window_object
from phasecore.rtl.spec.instructions import (
    Axis,
    DeltaSource,
    Function,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    encode,
    slot_ring,
)

if TYPE_CHECKING:
    from phasecore.models.compiler.mapping.pipeline import PipelineMapping, PipelineStage

__all__ = ["Learning"]

IMAGES = 1
"""Counter of the loop over images."""

WINDOW, ACTIVATIONS = (0, 1), 2
"""Slots of inference: windows, in turn, and activations."""

KEPT, DELTAS, SUMMED, PIXEL, ERRORS = (4, 5), (6, 7), 8, (9, 10), 11
"""Slots of a convolution's or tile's backward pass: activations and error vectors, each in turn;
what SCATTER takes; pixels that are sent; from there on those that come."""

BACK_LINES = 1
"""Segment of the rows whose sums go back: all but the bias row."""

SUM_UNIT = 12
"""Exponent of a 1 in the sums of pixels.

Error vectors of all layers have about the same exponents, as the recipe gives a mantissa about the
same value in each: 13 at most in the last layer, as 2 (t - y) y (127 - y) has 20 bits. Codes times
127**2 that become mantissas add 15 at most, and mostly 9 to 12. SCATTER keeps 13 octaves from the
unit up, of which LeNet-5 in training uses the lower 11.
"""


class ConvObject(IntEnum):
    """Objects of a convolution that learns."""

    FRAME = 0
    """Input frame. Its iterations are those of the update, which give the credits."""
    WINDOWS = 1
    """A cursor on it: windows of the forward pass."""
    OUTPUTS = 2
    """Activations of the frame, by position."""
    SUMS = 3
    """Sums of the input's pixels: windows."""
    PIXELS = 4
    """The same, pixel by pixel."""
    ERRORS = 5
    """Mantissas by pooled pixel, of the only or the first producer; those of others follow."""


class TileObject(IntEnum):
    """Objects of a tile of the first fully connected layer."""

    FRAME = 0
    DELTAS = 1
    PARTIALS = 2
    SUMS = 3
    PIXELS = 4


class HeadObject(IntEnum):
    """Objects of the head."""

    TARGETS = 0
    PARTIALS = 2


class ConvRoute(IntEnum):
    """Routes of a convolution."""

    NEXT = 0
    KEEP = 1
    """To itself."""
    BACK = 2


class TileRoute(IntEnum):
    """Routes of a tile."""

    SUMS = 0
    BACK = 1


class HeadRoute(IntEnum):
    """Routes of the head."""

    BACK = 0
    RESULTS = 1


class HostRoute(IntEnum):
    """Routes of the host."""

    IMAGES = 0
    TARGETS = 1


class Learning:
    """Tables and programs of a mapping's training.

    Parameters
    ----------
    mapping : places, segments and slots of its cores are those of inference

    Attributes
    ----------
    tables : descriptors by node, the host's among them

    Raises
    ------
    ValueError
        Naming what the network needs more of than the cores have.
    """

    def __init__(self, mapping: "PipelineMapping"):
        self._mapping, self._recipe = mapping, mapping.recipe
        self._config, self._layers = mapping.config, mapping.layers
        self._first_dense = next(
            index for index, layer in enumerate(self._layers) if layer.positions == 1
        )
        self._check()
        self.tables = {
            stage.node: self._conv_tables(stage) if stage.layer < self._first_dense
            else self._tile_tables(stage)
            for stage in mapping.stages
        }  # fmt: skip
        self.tables[mapping.head] = self._head_tables()
        self.tables[mapping.hardware.host] = self._host_tables()
        for node in mapping.nodes:
            check_rings(self._config, self.tables[node].objects)
        check_tables(mapping.hardware, self.tables)

    def _check(self) -> None:
        errors = ERRORS + sum(self._depth(stage) for stage in self._tiles)
        head = self._target + 1
        sizes = [
            ("objects", self._config.objects, ConvObject.ERRORS + len(self._tiles)),
            ("routes", self._config.routes, len(ConvRoute)),
            ("slots", self._config.slots, max(errors, head)),
            ("segments", self._config.segments, len(self._layers) - self._first_dense + 2),
        ]
        self._check_sizes(sizes)

    def _check_sizes(self, sizes: list[tuple[str, int, int]]) -> None:
        """Raise ``ValueError`` for what there is less of than is needed."""
        for what, size, needed in sizes:
            if size < needed:
                name = self._mapping.network.name
                raise ValueError(f"{name} needs {needed} {what} to learn, not {size}")

    # What is where

    @property
    def _tiles(self) -> "list[PipelineStage]":
        return [stage for stage in self._mapping.stages if stage.layer == self._first_dense]

    def _readers(self, stage: "PipelineStage") -> "list[PipelineStage]":
        """Stages that take the pixels of one, and send their errors back."""
        return [other for other in self._mapping.stages if other.layer == stage.layer + 1]

    def _pixels(self, stage: "PipelineStage") -> range:
        """Pixels of a stage's input frame, in raster order, that it has rows of."""
        channels = stage.reads.channels
        if stage.layer < self._first_dense:
            return range(stage.reads.height * stage.reads.width)
        return range(stage.rows.start // channels, stage.rows.stop // channels)

    def _depth(self, stage: "PipelineStage") -> int:
        """Slots of the ring that takes the pixels of a stage; loops run over whole rings.

        Of a tile's pixels each is many windows' work, so that one is enough.
        """
        return 2 - len(self._pixels(stage)) % 2 if stage.layer < self._first_dense else 1

    def _rings(self, stage: "PipelineStage") -> "Iterator[tuple[PipelineStage, range]]":
        """Slots that take the pixels of every stage that sends errors back."""
        slot = ERRORS
        for reader in self._readers(stage):
            yield reader, range(slot, slot + self._depth(reader))
            slot += self._depth(reader)

    @property
    def _target(self) -> int:
        """Slot of the head's target, behind the error vectors of its layers."""
        return self._mapping.head_slots + len(self._layers) - self._first_dense

    # Descriptors

    def _to(self, node: int, object_: int, **fields: int) -> RouteDescriptor:
        x, y = self._mapping.hardware.place(node)
        return RouteDescriptor(x=x, y=y, object=object_, **fields)

    def _of(self, node: int, route: int) -> dict[str, Any]:
        x, y = self._mapping.hardware.place(node)
        return {"x": x, "y": y, "route": route}

    def _words(self, vectors: int, pitch: int) -> int:
        return -(-8 * vectors * pitch // self._config.post_lanes)

    def _conv_tables(self, stage: "PipelineStage") -> Tables:
        config = self._config
        frame, kept = self._frame(stage), self._kept(stage)
        source = {"cursor": 1, "source": ConvObject.FRAME}
        objects = [frame, replace(frame, **source), kept]
        routes = [self._next(stage), self._to(stage.node, ConvObject.OUTPUTS, credits=kept.depth)]
        if stage.layer:
            objects += self._sums(stage)
            below = self._producer(stage)
            routes.append(self._to(below.node, ConvObject.ERRORS, credits=self._depth(stage)))
        else:
            objects += [ObjectDescriptor(enable=0)] * 2
        for reader, slots in self._rings(stage):
            route = ConvRoute.BACK if reader.layer < self._first_dense else TileRoute.BACK
            ring = slot_ring(config, slots.start, len(slots))
            objects.append(ObjectDescriptor(**self._of(reader.node, route), **ring))
        return Tables(objects, routes)

    def _producer(self, stage: "PipelineStage") -> "PipelineStage":
        return next(other for other in self._mapping.stages if other.layer == stage.layer - 1)

    def _frame(self, stage: "PipelineStage") -> ObjectDescriptor:
        """Of the first layer two frames, so that the host can be an image ahead."""
        given, reads = stage.frame, stage.reads
        vectors = given.height * given.width * (1 if stage.layer else 2)
        return window_object(
            self._config, reads, base=self._config.slot_words,
            size=self._words(vectors, given.pitch),
            x=given.x, y=given.y, route=given.route, member=given.member,
        )  # fmt: skip

    def _kept(self, stage: "PipelineStage") -> ObjectDescriptor:
        """Activations, which a SEND of their lines leaves behind the lines before those."""
        line, outputs = self._mapping.pool_line(stage), self._layers[stage.layer].outputs
        rows, cols = stage.reads.block
        vectors = LayerInput(
            height=self._layers[stage.layer].positions // (rows * cols), width=rows * cols,
            channels=line + outputs, block=(1, rows * cols),
        )  # fmt: skip
        frame = self._frame(stage)
        pitch = vectors.pitch(self._config)
        return window_object(
            self._config, vectors, base=frame.base + frame.size,
            size=self._words(self._layers[stage.layer].positions, pitch),
            tile=(line, line + outputs), **self._of(stage.node, ConvRoute.KEEP),
        )  # fmt: skip

    def _sums(self, stage: "PipelineStage") -> list[ObjectDescriptor]:
        """Windows and pixels of the sums that go back."""
        reads = stage.reads
        sums: dict[str, Any] = {
            "sums": 1, "cursor": 1, "source": 0, "unit": SUM_UNIT,
            "base": self._config.blocks,
        }  # fmt: skip
        whole = stage.rows.start, stage.rows.stop
        one = LayerInput(height=reads.height, width=reads.width, channels=reads.channels)
        size = self._words(reads.height * reads.width, one.pitch(self._config))
        return [
            window_object(self._config, reads, tile=whole, size=size, **sums),
            window_object(self._config, one, size=size, **sums),
        ]

    def clear(self, program: list[int], stage: "PipelineStage", number: int) -> ObjectDescriptor:
        """Append what clears the sums of a stage, pixel by pixel; the object ``number`` for that.

        At power-up they are undefined, and SCATTER only adds to them. All pixels of the object are
        there from the start, as no frame has come.
        """
        count = stage.reads.height * stage.reads.width
        normalise = encode(
            Opcode.NORMALISE, object=number, destination=PIXEL[0], destination_line=0
        )
        repeat(program, [normalise, encode(Opcode.RELEASE, objects=1 << number)], count)
        return replace(self._sums(stage)[1], source=number, arrived=count)

    def _next(self, stage: "PipelineStage") -> RouteDescriptor:
        """As in inference, but for the depth of a convolution's frame."""
        route = self._mapping.next_route(stage)
        (first, *_) = self._readers(stage)
        if first.layer < self._first_dense:
            return replace(route, credits=self._frame(first).depth)
        return route

    def _tile_tables(self, stage: "PipelineStage") -> Tables:
        mapping, tiles = self._mapping, [tile.node for tile in self._tiles]
        number = tiles.index(stage.node)
        deltas = ObjectDescriptor(
            **self._of(mapping.head, HeadRoute.BACK), member=number,
            **slot_ring(self._config, DELTAS[0]),
        )  # fmt: skip
        partials = ObjectDescriptor(enable=0)
        if number:
            # Its own sums are there first.
            partials = ObjectDescriptor(
                **self._of(tiles[number - 1], TileRoute.SUMS), partial=1, arrived=1
            )
        objects = [stage.frame, deltas, partials, *self._sums(stage)]
        below = self._producer(stage)
        last = number + 1 == len(tiles)
        after = self._to(
            mapping.head if last else tiles[number + 1], TileObject.PARTIALS, credits=int(last)
        )
        errors = self._to(below.node, ConvObject.ERRORS + number, credits=self._depth(stage))
        return Tables(objects, [after, errors])

    def _head_tables(self) -> Tables:
        mapping, config = self._mapping, self._config
        host, tiles = mapping.hardware.host, [tile.node for tile in self._tiles]
        targets = ObjectDescriptor(
            **self._of(host, HostRoute.TARGETS), **slot_ring(config, self._target)
        )
        sums = ObjectDescriptor(**self._of(tiles[-1], TileRoute.SUMS), partial=1, replace=1)
        back = RouteDescriptor(
            object=TileObject.DELTAS, credits=1, **multicast(mapping.hardware, tiles)
        )
        flits = message_flits(self._layers[-1].outputs, config)
        results = self._to(host, 0, credits=mapping.hardware.bridge_flits // flits)
        return Tables([targets, ObjectDescriptor(enable=0), sums], [back, results])

    def _host_tables(self) -> Tables:
        mapping = self._mapping
        first, head = mapping.stages[0], mapping.head
        images = self._to(first.node, ConvObject.FRAME, credits=self._frame(first).depth)
        targets = self._to(head, HeadObject.TARGETS, credits=1)
        results = ObjectDescriptor(**self._of(head, HeadRoute.RESULTS))
        return Tables([results], [images, targets])

    # Programs

    def target_packets(self) -> list[bytes]:
        """Packet of the target codes by label."""
        codes = self._recipe.network.training.targets(self._layers[-1].outputs)
        return [vector(0, row, self._config, slot=HostRoute.TARGETS) for row in codes]

    def programs(self, images: int, *, refresh: bool, read: bool) -> dict[int, list[int]]:
        """Programs that learn images in order.

        Parameters
        ----------
        refresh : rebuild worn pairs of all layers at the end
        read : send the output vector of every image
        """
        if images < 1:
            raise ValueError(f"images must be at least 1, not {images}")
        found: dict[int, list[int]] = {}
        for stage in self._mapping.stages:
            conv = stage.layer < self._first_dense
            found[stage.node] = self._conv(stage) if conv else [*self._tile(stage)]
        found[self._mapping.head] = [*self._mapping.head_forward(), *self._head_backward(read)]
        for node, program in found.items():
            program += loop(images, counter=IMAGES)
            if refresh:
                program += self._refresh(node)
            program.append(encode(Opcode.HALT))
        longest = max(map(len, found.values()))
        self._check_sizes([("program_depth", self._config.program_depth, longest)])
        return found

    def _refresh(self, node: int) -> Iterator[int]:
        """Rows have one dirty bit: of layers side by side all but the first visit all rows."""
        head = node == self._mapping.head
        layers = range(1, len(self._layers) - self._first_dense) if head else range(1)
        for segment in layers:
            all_rows = int(head and segment > 1)
            yield encode(Opcode.REFRESH, segment=segment, all_rows=all_rows)

    def _conv(self, stage: "PipelineStage") -> list[int]:
        program = self._forward(stage)
        for number, (reader, slots) in enumerate(self._rings(stage)):
            body: list[int] = []
            for slot in slots:
                body += self._block(stage, ConvObject.ERRORS + number, slot)
            repeat(program, body, len(self._pixels(reader)) // len(slots))
        if stage.layer:
            depth = self._depth(stage)
            body = []
            for slot in PIXEL[:depth]:
                body += self._pixel(ConvObject.PIXELS, ConvRoute.BACK, stage, slot)
            repeat(program, body, len(self._pixels(stage)) // depth)
        return [*program, encode(Opcode.TRANSFER, segment=0)]

    def _forward(self, stage: "PipelineStage") -> list[int]:
        """As in inference, with the activations kept on the way."""
        line, outputs = self._mapping.pool_line(stage), self._layers[stage.layer].outputs
        keep = send(ConvRoute.KEEP, ACTIVATIONS, first_line=line, length=outputs)
        return self._mapping.windows(stage, 1, frame=ConvObject.WINDOWS, keep=[keep])

    def _block(self, stage: "PipelineStage", errors: int, slot: int) -> Iterator[int]:
        """Backward pass and update of a block of positions, whose pixel's errors are in a slot."""
        frames = [ConvObject.FRAME, ConvObject.OUTPUTS]
        yield encode(Opcode.AWAIT, objects=1 << errors)
        for number, (row, col) in enumerate(stage.reads.places):
            window, kept, error = WINDOW[number % 2], KEPT[number % 2], DELTAS[number % 2]
            yield gather(ConvObject.OUTPUTS, kept, 0, number)
            yield self._delta(
                stage.layer, source=DeltaSource.MANTISSAS, slot=slot, output=kept,
                destination=error,
            )  # fmt: skip
            if number + 1 == len(stage.reads.places):
                yield encode(Opcode.RELEASE, objects=1 << errors)
            if stage.layer:
                yield product(Opcode.BACKWARD, self._recipe.config, segment=0, slot=error)
            yield gather(ConvObject.FRAME, window, row, col)
            yield encode(Opcode.OUTER, segment=0, slot=window, delta=error, transfer=0)
            if stage.layer:
                yield self._carry()
                yield encode(
                    Opcode.SCATTER, object=ConvObject.SUMS, slot=SUMMED, block=0, block_row=row,
                    block_col=col,
                )  # fmt: skip
        if stage.layer:
            frames.append(ConvObject.SUMS)
        yield encode(Opcode.RELEASE, objects=sum(1 << frame for frame in frames))

    def _carry(self) -> int:
        """Codes of a backward window to mantissas with an exponent, for SCATTER."""
        return encode(
            Opcode.DELTA, segment=BACK_LINES, axis=Axis.ROWS, source=DeltaSource.CODES, slot=0,
            output=SUMMED, function=Function.IDENTITY, fixed=0, shift=0, bias=0,
            destination=SUMMED, destination_line=0,
        )  # fmt: skip

    def _delta(self, layer: int, *, segment: int = 0, **fields: int) -> int:
        """DELTA of a layer's error vectors."""
        function = self._layers[layer].function
        return delta(self._recipe, layer, segment=segment, function=function, **fields)

    def _pixel(self, pixels: int, route: int, stage: "PipelineStage", slot: int) -> Iterator[int]:
        """Send the sum of a pixel of the input."""
        yield encode(Opcode.NORMALISE, object=pixels, destination=slot, destination_line=0)
        yield send(route, slot, length=stage.reads.channels)
        yield encode(Opcode.RELEASE, objects=1 << pixels)

    def _tile(self, stage: "PipelineStage") -> Iterator[int]:
        number = [tile.node for tile in self._tiles].index(stage.node)
        outputs = self._layers[stage.layer].outputs
        yield gather(TileObject.FRAME, WINDOW[0])
        yield product(Opcode.FORWARD, self._recipe.config, segment=0, slot=WINDOW[0])
        yield encode(Opcode.RELEASE, objects=1 << TileObject.FRAME)
        yield activate(0, Function.NONE)
        if number:
            yield encode(Opcode.RELEASE, objects=1 << TileObject.PARTIALS)
        yield send_sums(
            TileRoute.SUMS, length=outputs, behind=TileObject.PARTIALS if number else None
        )
        yield encode(Opcode.AWAIT, objects=1 << TileObject.DELTAS)
        yield product(Opcode.BACKWARD, self._recipe.config, segment=0, slot=DELTAS[0])
        yield self._carry()
        yield encode(
            Opcode.SCATTER, object=TileObject.SUMS, slot=SUMMED, block=0, block_row=0, block_col=0
        )
        yield outer(0, slot=WINDOW[0], delta=DELTAS[0])
        yield encode(Opcode.RELEASE, objects=1 << TileObject.SUMS)
        own = self._pixels(stage)
        for pixel in range(stage.reads.height * stage.reads.width):
            if pixel in own:
                slot = PIXEL[pixel % 2]
                yield from self._pixel(TileObject.PIXELS, TileRoute.BACK, stage, slot)
            else:
                yield encode(Opcode.RELEASE, objects=1 << TileObject.PIXELS)
        yield encode(Opcode.RELEASE, objects=1 << TileObject.DELTAS)

    def _head_backward(self, read: bool) -> Iterator[int]:
        """Error vectors down to the tiles', which leaves before the head's own update."""
        first, last = self._first_dense, len(self._layers) - 1
        layers = range(first, last + 1)
        slots = {layer: self._mapping.head_slots + layer - first for layer in layers}
        lines = {layer: self._mapping.place_of(layer)[1] for layer in layers[1:]} | {first: 0}
        yield encode(Opcode.AWAIT, objects=1 << HeadObject.TARGETS)
        yield self._delta(
            last, segment=last - first + 1, source=DeltaSource.DIFFERENCE, slot=self._target,
            output=last - first, destination=slots[last],
            destination_line=lines[last],
        )  # fmt: skip
        for layer in reversed(range(first, last)):
            above = layer + 1
            yield product(
                Opcode.BACKWARD, self._recipe.config, segment=above - first, slot=slots[above]
            )
            yield self._delta(
                layer, segment=above - first, axis=Axis.ROWS, source=DeltaSource.CODES,
                output=layer - first, destination=slots[layer], destination_line=lines[layer],
            )  # fmt: skip
        outputs = self._layers[first].outputs
        yield send(HeadRoute.BACK, slots[first], length=outputs)
        if read:
            yield self._mapping.results(HeadRoute.RESULTS)
        for layer in reversed(range(first + 1, last + 1)):
            yield outer(layer - first, slot=layer - first - 1, delta=slots[layer])
        done = 1 << HeadObject.TARGETS | 1 << HeadObject.PARTIALS
        yield encode(Opcode.RELEASE, objects=done)
