# SPDX-License-Identifier: Apache-2.0
"""Dispatcher: commands of the units that every core has."""

from collections.abc import Iterable

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.decoder import (
    MVMS,
    POSTS,
    ROWS,
    UPDATES,
    SegmentLayout,
    fields_of,
    opcode_of,
)
from phasecore.rtl.core.interfaces import (
    MvmCommand,
    MvmSource,
    PostCommand,
    RowCommand,
    SumPixel,
    UpdateCommand,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTION_BITS,
    INSTRUCTIONS,
    DeltaSource,
    Function,
    Opcode,
    Unit,
)

__all__ = ["Dispatcher", "IssuePort", "offer"]


class IssuePort(wiring.Signature):
    """An instruction for those who make commands of it, seen from the sequencer.

    With ``enable`` the command of ``word`` is offered to its unit: ``offered`` if there is one,
    and ``accepted``. ``refused`` has the bit of the unit, as in ``Unit``, that is not ready.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "word": Out(INSTRUCTION_BITS),
                "enable": Out(1),
                "offered": In(1),
                "accepted": In(1),
                "refused": In(len(Unit)),
            }
        )


def offer(
    m: Module,
    issue: wiring.PureInterface,
    commands: Iterable[tuple[Unit, stream.Interface, tuple[Opcode, ...]]],
) -> None:
    """Offer the instruction on ``issue`` to the unit whose command has its opcode."""
    for unit, command, opcodes in commands:
        m.d.comb += command.valid.eq(issue.enable & opcode_of(issue.word).matches(*opcodes))
        with m.If(command.valid):
            m.d.comb += [
                issue.offered.eq(1),
                issue.accepted.eq(command.ready),
                issue.refused[unit].eq(~command.ready),
            ]


class Dispatcher(wiring.Component):
    """Makes commands of instructions and offers them.

    Members
    -------
    issue : In(IssuePort)
    segment : In(SegmentLayout)
        Of the instruction.
    tag : In(2)
        Windows issued so far, modulo 4; the tag of ACTIVATE and DELTA.
    arrived, pixel : In(1), In(SumPixel)
        What NORMALISE waits for is there; its sums.
    mvm, post, update, rows : Out(stream)
        Commands.
    drift : Out(2)
        Of CALIBRATE.
    affine : Out(1)
        The last command of post-processing reads an affine table.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "issue": In(IssuePort()),
                "segment": In(SegmentLayout()),
                "tag": In(2),
                "arrived": In(1),
                "pixel": In(SumPixel(config)),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "post": Out(stream.Signature(PostCommand(config))),
                "update": Out(stream.Signature(UpdateCommand(config))),
                "rows": Out(stream.Signature(RowCommand(config))),
                "drift": Out(2),
                "affine": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # NORMALISE is offered once its object is ready, which it stays.
        with m.If(self.arrived | (opcode_of(self.issue.word) != Opcode.NORMALISE)):
            offer(
                m,
                self.issue,
                (
                    (Unit.CROSSBAR, self.mvm, MVMS),
                    (Unit.POST, self.post, (*POSTS, Opcode.NORMALISE)),
                    (Unit.UPDATE, self.update, UPDATES),
                    (Unit.PROGRAMMER, self.rows, ROWS),
                ),
            )
        self._mvm(m)
        self._post(m)
        self._weights(m)
        m.d.comb += self.drift.eq(fields_of(self.issue.word)[Opcode.CALIBRATE].drift)
        with m.If(self.post.valid & self.post.ready):
            m.d.sync += self.affine.eq(self.post.payload.affine)
        return m

    def _mvm(self, m: Module) -> None:
        payload, segment = self.mvm.payload, self.segment
        backward = opcode_of(self.issue.word) == Opcode.BACKWARD
        forward = fields_of(self.issue.word)[Opcode.FORWARD]
        m.d.comb += [
            payload.source.eq(MvmSource.SLOT),
            payload.backward.eq(backward),
            payload.first_line.eq(Mux(backward, segment.col_start, segment.row_start)),
            payload.count.eq(Mux(backward, segment.col_count, segment.row_count)),
            payload.lsb_log2.eq(Mux(backward, segment.backward_lsb_log2, segment.forward_lsb_log2)),
            *(
                payload[name].eq(forward[name])
                for name in ("slot", "precision", "input_signs", "polarities")
            ),
        ]

    def _post(self, m: Module) -> None:
        payload, segment = self.post.payload, self.segment
        m.d.comb += payload.tag.eq(self.tag)
        for code in POSTS:
            with m.If(opcode_of(self.issue.word) == code):
                view = fields_of(self.issue.word)[code]
                m.d.comb += [
                    payload.delta.eq(code == Opcode.DELTA),
                    payload.first_line.eq(Mux(view.axis, segment.row_start, segment.col_start)),
                    payload.count.eq(Mux(view.axis, segment.row_count, segment.col_count)),
                    payload.destination_line.eq(view.destination_line),
                ]
                if code is Opcode.DELTA:
                    m.d.comb += [
                        payload.from_slot.eq(view.source != DeltaSource.CODES),
                        payload.mantissas.eq(view.source == DeltaSource.MANTISSAS),
                    ]
                for field in INSTRUCTIONS[code]:
                    if field.name not in ("segment", "axis", "source", "destination_line"):
                        m.d.comb += payload[field.name].eq(view[field.name])

        with m.If(opcode_of(self.issue.word) == Opcode.NORMALISE):
            view = fields_of(self.issue.word)[Opcode.NORMALISE]
            m.d.comb += [
                payload.normalise.eq(1),
                payload.function.eq(Function.IDENTITY),
                *(payload[name].eq(self.pixel[name]) for name in ("first_line", "count", "unit")),
                *(payload[name].eq(view[name]) for name in ("destination", "destination_line")),
            ]

    def _weights(self, m: Module) -> None:
        """Commands that change weights: of the update unit and of the row engine."""
        opcode, fields = opcode_of(self.issue.word), fields_of(self.issue.word)
        outer, program = fields[Opcode.OUTER], fields[Opcode.PROGRAM]
        is_outer, is_program = opcode == Opcode.OUTER, opcode == Opcode.PROGRAM
        update, rows = self.update.payload, self.rows.payload

        def of_segment(payload: Value, *names: str) -> list:
            area = ("row_start", "row_count", "col_start", "col_count")
            return [payload[name].eq(self.segment[name]) for name in (*area, *names)]

        m.d.comb += [
            update.outer.eq(is_outer),
            update.transfer.eq(~is_outer | outer.transfer),
            update.x_slot.eq(outer.slot),
            update.d_slot.eq(outer.delta),
            of_segment(update, "threshold", "chi_shift"),
            rows.program.eq(is_program),
            rows.all_rows.eq(~is_program & fields[Opcode.REFRESH].all_rows),
            rows.row.eq(program.row),
            rows.slot.eq(program.slot),
            of_segment(rows),
        ]
