# SPDX-License-Identifier: Apache-2.0
"""Post-processing: affine, accumulate, activate, and error vectors with a shared exponent."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from phasecore.rtl.core.digital.activation import Activation, Derivative
from phasecore.rtl.core.digital.rotator import Rotator
from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AdcRead,
    AffineWrite,
    ExponentWrite,
    PostCommand,
    VectorRead,
    VectorWrite,
)
from phasecore.rtl.lib.arithmetic import round_shift, saturate
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["PostProcessing"]

_PRODUCT_BITS = 24
"""Bits of an error value: twice a difference of bytes times a derivative of at most 127 * 127."""

_SHIFT_MAX = 24
"""Every larger right shift of an error value gives 0 like this one."""


class PostProcessing(wiring.Component):
    """Processes the codes of a window, or vectors, into activations or errors.

    Commands run one at a time. A command makes one pass over its blocks into the accumulators,
    one block per cycle, and where everything has been read or the shared exponent is known a second
    pass from the accumulators to the destination. ACTIVATE of converter codes writes in its
    first pass; when the vector memory holds that up, the rest is written in a second one, so
    that the converter need not wait.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream of PostCommand)
    adc : Out(AdcRead)
    latched : In(2)
        Windows latched by the ADC interface, modulo 4.
    window_exponent : In(signed(8))
        Exponent of the held window.
    read, write : Out(VectorRead), Out(VectorWrite)
    exponent_write : Out(ExponentWrite)
        In the cycle in which a command with a destination ends.
    affine_write : In(AffineWrite)
    accumulators : In(AccumulatorPort)
        For the network interface, with ``config.objects``.
    reads, writes : Out(slots)
        Slots that the accepted command will read and write.
    busy : Out(1)
    waiting : Out(1)
        Nothing but the end of a window can change a register.
    accumulator_saturations, code_saturations : Out
        Lanes that saturated in this cycle.
    """

    i: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        shared = {"accumulators": In(AccumulatorPort(config))} if config.objects else {}
        super().__init__(
            {
                **shared,
                "i": In(stream.Signature(PostCommand(config))),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "window_exponent": In(signed(EXPONENT_BITS)),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": In(AffineWrite(config)),
                "reads": Out(config.slots),
                "writes": Out(config.slots),
                "busy": Out(1),
                "waiting": Out(1),
                "accumulator_saturations": Out(range(config.post_lanes + 1)),
                "code_saturations": Out(range(config.post_lanes + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        self._command = Signal(PostCommand(config))
        self._shift = Signal(5)
        self._peak = Signal(_PRODUCT_BITS - 1)
        self._block = Signal(config.block_bits)
        self._asking = Signal()
        # Source stage: the y of an error is on the read port; codes are there; the accumulators
        # of a written block are asked for.
        self._output_valid = Signal()
        self._codes_valid = Signal()
        self._codes_block = Signal(config.block_bits)
        self._recall = Signal()
        # Stage valid, with block: product (and old accumulator), sum, rounded value.
        self._product_valid = Signal()
        self._product_block = Signal(config.block_bits)
        self._sum_valid = Signal()
        self._sum_block = Signal(config.block_bits)
        self._value_valid = Signal()
        self._accumulating = Signal()
        self._clear_product = Signal()

        m.submodules.rotator = self._rotator = Rotator(config)
        connect(m, self._rotator.write, flipped(self.write))
        self._first_block = Signal(config.block_bits)
        self._last_block = Signal(config.block_bits)
        self._geometry(m)
        products = self._multiply(m)
        sums = self._accumulate(m, products)
        self._round(m, sums)
        self._control(m)
        return m

    def _geometry(self, m: Module) -> None:
        """Blocks, lane masks and rotation of the command."""
        config, command = self.config, self._command
        lanes = config.post_lanes
        lane_bits = exact_log2(lanes)
        ones = Const((1 << lanes) - 1, lanes)
        end = Signal(config.line_bits)
        distance = Signal(config.line_bits)
        self._head = Signal(lanes)
        self._tail = Signal(lanes)
        m.d.comb += [
            end.eq(command.start + command.count - 1),
            self._first_block.eq(command.start[lane_bits:]),
            self._last_block.eq(end[lane_bits:]),
            self._head.eq(ones << command.start[:lane_bits]),
            self._tail.eq(ones >> ~end[:lane_bits]),
            distance.eq(command.first - command.start),
            self._rotator.rotation.eq(distance[:lane_bits]),
            self._rotator.word.eq(self._first_block + distance[lane_bits:]),
            self._rotator.slot.eq(command.destination),
        ]

    def _lanes_of(self, block: Value) -> Value:
        """Lanes of ``block`` that the command processes."""
        lanes = self.config.post_lanes
        not_first = (block != self._first_block).replicate(lanes)
        not_last = (block != self._last_block).replicate(lanes)
        return (self._head | not_first) & (self._tail | not_last)

    def _multiply(self, m: Module) -> list[Signal]:
        """Codes times scale plus offset, or error codes times derivative."""
        config, command = self.config, self._command
        lanes = config.post_lanes
        m.submodules.affine = affine = Sram(
            width=16 * lanes, depth=max(2, config.affine_tables * config.blocks), granularity=16
        )
        m.d.comb += [
            affine.w_en.eq(self.affine_write.en),
            affine.w_address.eq(self.affine_write.address),
            affine.w_mask.eq(self.affine_write.mask),
            affine.w_data.eq(self.affine_write.data),
        ]
        self._affine = affine
        m.submodules.derivative = derivative = Derivative(lanes)
        m.d.comb += [
            derivative.enable.eq(self._output_valid),
            derivative.function.eq(command.function),
            derivative.outputs.eq(self.read.data),
        ]

        subtract = Signal()
        outputs = Signal(8 * lanes, reset_less=True)
        m.d.comb += subtract.eq(command.error & command.from_slot)
        with m.If(self._output_valid):
            m.d.sync += outputs.eq(self.read.data)
        products = []
        for lane in range(lanes):
            factor = Signal(signed(15), reset_less=True)
            with m.If(self._output_valid):
                m.d.sync += factor.eq(derivative.factors[lane])
            output = Mux(subtract, outputs.word_select(lane, 8), 0).as_signed()
            code = Mux(
                command.from_slot,
                self.read.data.word_select(lane, 8),
                self.adc.codes.word_select(lane, 8),
            ).as_signed()
            table = affine.r_data.word_select(lane, 16)
            scale = Mux(command.affine, table[:8], Const(128, 8))
            offset = Mux(command.affine, table[8:].as_signed(), ~command.from_slot)
            # An error is 2 (target - output) or 2 code + 1 times the factor.
            multiplier = Mux(command.error, Cat(Const(0, 1), factor).as_signed(), scale)
            addend = Mux(
                command.error,
                Mux(command.from_slot, 0, factor),
                Cat(Const(0, 6), offset).as_signed(),
            )
            product = Signal(signed(_PRODUCT_BITS), name=f"product_{lane}", reset_less=True)
            with m.If(self._clear_product):
                m.d.sync += product.eq(0)
            with m.If(self._codes_valid):
                m.d.sync += product.eq((code - output) * multiplier + addend)
            products.append(product)
        return products

    def _accumulate(self, m: Module, products: Sequence[Signal]) -> list[Signal]:
        """Products plus accumulators, saturated, kept, and the largest error value."""
        config, command = self.config, self._command
        lanes, bits = config.post_lanes, config.acc_bits
        m.submodules.accumulators = memory = Sram(
            width=bits * lanes, depth=max(2, config.blocks), granularity=bits
        )
        add = Signal()
        advance = Signal()
        mask = Signal(lanes)
        m.d.comb += [
            memory.r_en.eq((self._codes_valid & command.accumulate) | self._recall),
            memory.r_address.eq(Mux(self._recall, self._block, self._codes_block)),
            add.eq(~self._accumulating | (command.accumulate & ~command.error)),
            advance.eq(self._accumulating | self._rotator.move),
            mask.eq(self._lanes_of(self._sum_block)),
        ]
        with m.If(advance):
            m.d.sync += [
                self._product_valid.eq(self._codes_valid | self._recall),
                self._product_block.eq(Mux(self._recall, self._block, self._codes_block)),
                self._sum_valid.eq(self._product_valid),
                self._sum_block.eq(self._product_block),
            ]
        sums = []
        overflows = []
        load = Signal()
        m.d.comb += load.eq(advance & self._product_valid)
        for lane, product in enumerate(products):
            total = Signal(signed(bits + 1))
            old = memory.r_data.word_select(lane, bits).as_signed()
            result = Signal(signed(bits), name=f"sum_{lane}", reset_less=True)
            with m.If(load):
                m.d.comb += total.eq(product + Mux(add, old, 0))
                m.d.sync += result.eq(saturate(total, bits))
            sums.append(result)
            overflows.append(total[bits] ^ total[bits - 1])
        saturated = Signal(lanes, reset_less=True)
        with m.If(load):
            m.d.sync += saturated.eq(Cat(overflows))
        keep = Signal()
        m.d.comb += [
            keep.eq(self._accumulating & self._sum_valid),
            memory.w_en.eq(keep),
            memory.w_address.eq(self._sum_block),
            memory.w_mask.eq(mask),
        ]
        with m.If(keep):
            m.d.comb += [
                memory.w_data.eq(Cat(sums)),
                self.accumulator_saturations.eq(_ones(saturated & mask)),
            ]
        if config.objects:
            self._share(m, memory)
        with m.If(keep & command.error):
            m.d.sync += self._peak.eq(self._peak | _any_magnitude(sums, mask))
        self._sum_mask = mask
        return sums

    def _share(self, m: Module, memory: Sram) -> None:
        """Give the accumulators to the network interface between commands.

        A command that begins in the cycle of a read needs the memory two cycles later at the
        earliest, after the write that may follow.
        """
        port = self.accumulators
        m.d.comb += [port.ready.eq(self.i.ready), port.data.eq(memory.r_data)]
        with m.If(port.read & port.ready):
            m.d.comb += [memory.r_en.eq(1), memory.r_address.eq(port.block)]
        with m.If(port.write):
            m.d.comb += [
                memory.w_en.eq(1),
                memory.w_address.eq(port.write_block),
                memory.w_mask.eq(port.mask),
                memory.w_data.eq(port.write_data),
            ]

    def _round(self, m: Module, sums: Sequence[Signal]) -> None:
        """Sums shifted right, through the function, to the rotator."""
        command, rotator = self._command, self._rotator
        lanes, bits = self.config.post_lanes, self.config.acc_bits
        m.submodules.activation = activation = Activation(lanes)
        # Left by the rest and then right by a constant: one variable shift for exact rounding.
        left = Signal(range(_SHIFT_MAX + 1))
        m.d.comb += left.eq(Mux(self._shift > _SHIFT_MAX, 0, _SHIFT_MAX - self._shift))
        mask = Signal(lanes)
        load = Signal()
        self._take_sum = Signal()
        m.d.comb += load.eq(rotator.move & self._take_sum)
        with m.If(rotator.move):
            m.d.sync += self._value_valid.eq(self._take_sum)
        with m.If(load):
            m.d.sync += mask.eq(self._sum_mask)
        for lane, total in enumerate(sums):
            aligned = Signal(signed(bits + _SHIFT_MAX))
            rounded = Signal(signed(bits + 1))
            value = Signal(signed(9), name=f"value_{lane}", reset_less=True)
            with m.If(load):
                m.d.comb += [
                    aligned.eq(total << left),
                    rounded.eq(round_shift(aligned, _SHIFT_MAX)),
                ]
                m.d.sync += value.eq(saturate(rounded, 9, symmetric=True))
            m.d.comb += activation.values[lane].eq(value)
        m.d.comb += [
            activation.enable.eq(self._value_valid),
            activation.function.eq(Mux(command.error, Function.IDENTITY, command.function)),
            rotator.valid.eq(self._value_valid),
            rotator.codes.eq(activation.codes),
            rotator.mask.eq(mask),
        ]
        with m.If(self._value_valid & rotator.move):
            m.d.comb += self.code_saturations.eq(_ones(activation.saturated & mask))

    def _control(self, m: Module) -> None:
        """Passes of a command."""
        config, command, rotator = self.config, self._command, self._rotator
        writing = Signal()
        direct = Signal()
        missed = Signal()
        resume = Signal(config.block_bits)
        exponent = Signal(signed(EXPONENT_BITS))
        first_block = self.i.payload.start[exact_log2(config.post_lanes) :]
        asked = self._ask(m, exponent)
        flowing = Signal()
        m.d.comb += [
            writing.eq(command.error | (command.function != Function.NONE)),
            direct.eq(writing & ~command.error & ~command.from_slot),
            flowing.eq(asked | self._codes_valid | self._product_valid | self._sum_valid),
        ]
        normalised = Signal(5)
        for length in range(8, len(self._peak) + 1):
            with m.If(self._peak[length - 1]):
                m.d.comb += normalised.eq(length - 7)

        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [
                        command.eq(self.i.payload),
                        self._shift.eq(self.i.payload.shift),
                        self._block.eq(first_block),
                        resume.eq(first_block),
                        missed.eq(0),
                        self._asking.eq(1),
                        self._peak.eq(0),
                    ]
                    m.next = "ACCUMULATE"
            with m.State("ACCUMULATE"):
                m.d.comb += [
                    self._accumulating.eq(1),
                    rotator.begin.eq(~self._started),
                    self._take_sum.eq(self._sum_valid & direct & ~missed),
                ]
                with m.If(self._take_sum & ~rotator.move):
                    m.d.sync += [missed.eq(1), resume.eq(self._sum_block)]
                with m.If(~self._asking & ~flowing):
                    m.d.comb += self._clear_product.eq(1)
                    m.next = "FLUSH"
                    with m.If(writing & (~direct | missed)):
                        m.d.sync += [self._block.eq(resume), self._asking.eq(1)]
                        m.next = "WRITE"
                    with m.If(command.error & ~command.fixed):
                        m.d.sync += self._shift.eq(normalised)
            with m.State("WRITE"):
                m.d.comb += [
                    self._recall.eq(self._asking & rotator.move),
                    self._take_sum.eq(self._sum_valid),
                ]
                with m.If(self._recall):
                    m.d.sync += [
                        self._block.eq(self._block + 1),
                        self._asking.eq(self._block != self._last_block),
                    ]
                with m.If(~self._asking & ~flowing):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += rotator.flush.eq(~self._value_valid)
                with m.If(~self._value_valid & rotator.idle):
                    m.d.comb += self.exponent_write.valid.eq(writing)
                    m.next = "IDLE"
        total = exponent + self._shift + command.bias
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("IDLE")),
            self.exponent_write.slot.eq(command.destination),
            self.exponent_write.exponent.eq(Mux(command.error, saturate(total, EXPONENT_BITS), 0)),
        ]
        with m.If(self.busy):
            m.d.comb += [
                self.reads.eq(
                    (command.from_slot << command.slot) | (command.error << command.output)
                ),
                self.writes.eq(writing << command.destination),
            ]

    def _ask(self, m: Module, exponent: Signal) -> Value:
        """Ask the sources for all blocks; 1 while codes are under way."""
        config, command = self.config, self._command
        started = self._started = Signal()
        current = Signal()
        ready = Signal()
        second = Signal()
        step = Signal()
        last = Signal()
        asked_adc = Signal()
        m.d.comb += [
            ready.eq(started | command.from_slot | (self.latched == command.tag)),
            current.eq(self._accumulating & self._asking & ready),
            self.waiting.eq(self._accumulating & self._asking & ~ready),
        ]
        slot = Mux(command.error & ~second, command.output, command.slot)
        m.d.comb += [
            self.read.valid.eq(current & (command.error | command.from_slot)),
            self.read.address.eq(Cat(self._block[: exact_log2(config.blocks)], slot)),
            step.eq(current & (self.read.ready | ~self.read.valid)),
            last.eq(step & ~(command.error & command.from_slot & ~second)),
            self.adc.en.eq(last & ~command.from_slot),
            self.adc.block.eq(self._block),
            self.adc.mask.eq(self._lanes_of(self._block)),
        ]
        with m.If(current & ~started):
            m.d.sync += [
                started.eq(1),
                exponent.eq(Mux(command.from_slot, 0, self.window_exponent)),
            ]
        with m.If(~self._accumulating):
            m.d.sync += started.eq(0)
        with m.If(step):
            m.d.sync += second.eq(~last)
        with m.If(last):
            m.d.sync += [
                self._block.eq(self._block + 1),
                self._asking.eq(self._block != self._last_block),
            ]
        # Codes are there one cycle after the request of a slot, two after that of the converter.
        fetch = Signal()
        fetch_block = Signal(config.block_bits)
        adc_block = Signal(config.block_bits)
        m.d.sync += [
            asked_adc.eq(self.adc.en),
            adc_block.eq(self._block),
            self._output_valid.eq(step & command.error & ~second),
            self._codes_valid.eq(fetch),
            self._codes_block.eq(fetch_block),
        ]
        m.d.comb += [
            fetch.eq((last & command.from_slot) | asked_adc),
            fetch_block.eq(Mux(command.from_slot, self._block, adc_block)),
            self._affine.r_en.eq(fetch & command.affine),
            self._affine.r_address.eq(Cat(fetch_block[: exact_log2(config.blocks)], command.table)),
        ]
        return asked_adc


def _ones(value: Value) -> Value:
    """Number of ones (combinational), as a balanced tree."""
    terms = list(value)
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]


def _any_magnitude(values: Sequence[Value], mask: Value) -> Value:
    """OR of the magnitudes of the error values among ``mask``: as long as their largest."""
    terms = [
        Mux(mask[lane], Mux(value[-1], -value, value)[: _PRODUCT_BITS - 1], 0)
        for lane, value in enumerate(values)
    ]
    while len(terms) > 1:
        terms = [a | b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    return terms[0]
