# SPDX-License-Identifier: Apache-2.0
"""Instructions, segment descriptors and packet headers: one table each, no Amaranth import.

RTL decoder, golden model, program builder, benches and documentation are made from these tables.
Every instruction is one 64-bit word: the opcode in bits 0..4, then the fields of its opcode from
bit 5 upward in the order listed. Unused bits must be zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from rtl.config import CoreConfig

__all__ = [
    "GROUP",
    "HEADER",
    "INSTRUCTIONS",
    "PACKET_MAGIC",
    "SEGMENT",
    "Field",
    "Function",
    "Opcode",
    "PacketKind",
    "Segment",
    "Unit",
    "decode",
    "encode",
    "pack",
    "unpack",
]

INSTRUCTION_BITS = 64
OPCODE_BITS = 5


class Opcode(IntEnum):
    """Commands of the sequencer."""

    HALT = 0
    LOAD = 1
    READ = 2
    FORWARD = 3
    BACKWARD = 4
    ACTIVATE = 5
    ERROR = 6
    OUTER = 7
    TRANSFER = 8
    REFRESH = 9
    PROGRAM = 10
    CALIBRATE = 11
    WAIT = 12
    LOOP = 13


class Function(IntEnum):
    """Activation functions; ``NONE`` leaves the result in the accumulators."""

    NONE = 0
    IDENTITY = 1
    RELU = 2
    SIGMOID = 3
    TANH = 4


class Unit(IntEnum):
    """Bits of the WAIT mask: wait until each named unit is idle."""

    CROSSBAR = 0
    POST = 1
    UPDATE = 2
    PROGRAMMER = 3
    STREAM_IN = 4
    STREAM_OUT = 5


class PacketKind(IntEnum):
    """Kind byte of a stream packet."""

    VECTOR = 1
    AFFINE = 2
    RESULT = 0x81


@dataclass(frozen=True)
class Field:
    """One field of a packed word: ``name``, ``width`` in bits, two's complement if ``signed``."""

    name: str
    width: int
    doc: str
    signed: bool = False

    def check(self, value: int) -> None:
        """Raise ``ValueError`` unless ``value`` fits."""
        low = -(1 << (self.width - 1)) if self.signed else 0
        high = low + (1 << self.width) - 1
        if not low <= value <= high:
            raise ValueError(f"{self.name} must be in {low}..{high}, not {value}")


_SEGMENT = Field("segment", 4, "segment descriptor")
_SLOT = Field("slot", 5, "source slot")
_MVM = (
    _SEGMENT,
    _SLOT,
    Field("precision", 4, "input precision p, 5..input_bits: |x| >> (8 - p), 2**(p-1) cycles"),
    Field("input_signs", 2, "bit 0 drives positive, bit 1 negative inputs"),
    Field("polarities", 2, "bit 0 enables G+, bit 1 G-"),
)
_DESTINATION = (
    Field("destination", 5, "slot written"),
    Field("start", 10, "line of the destination that takes the first sensed line"),
)

INSTRUCTIONS: Mapping[Opcode, tuple[Field, ...]] = {
    Opcode.HALT: (),
    Opcode.LOAD: (
        Field("affine", 1, "0: a VECTOR packet into a slot, 1: an AFFINE packet into a table"),
        Field("slot", 5, "destination slot or table"),
    ),
    Opcode.READ: (
        _SLOT,
        Field("start", 10, "first line sent; multiple of 8"),
        Field("length", 11, "lines sent, 1..lines - start"),
    ),
    Opcode.FORWARD: _MVM,
    Opcode.BACKWARD: _MVM,
    Opcode.ACTIVATE: (
        _SEGMENT,
        Field("side", 1, "lines processed: 0 the segment's columns, 1 its rows"),
        Field("from_slot", 1, "codes come from 0: the latest window, 1: ``slot``"),
        _SLOT,
        Field("accumulate", 1, "add the accumulators"),
        Field("function", 3, "Function"),
        Field("shift", 4, "right shift of the accumulator before the function"),
        Field("affine", 1, "0: scale 1.0 and offset 0.5, 1: from ``table``"),
        Field("table", 3, "affine table"),
        *_DESTINATION,
    ),
    Opcode.ERROR: (
        _SEGMENT,
        Field("side", 1, "lines processed: 0 the segment's columns, 1 its rows"),
        Field("from_slot", 1, "0: codes of the latest window, 1: ``slot`` (target) - ``output``"),
        _SLOT,
        Field("output", 5, "slot of activations y whose derivative multiplies"),
        Field("function", 3, "Function whose derivative multiplies, not NONE"),
        Field("fixed", 1, "0: normalise, 1: shift by ``shift``"),
        Field("shift", 5, "right shift when ``fixed``"),
        Field("bias", 7, "added to the exponent of the result", signed=True),
        *_DESTINATION,
    ),
    Opcode.OUTER: (
        _SEGMENT,
        Field("slot", 5, "slot of x (rows)"),
        Field("error", 5, "slot of d (columns)"),
        Field("transfer", 1, "threshold in the same pass"),
    ),
    Opcode.TRANSFER: (_SEGMENT,),
    Opcode.REFRESH: (
        _SEGMENT,
        Field("all_rows", 1, "0: only rows pulsed since their last refresh"),
    ),
    Opcode.PROGRAM: (
        _SEGMENT,
        Field("row", 10, "physical row"),
        Field("slot", 5, "slot of signed target codes by column"),
    ),
    Opcode.CALIBRATE: (),
    Opcode.WAIT: (Field("units", 6, "mask of Unit"),),
    Opcode.LOOP: (
        Field("counter", 1, "loop counter 0 or 1"),
        Field("target", 10, "instruction to go back to"),
        Field("count", 16, "times the body runs in all, at least 1"),
    ),
}

