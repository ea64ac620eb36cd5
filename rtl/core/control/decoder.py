# SPDX-License-Identifier: Apache-2.0
"""Decoder: groups and fields of the instructions, and whether one is legal."""

from collections.abc import Container

from amaranth.hdl import Module, Mux, Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTION_BITS,
    INSTRUCTIONS,
    OPCODE_BITS,
    SEGMENT,
    DeltaSource,
    Drift,
    Field,
    Function,
    Opcode,
)
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = [
    "EXCLUSIVE",
    "MVMS",
    "POSTS",
    "ROWS",
    "UPDATES",
    "WINDOWS",
    "Decoder",
    "SegmentLayout",
    "fields_of",
    "opcode_of",
]

MVMS = (Opcode.FORWARD, Opcode.BACKWARD)
POSTS = (Opcode.ACTIVATE, Opcode.DELTA)
WINDOWS = (Opcode.GATHER, Opcode.SCATTER, Opcode.NORMALISE)
"""They name an object, whose window they take."""
UPDATES = (Opcode.OUTER, Opcode.TRANSFER)
ROWS = (Opcode.REFRESH, Opcode.PROGRAM)
EXCLUSIVE = (*ROWS, Opcode.CALIBRATE)
"""They run alone."""

WITH_SEGMENT = tuple(
    opcode for opcode, fields in INSTRUCTIONS.items() if fields and fields[0].name == "segment"
)


def _layout(fields: tuple[Field, ...]) -> data.StructLayout:
    return data.StructLayout({field.name: Shape(field.width, field.signed) for field in fields})


def SegmentLayout() -> data.StructLayout:
    """The fields of a segment descriptor."""
    return _layout(SEGMENT)


def opcode_of(word: Value) -> Value:
    """Opcode of an instruction."""
    return word[:OPCODE_BITS]


def fields_of(word: Value) -> dict[Opcode, data.View]:
    """The fields of an instruction as every opcode has them."""
    layouts = {opcode: _layout(INSTRUCTIONS[opcode]) for opcode in Opcode}
    return {
        opcode: data.View(layout, word[OPCODE_BITS : OPCODE_BITS + layout.size])
        for opcode, layout in layouts.items()
    }


class Decoder(wiring.Component):
    """Tells what is wrong with an instruction (combinational).

    All fields are checked, used or not.

    Parameters
    ----------
    config : CoreConfig
    opcodes : those that this core has

    Members
    -------
    word : In(64)
    segment : In(SegmentLayout)
        The segment that the instruction names, if it names one.
    no_window : In(1)
        The object that GATHER, SCATTER or NORMALISE names has no such window.
    error : Out(8)
        The first FaultCode that applies, NONE if the instruction is legal.
    """

    def __init__(self, config: CoreConfig, opcodes: Container[Opcode]):
        self.config, self.opcodes = config, opcodes
        super().__init__(
            {
                "word": In(INSTRUCTION_BITS),
                "segment": In(SegmentLayout()),
                "no_window": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = fields_of(self.word)
        bad_segment = self._bad_segment()
        with m.Switch(opcode_of(self.word)):
            for code in Opcode:
                if code not in self.opcodes:
                    continue
                view = fields[code]
                unused = self.word[OPCODE_BITS + view.shape().size :]
                checks = [(unused.any(), FaultCode.UNUSED_BITS)]
                if code in WITH_SEGMENT:
                    undefined = view.segment >= self.config.segments
                    checks.append((undefined | bad_segment, FaultCode.SEGMENT))
                checks += self._field_checks(code, view)
                with m.Case(code):
                    for position, (condition, reason) in enumerate(checks):
                        with m.If(condition) if position == 0 else m.Elif(condition):
                            m.d.comb += self.error.eq(reason)
            with m.Default():
                m.d.comb += self.error.eq(FaultCode.OPCODE)
        return m

    def _bad_segment(self) -> Value:
        """The segment does not fit the core."""
        config, segment = self.config, self.segment
        ranges = (segment.forward_lsb_log2, segment.backward_lsb_log2)
        bad = (segment.threshold == 0) | (segment.threshold >= 1 << (config.chi_bits - 1))
        for value in ranges:
            bad |= (value < config.lsb_log2_min) | (value > config.lsb_log2_max)
        for start, count, size in (
            (segment.row_start, segment.row_count, config.rows),
            (segment.col_start, segment.col_count, config.cols),
        ):
            bad |= (count == 0) | (start + count > size)
        return bad

    def _field_checks(self, code: Opcode, view: data.View) -> list[tuple[Value, FaultCode]]:
        """Conditions that make a field of an instruction illegal."""
        config, segment = self.config, self.segment
        checks = self._slot_checks(code, view)
        if code in POSTS:
            lowest = Function.IDENTITY if code is Opcode.DELTA else Function.NONE
            bad = (view.function < lowest) | (view.function > Function.TANH)
            if code is Opcode.DELTA:
                bad |= view.source > max(DeltaSource)
            checks += [
                (view.destination_line >= config.lines, FaultCode.LINE),
                (bad, FaultCode.FUNCTION),
            ]
        elif code in (Opcode.READ, Opcode.SEND):
            outside = (view.length == 0) | (view.first_line + view.length > config.lines)
            checks.append((view.first_line[:3].any() | outside, FaultCode.LINE))
        if code is Opcode.SEND:
            bad = (view.route >= config.routes) | (view.object >= config.objects)
            checks.append((bad, FaultCode.OBJECT))
        elif code in (Opcode.AWAIT, Opcode.RELEASE):
            checks.append((view.objects[config.objects :].any(), FaultCode.OBJECT))
        elif code in WINDOWS:
            if code is Opcode.NORMALISE:
                outside = view.destination_line >= config.lines
            else:
                outside = view.block >= config.blocks
            checks += [
                (outside, FaultCode.LINE),
                ((view.object >= config.objects) | self.no_window, FaultCode.OBJECT),
            ]
        elif code in MVMS:
            bad = (view.precision < 5) | (view.precision > config.input_bits)
            checks.append((bad, FaultCode.PRECISION))
        elif code is Opcode.CALIBRATE:
            checks.append((view.drift > max(Drift), FaultCode.FUNCTION))
        elif code is Opcode.PROGRAM:
            below = view.row < segment.row_start
            above = view.row >= segment.row_start + segment.row_count
            checks.append((below | above, FaultCode.LINE))
        elif code is Opcode.LOOP:
            checks += [
                (view.count == 0, FaultCode.LOOP_COUNT),
                (view.target >= config.program_depth, FaultCode.TARGET),
            ]
        return checks

    def _slot_checks(self, code: Opcode, view: data.View) -> list[tuple[Value, FaultCode]]:
        """Slots and affine tables that do not exist."""
        config = self.config
        names = [field.name for field in INSTRUCTIONS[code]]
        checks = []
        for name in ("slot", "output", "delta", "destination"):
            if name in names:
                bad = view[name] >= config.slots
                if code is Opcode.LOAD:
                    bad = Mux(view.affine, view.slot >= config.affine_tables, bad)
                checks.append((bad, FaultCode.SLOT))
        if "table" in names:
            checks.append((view.table >= config.affine_tables, FaultCode.SLOT))
        return checks
