# SPDX-License-Identifier: Apache-2.0
"""First stage of post-processing: asks for the blocks of a command."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import AdcRead, PostCommand, VectorRead
from phasecore.rtl.lib.trees import lane_mask
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["PostIssue"]


class PostIssue(wiring.Component):
    """Asks for all blocks of a pass, one per cycle, in ascending order.

    The first pass (``accumulating``) asks the sources: the converter, or a slot; an error first
    for the outputs of the layer. The second (``recalling``) asks for the accumulators.

    Members
    -------
    command, last : In(PostCommand), In(line_bits)
        The command in work and its last line.
    begin, first_block : In(1), In(block_bits)
        The next pass begins with ``first_block``.
    accumulating, recalling : In(1)
    move : In(1)
        What a recalled block becomes can move on.
    read, adc : Out(VectorRead), Out(AdcRead)
    latched, window_exponent, slot_exponent : In(2), In(signed(8))
        Windows latched by the ADC interface; exponents of the held one, and of the slot.
    exponent : Out(signed(8))
        Of the source, taken when the first block is asked for.
    started, asking : Out(1)
        A block has been asked for; there are more.
    waiting : Out(1)
        The window of the command has not ended.
    recall, block : Out(1), Out(block_bits)
        The accumulators of ``block`` are asked for in this cycle.
    output_valid : Out(1)
        The outputs of an error are on ``read.data``.
    fetch, fetch_block : Out(1), Out(block_bits)
        Codes of ``fetch_block`` will be there in the next cycle.
    codes_valid, codes_block : Out(1), Out(block_bits)
        Codes of ``codes_block`` are there.
    asked : Out(1)
        Codes of the converter are under way.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "command": In(PostCommand(config)),
                "last": In(config.sum_bits),
                "begin": In(1),
                "first_block": In(config.sum_word_bits),
                "accumulating": In(1),
                "recalling": In(1),
                "move": In(1),
                "read": Out(VectorRead(config)),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "window_exponent": In(signed(EXPONENT_BITS)),
                "slot_exponent": In(signed(EXPONENT_BITS)),
                "exponent": Out(signed(EXPONENT_BITS)),
                "started": Out(1),
                "asking": Out(1),
                "waiting": Out(1),
                "recall": Out(1),
                "block": Out(config.sum_word_bits),
                "output_valid": Out(1),
                "fetch": Out(1),
                "fetch_block": Out(config.block_bits),
                "codes_valid": Out(1),
                "codes_block": Out(config.block_bits),
                "asked": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        current, ready, step, last = Signal(), Signal(), Signal(), Signal()
        # The outputs of the block have been asked for.
        second = Signal()
        slot = Mux(command.delta & ~second, command.output, command.slot)
        m.d.comb += [
            ready.eq(self.started | command.from_slot | (self.latched == command.tag)),
            current.eq(self.accumulating & self.asking & ready),
            self.waiting.eq(self.accumulating & self.asking & ~ready),
            self.read.valid.eq(current & (command.delta | command.from_slot)),
            self.read.address.eq(Cat(self.block[: exact_log2(config.blocks)], slot)),
            step.eq(current & (self.read.ready | ~self.read.valid)),
            last.eq(step & ~(command.delta & command.from_slot & ~second)),
            self.adc.en.eq(last & ~command.from_slot),
            self.adc.block.eq(self.block),
            self.adc.mask.eq(
                lane_mask(self.block, command.first_line, self.last, lanes=config.post_lanes)
            ),
            self.recall.eq(self.recalling & self.asking & self.move),
        ]
        with m.If(current & ~self.started):
            m.d.sync += [self.started.eq(1), self.exponent.eq(self.window_exponent)]
            with m.If(command.from_slot):
                m.d.sync += self.exponent.eq(Mux(command.mantissas, self.slot_exponent, 0))
        with m.If(~self.accumulating):
            m.d.sync += self.started.eq(0)
        with m.If(step):
            m.d.sync += second.eq(~last)
        with m.If(last | self.recall):
            last_block = self.last[exact_log2(config.post_lanes) :]
            m.d.sync += [
                self.block.eq(self.block + 1),
                self.asking.eq(self.block != last_block),
            ]
        with m.If(self.begin):
            m.d.sync += [self.block.eq(self.first_block), self.asking.eq(1)]

        # Codes are there one cycle after the request of a slot, two after that of the converter.
        adc_block = Signal(config.block_bits)
        m.d.sync += [
            self.asked.eq(self.adc.en),
            adc_block.eq(self.block),
            self.output_valid.eq(step & command.delta & ~second),
            self.codes_valid.eq(self.fetch),
            self.codes_block.eq(self.fetch_block),
        ]
        m.d.comb += [
            self.fetch.eq((last & command.from_slot) | self.asked),
            self.fetch_block.eq(Mux(command.from_slot, self.block, adc_block)),
        ]
        return m
