# SPDX-License-Identifier: Apache-2.0
"""First stage of the window unit: which bytes of the memory go into which lanes, in what order."""

from amaranth.hdl import Module, Mux, Shape, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import COORDINATE, WindowCommand
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["ByteAddress", "PixelCounter", "RingSum", "WindowChunk", "WindowWalk"]


class WindowChunk(data.StructLayout):
    """Bytes of one pixel that lie in one word of the memory.

    They go into the lanes from ``lane`` to before ``end`` of the word that is being put together;
    those from ``post_lanes`` on, of a chunk that ``crosses``, into the word after it. ``address``
    of the memory's word, which needs no ``read`` where the pixel is padding; its byte b goes to
    lane ``b + rotation`` modulo ``post_lanes``. A byte of the ``first`` pixel is
    not compared; with a ``full`` chunk the word is complete, with the ``last`` one the window.

    Of SCATTER it is the other way round: the lanes are those of the word that is read, the
    ``address`` is the accumulators', whose first lane of the chunk is ``sum_lane``; it crosses
    neither's end.
    """

    def __init__(self, config: CoreConfig):
        lane_bits = exact_log2(config.post_lanes)
        super().__init__(
            {
                "read": 1,
                "address": config.vector_address_bits,
                "rotation": lane_bits,
                "lane": lane_bits,
                "end": range(2 * config.post_lanes),
                "sum_lane": lane_bits,
                "first": 1,
                "full": 1,
                "crosses": 1,
                "last": 1,
            }
        )


