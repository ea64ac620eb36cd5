# SPDX-License-Identifier: Apache-2.0
"""Random pipelines over the cores of a chip: frames of vectors through windows, forks and joins.

The host feeds a first core; its results go to two others at once (a multicast), theirs to a fourth,
which adds them and sends the sums to the host. Every core takes a window of its input per
iteration, as a convolution would, from a ring that is only as long as it must be: so local control
decides what fires and what may be overwritten. The shapes, places, channels, lines and codes are
random; programs, descriptors and packets of one frame after another go to RTL and model alike.
"""

from dataclasses import dataclass, replace
from random import Random

import numpy as np

from phasecore.models.compiler.windows import smallest_depth
from phasecore.models.golden.packets import header
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.instructions import (
    GROUP,
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)

__all__ = ["SEGMENT", "Pipeline"]

SEGMENT = 0
"""Segment of all lines, for ACTIVATE."""

DEPTH_MAX = 7
"""Longest ring: two rings and the result share the slots."""


@dataclass(frozen=True)
class Stage:
    """A core: its node, its input object (both inputs of a join are alike), iterations by row."""

    node: int
    window: ObjectDescriptor
    inputs: int
    start: int
    length: int

    @property
    def slots(self) -> list[int]:
        """First slots of the rings."""
        return [index * self.window.depth for index in range(self.inputs)]

    @property
    def result(self) -> int:
        """Slot of the result."""
        return self.inputs * self.window.depth


