# SPDX-License-Identifier: Apache-2.0
"""First stage of the input driver: the vector of a command as bit planes."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import Exponents, MvmCommand, MvmSource, VectorRead
from phasecore.rtl.lib.trees import lane_mask
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = ["CodePlanes", "VectorLoader"]

CODE_BITS = 8
"""Bits of a stored input code, two's complement."""


class CodePlanes(wiring.Component):
    """Magnitudes and signs of the codes of a block (combinational).

    Members
    -------
    command : In(MvmCommand)
    last : In(line_bits)
        Last line of the command.
    block, word : In(block_bits), In(8 * post_lanes)
        A block and its codes.
    magnitude : Out, one bit per lane in each of input_bits - 1 planes
    positive, negative : Out(post_lanes)
        Lanes whose magnitude is not 0, by their sign.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        lanes = config.post_lanes
        super().__init__(
            {
                "command": In(MvmCommand(config)),
                "last": In(config.line_bits),
                "block": In(config.block_bits),
                "word": In(CODE_BITS * lanes),
                "magnitude": Out(lanes).array(config.input_bits - 1),
                "positive": Out(lanes),
                "negative": Out(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, lanes = self.command, self.config.post_lanes
        largest = command.source.matches(MvmSource.ONE_HOT, MvmSource.ALL)
        bits = [Signal(lanes, name=f"bits_{k}") for k in range(CODE_BITS)]
        with m.If(largest):
            m.d.comb += [plane.eq(-1) for plane in bits[:-1]]
        with m.Else():
            for k, plane in enumerate(bits):
                m.d.comb += plane.eq(Cat(self.word[k::CODE_BITS]))

        negative = bits[-1]
        low = Const(0, lanes)
        code = []
        for plane in bits[:-1]:
            code.append(plane ^ (negative & low))
            low = low | plane
        most_negative = negative & ~low
        code = [plane | most_negative for plane in code]

        signs = command.input_signs
        kept, nonzero = Signal(lanes), Signal(lanes)
        m.d.comb += kept.eq(
            lane_mask(self.block, command.first_line, self.last, lanes=lanes)
            & (
                (negative & signs[1].replicate(lanes))
                | (~negative & (signs[0] | largest).replicate(lanes))
            )
        )
        shift = (CODE_BITS - command.precision)[:2]
        for k, plane in enumerate(self.magnitude):
            shifted = Array(code[k + s] if k + s < len(code) else Const(0, lanes) for s in range(4))
            m.d.comb += plane.eq(shifted[shift] & kept)
        m.d.comb += [
            nonzero.eq(reduce(or_, self.magnitude)),
            self.positive.eq(nonzero & ~negative),
            self.negative.eq(nonzero & negative),
        ]
        return m


class VectorLoader(wiring.Component):
    """Takes a command and fills the planes of its window, one word of the slot per cycle.

    Members
    -------
    i : In(stream of MvmCommand)
    start : In(1)
        The window of the command begins: another one may be taken.
    read, exponents : Out(VectorRead), In(Exponents)
    command, exponent : Out(MvmCommand), Out(signed(8))
    taken, loaded : Out(1)
        A command is taken; its planes are filled.
    issued : Out(2)
        Commands taken, modulo 4.
    magnitude : Out, one bit per line in each of input_bits - 1 planes
    positive, negative : Out(lines)
    """

    i: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(MvmCommand(config))),
                "start": In(1),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "command": Out(MvmCommand(config)),
                "exponent": Out(signed(EXPONENT_BITS)),
                "taken": Out(1),
                "loaded": Out(1),
                "issued": Out(2),
                "magnitude": Out(config.lines).array(config.input_bits - 1),
                "positive": Out(config.lines),
                "negative": Out(config.lines),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        lane_bits = exact_log2(config.post_lanes)
        block, arrived_block = Signal(config.block_bits), Signal(config.block_bits)
        request, arrived, arrived_final = Signal(), Signal(), Signal()
        final_line = Signal(config.line_bits)
        final_block = final_line[lane_bits:]
        all_lines = command.source == MvmSource.ALL
        m.submodules.planes = planes = CodePlanes(config)
        m.d.comb += [
            self.i.ready.eq(~self.taken | self.start),
            self.read.valid.eq(request & ~all_lines),
            self.read.address.eq(Cat(block[: exact_log2(config.blocks)], command.slot)),
            final_line.eq(command.first_line + command.count - 1),
            planes.command.eq(command),
            planes.last.eq(final_line),
            planes.block.eq(arrived_block),
            planes.word.eq(self.read.data),
        ]
        with m.If(self.start):
            m.d.sync += [
                self.taken.eq(0),
                [plane.eq(0) for plane in self.magnitude],
                self.positive.eq(0),
                self.negative.eq(0),
            ]
        m.d.sync += arrived.eq(0)
        with m.If(request & (self.read.ready | all_lines)):
            m.d.sync += [
                arrived.eq(1),
                arrived_block.eq(block),
                arrived_final.eq(block == final_block),
                block.eq(block + 1),
                request.eq(block != final_block),
            ]
        with m.If(arrived):
            self._fill(m, planes, arrived_block)
            with m.If(arrived_final):
                m.d.sync += self.loaded.eq(1)
                with m.If(command.source == MvmSource.SLOT):
                    m.d.sync += self.exponent.eq(self.exponents[command.slot])
        offered = self.i.payload
        with m.If(self.i.valid & self.i.ready):
            self._take(m)
            m.d.sync += [
                request.eq(offered.source.matches(MvmSource.SLOT, MvmSource.ALL)),
                block.eq(offered.first_line[lane_bits:]),
            ]
            # A one-hot vector is a segment of one line whose word needs no memory.
            with m.If(offered.source == MvmSource.ONE_HOT):
                m.d.sync += [
                    command.first_line.eq(offered.line),
                    command.count.eq(1),
                    arrived.eq(1),
                    arrived_final.eq(1),
                    arrived_block.eq(offered.line[lane_bits:]),
                ]
        return m

    def _fill(self, m: Module, planes: CodePlanes, block: Signal) -> None:
        """Put the planes of a block where they belong."""
        lanes = self.config.post_lanes
        for plane, value in zip(self.magnitude, planes.magnitude, strict=True):
            m.d.sync += plane.word_select(block, lanes).eq(value)
        m.d.sync += [
            self.positive.word_select(block, lanes).eq(planes.positive),
            self.negative.word_select(block, lanes).eq(planes.negative),
        ]

    def _take(self, m: Module) -> None:
        """Keep the command that is offered."""
        offered = self.i.payload
        m.d.sync += [
            self.command.eq(offered),
            self.taken.eq(1),
            self.loaded.eq(offered.source.matches(MvmSource.NOTHING, MvmSource.REFERENCE)),
            self.exponent.eq(0),
            self.issued.eq(self.issued + 1),
        ]