class RingSum(wiring.Component):
    """Sum of two byte addresses modulo a ring, less than twice its size before.

    Parameters
    ----------
    bits : of an address

    Members
    -------
    a, b : In
    size : In
        Bytes of the ring.
    total : Out(bits)
    """

    def __init__(self, bits: int):
        super().__init__(
            {"a": In(bits), "b": In(bits + 1), "size": In(bits + 1), "total": Out(bits)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Shape.cast(self.signature.members["size"].shape).width
        exact, rest = Signal(bits + 1), Signal(bits + 2)
        m.d.comb += [
            exact.eq(self.a + self.b),
            rest.eq(exact - self.size),
            self.total.eq(Mux(rest[-1], exact, rest)),
        ]
        return m


class PixelCounter(wiring.Component):
    """Place of a pixel in the window and in the object.

    Members
    -------
    offered, command : In(WindowCommand)
        Taken with ``start``; in work from the next cycle on.
    start : In(1)
        Go to the first pixel that is read.
    step : In(1)
        Go to the next one; from the last one of the window to the first.
    inside : Out(1)
        It is no padding.
    first, last_col, last : Out(1)
        First pixel of the window; last one of its row, of the window.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "offered": In(WindowCommand(config)),
                "command": In(WindowCommand(config)),
                "start": In(1),
                "step": In(1),
                "inside": Out(1),
                "first": Out(1),
                "last_col": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offered, command = self.offered, self.command
        bits = COORDINATE.width
        # Two's complement taken as unsigned: what is negative is beyond every frame.
        y, x = Signal(bits), Signal(bits)
        first_row, first_col = Signal(bits), Signal(bits)
        top, left = Signal(bits), Signal(bits)
        row, col = Signal(4), Signal(4)
        m.d.comb += [
            self.inside.eq((y < command.height) & (x < command.width)),
            self.first.eq((row == 0) & (col == 0)),
            self.last_col.eq(col == command.cols - 1),
            self.last.eq(self.last_col & (row == command.rows - 1)),
            first_row.eq(offered.row + offered.block_row),
            first_col.eq(offered.col + offered.block_col),
        ]
        with m.If(self.start):
            m.d.sync += [
                y.eq(first_row),
                x.eq(first_col),
                top.eq(first_row),
                left.eq(first_col - offered.first_col),
                row.eq(0),
                col.eq(offered.first_col),
            ]
        with m.Elif(self.step & ~self.last_col):
            m.d.sync += [x.eq(x + 1), col.eq(col + 1)]
        with m.Elif(self.step):
            m.d.sync += [x.eq(left), col.eq(0)]
            m.d.sync += [y.eq(Mux(self.last, top, y + 1)), row.eq(Mux(self.last, 0, row + 1))]
        return m


class ByteAddress(wiring.Component):
    """Address, in the ring, of the next byte of the window.

    Members
    -------
    offered, command : In(WindowCommand)
        Taken with ``start``; in work from the next cycle on.
    start : In(1)
        Go to the first byte that is read.
    bytes : In
        Bytes that ``step`` goes on.
    step : In(1)
        Go on.
    next_pixel, next_row, next_block : In(1)
        Not in the pixel, but to the next one in its row, or to the first one of the row below, or
        to the next ``post_lanes`` bytes of the first one (of pixels that are compared).
    address : Out
    """

    def __init__(self, config: CoreConfig):
        self.lanes = config.post_lanes
        self.bits = exact_log2(config.memory_words * config.post_lanes)
        super().__init__(
            {
                "offered": In(WindowCommand(config)),
                "command": In(WindowCommand(config)),
                "start": In(1),
                "bytes": In(range(config.post_lanes + 1)),
                "step": In(1),
                "next_pixel": In(1),
                "next_row": In(1),
                "next_block": In(1),
                "address": Out(self.bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offered, command, bits = self.offered, self.command, self.bits
        m.submodules.first_pixel = first_pixel = RingSum(bits)
        m.submodules.first_byte = first_byte = RingSum(bits)
        m.submodules.row_step = row_step = RingSum(bits)
        m.submodules.following = following = RingSum(bits)
        lane_bits = exact_log2(self.lanes)
        at_pixel, at_block, to_next_row = Signal(bits), Signal(bits), Signal(bits)
        offset = Signal(bits)
        m.d.comb += [
            [
                ring.size.eq(offered.ring_size << lane_bits)
                for ring in (first_pixel, first_byte, row_step)
            ],
            following.size.eq(command.ring_size << lane_bits),
            offset.eq(offered.block_row * offered.row_pitch + offered.block_col * offered.pitch),
            first_pixel.a.eq(offered.pointer),
            first_pixel.b.eq(offset),
            first_byte.a.eq(offered.pointer),
            first_byte.b.eq(offset + offered.skip),
            # From the last pixel of a row of the window to the first one of the next.
            row_step.a.eq(offered.row_pitch),
            row_step.b.eq(row_step.size - (offered.cols - 1) * offered.pitch),
        ]
        with m.If(self.next_block):
            m.d.comb += [following.a.eq(at_block), following.b.eq(self.lanes)]
        with m.Elif(self.next_row):
            m.d.comb += [following.a.eq(at_pixel), following.b.eq(to_next_row)]
        with m.Elif(self.next_pixel):
            m.d.comb += [following.a.eq(at_pixel), following.b.eq(command.pitch)]
        with m.Else():
            m.d.comb += [following.a.eq(self.address), following.b.eq(self.bytes)]
        with m.If(self.start):
            # Pixels that are compared are read from the same byte on, others from their first.
            at_start = Mux(offered.largest, first_byte.total, first_pixel.total)
            m.d.sync += [
                self.address.eq(first_byte.total),
                at_block.eq(first_byte.total),
                at_pixel.eq(at_start),
                to_next_row.eq(row_step.total),
            ]
        with m.Elif(self.step):
            m.d.sync += self.address.eq(following.total)
            with m.If(self.next_block):
                m.d.sync += at_block.eq(following.total)
            with m.If(self.next_block | self.next_pixel | self.next_row):
                m.d.sync += at_pixel.eq(following.total)
        return m


class WindowWalk(wiring.Component):
    """Cuts a window into chunks, one per cycle, in the order in which their lines are written.

    A copy goes once through the window. For the largest of the pixels, the walk goes through all
    of them for the first ``post_lanes`` lines, then for the next.

    Members
    -------
    i : In(stream of WindowCommand)
        Taken when nothing is ``active`` and with ``idle``.
    idle : In(1)
        All earlier chunks are done.
    command : Out(WindowCommand)
        In work.
    o : Out(stream of WindowChunk)
    active : Out(1)
        Not all chunks have been taken.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(WindowCommand(config))),
                "idle": In(1),
                "command": Out(WindowCommand(config)),
                "o": Out(stream.Signature(WindowChunk(config))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, lanes = self.command, self.config.post_lanes
        lane_bits = exact_log2(lanes)
        m.submodules.pixel = pixel = PixelCounter(self.config)
        m.submodules.at = at = ByteAddress(self.config)
        start, go, pixel_done, block_done, done = (Signal(name=name) for name in _EVENTS)
        lane = Signal(lane_bits)
        # Bytes left of the pixel, lines left of the command; of the largest, those of the block.
        left, lines = Signal(WindowCommand.PIXEL_BITS), Signal(self.config.line_bits + 1)
        room, count, limit = Signal(lane_bits + 1), Signal(lane_bits + 1), Signal.like(left)
        in_ring, in_word = Signal(lane_bits + 1), Signal(lane_bits + 1)
        end = self.o.payload.end
        m.d.comb += [
            self.i.ready.eq(~self.active & self.idle),
            start.eq(self.i.valid & self.i.ready),
            go.eq(self.o.valid & self.o.ready),
            limit.eq(Mux(left < lines, left, lines)),
            in_ring.eq(Mux(pixel.inside, lanes - at.address[:lane_bits], lanes)),
            in_word.eq(Mux(command.scatter, lanes - lane, lanes)),
            room.eq(Mux(in_ring < in_word, in_ring, in_word)),
            count.eq(Mux(limit < room, limit, room)),
            pixel_done.eq(count == left),
            block_done.eq(pixel_done & pixel.last),
            done.eq(Mux(command.largest, block_done & (lines <= lanes), count == lines)),
            end.eq(lane + count),
        ]
        self._follow(m, pixel, at, start=start, go=go, count=count, pixel_done=pixel_done)
        self._offer(m, pixel, at, lane=lane, done=done, block_done=block_done)
        with m.If(start):
            m.d.sync += [command.eq(self.i.payload), self.active.eq(1), lane.eq(0)]
            _load(m, self.i.payload, left, lines, lanes)
        with m.Elif(go):
            m.d.sync += [
                self.active.eq(~done),
                lane.eq(Mux(command.largest & pixel_done, 0, end)),
                left.eq(left - count),
            ]
            with m.If(~command.largest):
                m.d.sync += lines.eq(lines - count)
                with m.If(pixel_done):
                    m.d.sync += left.eq(command.segment)
            with m.Elif(block_done):
                m.d.sync += [lines.eq(lines - lanes), left.eq(_at_most(lanes, lines - lanes))]
            with m.Elif(pixel_done):
                m.d.sync += left.eq(_at_most(lanes, lines))
        return m

    def _follow(
        self, m: Module, pixel: PixelCounter, at: ByteAddress, *,
        start: Signal, go: Signal, count: Signal, pixel_done: Signal,
    ) -> None:  # fmt: skip
        """Move place and address along with what is taken."""
        last = pixel.last & self.command.largest
        m.d.comb += [
            pixel.offered.eq(self.i.payload),
            pixel.command.eq(self.command),
            pixel.start.eq(start),
            pixel.step.eq(go & pixel_done),
            at.offered.eq(self.i.payload),
            at.command.eq(self.command),
            at.start.eq(start),
            at.bytes.eq(count),
            at.step.eq(go),
            at.next_pixel.eq(pixel_done & ~pixel.last_col),
            at.next_row.eq(pixel_done & pixel.last_col),
            at.next_block.eq(pixel_done & last),
        ]

    def _offer(
        self, m: Module, pixel: PixelCounter, at: ByteAddress, *,
        lane: Signal, done: Signal, block_done: Signal,
    ) -> None:  # fmt: skip
        """The chunk that comes next."""
        chunk, lanes = self.o.payload, self.config.post_lanes
        m.d.comb += [
            self.o.valid.eq(self.active),
            chunk.read.eq(pixel.inside),
            chunk.address.eq(self.command.ring_base + at.address[exact_log2(lanes) :]),
            chunk.rotation.eq(Mux(self.command.scatter, at.address - lane, lane - at.address)),
            chunk.sum_lane.eq(at.address),
            chunk.lane.eq(lane),
            chunk.first.eq(~self.command.largest | pixel.first),
            chunk.crosses.eq(chunk.end > lanes),
            chunk.full.eq(Mux(self.command.largest, block_done, done | (chunk.end >= lanes))),
            chunk.last.eq(done),
        ]


_EVENTS = ("start", "go", "pixel_done", "block_done", "done")


def _load(m: Module, command: data.View, left: Signal, lines: Signal, lanes: int) -> None:
    """Bytes of the first pixel, lines of the command."""
    m.d.sync += lines.eq(command.count)
    with m.If(command.largest):
        m.d.sync += left.eq(_at_most(lanes, command.count))
    with m.Else():
        m.d.sync += left.eq(command.segment - command.skip)


def _at_most(limit: int, value: Signal) -> Mux:
    return Mux(value < limit, value, limit)