SEGMENT: tuple[Field, ...] = (
    Field("row_start", 16, "first row"),
    Field("row_count", 16, "rows, at least 1"),
    Field("col_start", 16, "first column"),
    Field("col_count", 16, "columns, at least 1"),
    Field("threshold", 32, "chi threshold of one pulse, 1..2**(chi_bits-1)-1"),
    Field("chi_shift", 8, "left shift of the chi increment besides the exponent of d", signed=True),
    Field("range_forward", 8, "ADC range of forward products"),
    Field("range_backward", 8, "ADC range of backward products"),
)
"""Segment descriptor, packed from bit 0 into four 32-bit registers (the last 8 bits unused)."""

PACKET_MAGIC = 0x5043

GROUP = 8
"""Lines of a stream beat: packets start at multiples of it."""

HEADER: tuple[Field, ...] = (
    Field("kind", 8, "PacketKind"),
    Field("slot", 8, "RESULT: slot read; otherwise 0"),
    Field("start", 16, "first line; multiple of 8"),
    Field("length", 16, "lines"),
    Field("magic", 16, "0x5043"),
)
"""First beat of every stream packet. VECTOR and RESULT carry one byte per line, AFFINE two
(scale, then offset); little-endian; every beat is full but the last, whose tkeep is contiguous
from bit 0 and which carries tlast."""


def pack(fields: tuple[Field, ...], values: Mapping[str, int]) -> int:
    """Pack ``values`` (every field named) from bit 0 upward; errors name field and value."""
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    word = position = 0
    for field in fields:
        if field.name not in values:
            raise ValueError(f"missing field {field.name!r}")
        value = int(values[field.name])
        field.check(value)
        word |= (value & ((1 << field.width) - 1)) << position
        position += field.width
    return word


def unpack(fields: tuple[Field, ...], word: int) -> dict[str, int]:
    """Inverse of :func:`pack`; bits above the last field are ignored."""
    values = {}
    for field in fields:
        value = word & ((1 << field.width) - 1)
        if field.signed and value >> (field.width - 1):
            value -= 1 << field.width
        values[field.name] = value
        word >>= field.width
    return values


def encode(opcode: Opcode, **values: int) -> int:
    """Instruction word of ``opcode``."""
    try:
        return opcode | pack(INSTRUCTIONS[opcode], values) << OPCODE_BITS
    except ValueError as error:
        raise ValueError(f"{opcode.name}: {error}") from error


def decode(word: int) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of an instruction word; ``ValueError`` for an unknown opcode."""
    opcode = Opcode(word & ((1 << OPCODE_BITS) - 1))
    return opcode, unpack(INSTRUCTIONS[opcode], word >> OPCODE_BITS)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A layer or tile on the crossbar: rows x columns, chi threshold and ADC ranges."""

    row_start: int
    row_count: int
    col_start: int
    col_count: int
    threshold: int = 1
    chi_shift: int = 0
    range_forward: int = 14
    range_backward: int = 14

    @property
    def rows(self) -> slice:
        """Rows of the array."""
        return slice(self.row_start, self.row_start + self.row_count)

    @property
    def cols(self) -> slice:
        """Columns of the array."""
        return slice(self.col_start, self.col_start + self.col_count)

    def pack(self) -> int:
        """The descriptor as one integer."""
        return pack(SEGMENT, vars(self))

    def check(self, config: CoreConfig) -> None:
        """Raise ``ValueError`` for what the hardware refuses with SEGMENT errors."""
        for axis, size in (("row", config.rows), ("col", config.cols)):
            start, count = getattr(self, f"{axis}_start"), getattr(self, f"{axis}_count")
            if count < 1 or start < 0 or start + count > size:
                raise ValueError(
                    f"segment {axis}s {start}..{start + count - 1} are outside 0..{size - 1}"
                )
        if not 1 <= self.threshold < 1 << (config.chi_bits - 1):
            raise ValueError(
                f"threshold must be in 1..{(1 << (config.chi_bits - 1)) - 1}, not {self.threshold}"
            )
        for name in ("range_forward", "range_backward"):
            if not config.range_min <= getattr(self, name) <= config.range_max:
                raise ValueError(
                    f"{name} must be in {config.range_min}..{config.range_max},"
                    f" not {getattr(self, name)}"
                )
