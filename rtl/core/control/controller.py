# SPDX-License-Identifier: Apache-2.0
"""Sequencer: fetches, checks and issues the instructions of a program in order."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.csr_file import SequencerPort
from phasecore.rtl.core.control.load_unit import LoadCommand
from phasecore.rtl.core.control.read_unit import StoreCommand
from phasecore.rtl.core.interfaces import (
    MvmCommand,
    MvmSource,
    PostCommand,
    RowCommand,
    SendCommand,
    UpdateCommand,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTION_BITS,
    INSTRUCTIONS,
    OPCODE_BITS,
    SEGMENT,
    Drift,
    Field,
    Function,
    Opcode,
    Unit,
)
from phasecore.rtl.spec.registers.core import ErrorCode

__all__ = ["Controller"]

MVMS = (Opcode.FORWARD, Opcode.BACKWARD)
POSTS = (Opcode.ACTIVATE, Opcode.ERROR)
UPDATES = (Opcode.OUTER, Opcode.TRANSFER)
ROWS = (Opcode.REFRESH, Opcode.PROGRAM)
EXCLUSIVE = (*ROWS, Opcode.CALIBRATE)
STREAMED = (Opcode.LOAD, Opcode.READ)
NETWORKED = (Opcode.SEND, Opcode.AWAIT, Opcode.RELEASE)
WITH_SEGMENT = tuple(
    opcode for opcode, fields in INSTRUCTIONS.items() if fields and fields[0].name == "segment"
)


def _layout(fields: tuple[Field, ...]) -> data.StructLayout:
    return data.StructLayout({field.name: Shape(field.width, field.signed) for field in fields})


class Controller(wiring.Component):
    """Runs the program of the register file, one instruction per three cycles at best.

    An instruction is fetched, checked in the cycle after next and then issued as soon as its unit
    and its slots are free. A unit must show an accepted command in ``busy``, ``reads`` and
    ``writes`` from the next cycle on. FORWARD and BACKWARD only need the driver's ``ready``; every
    other unit takes a command when it is idle. HALT waits until every unit is idle. An illegal
    instruction is reported and skipped; all its fields are checked, used or not.

    ``abort`` and the watchdog stop the sequencer, but never in the middle of an offered command;
    units go on with what they have, only ``abort`` gives up a LOAD whose packet is not there. What
    runs alone (CALIBRATE, REFRESH, PROGRAM) still does: the next program waits for its end.
    The watchdog counts cycles since the start or the last issue.

    Members
    -------
    sequencer : Out(SequencerPort)
        To the register file.
    mvm, post, update, rows, load, store : Out(stream)
        Commands of the units.
    calibrate, calibrating : Out(1), In(1)
        Strobe that starts a calibration; ``calibrating`` from the next cycle until its end.
    drift : Out(2)
        Drift of the calibration, with ``calibrate``.
    cancel : Out(1)
        Strobe of an abort, for StreamIn.
    crossbar_busy, crossbar_issued, crossbar_reads : In
        Of the input driver. ``crossbar_issued`` (mod 4) becomes the tag of ACTIVATE and ERROR.
    post_busy, post_reads, post_writes, update_busy, update_reads, programmer_busy,
    programmer_reads, load_busy, load_writes, store_busy, store_reads : In
        Of the other units; ``programmer_busy`` includes the pulse queue.

    A core with ``config.objects`` has, in place of ``load``, ``store``, ``load_*`` and ``store_*``:

    send, release : Out(stream)
        Of SendCommand, and of masks of objects.
    object_ready : In(objects)
        Of the local control, for AWAIT.
    send_busy, send_reads, send_partial, local_busy : In
        Of the network interface and the local control.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                **self._far_side(),
                "sequencer": Out(SequencerPort(config)),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "post": Out(stream.Signature(PostCommand(config))),
                "update": Out(stream.Signature(UpdateCommand(config))),
                "rows": Out(stream.Signature(RowCommand(config))),
                "calibrate": Out(1),
                "drift": Out(2),
                "calibrating": In(1),
                "cancel": Out(1),
                "crossbar_busy": In(1),
                "crossbar_issued": In(2),
                "crossbar_reads": In(config.slots),
                "post_busy": In(1),
                "post_reads": In(config.slots),
                "post_writes": In(config.slots),
                "update_busy": In(1),
                "update_reads": In(config.slots),
                "programmer_busy": In(1),
                "programmer_reads": In(config.slots),
            }
        )

    def _far_side(self) -> dict[str, wiring.Member]:
        """Members towards the AXI streams, or towards the fabric."""
        config = self.config
        if config.objects:
            return {
                "send": Out(stream.Signature(SendCommand(config))),
                "release": Out(stream.Signature(config.objects)),
                "object_ready": In(config.objects),
                "send_busy": In(1),
                "send_reads": In(config.slots),
                "send_partial": In(1),
                "local_busy": In(1),
            }
        return {
            "load": Out(stream.Signature(LoadCommand(config))),
            "store": Out(stream.Signature(StoreCommand(config))),
            "load_busy": In(1),
            "load_writes": In(config.slots),
            "store_busy": In(1),
            "store_reads": In(config.slots),
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        port = self.sequencer
        word = Signal(INSTRUCTION_BITS)
        segment = Signal(_layout(SEGMENT))
        opcode = word[:OPCODE_BITS]
        fields = {}
        for code in Opcode:
            layout = _layout(INSTRUCTIONS[code])
            fields[code] = data.View(layout, word[OPCODE_BITS : OPCODE_BITS + layout.size])
        self._connect_payloads(m, opcode, fields, segment)

        issuing, issued, blocked, jump = Signal(), Signal(), Signal(), Signal()
        waiting, hazard = self._waiting(m, opcode, fields, issued), self._hazard(m, opcode, fields)
        arrived = self._arrived(fields)
        free = ~waiting.any() & ~hazard
        offered, accepted = self._offer(m, opcode, issuing & free)
        timed_out = Signal()
        stop, expired = self._stop(m, issued, timed_out)

        loops = [Signal(16, name=f"loop{index}") for index in range(2)]
        pc, following = Signal.like(port.pc), Signal.like(port.pc)
        pending = Signal()
        m.d.sync += pending.eq(offered & ~accepted)
        m.d.comb += [
            port.pc.eq(pc),
            following.eq(Mux(jump, fields[Opcode.LOOP].target, pc + 1)),
            port.instruction_address.eq(Mux(port.running, following, port.start_address)),
            port.segment_address.eq(port.instruction[OPCODE_BITS:]),
            port.illegal_address.eq(pc),
        ]

        def step() -> None:
            with m.If((pc == self.config.program_depth - 1) & ~jump):
                m.next = "END"
            with m.Else():
                m.d.comb += port.instruction_en.eq(1)
                m.d.sync += pc.eq(following)
                m.next = "DECODE"

        with m.FSM():
            with m.State("IDLE"), m.If(port.start):
                m.d.sync += [pc.eq(port.start_address), port.halted.eq(0)]
                m.d.sync += [loop.eq(0) for loop in loops]
                m.d.comb += port.instruction_en.eq(1)
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.comb += [port.running.eq(1), port.segment_en.eq(1)]
                m.d.sync += word.eq(port.instruction)
                m.next = "CHECK"
            with m.State("CHECK"):
                checked = data.View(segment.shape(), port.segment[: segment.shape().size])
                error = self._legality(m, opcode, word, fields, checked)
                m.d.comb += port.running.eq(1)
                m.d.sync += segment.eq(checked)
                with m.If(stop):
                    m.next = "IDLE"
                with m.Elif(error == ErrorCode.NONE):
                    m.next = "ISSUE"
                with m.Else():
                    m.d.comb += [port.illegal.eq(1), port.illegal_code.eq(error)]
                    step()
            with m.State("ISSUE"):
                m.d.comb += [port.running.eq(1), issuing.eq(~stop | pending)]
                with m.If(issuing), m.Switch(opcode):
                    with m.Case(Opcode.HALT, Opcode.WAIT):
                        m.d.comb += issued.eq(free)
                    with m.Case(Opcode.CALIBRATE):
                        m.d.comb += [issued.eq(free), self.calibrate.eq(free)]
                    with m.Case(Opcode.AWAIT):
                        m.d.comb += issued.eq(arrived)
                    with m.Case(Opcode.LOOP):
                        m.d.comb += issued.eq(1)
                        self._loop(m, fields[Opcode.LOOP], loops, jump)
                    with m.Default():
                        m.d.comb += issued.eq(accepted)
                with m.Else():
                    m.next = "IDLE"
                with m.If(issued):
                    with m.If(opcode == Opcode.HALT):
                        m.d.sync += port.halted.eq(1)
                        m.next = "IDLE"
                    with m.Elif(opcode.matches(*EXCLUSIVE)):
                        m.next = "BLOCK"
                    with m.Else():
                        step()
                with m.Elif(expired):
                    m.d.comb += [port.illegal.eq(1), port.illegal_code.eq(ErrorCode.WATCHDOG)]
                    m.d.sync += timed_out.eq(1)
            with m.State("BLOCK"):
                m.d.comb += [port.running.eq(1), blocked.eq(waiting.any())]
                with m.If(stop):
                    m.next = "IDLE"
                with m.Elif(~blocked):
                    step()
                with m.Elif(expired):
                    m.d.comb += [port.illegal.eq(1), port.illegal_code.eq(ErrorCode.WATCHDOG)]
                    m.d.sync += timed_out.eq(1)
            with m.State("END"):
                m.d.comb += [
                    port.running.eq(1),
                    port.illegal.eq(1), port.illegal_code.eq(ErrorCode.PROGRAM_END),
                ]  # fmt: skip
                m.next = "IDLE"
        self._count(
            m, issued=issued, stalled=(issuing & ~issued) | blocked, waiting=waiting, hazard=hazard,
            absent=(opcode == Opcode.AWAIT) & ~arrived,
        )  # fmt: skip
        return m

    def _offer(self, m: Module, opcode: Value, enable: Value) -> tuple[Signal, Signal]:
        """Offer the command of ``opcode``; whether one is offered, and whether it is accepted."""
        offered, accepted = Signal(), Signal()
        for _, command, opcodes in self._streams():
            m.d.comb += command.valid.eq(enable & opcode.matches(*opcodes))
            with m.If(command.valid):
                m.d.comb += [offered.eq(1), accepted.eq(command.ready)]
        return offered, accepted

    def _streams(self) -> list[tuple[Unit, stream.Interface, tuple[Opcode, ...]]]:
        """Command streams with the unit that takes them and their opcodes."""
        if self.config.objects:
            far = [
                (Unit.STREAM_OUT, self.send, (Opcode.SEND,)),
                (Unit.STREAM_OUT, self.release, (Opcode.RELEASE,)),
            ]
        else:
            far = [
                (Unit.STREAM_IN, self.load, (Opcode.LOAD,)),
                (Unit.STREAM_OUT, self.store, (Opcode.READ,)),
            ]
        return [
            (Unit.CROSSBAR, self.mvm, MVMS), (Unit.POST, self.post, POSTS),
            (Unit.UPDATE, self.update, UPDATES), (Unit.PROGRAMMER, self.rows, ROWS), *far,
        ]  # fmt: skip

    def _arrived(self, fields: dict[Opcode, data.View]) -> Value:
        """What AWAIT waits for is there."""
        if not self.config.objects:
            return Const(1)
        wanted = fields[Opcode.AWAIT].objects[: self.config.objects]
        return ~(wanted & ~self.object_ready).any()

    def _stop(self, m: Module, issued: Signal, timed_out: Signal) -> tuple[Value, Value]:
        """Whether the sequencer must stop, and whether the watchdog expires now."""
        port = self.sequencer
        aborting = Signal()
        idle_cycles = Signal(32)
        m.d.sync += idle_cycles.eq(Mux(port.running & ~issued, idle_cycles + 1, 0))
        with m.If(port.abort):
            m.d.sync += aborting.eq(1)
        with m.If(~port.running):
            m.d.sync += [aborting.eq(port.abort), timed_out.eq(0)]
            m.d.comb += self.cancel.eq(aborting)
        late = (port.watchdog != 0) & (idle_cycles >= port.watchdog)
        return aborting | timed_out, late & ~timed_out

    def _loop(self, m: Module, fields: data.View, loops: list[Signal], jump: Signal) -> None:
        """Count a pass of the loop; ``jump`` unless it was the last."""
        for index, loop in enumerate(loops):
            with m.If(fields.counter == index):
                m.d.comb += jump.eq(loop + 1 < fields.count)
                m.d.sync += loop.eq(Mux(jump, loop + 1, 0))

    def _waiting(
        self, m: Module, opcode: Value, fields: dict[Opcode, data.View], issued: Signal
    ) -> Signal:
        """Units, as in ``Unit``, that must become idle before the instruction can be issued."""
        port = self.sequencer
        needed, waiting = Signal(len(Unit)), Signal(len(Unit))
        # REFRESH or PROGRAM goes on after an abort, and the next program waits for its end.
        rows = Signal()
        with m.If(issued & opcode.matches(*ROWS)):
            m.d.sync += rows.eq(1)
        with m.Elif(~self.programmer_busy):
            m.d.sync += rows.eq(0)
        m.d.comb += [
            port.calibrating.eq(self.calibrating),
            port.busy.eq(Cat(
                self.crossbar_busy, self.post_busy, self.update_busy, self.programmer_busy,
                *self._far_busy(),
            )),
            waiting.eq(
                (port.busy & needed)
                | (self.calibrating << Unit.CROSSBAR)
                | ((rows & self.programmer_busy) << Unit.PROGRAMMER)
            ),
        ]  # fmt: skip
        needs = (
            (MVMS, (Unit.UPDATE, Unit.PROGRAMMER)),
            (POSTS, (Unit.POST,)),
            (UPDATES, (Unit.UPDATE,)),
            ((Opcode.LOAD,), (Unit.STREAM_IN,)),
            ((Opcode.READ,), (Unit.STREAM_OUT,)),
            ((Opcode.RELEASE,), (Unit.POST,)),
            ((*EXCLUSIVE, Opcode.HALT), tuple(Unit)),
        )
        with m.Switch(opcode):
            with m.Case(Opcode.SEND):
                m.d.comb += needed.eq(fields[Opcode.SEND].partial << Unit.POST)
            for opcodes, units in needs:
                with m.Case(*opcodes):
                    m.d.comb += needed.eq(sum(1 << unit for unit in units))
            with m.Case(Opcode.WAIT):
                m.d.comb += needed.eq(fields[Opcode.WAIT].units)
        return waiting

    def _far_busy(self) -> tuple[Value, Value]:
        """Busy bits of ``Unit.STREAM_IN`` and ``Unit.STREAM_OUT``."""
        if self.config.objects:
            return Const(0, 1), self.send_busy | self.local_busy
        return self.load_busy, self.store_busy

    def _hazard(self, m: Module, opcode: Value, fields: dict[Opcode, data.View]) -> Signal:
        """A slot or an affine table of the instruction is in use."""
        sources, destination = Signal(self.config.slots), Signal(self.config.slots)

        def bit(slot: Value, enable: ValueLike = 1) -> Value:
            return Mux(enable, 1 << slot, 0)

        with m.Switch(opcode):
            with m.Case(Opcode.LOAD):
                load = fields[Opcode.LOAD]
                m.d.comb += destination.eq(bit(load.slot, ~load.affine))
            with m.Case(Opcode.READ):
                m.d.comb += sources.eq(bit(fields[Opcode.READ].slot))
            with m.Case(Opcode.SEND):
                send = fields[Opcode.SEND]
                m.d.comb += sources.eq(bit(send.slot, ~send.partial))
            with m.Case(*MVMS):
                m.d.comb += sources.eq(bit(fields[Opcode.FORWARD].slot))
            with m.Case(Opcode.ACTIVATE):
                activate = fields[Opcode.ACTIVATE]
                m.d.comb += [
                    sources.eq(bit(activate.slot, activate.from_slot)),
                    destination.eq(bit(activate.destination, activate.function != Function.NONE)),
                ]
            with m.Case(Opcode.ERROR):
                error = fields[Opcode.ERROR]
                m.d.comb += [
                    sources.eq(bit(error.slot, error.from_slot) | bit(error.output)),
                    destination.eq(bit(error.destination)),
                ]
            with m.Case(Opcode.OUTER):
                outer = fields[Opcode.OUTER]
                m.d.comb += sources.eq(bit(outer.slot) | bit(outer.error))
        far_reads, far_writes, shared = self._far_hazards(m, opcode, fields)
        writes = self.post_writes | far_writes
        reads = (
            self.crossbar_reads | self.post_reads | self.update_reads | self.programmer_reads
            | far_reads
        )  # fmt: skip
        hazard = Signal()
        m.d.comb += hazard.eq(
            ((sources & writes) | (destination & (reads | writes))).any()
            | ((opcode == Opcode.RELEASE) & reads.any())
            | shared
        )
        return hazard

    def _far_hazards(
        self, m: Module, opcode: Value, fields: dict[Opcode, data.View]
    ) -> tuple[Value, Value, Value]:
        """Slots that the far side reads and writes; what else it shares is in use."""
        if self.config.objects:
            shared = self.send_partial & opcode.matches(*POSTS, Opcode.RELEASE)
            return self.send_reads, Const(0, self.config.slots), shared
        table_in_use = Signal()
        post_affine, load_affine = Signal(), Signal()
        for command, affine in ((self.post, post_affine), (self.load, load_affine)):
            with m.If(command.valid & command.ready):
                m.d.sync += affine.eq(command.payload.affine)
        load, activate = fields[Opcode.LOAD], fields[Opcode.ACTIVATE]
        with m.If(opcode == Opcode.LOAD):
            m.d.comb += table_in_use.eq(load.affine & self.post_busy & post_affine)
        with m.Elif(opcode == Opcode.ACTIVATE):
            m.d.comb += table_in_use.eq(activate.affine & self.load_busy & load_affine)
        return self.store_reads, self.load_writes, table_in_use

    def _legality(
        self, m: Module, opcode: Value, word: Value, fields: dict[Opcode, data.View],
        segment: data.View,
    ) -> Signal:  # fmt: skip
        """ErrorCode of the instruction, NONE if it is legal; the first that applies."""
        error = Signal(8)
        bad_segment = self._bad_segment(segment)
        foreign = STREAMED if self.config.objects else NETWORKED
        with m.Switch(opcode):
            for code in Opcode:
                if code in foreign:
                    continue
                view = fields[code]
                checks = [(word[OPCODE_BITS + view.shape().size :].any(), ErrorCode.UNUSED_BITS)]
                if code in WITH_SEGMENT:
                    undefined = view.segment >= self.config.segments
                    checks.append((undefined | bad_segment, ErrorCode.SEGMENT))
                checks += self._field_checks(code, view, segment)
                with m.Case(code):
                    for position, (condition, reason) in enumerate(checks):
                        with m.If(condition) if position == 0 else m.Elif(condition):
                            m.d.comb += error.eq(reason)
            with m.Default():
                m.d.comb += error.eq(ErrorCode.OPCODE)
        return error

    def _bad_segment(self, segment: data.View) -> Value:
        config = self.config
        ranges = (segment.range_forward, segment.range_backward)
        bad = (segment.threshold == 0) | (segment.threshold >= 1 << (config.chi_bits - 1))
        for value in ranges:
            bad |= (value < config.range_min) | (value > config.range_max)
        for start, count, size in (
            (segment.row_start, segment.row_count, config.rows),
            (segment.col_start, segment.col_count, config.cols),
        ):
            bad |= (count == 0) | (start + count > size)
        return bad

    def _field_checks(
        self, code: Opcode, view: data.View, segment: data.View
    ) -> list[tuple[Value, ErrorCode]]:
        """Conditions that make a field of an instruction illegal."""
        config = self.config
        names = [field.name for field in INSTRUCTIONS[code]]
        checks = []
        for name in ("slot", "output", "error", "destination"):
            if name in names:
                bad = view[name] >= config.slots
                if code is Opcode.LOAD:
                    bad = Mux(view.affine, view.slot >= config.affine_tables, bad)
                checks.append((bad, ErrorCode.SLOT))
        if "table" in names:
            checks.append((view.table >= config.affine_tables, ErrorCode.SLOT))
        if code in POSTS:
            lowest = Function.IDENTITY if code is Opcode.ERROR else Function.NONE
            bad = (view.function < lowest) | (view.function > Function.TANH)
            checks += [(view.start >= config.lines, ErrorCode.LINE), (bad, ErrorCode.FUNCTION)]
        elif code in (Opcode.READ, Opcode.SEND):
            outside = (view.length == 0) | (view.start + view.length > config.lines)
            checks.append((view.start[:3].any() | outside, ErrorCode.LINE))
        if code is Opcode.SEND:
            bad = (view.stream >= config.streams) | (view.object >= config.objects)
            checks.append((bad, ErrorCode.OBJECT))
        elif code in (Opcode.AWAIT, Opcode.RELEASE):
            checks.append((view.objects[config.objects :].any(), ErrorCode.OBJECT))
        elif code in MVMS:
            bad = (view.precision < 5) | (view.precision > config.input_bits)
            checks.append((bad, ErrorCode.PRECISION))
        elif code is Opcode.CALIBRATE:
            checks.append((view.drift > max(Drift), ErrorCode.FUNCTION))
        elif code is Opcode.PROGRAM:
            below = view.row < segment.row_start
            above = view.row >= segment.row_start + segment.row_count
            checks.append((below | above, ErrorCode.LINE))
        elif code is Opcode.LOOP:
            checks += [
                (view.count == 0, ErrorCode.LOOP_COUNT),
                (view.target >= config.program_depth, ErrorCode.TARGET),
            ]
        return checks

    def _connect_payloads(
        self, m: Module, opcode: Value, fields: dict[Opcode, data.View], segment: data.View
    ) -> None:
        """Command payloads, from the registered instruction and segment."""
        backward = opcode == Opcode.BACKWARD
        forward = fields[Opcode.FORWARD]
        m.d.comb += [
            self.mvm.payload.source.eq(MvmSource.SLOT),
            self.mvm.payload.backward.eq(backward),
            self.mvm.payload.start.eq(Mux(backward, segment.col_start, segment.row_start)),
            self.mvm.payload.count.eq(Mux(backward, segment.col_count, segment.row_count)),
            self.mvm.payload.range.eq(Mux(backward, segment.range_backward, segment.range_forward)),
            *(
                self.mvm.payload[name].eq(forward[name])
                for name in ("slot", "precision", "input_signs", "polarities")
            ),
        ]
        m.d.comb += self.drift.eq(fields[Opcode.CALIBRATE].drift)
        self._connect_post(m, opcode, fields, segment)
        outer = fields[Opcode.OUTER]
        is_outer = opcode == Opcode.OUTER
        area = ("row_start", "row_count", "col_start", "col_count")
        m.d.comb += [
            self.update.payload.outer.eq(is_outer),
            self.update.payload.transfer.eq(~is_outer | outer.transfer),
            self.update.payload.x_slot.eq(outer.slot),
            self.update.payload.d_slot.eq(outer.error),
            *(
                self.update.payload[name].eq(segment[name])
                for name in (*area, "threshold", "chi_shift")
            ),
        ]
        program, refresh = fields[Opcode.PROGRAM], fields[Opcode.REFRESH]
        is_program = opcode == Opcode.PROGRAM
        m.d.comb += [
            self.rows.payload.program.eq(is_program),
            self.rows.payload.all_rows.eq(~is_program & refresh.all_rows),
            self.rows.payload.row.eq(program.row),
            self.rows.payload.slot.eq(program.slot),
            *(self.rows.payload[name].eq(segment[name]) for name in area),
        ]
        if self.config.objects:
            send = fields[Opcode.SEND]
            m.d.comb += [
                self.release.payload.eq(fields[Opcode.RELEASE].objects),
                *(
                    self.send.payload[field.name].eq(send[field.name])
                    for field in INSTRUCTIONS[Opcode.SEND]
                ),
            ]
        else:
            m.d.comb += [
                self.load.payload.affine.eq(fields[Opcode.LOAD].affine),
                self.load.payload.slot.eq(fields[Opcode.LOAD].slot),
                *(
                    self.store.payload[name].eq(fields[Opcode.READ][name])
                    for name in ("slot", "start", "length")
                ),
            ]

    def _connect_post(
        self, m: Module, opcode: Value, fields: dict[Opcode, data.View], segment: data.View
    ) -> None:
        payload = self.post.payload
        m.d.comb += payload.tag.eq(self.crossbar_issued)
        for code in POSTS:
            with m.If(opcode == code):
                view = fields[code]
                m.d.comb += [
                    payload.error.eq(code == Opcode.ERROR),
                    payload.start.eq(Mux(view.side, segment.row_start, segment.col_start)),
                    payload.count.eq(Mux(view.side, segment.row_count, segment.col_count)),
                    payload.first.eq(view.start),
                ]
                for field in INSTRUCTIONS[code]:
                    if field.name not in ("segment", "side", "start"):
                        m.d.comb += payload[field.name].eq(view[field.name])

    def _count(
        self, m: Module, *, issued: Value, stalled: Value, waiting: Value, hazard: Value,
        absent: Value,
    ) -> None:  # fmt: skip
        """Inputs of the performance counters."""
        port, counted = self.sequencer, self.sequencer.events
        refused = Signal(len(Unit))
        taken = {}
        for unit, command, opcodes in self._streams():
            taken[opcodes[0]] = command.valid & command.ready
            with m.If(command.valid & ~command.ready):
                m.d.comb += refused[unit].eq(1)
        load_busy, store_busy = self._far_busy()
        causes = Signal(len(Unit) + 2)
        m.d.comb += [
            causes.eq(Cat(waiting | refused, hazard, absent)),
            counted.cycles.eq(port.running),
            counted.instructions.eq(issued),
            counted.loads.eq(taken.get(Opcode.LOAD, 0)),
            counted.reads.eq(taken.get(Opcode.READ, taken.get(Opcode.SEND, 0))),
            counted.post_busy.eq(self.post_busy),
            counted.update_busy.eq(self.update_busy),
            counted.programmer_busy.eq(self.programmer_busy),
            counted.load_busy.eq(load_busy),
            counted.store_busy.eq(store_busy),
        ]
        names = ("crossbar", "post", "update", "programmer", "load", "store", "hazard", "object")
        for position, name in enumerate(names):
            first = causes[position] & ~causes[:position].any()
            m.d.comb += counted[f"stall_{name}"].eq(stalled & first)
