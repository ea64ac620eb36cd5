# SPDX-License-Identifier: Apache-2.0
"""Random layers whose errors of all positions are summed by pixel (SCATTER) and sent (NORMALISE).

The host sends frames, whose windows are gathered beside, and mantissas for every position, which
DELTA gives exponents. What the pixels sum up to goes to the host.
"""

from dataclasses import dataclass
from random import Random

import numpy as np

from phasecore.models.compiler.windows import LayerInput, window_object
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    SCATTER_SHIFT_MAX,
    Axis,
    DeltaSource,
    Function,
    ObjectDescriptor,
    Opcode,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)
from phasecore.verification.cosim.random_chip import SEGMENT
from phasecore.verification.cosim.random_windows import FRAMES, random_layer

__all__ = ["RandomSums"]

X, MANTISSAS, SUMS, PIXELS = range(4)
"""Objects; the host's routes have the numbers of the first two."""

_MANTISSAS, _ERRORS, _WINDOW, _PIXEL = range(4)
"""Slots."""


@dataclass(frozen=True)
class _Stage:
    node: int


class RandomSums:
    """A random layer on a core of a chip.

    Attributes
    ----------
    stages : cores in use
    objects, routes : descriptors by node, the host's among them
    segment : of all lines
    """

    def __init__(self, config: ChipConfig, seed: int):
        self.config, self._random = config, Random(seed)
        core, random = config.core, self._random
        self.segment = Segment(
            row_start=0, row_count=core.rows, col_start=0, col_count=core.cols
        )  # fmt: skip
        self.stages = [_Stage(random.choice(config.cores))]
        self._bias = random.randint(-40, 40)
        while True:
            try:
                self._layer = random_layer(random, core.lines, packed=False)
                self._tables(random.randrange(config.noc.virtual_channels))
            except ValueError:
                # The frame is longer than a memory.
                continue
            return

    def programs(self) -> dict[int, list[int]]:
        """Programs of the next frames, by node."""
        layer, program = self._layer, []
        for row, col in layer.places:
            program += self._position(row, col)
        program.append(encode(Opcode.RELEASE, objects=1 << X | 1 << SUMS))
        rows, cols = layer.iterations
        program.append(encode(Opcode.LOOP, counter=0, target=0, count=rows * cols))
        target = len(program)
        program += [
            encode(
                Opcode.NORMALISE, object=PIXELS, destination=_PIXEL,
                destination_line=self._random.randrange(self.config.core.lines),
            ),
            self._send(_PIXEL), encode(Opcode.RELEASE, objects=1 << PIXELS),
            encode(Opcode.LOOP, counter=1, target=target, count=layer.height * layer.width),
            encode(Opcode.LOOP, counter=2, target=0, count=FRAMES), encode(Opcode.HALT),
        ]  # fmt: skip
        return {self.stages[0].node: program}

    def packets(self) -> list[bytes]:
        """Packets of the next frames."""
        random, layer, core = self._random, self._layer, self.config.core
        packets = []
        for _ in range(FRAMES):
            size = layer.height * layer.width * layer.channels
            codes = np.array([random.randint(-127, 127) for _ in range(size)], dtype=np.int8)
            frame = codes.reshape(layer.height, layer.width, layer.channels)
            packets += [
                vector_packet(codes, config=core, slot=X) for codes in layer.vectors(frame, core)
            ]
            rows, cols = layer.iterations
            for _ in range(rows * cols * len(layer.places)):
                largest = random.choice([0, 1, 5, 40, 127, 127, 127])
                codes = np.array([random.randint(-largest, largest) for _ in range(core.lines)])
                packets.append(vector_packet(codes, config=core, slot=MANTISSAS))
        return packets

    def _position(self, row: int, col: int) -> list[int]:
        """Sums and a window of a position of a block."""
        random, core = self._random, self.config.core
        function = random.choice([Function.IDENTITY, Function.TANH, Function.RELU])
        block = random.choice([0, random.randrange(core.blocks)])
        place = {"block": block, "block_row": row, "block_col": col}
        steps = [
            encode(Opcode.AWAIT, objects=1 << MANTISSAS),
            encode(
                Opcode.DELTA, segment=SEGMENT, axis=random.choice(list(Axis)),
                source=DeltaSource.MANTISSAS, slot=_MANTISSAS, output=_MANTISSAS,
                function=function, fixed=0, shift=0, bias=self._bias + random.randint(-3, 3),
                destination=_ERRORS, destination_line=random.choice([0, 3]),
            ),
            encode(Opcode.RELEASE, objects=1 << MANTISSAS),
            encode(Opcode.SCATTER, object=SUMS, slot=_ERRORS, **place),
        ]  # fmt: skip
        if random.random() < 0.6:
            gather = encode(Opcode.GATHER, object=X, destination=_WINDOW, largest=0, **place)
            steps += [gather, self._send(_WINDOW)]
        return steps

    def _send(self, slot: int) -> int:
        return encode(
            Opcode.SEND, route=0, partial=0, slot=slot, first_line=0,
            length=self.config.core.lines, merge=0, object=0,
        )  # fmt: skip

    def _tables(self, channel: int) -> None:
        """Routes to the core and back, a frame and its sums."""
        random, core, layer = self._random, self.config.core, self._layer
        node, host = self.stages[0].node, self.config.host
        (x, y), (node_x, node_y) = self.config.place(host), self.config.place(node)
        producer = {"x": x, "y": y, "vc": channel}
        first = random.randrange(layer.matrix_rows)
        tile = first, random.randint(first + 1, min(layer.matrix_rows, first + core.lines))
        # From exponents that SCATTER adds nothing of to those beyond its largest shift.
        unit = self._bias + random.randint(15 - SCATTER_SHIFT_MAX - 3, 12)
        words = -(-layer.height * layer.width * layer.pitch(core) * 8 // core.post_lanes)
        behind = {"base": core.slot_words, "size": words + random.randint(0, 2)}
        base = random.randint(core.blocks, max(core.blocks, core.accumulator_words - words))
        sums = {"base": base, "source": X, "sums": 1, "cursor": 1, "unit": unit}
        pixels = LayerInput(
            height=layer.height, width=layer.width, channels=layer.channels
        )  # fmt: skip
        channels = 0, random.randint(1, layer.channels)
        self.objects = {
            node: [
                window_object(core, layer, tile=tile, route=X, **behind, **producer),
                ObjectDescriptor(
                    route=MANTISSAS, source=MANTISSAS, **slot_ring(core, _MANTISSAS), **producer
                ),
                window_object(core, layer, tile=tile, **sums),
                window_object(core, pixels, tile=channels, **sums),
            ],
            host: [ObjectDescriptor(x=node_x, y=node_y, route=0, vc=channel)],
        }
        consumer = {"x": node_x, "y": node_y, "vc": channel}
        depth = min(self.objects[node][X].depth, 255)
        self.routes = {
            node: [RouteDescriptor(object=0, x=x, y=y, vc=channel, credits=2)],
            host: [
                RouteDescriptor(object=X, credits=depth, **consumer),
                RouteDescriptor(object=MANTISSAS, credits=1, **consumer),
            ],
        }
