# SPDX-License-Identifier: Apache-2.0
"""Lane rotator: puts a vector that comes by blocks at any line of its destination slot."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import VectorWrite
from phasecore.rtl.lib.trees import rotate_lanes
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Rotator"]


class Rotator(wiring.Component):
    """Writes consecutive blocks of a vector ``rotation`` lanes higher, modulo the lines.

    A block that is not aligned with the words of the memory reaches into the next word; that part
    waits for the next block, so that every word is written once (the word in which a whole
    vector begins and ends, twice).

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    begin : In(1)
        In cycles before the first block: the first word written is ``word``.
    word : In(block_bits)
    rotation : In, 0..post_lanes - 1, stable until ``idle``
    slot : In(slot_bits)
        Destination, stable until ``idle``.
    valid, codes, mask : In
        A block, taken in a cycle with ``move``; bytes not in ``mask`` are not written.
    flush : In(1)
        No block follows: a part that waits is written (while ``valid`` is low).
    move : Out(1)
        The write register is free.
    idle : Out(1)
        Nothing waits, and the last write is being taken.
    write : Out(VectorWrite)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "begin": In(1),
                "word": In(config.block_bits),
                "rotation": In(exact_log2(config.post_lanes)),
                "slot": In(config.slot_bits),
                "valid": In(1),
                "codes": In(8 * config.post_lanes),
                "mask": In(config.post_lanes),
                "flush": In(1),
                "move": Out(1),
                "idle": Out(1),
                "write": Out(VectorWrite(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes = config.post_lanes

        step = Signal()
        codes = Signal(8 * lanes)
        mask = Signal(lanes)
        m.d.comb += [
            codes.eq(rotate_lanes(self.codes, self.rotation, 8)),
            mask.eq(rotate_lanes(Mux(self.valid, self.mask, 0), self.rotation, 1)),
            self.move.eq(~self.write.valid | self.write.ready),
            step.eq(self.move & (self.valid | self.flush)),
        ]

        word_codes = Signal(8 * lanes)
        word_mask = Signal(lanes)
        wait_mask = Signal(lanes)
        if config.blocks == 1:
            m.d.comb += [word_codes.eq(codes), word_mask.eq(mask)]
        else:
            wait_codes = Signal(8 * lanes, reset_less=True)
            wrapped = Signal(lanes)
            m.d.comb += [
                wrapped.eq(~((((1 << lanes) - 1) << self.rotation)[:lanes])),
                word_mask.eq(wait_mask | (mask & ~wrapped)),
                word_codes.eq(Cat(
                    Mux(
                        wrapped[lane],
                        wait_codes.word_select(lane, 8),
                        codes.word_select(lane, 8),
                    )
                    for lane in range(lanes)
                )),
            ]  # fmt: skip
            with m.If(step):
                m.d.sync += [wait_codes.eq(codes), wait_mask.eq(mask & wrapped)]

        word = Signal(config.block_bits)
        write_data = Signal(8 * lanes, reset_less=True)
        with m.If(self.move):
            m.d.sync += self.write.valid.eq(step & word_mask.any())
        with m.If(step):
            m.d.sync += [
                word.eq(word + 1),
                self.write.address.eq(Cat(word[: exact_log2(config.blocks)], self.slot)),
                self.write.mask.eq(word_mask),
                write_data.eq(word_codes),
            ]
        with m.If(self.begin):
            m.d.sync += word.eq(self.word)
        m.d.comb += [
            self.write.data.eq(write_data),
            self.idle.eq(self.move & ~wait_mask.any()),
        ]
        return m
