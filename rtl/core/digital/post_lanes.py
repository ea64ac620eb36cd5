# SPDX-License-Identifier: Apache-2.0
"""Lanes of post-processing: products of codes, and their sums with the accumulators."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.activation import Derivative
from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AffineWrite,
    PostCommand,
    ScatterChunk,
)
from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.lib.trees import OnesCounter, lane_mask
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import SCATTER_SHIFT_MAX

__all__ = ["PRODUCT_BITS", "PostAccumulators", "PostProducts"]

PRODUCT_BITS = 24
"""Bits of an error value: twice a difference of bytes times a derivative of at most 127 * 127."""


class PostProducts(wiring.Component):
    """Codes times scale plus offset, or error codes times derivative, one cycle later.

    Members
    -------
    command : In(PostCommand)
    affine_write : In(AffineWrite)
    fetch, fetch_block : In(1), In(block_bits)
        Codes come in the next cycle: their scales and offsets are read.
    output_valid : In(1)
        The outputs of an error are on ``word``.
    codes_valid : In(1)
        Codes are there: on ``codes``, or on ``word`` when they come from a slot.
    word, codes : In(8 * post_lanes)
        Read data of the vector memory and of the converter.
    clear : In(1)
        Products become 0.
    scattering, chunk : In(1), In(ScatterChunk)
        Products are those of a chunk of SCATTER.
    products : Out, one per lane
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "command": In(PostCommand(config)),
                "affine_write": In(AffineWrite(config)),
                "fetch": In(1),
                "fetch_block": In(config.block_bits),
                "output_valid": In(1),
                "codes_valid": In(1),
                "word": In(8 * lanes),
                "codes": In(8 * lanes),
                "clear": In(1),
                "scattering": In(1),
                "chunk": In(ScatterChunk(config)),
                "products": Out(signed(PRODUCT_BITS)).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command, lanes = self.config, self.command, self.config.post_lanes
        m.submodules.affine = affine = Sram(
            width=16 * lanes, depth=max(2, config.affine_tables * config.blocks), granularity=16
        )
        m.submodules.derivative = derivative = Derivative(lanes)
        block = self.fetch_block[: exact_log2(config.blocks)]
        m.d.comb += [
            affine.w_en.eq(self.affine_write.en),
            affine.w_address.eq(self.affine_write.address),
            affine.w_mask.eq(self.affine_write.mask),
            affine.w_data.eq(self.affine_write.data),
            affine.r_en.eq(self.fetch & command.affine),
            affine.r_address.eq(Cat(block, command.table)),
            derivative.enable.eq(self.output_valid),
            derivative.function.eq(command.function),
            derivative.outputs.eq(self.word),
        ]
        subtract, power = Signal(), Signal(SCATTER_SHIFT_MAX + 1)
        outputs = Signal(8 * lanes, reset_less=True)
        m.d.comb += [
            subtract.eq(command.delta & command.from_slot & ~command.mantissas & ~self.scattering),
            power.eq(1 << self.chunk.shift),
        ]
        with m.If(self.output_valid):
            m.d.sync += outputs.eq(self.word)
        for lane, output_port in enumerate(self.products):
            factor = Signal(signed(15), name=f"factor_{lane}", reset_less=True)
            with m.If(self.output_valid):
                m.d.sync += factor.eq(derivative.factors[lane])
            output = Mux(subtract, outputs.word_select(lane, 8), 0).as_signed()
            code = Mux(
                self.scattering,
                self.chunk.codes.word_select(lane, 8),
                Mux(
                    command.from_slot,
                    self.word.word_select(lane, 8),
                    self.codes.word_select(lane, 8),
                ),
            ).as_signed()
            table = affine.r_data.word_select(lane, 16)
            scale = Mux(command.affine, table[:8], Const(128, 8))
            offset = Mux(command.affine, table[8:].as_signed(), ~command.from_slot)
            # An error is 2 (target - output), 2 mantissa or 2 code + 1 times the factor.
            multiplier = Mux(command.delta, Cat(Const(0, 1), factor).as_signed(), scale)
            multiplier = Mux(self.scattering, power, multiplier)
            addend = Mux(
                command.delta,
                Mux(command.from_slot, 0, factor),
                Cat(Const(0, 6), offset).as_signed(),
            )
            addend = Mux(self.scattering, 0, addend)
            product = Signal(signed(PRODUCT_BITS), name=f"product_{lane}", reset_less=True)
            with m.If(self.clear):
                m.d.sync += product.eq(0)
            with m.If(self.codes_valid | self.scattering):
                m.d.sync += product.eq((code - output) * multiplier + addend)
            m.d.comb += output_port.eq(product)
        return m


