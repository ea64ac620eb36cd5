# SPDX-License-Identifier: Apache-2.0
"""Second stage of the window unit: chunks become words of the slot."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.window_walk import WindowChunk
from phasecore.rtl.core.interfaces import VectorWrite
from phasecore.rtl.lib.trees import first_lanes, rotate_lanes
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["LaneTurner", "WindowAssembler"]


class LaneTurner(wiring.Component):
    """Turns the bytes of a chunk to their lanes, and says which of them count.

    Members
    -------
    largest, scatter : In(1)
        Bytes count if they are larger than those before them; all of the word's count.
    chunk : In(WindowChunk)
    take : In(1)
        Without, none of GATHER counts.
    word : In
        The memory's word.
    before : In
        The word as it is so far.
    turned : Out
        The chunk in its lanes, 0 where it is padding (-128 where it is compared).
    counts : Out(post_lanes)
        Lanes that take their byte.
    """

    def __init__(self, config: CoreConfig):
        self.lanes = config.post_lanes
        super().__init__(
            {
                "largest": In(1),
                "scatter": In(1),
                "chunk": In(WindowChunk(config)),
                "take": In(1),
                "word": In(8 * config.post_lanes),
                "before": In(8 * config.post_lanes),
                "turned": Out(8 * config.post_lanes),
                "counts": Out(config.post_lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chunk, lanes = self.chunk, self.lanes
        ones = Const((1 << lanes) - 1, lanes)
        padding = Cat(Const(0, 7), self.largest).replicate(lanes)
        here = Signal(lanes)
        m.d.comb += [
            self.turned.eq(Mux(chunk.read, rotate_lanes(self.word, chunk.rotation, 8), padding)),
            here.eq(
                (ones << chunk.lane)[:lanes]
                & first_lanes(chunk.end, lanes)
                & self.take.replicate(lanes)
            ),
        ]
        for lane in range(lanes):
            new, old = (value.word_select(lane, 8) for value in (self.turned, self.before))
            better = chunk.first | (new.as_signed() > old.as_signed())
            m.d.comb += self.counts[lane].eq((here[lane] & better) | self.scatter)
        return m


class WindowAssembler(wiring.Component):
    """Puts words together in a register; complete ones go to the memory from another one.

    A chunk that is taken comes with its word in the next cycle and is never refused then: a
    complete word that finds the write register full waits in the first one. A chunk of SCATTER goes
    through the write register, too, for post-processing.

    Members
    -------
    begin : In(1)
        A command begins: its first word is ``block`` of ``slot``, stable until not ``busy``.
    block, slot : In
    largest, scatter : In(1)
    chunk : In(WindowChunk)
    take : In(1)
        The chunk is taken, in a cycle with ``ready``.
    ready : Out(1)
        There will be room for the chunk.
    data : In
        Word of the chunk that was taken in the cycle before.
    busy : Out(1)
        A chunk or a word is on its way.
    arrived : Out(1)
        The word of the chunk that was taken in the cycle before is there.
    keep : In(1)
        Of SCATTER: it goes into the write register, whose word is ``write.data``.
    write : Out(VectorWrite)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "block": In(config.block_bits),
                "slot": In(config.slot_bits),
                "largest": In(1),
                "scatter": In(1),
                "chunk": In(WindowChunk(config)),
                "take": In(1),
                "ready": Out(1),
                "data": In(8 * config.post_lanes),
                "busy": Out(1),
                "arrived": Out(1),
                "keep": In(1),
                "write": Out(VectorWrite(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, write = self.config, self.write
        lanes = config.post_lanes
        m.submodules.turner = turner = LaneTurner(config)
        arrived, chunk = self.arrived, Signal(WindowChunk(config))
        word = Signal(8 * lanes, reset_less=True)
        waits, wait_end = Signal(), Signal(range(lanes + 1))
        data = Signal(8 * lanes, reset_less=True)
        block = Signal(config.block_bits)
        complete, free, send = Signal(), Signal(), Signal()
        m.d.comb += [
            turner.largest.eq(self.largest),
            turner.scatter.eq(self.scatter),
            turner.chunk.eq(chunk),
            turner.take.eq(arrived),
            turner.word.eq(self.data),
            turner.before.eq(word),
            complete.eq(arrived & chunk.full & ~self.scatter),
            free.eq(~write.valid | write.ready),
            send.eq(free & (complete | waits)),
            # What crosses needs the register for its rest, so its first word must not wait there.
            self.ready.eq(~waits & (free | ~complete) & (~self.chunk.crosses | (free & ~complete))),
            self.busy.eq(arrived | waits | write.valid),
            write.data.eq(data),
        ]
        m.d.sync += arrived.eq(self.take)
        with m.If(self.take):
            m.d.sync += chunk.eq(self.chunk)
        with m.If(arrived & ~self.scatter):
            m.d.sync += [
                waits.eq(complete & (~free | (chunk.crosses & chunk.last))),
                wait_end.eq(Mux(chunk.crosses, chunk.end - lanes, chunk.end)),
            ]
        with m.If(free):
            m.d.sync += write.valid.eq(complete | waits)
            with m.If(send):
                m.d.sync += [
                    write.address.eq(Cat(block[: exact_log2(config.blocks)], self.slot)),
                    write.mask.eq(first_lanes(Mux(waits, wait_end, chunk.end), lanes)),
                    block.eq(block + 1),
                ]
            with m.If(waits):
                m.d.sync += waits.eq(0)
        with m.If(self.begin):
            m.d.sync += block.eq(self.block)
        # A chunk that crosses the end of a word leaves its rest in the next one.
        taken = (turner.counts | chunk.crosses.replicate(lanes)) & (
            arrived & ~self.scatter
        ).replicate(lanes)
        for lane in range(lanes):
            new, old = (value.word_select(lane, 8) for value in (turner.turned, word))
            with m.If(taken[lane]):
                m.d.sync += old.eq(new)
            with m.If(send | self.keep):
                m.d.sync += data.word_select(lane, 8).eq(Mux(turner.counts[lane], new, old))
        return m
