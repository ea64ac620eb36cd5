# SPDX-License-Identifier: Apache-2.0
"""Instructions, segment descriptors and packet headers: one table each, no Amaranth import.

RTL decoder, golden model, program builder, benches and documentation are made from these tables.
Every instruction is one 64-bit word: the opcode in bits 0..4, then the fields of its opcode from
bit 5 upward in the order listed. Unused bits must be zero.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import SupportsIndex

from phasecore.rtl.spec.core import CoreConfig

__all__ = [
    "BLOCK_MAX",
    "COORDINATE_MAX",
    "CREDITS_MAX",
    "GROUP",
    "HEADER",
    "INSTRUCTIONS",
    "MEMBERS",
    "OBJECT",
    "PACKET_MAGIC",
    "ROUTE",
    "SCATTER_SHIFT_MAX",
    "SEGMENT",
    "Axis",
    "DeltaSource",
    "Drift",
    "Field",
    "Function",
    "ObjectDescriptor",
    "Opcode",
    "PacketKind",
    "RouteDescriptor",
    "Segment",
    "Unit",
    "Words",
    "decode",
    "encode",
    "pack",
    "pack_words",
    "slot_ring",
    "unpack",
    "whole",
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
    DELTA = 6
    OUTER = 7
    TRANSFER = 8
    REFRESH = 9
    PROGRAM = 10
    CALIBRATE = 11
    WAIT = 12
    LOOP = 13
    SEND = 14
    AWAIT = 15
    RELEASE = 16
    GATHER = 17
    SCATTER = 18
    NORMALISE = 19


class Function(IntEnum):
    """Activation functions; ``NONE`` leaves the result in the accumulators."""

    NONE = 0
    IDENTITY = 1
    RELU = 2
    SIGMOID = 3
    TANH = 4


class DeltaSource(IntEnum):
    """What DELTA multiplies with the derivative."""

    CODES = 0
    """Codes of the latest window."""
    DIFFERENCE = 1
    """Targets in a slot, less the outputs."""
    MANTISSAS = 2
    """Mantissas in a slot, with its exponent."""


class Drift(IntEnum):
    """What CALIBRATE does about the drift of the conductances."""

    NONE = 0
    BASELINE = 1
    """Remember how much the array conducts."""
    COMPENSATE = 2
    """Scale the gains by what the array conducted at the baseline over what it does now."""


class Axis(IntEnum):
    """Lines of a segment that post-processing works on."""

    COLS = 0
    ROWS = 1


class Unit(IntEnum):
    """Bits of the WAIT mask: wait until each named unit is idle."""

    CROSSBAR = 0
    POST = 1
    UPDATE = 2
    PROGRAMMER = 3
    LOAD = 4
    """The LOAD unit; idle on a core with a network interface."""
    READ = 5
    """The READ unit, or the sender of the network interface with its credits."""
    WINDOW = 6
    """The window unit; idle on a core without objects."""


class PacketKind(IntEnum):
    """Kind byte of a stream packet."""

    VECTOR = 1
    AFFINE = 2
    RESULT = 0x81


def whole(name: str, value: SupportsIndex) -> int:
    """``value`` of a field, which must be an integer: none is rounded, no text is read."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}") from None


@dataclass(frozen=True)
class Field:
    """One field of a packed word: ``name``, ``width`` in bits, two's complement if ``signed``.

    ``default``: its value where none is given; None if one must be.
    """

    name: str
    width: int
    doc: str
    signed: bool = False
    default: int | None = None

    def check(self, value: int) -> None:
        """Raise ``ValueError`` unless ``value`` fits."""
        low = -(1 << (self.width - 1)) if self.signed else 0
        high = low + (1 << self.width) - 1
        if not low <= value <= high:
            raise ValueError(f"{self.name} must be in {low}..{high}, not {value}")


Words = tuple[tuple[Field, ...], ...]
"""Fields of a descriptor by 32-bit register, each packed from bit 0; bits above are ignored."""