class PostAccumulators(wiring.Component):
    """Products plus accumulators, saturated, kept, and the largest error value.

    Members
    -------
    command, last : In(PostCommand), In(line_bits)
        The command in work and its last line.
    begin : In(1)
        A command begins: no error value has been seen.
    accumulating, advance : In(1)
        In the first pass sums are kept; blocks move on.
    measuring, erasing : In(1)
        The sums are looked at for the largest; they become 0.
    scattering, scattered, chunk : In(1), In(1), In(ScatterChunk)
        The products of a chunk come in the next cycle; it is in work.
    codes_valid, codes_block : In(1), In(block_bits)
        The products of ``codes_block`` come in the next cycle.
    recall, block : In(1), In(block_bits)
        The accumulators of ``block`` are sums as they are.
    products : In, one per lane
    product_valid, sum_valid : Out(1)
        Products, and sums, of a block are there.
    sum_block : Out(block_bits)
    sums, mask : Out
        Of ``sum_block``, and lanes of it that the command processes.
    peak : Out(acc_bits)
        OR of the magnitudes of the error values, or sums: as long as their largest.
    saturations : Out
        Lanes that saturated in this cycle.
    idle : In(1)
        No command is in work.
    accumulators : In(AccumulatorPort)
        For the network interface, with ``config.objects``.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        shared = {"accumulators": In(AccumulatorPort(config))} if config.objects else {}
        super().__init__(
            {
                **shared,
                "command": In(PostCommand(config)),
                "last": In(config.sum_bits),
                "begin": In(1),
                "accumulating": In(1),
                "advance": In(1),
                "measuring": In(1),
                "erasing": In(1),
                "scattering": In(1),
                "scattered": In(1),
                "chunk": In(ScatterChunk(config)),
                "codes_valid": In(1),
                "codes_block": In(config.sum_word_bits),
                "recall": In(1),
                "block": In(config.sum_word_bits),
                "products": In(signed(PRODUCT_BITS)).array(lanes),
                "product_valid": Out(1),
                "sum_valid": Out(1),
                "sum_block": Out(config.sum_word_bits),
                "sums": Out(signed(config.acc_bits)).array(lanes),
                "mask": Out(lanes),
                "peak": Out(config.acc_bits),
                "saturations": Out(range(lanes + 1)),
                "idle": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        lanes, bits = config.post_lanes, config.acc_bits
        m.submodules.accumulators = memory = Sram(
            width=bits * lanes, depth=max(2, config.accumulator_words), granularity=bits
        )
        product_block, asked_block = Signal(config.sum_word_bits), Signal(config.sum_word_bits)
        add, load, keep, cut = Signal(), Signal(), Signal(), Signal()
        of_chunk = Signal(lanes, reset_less=True)
        of_command = lane_mask(self.sum_block, command.first_line, self.last, lanes=lanes)
        m.d.comb += [
            asked_block.eq(Mux(self.recall, self.block, self.codes_block)),
            memory.r_en.eq((self.codes_valid & command.accumulate) | self.recall | self.scattering),
            memory.r_address.eq(asked_block),
            add.eq(~self.accumulating | (command.accumulate & ~command.delta)),
            load.eq(self.advance & self.product_valid),
            keep.eq((self.accumulating | self.scattered) & self.sum_valid),
            self.mask.eq(Mux(self.scattered, of_chunk, of_command)),
        ]
        with m.If(self.scattering):
            m.d.comb += asked_block.eq(self.chunk.word)
            m.d.sync += [of_chunk.eq(self.chunk.mask), cut.eq(self.chunk.cut)]
        with m.If(self.advance):
            m.d.sync += [
                self.product_valid.eq(self.codes_valid | self.recall | self.scattering),
                product_block.eq(asked_block),
                self.sum_valid.eq(self.product_valid),
                self.sum_block.eq(product_block),
            ]
        overflows = []
        for lane, product in enumerate(self.products):
            total = Signal(signed(bits + 1), name=f"total_{lane}")
            old = memory.r_data.word_select(lane, bits).as_signed()
            result = Signal(signed(bits), name=f"sum_{lane}", reset_less=True)
            with m.If(load):
                m.d.comb += total.eq(product + Mux(add, old, 0))
                m.d.sync += result.eq(saturate(total, bits))
            m.d.comb += self.sums[lane].eq(result)
            # A product of a chunk that is cut is a code times the largest power.
            short = self.scattered & cut & product[SCATTER_SHIFT_MAX:].any()
            overflows.append((total[bits] ^ total[bits - 1]) | short)
        m.submodules.count = count = OnesCounter(lanes)
        saturated = Signal(lanes, reset_less=True)
        with m.If(load):
            m.d.sync += saturated.eq(Cat(overflows))
        m.d.comb += [
            count.bits.eq(Mux(keep, saturated & self.mask, 0)),
            self.saturations.eq(count.count),
        ]
        self._keep(m, memory, keep)
        with m.If((self.accumulating & command.delta | self.measuring) & self.sum_valid):
            m.d.sync += self.peak.eq(self.peak | _any_magnitude(self.sums, self.mask))
        with m.If(self.begin):
            m.d.sync += self.peak.eq(0)
        return m

    def _keep(self, m: Module, memory: Sram, keep: Signal) -> None:
        """Write sums back; between commands, give the memory to the network interface.

        A command that begins in the cycle of a read needs the memory two cycles later at the
        earliest, after the write that may follow.
        """
        m.d.comb += [
            memory.w_en.eq(keep | (self.erasing & self.sum_valid)),
            memory.w_address.eq(self.sum_block),
            memory.w_mask.eq(self.mask),
        ]
        with m.If(keep):
            m.d.comb += memory.w_data.eq(Cat(*self.sums))
        if not self.config.objects:
            return
        port = self.accumulators
        m.d.comb += [port.ready.eq(self.idle), port.data.eq(memory.r_data)]
        with m.If(port.read & port.ready):
            m.d.comb += [memory.r_en.eq(1), memory.r_address.eq(port.block)]
        with m.If(port.write):
            m.d.comb += [
                memory.w_en.eq(1),
                memory.w_address.eq(port.write_block),
                memory.w_mask.eq(port.mask),
                memory.w_data.eq(port.write_data),
            ]


def _any_magnitude(values: list[Value], mask: Value) -> Value:
    """OR of the magnitudes of the error values among ``mask``."""
    return reduce(or_, (
        Mux(mask[lane], Mux(value[-1], -value, value)[: len(value)], 0)
        for lane, value in enumerate(values)
    ))  # fmt: skip