class Pipeline:
    """A random pipeline on a chip of at least four cores.

    Attributes
    ----------
    objects, routes : descriptors by node, the host's among them
    """

    def __init__(self, config: ChipConfig, seed: int):
        self.config = config
        self._random = Random(seed)
        self._frame = 0
        first, fork, last = self._places()
        shape = self._random.randint(1, 4), self._random.randint(1, 4)
        windows = [self._window(*shape)]
        for _ in range(2):
            above = windows[-1]
            windows.append(self._window(above.out_height, above.out_width))
        self.first = self._stage(first, windows[0], 1)
        self.fork = [self._stage(node, windows[1], 1) for node in fork]
        self.last = self._stage(last, windows[2], 2)
        self._channel = self._random.randrange(config.noc.virtual_channels)
        self._tables()

    @property
    def stages(self) -> list[Stage]:
        """All cores in use."""
        return [self.first, *self.fork, self.last]

    @property
    def segment(self) -> Segment:
        """The segment that programs use."""
        core = self.config.core
        return Segment(row_start=0, row_count=core.rows, col_start=0, col_count=core.cols)

    def programs(self) -> dict[int, list[int]]:
        """Programs of the next frame, by node; call once for every frame."""
        programs = {}
        for stage in self.stages:
            program = []
            for row in range(stage.window.out_height):
                for col in range(stage.window.out_width):
                    program += self._iteration(stage, row, col)
            programs[stage.node] = [*program, encode(Opcode.HALT)]
        self._frame += 1
        return programs

    def packets(self) -> list[bytes]:
        """Packets of one frame."""
        lines, window = self.config.core.lines, self.first.window
        packets = []
        for _ in range(window.height * window.width):
            start = GROUP * self._random.randrange(lines // GROUP)
            length = self._random.randint(1, lines - start)
            codes = np.array([self._random.randint(-127, 127) for _ in range(length)], np.int8)
            head = header(PacketKind.VECTOR, slot=0, start=start, length=length)
            packets.append(head + codes.tobytes())
        return packets

    def _iteration(self, stage: Stage, row: int, col: int) -> list[int]:
        """Newest vector of the window (of two inputs, their sum) to the next."""
        window = stage.window
        newest = self._frame * window.height * window.width + window.need(row, col) - 1
        mask = (1 << stage.inputs) - 1
        program = [encode(Opcode.AWAIT, objects=mask)]
        for index, slot in enumerate(stage.slots):
            final = index == stage.inputs - 1
            activate = encode(
                Opcode.ACTIVATE, segment=SEGMENT, axis=Axis.COLS, from_slot=1,
                slot=slot + newest % window.depth, accumulate=int(index > 0),
                function=Function.IDENTITY if final else Function.NONE, shift=7, affine=0,
                table=0, destination=stage.result, destination_line=0,
            )  # fmt: skip
            program.append(activate)
        send = encode(
            Opcode.SEND, route=0, partial=0, slot=stage.result, first_line=stage.start,
            length=stage.length, merge=0, object=0,
        )  # fmt: skip
        release = encode(Opcode.RELEASE, objects=mask)
        return [*program, *self._random.sample([send, release], 2)]

    def _places(self) -> tuple[int, list[int], int]:
        """Nodes of the stages; the two of the fork are neighbours in a row or column."""
        mesh, cores = self.config.noc, self.config.cores
        pairs = [
            [node, node + step]
            for node in cores
            for step in (1, mesh.width)
            if node + step in cores and (step > 1 or (node + 1) % mesh.width)
        ]
        fork = self._random.choice(pairs)
        first, last = self._random.sample([node for node in cores if node not in fork], 2)
        return first, fork, last

    def _window(self, height: int, width: int) -> ObjectDescriptor:
        """Random window over a frame, with the shortest ring that can hold it, or one more."""
        random = self._random
        while True:
            kernel_height, kernel_width = random.randint(1, 3), random.randint(1, 3)
            stride = random.randint(1, 2)
            padding = random.randint(0, min(kernel_height, kernel_width) - 1)
            out_height = (height + 2 * padding - kernel_height) // stride + 1
            out_width = (width + 2 * padding - kernel_width) // stride + 1
            if out_height < 1 or out_width < 1:
                continue
            window = ObjectDescriptor(
                x=0, y=0, route=0, height=height, width=width, out_height=out_height,
                out_width=out_width, kernel_height=kernel_height, kernel_width=kernel_width,
                stride_row=stride, stride_col=stride, padding_row=padding,
                padding_col=padding,
            )  # fmt: skip
            depth = smallest_depth(window) + random.randrange(2)
            if depth <= DEPTH_MAX:
                return replace(window, depth=depth)

    def _stage(self, node: int, window: ObjectDescriptor, inputs: int) -> Stage:
        lines = self.config.core.lines
        start = GROUP * self._random.randrange(lines // GROUP)
        return Stage(node, window, inputs, start, self._random.randint(1, lines - start))

    def _tables(self) -> None:
        """Descriptors: who feeds whom, with a credit for every slot of a ring."""
        host, channel = self.config.host, self._channel
        place = self.config.place
        fork = [stage.node for stage in self.fork]
        self.objects = {self.first.node: [self._object(self.first, host, 0, 0)]}
        self.routes = {host: [self._stream(self.first, 0)]}
        members = self._random.sample([0, 1], 2)
        for stage, member in zip(self.fork, members, strict=True):
            entry = self._object(stage, self.first.node, 0, 0)
            self.objects[stage.node] = [replace(entry, member=member)]
        self.routes[self.first.node] = [
            RouteDescriptor(
                object=0, multicast=1, cols=sum(1 << x for x in {place(node)[0] for node in fork}),
                rows=sum(1 << y for y in {place(node)[1] for node in fork}),
                credits=self.fork[0].window.depth, consumers=2,
            )
        ]  # fmt: skip
        self.objects[self.last.node] = [
            self._object(self.last, node, 0, index) for index, node in enumerate(fork)
        ]
        for index, node in enumerate(fork):
            self.routes[node] = [self._stream(self.last, index)]
        x, y = place(host)
        self.routes[self.last.node] = [RouteDescriptor(object=0, x=x, y=y, vc=channel, credits=2)]
        x, y = place(self.last.node)
        self.objects[host] = [ObjectDescriptor(x=x, y=y, route=0, vc=channel)]

    def _object(self, stage: Stage, producer: int, route: int, index: int) -> ObjectDescriptor:
        x, y = self.config.place(producer)
        ring = slot_ring(self.config.core, stage.slots[index], stage.window.depth)
        return replace(stage.window, x=x, y=y, route=route, vc=self._channel, **ring)

    def _stream(self, consumer: Stage, index: int) -> RouteDescriptor:
        x, y = self.config.place(consumer.node)
        return RouteDescriptor(
            object=index, x=x, y=y, vc=self._channel, credits=consumer.window.depth
        )