_SEGMENT = Field("segment", 4, "segment descriptor")
_SLOT = Field("slot", 5, "source slot")
_MVM = (
    _SEGMENT,
    _SLOT,
    Field("precision", 4, "input precision p, 5..input_bits: |x| >> (8 - p), 2**(p-1) cycles"),
    Field("input_signs", 2, "bit 0 drives positive, bit 1 negative inputs"),
    Field("polarities", 2, "bit 0 enables G+, bit 1 G-"),
)
_OBJECTS = Field("objects", 16, "mask of object descriptors")
_DESTINATION = (
    Field("destination", 5, "slot written"),
    Field("destination_line", 10, "line of the destination that takes the first sensed line"),
)

INSTRUCTIONS: Mapping[Opcode, tuple[Field, ...]] = {
    Opcode.HALT: (),
    Opcode.LOAD: (
        Field("affine", 1, "0: a VECTOR packet into a slot, 1: an AFFINE packet into a table"),
        Field("slot", 5, "destination slot or table"),
    ),
    Opcode.READ: (
        _SLOT,
        Field("first_line", 10, "first line sent; multiple of 8"),
        Field("length", 11, "lines sent, 1..lines - start"),
    ),
    Opcode.FORWARD: _MVM,
    Opcode.BACKWARD: _MVM,
    Opcode.ACTIVATE: (
        _SEGMENT,
        Field("axis", 1, "Axis, whose lines are processed"),
        Field("from_slot", 1, "codes come from 0: the latest window, 1: ``slot``"),
        _SLOT,
        Field("accumulate", 1, "add the accumulators"),
        Field("function", 3, "Function"),
        Field("shift", 4, "right shift of the accumulator before the function"),
        Field("affine", 1, "0: scale 1.0 and offset 0.5, 1: from ``table``"),
        Field("table", 3, "affine table"),
        *_DESTINATION,
    ),
    Opcode.DELTA: (
        _SEGMENT,
        Field("axis", 1, "Axis, whose lines are processed"),
        Field("source", 2, "DeltaSource"),
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
        Field("delta", 5, "slot of d (columns)"),
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
    Opcode.CALIBRATE: (Field("drift", 2, "Drift", default=Drift.NONE),),
    Opcode.WAIT: (Field("units", 7, "mask of Unit"),),
    Opcode.LOOP: (
        Field("counter", 2, "loop counter"),
        Field("target", 10, "instruction to go back to"),
        Field("count", 16, "times the body runs in all, at least 1"),
    ),
    Opcode.SEND: (
        Field("route", 4, "route descriptor"),
        Field("partial", 1, "send 0: bytes of ``slot``, 1: the accumulators as partial sums"),
        _SLOT,
        Field("first_line", 10, "first line sent; multiple of 8"),
        Field("length", 11, "lines sent, 1..lines - start"),
        Field("merge", 1, "partial: each group goes once it has come in ``object``"),
        Field("object", 4, "object whose partial sums are waited for, group by group"),
    ),
    Opcode.AWAIT: (_OBJECTS,),
    Opcode.RELEASE: (_OBJECTS,),
    Opcode.GATHER: (
        Field("object", 4, "object whose window is copied; waits until its iteration is ready"),
        Field("destination", 5, "slot written"),
        Field("block", 4, "word of the slot that takes the window's first line"),
        Field("block_row", 3, "rows of the object from the iteration's window to this one's"),
        Field("block_col", 3, "columns"),
        Field("largest", 1, "0: all pixels (im2col), 1: the largest of them (max pooling)"),
    ),
    Opcode.SCATTER: (
        Field("object", 4, "object of sums, to whose window the mantissas are added (col2im)"),
        _SLOT,
        Field("block", 4, "word of the slot with the window's first line"),
        Field("block_row", 3, "rows of the object from the iteration's window to this one's"),
        Field("block_col", 3, "columns"),
    ),
    Opcode.NORMALISE: (
        Field("object", 4, "object of sums, whose pixel becomes mantissas and an exponent, then 0"),
        *_DESTINATION,
    ),
}

SEGMENT: tuple[Field, ...] = (
    Field("row_start", 16, "first row"),
    Field("row_count", 16, "rows, at least 1"),
    Field("col_start", 16, "first column"),
    Field("col_count", 16, "columns, at least 1"),
    Field("threshold", 32, "chi threshold of one pulse, 1..2**(chi_bits-1)-1"),
    Field("chi_shift", 8, "left shift of the chi increment besides the exponent of d", signed=True),
    Field("forward_lsb_log2", 8, "ADC range of forward products"),
    Field("backward_lsb_log2", 8, "ADC range of backward products"),
)
"""Segment descriptor, packed from bit 0 into four 32-bit registers (the last 8 bits unused)."""

OBJECT: Words = (
    (
        Field("enable", 1, "0: packets for it are dropped and counted"),
        Field("partial", 1, "0: VECTOR packets into the ring, 1: PARTIAL packets into the sums"),
        Field("replace", 1, "partial sums 0: are added, 1: take the accumulators' place"),
        Field("vc", 2, "virtual channel of its credits"),
        Field("x", 4, "column of the producer"),
        Field("y", 4, "row of the producer"),
        Field("route", 4, "route of the producer, which gets the credits"),
        Field("source", 4, "object whose vectors count as arrived: itself, or one on whose ring"
              " this one is a cursor"),
        Field("cursor", 1, "1: takes no messages and gives no credits"),
        Field("packed", 1, "1: a vector is a row of pixels; a window's columns have no padding"),
        Field("sums", 1, "1: its ring is in the accumulators; always a cursor"),
        Field("member", 4, "which consumer of the producer's route it is, 0..consumers - 1"),
    ),
    (
        Field("base", 10, "first word of the ring in the vector memory"),
        Field("size", 11, "words of the ring, at least 1"),
        Field("pitch", 8, "from a vector to the next, 8 bytes; vector n begins at byte"
              " 8 n pitch mod ring"),
    ),
    (
        Field("depth", 12, "vectors that the ring holds, at least 1"),
        Field("arrived", 12, "vectors that are there at the start"),
    ),
    (
        Field("height", 10, "rows of the object, H"),
        Field("width", 10, "vectors of a row, W; H x W vectors in raster order are one frame"),
    ),
    (
        Field("out_height", 10, "consumer iterations per frame: rows"),
        Field("out_width", 10, "consumer iterations per frame: columns"),
        Field("padding_row", 5, "Ph: rows above the frame that the first iteration sees",
              signed=True),
        Field("padding_col", 5, "Pw: columns before the frame", signed=True),
    ),
    (
        Field("kernel_height", 8, "rows of the object that an iteration needs, KH"),
        Field("kernel_width", 8, "columns that it needs, KW"),
        Field("stride_row", 4, "Sh"),
        Field("stride_col", 4, "Sw"),
    ),
    (
        Field("segment", 10, "bytes of a pixel of the window, C, at least 1"),
        Field("rows", 4, "rows of the window"),
        Field("cols", 4, "columns of the window"),
        Field("first_col", 4, "column of the window of its first pixel"),
    ),
    (
        Field("count", 11, "lines that a window fills"),
        Field("skip", 10, "bytes of the first pixel that are left out"),
        Field("pixel_pitch", 10, "bytes from a pixel to the next one in its row"),
    ),
    (
        Field("row_pitch", 16, "bytes from a pixel to the one below, mod ring"),
        Field("origin", 16, "byte of the ring with the first pixel of the first window"),
    ),
    (
        Field("col_step", 16, "bytes from an iteration's window to the next one's, mod ring"),
        Field("row_step", 16, "bytes from a row of iterations to the next, mod ring"),
    ),
    (
        Field("frame_step", 16, "bytes from a frame to the next, mod ring"),
        Field("unit", 8, "of sums: exponent that a 1 in an accumulator stands for", signed=True),
    ),
)  # fmt: skip
"""Object descriptor."""

ROUTE: Words = (
    (
        Field("enable", 1, "0: a SEND to it is dropped and counted"),
        Field("multicast", 1, "0: to (x, y), 1: to all nodes of cols x rows"),
        Field("vc", 2, "virtual channel"),
        Field("x", 4, "column of the consumer"),
        Field("y", 4, "row of the consumer"),
        Field("cols", 8, "multicast: one bit per column"),
        Field("rows", 8, "multicast: one bit per row"),
        Field("object", 4, "object of the consumers"),
    ),
    (
        Field("credits", 12, "credits of every consumer at the start: vectors that its ring holds"),
        Field("consumers", 5, "consumers, each with credits of its own: 1..16"),
    ),
)
"""Route descriptor."""

MEMBERS = 16
"""Most consumers of a route."""

CREDITS_MAX = (1 << 12) - 1
"""Most credits of a consumer."""

BLOCK_MAX = 7
"""Largest row or column in a pooled block."""

COORDINATE_MAX = 2047
"""Last row or column of an object that a window may lie in, most of them behind its end."""

SCATTER_SHIFT_MAX = 13
"""Most places by which SCATTER shifts a mantissa left: the lanes multiply by at most 2**13."""

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
    """Pack ``values`` from bit 0 upward; errors name field and value.

    Every field is named but for those with a default.
    """
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    word = position = 0
    for field in fields:
        given = values.get(field.name, field.default)
        if given is None:
            raise ValueError(f"missing field {field.name!r}")
        value = whole(field.name, given)
        field.check(value)
        word |= (value & ((1 << field.width) - 1)) << position
        position += field.width
    return word


def pack_words(words: Words, values: Mapping[str, int]) -> list[int]:
    """Registers of a descriptor with ``values``; errors as :func:`pack`."""
    unknown = set(values) - {field.name for word in words for field in word}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    return [pack(word, {field.name: values[field.name] for field in word}) for word in words]


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
    opcode = Opcode(opcode)
    try:
        return opcode | pack(INSTRUCTIONS[opcode], values) << OPCODE_BITS
    except (TypeError, ValueError) as error:
        raise type(error)(f"{opcode.name}: {error}") from error


def decode(word: int) -> tuple[Opcode, dict[str, int]]:
    """Opcode and fields of an instruction word; ``ValueError`` for an unknown opcode."""
    opcode = Opcode(word & ((1 << OPCODE_BITS) - 1))
    return opcode, unpack(INSTRUCTIONS[opcode], word >> OPCODE_BITS)


def _check_whole(descriptor: object) -> None:
    for name, value in vars(descriptor).items():
        whole(name, value)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A layer or tile on the crossbar: rows x columns, chi threshold and ADC ranges."""

    row_start: int
    row_count: int
    col_start: int
    col_count: int
    threshold: int = 1
    chi_shift: int = 0
    forward_lsb_log2: int = 14
    backward_lsb_log2: int = 14

    def __post_init__(self) -> None:
        _check_whole(self)

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
        """Raise ``ValueError`` for what the hardware refuses with SEGMENT faults."""
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
        for name in ("forward_lsb_log2", "backward_lsb_log2"):
            if not config.lsb_log2_min <= getattr(self, name) <= config.lsb_log2_max:
                raise ValueError(
                    f"{name} must be in {config.lsb_log2_min}..{config.lsb_log2_max},"
                    f" not {getattr(self, name)}"
                )


@dataclass(frozen=True, kw_only=True)
class ObjectDescriptor:
    """A buffer of vectors that a producer fills; the fields of ``OBJECT``.

    The defaults make every vector a frame of its own, needed by one iteration.
    """

    x: int = 0
    y: int = 0
    route: int = 0
    enable: int = 1
    partial: int = 0
    replace: int = 0
    vc: int = 0
    source: int = 0
    cursor: int = 0
    packed: int = 0
    sums: int = 0
    member: int = 0
    base: int = 0
    size: int = 1
    pitch: int = 1
    depth: int = 1
    arrived: int = 0
    height: int = 1
    width: int = 1
    out_height: int = 1
    out_width: int = 1
    padding_row: int = 0
    padding_col: int = 0
    kernel_height: int = 1
    kernel_width: int = 1
    stride_row: int = 1
    stride_col: int = 1
    segment: int = 1
    rows: int = 1
    cols: int = 1
    first_col: int = 0
    count: int = 1
    skip: int = 0
    pixel_pitch: int = 0
    row_pitch: int = 0
    origin: int = 0
    col_step: int = 0
    row_step: int = 0
    frame_step: int = 0
    unit: int = 0

    def __post_init__(self) -> None:
        _check_whole(self)

    def pack(self) -> list[int]:
        """The descriptor's registers."""
        return pack_words(OBJECT, vars(self))

    def check(self, config: CoreConfig) -> None:
        """Raise ``ValueError`` for what does not fit the vector memory, or itself.

        The hardware refuses some of it, message by message or GATHER by GATHER; with the rest it
        reads and writes bytes of the ring that were not meant.
        """
        if self.stride_col and not self.stride_row and self.out_height > 1:
            raise ValueError(f"stride_row must be at least 1 with {self.out_height} rows, not 0")
        if self.sums:
            self._check_sums()
        elif self.partial:
            return
        # The first accumulators are those of ACTIVATE and DELTA.
        first, words = config.blocks if self.sums else 0, config.memory_words
        words = config.accumulator_words if self.sums else words
        field = "sum_words" if self.sums else "vector_words"
        if self.size < 1 or self.base < first or self.base + self.size > words:
            raise ValueError(
                f"ring of words {self.base}..{self.base + self.size - 1} is outside"
                f" {first}..{words - 1} ({field})"
            )
        ring = self.size * config.post_lanes
        if not self.cursor and not 1 <= self.depth * self.pitch * 8 <= ring:
            raise ValueError(
                f"depth * pitch must be in 1..{ring // 8} for a ring of {ring} bytes, not"
                f" {self.depth} * {self.pitch}"
            )
        self._check_window(config.lines, ring)
        self._check_iterations()

    def _check_sums(self) -> None:
        """Sums come by SCATTER alone, pixel by pixel, and every frame takes the same place."""
        for name, value in (("cursor", 1), ("partial", 0), ("packed", 0), ("frame_step", 0)):
            if getattr(self, name) != value:
                raise ValueError(f"{name} must be {value} of sums, not {getattr(self, name)}")

    def _check_window(self, lines: int, ring: int) -> None:
        """Pixels and steps of the window, on a ring of ``ring`` bytes."""
        left = (self.rows * self.cols - self.first_col) * self.segment - self.skip
        for name, low, high in (
            ("segment", 1, min(ring, 1023)),
            ("rows", 1, 15),
            ("cols", 1, 15),
            ("first_col", 0, self.cols - 1),
            ("skip", 0, self.segment - 1),
            ("count", 1, min(lines, left)),
            ("pixel_pitch", 0, ring),
            *((name, 0, ring - 1) for name in (
                "row_pitch", "origin", "col_step", "row_step", "frame_step",
            )),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {getattr(self, name)}")
        if self.rows > 1 and self.cols * self.pixel_pitch > ring:
            raise ValueError(
                f"cols * pixel_pitch must be at most {ring}, the ring, not"
                f" {self.cols} * {self.pixel_pitch}"
            )

    def _check_iterations(self) -> None:
        """Windows of all iterations have coordinates that the window unit can hold."""
        for name in ("padding_col", "stride_col"):
            if self.packed and getattr(self, name):
                raise ValueError(f"{name} must be 0 of packed rows, not {getattr(self, name)}")
        for name, count, stride, padding, size in (
            ("out_height", self.out_height, self.stride_row, self.padding_row, self.rows),
            ("out_width", self.out_width, self.stride_col, self.padding_col, self.cols),
        ):
            last = (count - 1) * stride - padding + BLOCK_MAX + size - 1
            if last > COORDINATE_MAX:
                raise ValueError(
                    f"{name} must not lead beyond pixel {COORDINATE_MAX}, as {count} does"
                )

    def check_use(self, config: CoreConfig, opcode: Opcode, fields: Mapping[str, int]) -> None:
        """Raise ``ValueError`` for a GATHER, SCATTER or NORMALISE that it has no window for."""
        if opcode is Opcode.GATHER:
            self.check_gather(config, fields)
        elif opcode is Opcode.SCATTER:
            self.check_scatter(config, fields)
        else:
            self.check_normalise(config)

    def check_gather(self, config: CoreConfig, gather: Mapping[str, int]) -> None:
        """Raise ``ValueError`` for a GATHER (its fields) that this object has no window for."""
        if self.partial:
            raise ValueError("it has partial sums, which have no window")
        if self.sums:
            raise ValueError("it has sums, no codes")
        self.check_block(config, gather["block_row"], gather["block_col"])
        if gather["largest"] and (self.first_col or self.count > self.segment - self.skip):
            raise ValueError(
                f"the largest of pixels has first_col 0 and count at most"
                f" {self.segment - self.skip}, not {self.first_col} and {self.count}"
            )
        slot = gather["destination"]
        first, last = self.base // config.blocks, (self.base + self.size - 1) // config.blocks
        if first <= slot <= last:
            raise ValueError(f"destination {slot} is in its ring, slots {first}..{last}")

    def check_scatter(self, config: CoreConfig, scatter: Mapping[str, int]) -> None:
        """Raise ``ValueError`` for a SCATTER (its fields) that this object has no window for."""
        if not self.sums:
            raise ValueError("it has no sums")
        self.check_block(config, scatter["block_row"], scatter["block_col"])

    def check_normalise(self, config: CoreConfig) -> None:
        """Raise ``ValueError`` if this object has no pixels of sums for NORMALISE.

        They lie in one piece: the lines of none go on at the front of the ring.
        """
        if not self.sums:
            raise ValueError("it has no sums")
        for name in ("rows", "cols", "kernel_height", "kernel_width"):
            if getattr(self, name) != 1:
                raise ValueError(f"{name} must be 1 for its pixels, not {getattr(self, name)}")
        last = self.origin + (self.out_height - 1) * self.row_step
        last += (self.out_width - 1) * self.col_step
        if last + self.skip + self.count > self.size * config.post_lanes:
            raise ValueError(
                f"the last pixel ends behind its ring of {self.size * config.post_lanes} sums, at"
                f" {last + self.skip + self.count}"
            )

    def check_block(self, config: CoreConfig, row: int, col: int) -> None:
        """Raise ``ValueError`` unless an iteration waits for the window at (row, col) in its block,
        and the ring reaches as far.
        """
        for name, size, at in (("height", self.rows, row), ("width", self.cols, col)):
            waits = getattr(self, f"kernel_{name}")
            if at + size > waits and not (self.packed and name == "width"):
                raise ValueError(
                    f"window at ({row}, {col}) of a block has {at + size} pixels of its {name},"
                    f" beyond kernel_{name} = {waits}"
                )
        ring = self.size * config.post_lanes
        begins = row * self.row_pitch + col * self.pixel_pitch + self.skip
        if begins >= ring:
            raise ValueError(
                f"window at ({row}, {col}) of a block begins {begins} bytes on, beyond the ring of"
                f" {ring}"
            )

    def need(self, row: int, col: int) -> int:
        """Vectors of the frame that must have arrived for iteration (row, col).

        At most 0 for one that sees nothing but padding.
        """
        top = row * self.stride_row - self.padding_row
        left = col * self.stride_col - self.padding_col
        last_row = min(self.height - 1, top + self.kernel_height - 1)
        last_col = min(self.width - 1, left + self.kernel_width - 1)
        return last_row * self.width + last_col + 1

    def dead(self, row: int, col: int) -> int:
        """Vectors of the frame that nobody needs after iteration (row, col)."""
        if (row, col) == (self.out_height - 1, self.out_width - 1):
            return self.height * self.width
        top = row * self.stride_row - self.padding_row
        if top < 0:
            return 0
        left = col * self.stride_col - self.padding_col + self.stride_col
        edge = min(max(left, 0), self.width)
        return min(top * self.width + edge, self.height * self.width)


def slot_ring(config: CoreConfig, slot: int, depth: int = 1) -> dict[str, int]:
    """Fields of an object descriptor whose ring is ``depth`` slots from ``slot`` on."""
    return {
        "base": slot * config.blocks, "size": depth * config.blocks, "pitch": config.lines // 8,
        "depth": depth,
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RouteDescriptor:
    """Where a producer's vectors go; the fields of ``ROUTE``.

    The defaults are those of one consumer with room for one vector.
    """

    object: int
    enable: int = 1
    multicast: int = 0
    vc: int = 0
    x: int = 0
    y: int = 0
    cols: int = 0
    rows: int = 0
    credits: int = 1
    consumers: int = 1

    def __post_init__(self) -> None:
        _check_whole(self)

    def pack(self) -> list[int]:
        """The descriptor's registers."""
        return pack_words(ROUTE, vars(self))

    def check(self) -> None:
        """Raise ``ValueError`` for consumers that the hardware cannot count; it sends nothing."""
        if not 1 <= self.consumers <= MEMBERS:
            raise ValueError(f"consumers must be in 1..{MEMBERS}, not {self.consumers}")
