# SPDX-License-Identifier: Apache-2.0
"""Sequencer: steps through the instructions of a program."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.csr_file import SequencerPort
from phasecore.rtl.core.control.decoder import EXCLUSIVE, SegmentLayout, fields_of, opcode_of
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import INSTRUCTION_BITS, OPCODE_BITS, Opcode
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["LoopCounters", "Sequencer", "StopControl"]


class LoopCounters(wiring.Component):
    """Passes of the loops of a program.

    Members
    -------
    clear : In(1)
    count : In(1)
        The end of the loop ``counter`` is reached.
    counter, passes : In(2), In(16)
        Which loop, and how often its body runs.
    jump : Out(1)
        Another pass follows, with ``count``.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "count": In(1),
                "counter": In(2),
                "passes": In(16),
                "jump": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index in range(1 << len(self.counter)):
            loop = Signal(16, name=f"loop{index}")
            with m.If(self.count & (self.counter == index)):
                m.d.comb += self.jump.eq(loop + 1 < self.passes)
                m.d.sync += loop.eq(Mux(self.jump, loop + 1, 0))
            with m.If(self.clear):
                m.d.sync += loop.eq(0)
        return m


class StopControl(wiring.Component):
    """Abort and watchdog, which counts cycles since the start or the last issue.

    Members
    -------
    running, issued : In(1)
    abort : In(1)
        Strobe.
    watchdog : In(32)
        Cycles without an issue that are too many; 0 for none.
    reported : In(1)
        The watchdog's error is reported in this cycle.
    stop : Out(1)
        The sequencer must stop.
    expired : Out(1)
        The watchdog expires, until ``reported``.
    cancel : Out(1)
        The program has been aborted.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "running": In(1),
                "issued": In(1),
                "abort": In(1),
                "watchdog": In(32),
                "reported": In(1),
                "stop": Out(1),
                "expired": Out(1),
                "cancel": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        aborting, timed_out = Signal(), Signal()
        idle_cycles = Signal(32)
        late = (self.watchdog != 0) & (idle_cycles >= self.watchdog)
        m.d.sync += idle_cycles.eq(Mux(self.running & ~self.issued, idle_cycles + 1, 0))
        with m.If(self.abort):
            m.d.sync += aborting.eq(1)
        with m.If(self.reported):
            m.d.sync += timed_out.eq(1)
        with m.If(~self.running):
            m.d.sync += [aborting.eq(self.abort), timed_out.eq(0)]
            m.d.comb += self.cancel.eq(aborting)
        m.d.comb += [self.stop.eq(aborting | timed_out), self.expired.eq(late & ~timed_out)]
        return m


class Sequencer(wiring.Component):
    """Fetches an instruction, has it checked in the cycle after next and then issues it.

    Members
    -------
    port : Out(SequencerPort)
    word, segment : Out(64), Out(SegmentLayout)
        The instruction from its check on, and from its issue on the segment that it names.
    error : In(8)
        FaultCode of ``word`` with the segment now on ``port``.
    waiting : In(1)
        A unit must become idle before ``word`` can be issued, or before what follows it.
    hazard : In(1)
        Something else must.
    arrived : In(1)
        What AWAIT waits for is there.
    issuing : Out(1)
        ``word`` may be issued as soon as nothing holds it up.
    offered, accepted : In(1)
        A command of ``word`` is offered, and accepted.
    issued, stalled : Out(1)
        ``word`` is issued in this cycle; the program waits in this cycle.
    calibrate : Out(1)
        Strobe of CALIBRATE.
    cancel : Out(1)
        Strobe of an abort.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "port": Out(SequencerPort(config)),
                "word": Out(INSTRUCTION_BITS),
                "segment": Out(SegmentLayout()),
                "error": In(8),
                "waiting": In(1),
                "hazard": In(1),
                "arrived": In(1),
                "issuing": Out(1),
                "offered": In(1),
                "accepted": In(1),
                "issued": Out(1),
                "stalled": Out(1),
                "calibrate": Out(1),
                "cancel": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port, loop = self.port, fields_of(self.word)[Opcode.LOOP]
        m.submodules.stop = control = StopControl()
        m.submodules.loops = loops = LoopCounters()
        # A command that is offered stays, whatever stops the sequencer.
        pending, blocked = Signal(), Signal()
        m.d.sync += pending.eq(self.offered & ~self.accepted)
        pc, following = Signal.like(port.pc), Signal.like(port.pc)
        m.d.comb += [
            control.running.eq(port.running),
            control.issued.eq(self.issued),
            control.abort.eq(port.abort),
            control.watchdog.eq(port.watchdog),
            self.cancel.eq(control.cancel),
            loops.counter.eq(loop.counter),
            loops.passes.eq(loop.count),
            port.pc.eq(pc),
            following.eq(Mux(loops.jump, loop.target, pc + 1)),
            port.instruction_address.eq(Mux(port.running, following, port.start_address)),
            port.segment_address.eq(port.instruction[OPCODE_BITS:]),
            port.illegal_address.eq(pc),
            self.stalled.eq((self.issuing & ~self.issued) | blocked),
        ]

        def step() -> None:
            with m.If((pc == self.config.program_depth - 1) & ~loops.jump):
                m.next = "END"
            with m.Else():
                m.d.comb += port.instruction_en.eq(1)
                m.d.sync += pc.eq(following)
                m.next = "DECODE"

        with m.FSM():
            with m.State("IDLE"), m.If(port.start):
                m.d.sync += [pc.eq(port.start_address), port.halted.eq(0)]
                m.d.comb += [port.instruction_en.eq(1), loops.clear.eq(1)]
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.comb += [port.running.eq(1), port.segment_en.eq(1)]
                m.d.sync += self.word.eq(port.instruction)
                m.next = "CHECK"
            self._check(m, control, step)
            self._issue(m, control, loops, step, pending)
            self._block(m, control, step, blocked)
            with m.State("END"):
                m.d.comb += port.running.eq(1)
                self._report(m, FaultCode.PROGRAM_END)
                m.next = "IDLE"
        return m

    def _report(self, m: Module, code: Value | FaultCode) -> None:
        m.d.comb += [self.port.illegal.eq(1), self.port.illegal_code.eq(code)]

    def _check(self, m: Module, control: StopControl, step) -> None:
        """Skip an illegal instruction."""
        port = self.port
        with m.State("CHECK"):
            m.d.comb += port.running.eq(1)
            m.d.sync += self.segment.eq(port.segment)
            with m.If(control.stop):
                m.next = "IDLE"
            with m.Elif(self.error == FaultCode.NONE):
                m.next = "ISSUE"
            with m.Else():
                self._report(m, self.error)
                step()

    def _issue(
        self, m: Module, control: StopControl, loops: LoopCounters, step, pending: Signal
    ) -> None:
        """Issue the instruction when nothing holds it up."""
        port, opcode = self.port, opcode_of(self.word)
        free = ~self.waiting & ~self.hazard
        with m.State("ISSUE"):
            m.d.comb += [port.running.eq(1), self.issuing.eq(~control.stop | pending)]
            with m.If(self.issuing), m.Switch(opcode):
                with m.Case(Opcode.HALT, Opcode.WAIT):
                    m.d.comb += self.issued.eq(free)
                with m.Case(Opcode.CALIBRATE):
                    m.d.comb += [self.issued.eq(free), self.calibrate.eq(free)]
                with m.Case(Opcode.AWAIT):
                    m.d.comb += self.issued.eq(self.arrived)
                with m.Case(Opcode.LOOP):
                    m.d.comb += [self.issued.eq(1), loops.count.eq(1)]
                with m.Default():
                    m.d.comb += self.issued.eq(self.accepted)
            with m.Else():
                m.next = "IDLE"
            with m.If(self.issued):
                with m.If(opcode == Opcode.HALT):
                    m.d.sync += port.halted.eq(1)
                    m.next = "IDLE"
                with m.Elif(opcode.matches(*EXCLUSIVE)):
                    m.next = "BLOCK"
                with m.Else():
                    step()
            with m.Elif(control.expired):
                self._report(m, FaultCode.WATCHDOG)
                m.d.comb += control.reported.eq(1)

    def _block(self, m: Module, control: StopControl, step, blocked: Signal) -> None:
        """Wait for the end of what runs alone."""
        with m.State("BLOCK"):
            m.d.comb += [self.port.running.eq(1), blocked.eq(self.waiting)]
            with m.If(control.stop):
                m.next = "IDLE"
            with m.Elif(~blocked):
                step()
            with m.Elif(control.expired):
                self._report(m, FaultCode.WATCHDOG)
                m.d.comb += control.reported.eq(1)
