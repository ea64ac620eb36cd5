# SPDX-License-Identifier: Apache-2.0
"""Passes of a post-processing command."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import ExponentWrite, PostCommand, UnitStatus
from phasecore.rtl.lib.arithmetic import saturate
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["SHIFT_MAX", "PostControl"]

SHIFT_MAX = 24
"""Every larger right shift of an error value gives 0 like this one; sums are shifted by no more."""


class PostControl(wiring.Component):
    """Takes a command, runs its first pass and, where one is needed, its second.

    A command without error writes codes of the converter in its first pass; from the first block
    on that the vector memory holds up, they are written in a second one. The first pass of
    NORMALISE looks for the largest sum only. Between commands chunks of SCATTER are taken, one in
    three cycles.

    Members
    -------
    i : In(stream of PostCommand)
    command, shift : Out(PostCommand), Out(5)
        The command in work, and the right shift of its sums.
    begin, first_block : Out(1), Out(block_bits)
        A pass begins.
    accepted : Out(1)
        A command begins.
    scatter : In(1)
        A chunk is offered.
    scattering, scattered : Out(1)
        It is taken; it is in work in the next two cycles.
    accumulating, recalling : Out(1)
        The pass takes codes, or the accumulators; of most commands the first and the second.
    measuring, erasing : Out(1)
        First and second pass of NORMALISE.
    asking, flowing : In(1)
        Blocks have not been asked for; blocks are between source and sums.
    exponent : In(signed(8))
        Of the source.
    sum_valid, sum_block, peak : In
        Of the accumulators.
    clear : Out(1)
        Products become 0: the second pass adds to nothing.
    take : Out(1)
        The sums are written back.
    flush : Out(1)
        Nothing follows.
    move, pending, idle : In(1)
        Of the write-back: sums can move on, and are in work; the last write is being taken.
    exponent_write : Out(ExponentWrite)
    status : Out(UnitStatus)
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(PostCommand(config))),
                "command": Out(PostCommand(config)),
                "shift": Out(5),
                "begin": Out(1),
                "first_block": Out(config.sum_word_bits),
                "accepted": Out(1),
                "scatter": In(1),
                "scattering": Out(1),
                "scattered": Out(1),
                "accumulating": Out(1),
                "recalling": Out(1),
                "measuring": Out(1),
                "erasing": Out(1),
                "asking": In(1),
                "flowing": In(1),
                "exponent": In(signed(EXPONENT_BITS)),
                "sum_valid": In(1),
                "sum_block": In(config.sum_word_bits),
                "peak": In(config.acc_bits),
                "clear": Out(1),
                "take": Out(1),
                "flush": Out(1),
                "move": In(1),
                "pending": In(1),
                "idle": In(1),
                "exponent_write": Out(ExponentWrite(config)),
                "status": Out(UnitStatus(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command = self.command
        offered_block = self.i.payload.first_line[exact_log2(self.config.post_lanes) :]
        writing, direct, missed = Signal(), Signal(), Signal()
        resume = Signal(self.config.sum_word_bits)
        normalised = Signal(5)
        self._normalise(m, normalised)
        m.d.comb += [
            writing.eq(command.delta | (command.function != Function.NONE)),
            direct.eq(writing & ~command.delta & ~command.from_slot),
            self.erasing.eq(self.recalling & command.normalise & ~self.measuring),
            self.first_block.eq(Mux(self.i.ready, offered_block, resume)),
        ]
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += [self.accepted.eq(1), self.begin.eq(1)]
                    m.d.sync += [
                        command.eq(self.i.payload),
                        self.shift.eq(self.i.payload.shift),
                        resume.eq(offered_block),
                        missed.eq(0),
                    ]
                    m.next = "ACCUMULATE"
                    with m.If(self.i.payload.normalise):
                        m.d.comb += self.clear.eq(1)
                        m.next = "MEASURE"
                with m.Elif(self.scatter):
                    m.d.comb += self.scattering.eq(1)
                    m.next = "ADD"
            self._sums(m, normalised)
            with m.State("ACCUMULATE"):
                m.d.comb += [
                    self.accumulating.eq(1),
                    self.take.eq(self.sum_valid & direct & ~missed),
                ]
                with m.If(self.take & ~self.move):
                    m.d.sync += [missed.eq(1), resume.eq(self.sum_block)]
                with m.If(~self.asking & ~self.flowing):
                    m.d.comb += self.clear.eq(1)
                    m.next = "FLUSH"
                    with m.If(writing & (~direct | missed)):
                        m.d.comb += self.begin.eq(1)
                        m.next = "WRITE"
                    with m.If(command.delta & ~command.fixed):
                        m.d.sync += self.shift.eq(normalised)
            with m.State("WRITE"):
                m.d.comb += [self.recalling.eq(1), self.take.eq(self.sum_valid)]
                with m.If(~self.asking & ~self.flowing):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += self.flush.eq(~self.pending)
                with m.If(~self.pending & self.idle):
                    m.d.comb += self.exponent_write.valid.eq(writing)
                    m.next = "IDLE"
            m.d.comb += self.status.busy.eq(~fsm.ongoing("IDLE"))
        self._show(m, writing)
        return m

    def _normalise(self, m: Module, shift: Signal) -> None:
        """Right shift that leaves the largest value a mantissa."""
        for length in range(8, len(self.peak) + 1):
            with m.If(self.peak[length - 1]):
                m.d.comb += shift.eq(min(length - 7, SHIFT_MAX))

    def _sums(self, m: Module, shift: Signal) -> None:
        """States of a chunk of SCATTER, and of the first pass of NORMALISE."""
        with m.State("ADD"):
            m.d.comb += self.scattered.eq(1)
            m.next = "KEEP"
        with m.State("KEEP"):
            m.d.comb += self.scattered.eq(1)
            m.next = "IDLE"
        with m.State("MEASURE"):
            m.d.comb += [self.recalling.eq(1), self.measuring.eq(1)]
            with m.If(~self.asking & ~self.flowing):
                m.d.comb += self.begin.eq(1)
                m.d.sync += self.shift.eq(shift)
                m.next = "WRITE"

    def _show(self, m: Module, writing: Signal) -> None:
        """Exponent of the destination, and slots in use."""
        command, status = self.command, self.status
        exponent = Mux(command.normalise, command.unit, self.exponent)
        total = exponent + self.shift + command.bias
        is_error = command.delta | command.normalise
        m.d.comb += [
            self.exponent_write.slot.eq(command.destination),
            self.exponent_write.exponent.eq(Mux(is_error, saturate(total, EXPONENT_BITS), 0)),
        ]
        with m.If(status.busy & ~self.scattered):
            m.d.comb += [
                status.reads.eq(
                    (command.from_slot << command.slot) | (command.delta << command.output)
                ),
                status.writes.eq(writing << command.destination),
            ]
