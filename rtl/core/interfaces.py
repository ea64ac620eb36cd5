# SPDX-License-Identifier: Apache-2.0
"""Signatures and command layouts by which the blocks of a core are connected."""

from amaranth.hdl import Shape, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig
from phasecore.rtl.spec.instructions import (
    INSTRUCTIONS,
    SCATTER_SHIFT_MAX,
    Opcode,
    Unit,
    Words,
)

__all__ = [
    "COORDINATE",
    "AccumulatorPort",
    "AdcRead",
    "AffineWrite",
    "CreditGrant",
    "ExponentWrite",
    "Exponents",
    "GatherCommand",
    "IncrementTiming",
    "MacroProgram",
    "MemoryPort",
    "MvmCommand",
    "MvmSource",
    "ObjectLookup",
    "PostCommand",
    "Pulse",
    "RowCommand",
    "ScatterChunk",
    "SendCommand",
    "SumPixel",
    "TableWrite",
    "UnitStatus",
    "UnitsStatus",
    "UpdateCommand",
    "VectorRead",
    "VectorWrite",
    "WindowCommand",
    "WindowPlace",
    "descriptor_word",
    "table_depth",
]


class UnitStatus(wiring.Signature):
    """What a unit shows the scoreboard: an accepted command, from the next cycle on.

    ``busy`` until its end, and one bit per slot that it still ``reads``, or ``writes``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__({"busy": Out(1), "reads": Out(config.slots), "writes": Out(config.slots)})


class UnitsStatus(wiring.Signature):
    """State of all units, by their names in ``Unit``."""

    def __init__(self, config: CoreConfig):
        super().__init__({unit.name.lower(): Out(UnitStatus(config)) for unit in Unit})


class MemoryPort(wiring.Signature):
    """Access of the host to the memories of a core, seen from the register file.

    ``address`` is that of the register MEMORY_ADDRESS, ``known`` if it is inside its memory: only
    then is a ``read`` or ``write`` asked for. It is taken in a cycle with ``ready``; what is read
    is on ``r_data`` in the next cycle only.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "address": Out(32),
                "known": In(1),
                "read": Out(1),
                "write": Out(1),
                "w_data": Out(32),
                "ready": In(1),
                "r_data": In(32),
            }
        )


class MvmSource:
    """What drives the lines of a window."""

    SLOT = 0
    ONE_HOT = 1
    NOTHING = 2
    REFERENCE = 3
    ALL = 4


class MvmCommand(data.StructLayout):
    """One matrix-vector multiplication.

    ``source`` MvmSource; ``backward`` 0 drives rows, 1 columns; ``slot`` of the codes, of which
    ``count`` lines from ``first_line`` are driven and all others silent; ``line`` driven with the
    largest code when ONE_HOT, those lines with the largest code when ALL; ``precision`` p
    (5..input_bits); ``lsb_log2`` of the ADC; ``input_signs`` and ``polarities`` as in the
    instruction.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "source": 3,
                "backward": 1,
                "slot": config.slot_bits,
                "first_line": config.line_bits,
                "count": config.line_bits + 1,
                "line": config.line_bits,
                "precision": 4,
                "lsb_log2": config.lsb_log2_bits,
                "input_signs": 2,
                "polarities": 2,
            }
        )


class PostCommand(data.StructLayout):
    """ACTIVATE, DELTA (``delta``) or NORMALISE of ``count`` lines from ``first_line``.

    ``destination_line`` takes ``first_line`` (the rest follow, modulo lines); ``tag``
    the number (mod 4) of windows issued so far, whose latest result is processed; ``shift`` is
    the accumulator shift of ACTIVATE or the fixed shift of DELTA. With ``from_slot`` DELTA takes
    targets, or ``mantissas``. NORMALISE is a command of function IDENTITY whose lines are
    accumulators of exponent ``unit``, and nothing else.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "delta": 1,
                "from_slot": 1,
                "mantissas": 1,
                "normalise": 1,
                "unit": signed(EXPONENT_BITS),
                "tag": 2,
                "first_line": config.sum_bits,
                "count": config.line_bits + 1,
                "slot": config.slot_bits,
                "output": config.slot_bits,
                "accumulate": 1,
                "function": 3,
                "shift": 5,
                "fixed": 1,
                "bias": signed(7),
                "affine": 1,
                "table": max(1, (config.affine_tables - 1).bit_length()),
                "destination": config.slot_bits,
                "destination_line": config.line_bits,
            }
        )


class UpdateCommand(data.StructLayout):
    """One OUTER (``outer`` = 1) and/or TRANSFER (``transfer`` = 1) over a segment."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "outer": 1,
                "transfer": 1,
                "x_slot": config.slot_bits,
                "d_slot": config.slot_bits,
                "row_start": config.row_bits,
                "row_count": config.row_bits + 1,
                "col_start": config.col_bits,
                "col_count": config.col_bits + 1,
                "threshold": config.chi_bits - 1,
                "chi_shift": signed(8),
            }
        )


class Pulse(data.StructLayout):
    """``count`` blind SET pulses on G- (``negative``) or G+ of one weight; count >= 1."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "row": config.row_bits,
                "col": config.col_bits,
                "negative": 1,
                "count": config.pulse_bits,
            }
        )


class RowCommand(data.StructLayout):
    """REFRESH (``program`` = 0) of a segment's rows, or PROGRAM (1) of ``row`` from ``slot``."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "program": 1,
                "all_rows": 1,
                "row": config.row_bits,
                "slot": config.slot_bits,
                "row_start": config.row_bits,
                "row_count": config.row_bits + 1,
                "col_start": config.col_bits,
                "col_count": config.col_bits + 1,
            }
        )


class VectorRead(wiring.Signature):
    """Read channel of the vector memory, seen from the client.

    A read is taken in a cycle with ``valid & ready``; its word (``post_lanes`` signed bytes, lane
    0 lowest) is on ``data`` in the next cycle only.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "address": Out(config.vector_address_bits),
                "data": In(8 * config.post_lanes),
            }
        )


class VectorWrite(wiring.Signature):
    """Write channel of the vector memory, seen from the client; ``mask`` has one bit per byte."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "address": Out(config.vector_address_bits),
                "mask": Out(config.post_lanes),
                "data": Out(8 * config.post_lanes),
            }
        )


COORDINATE = signed(12)
"""Row or column of an object, or of the padding around it."""


class GatherCommand(data.StructLayout):
    """One GATHER; the fields of the instruction.

    With ``sums`` a SCATTER, whose slot is the ``destination``, or the object of a NORMALISE.
    """

    def __init__(self) -> None:
        fields = {field.name: field.width for field in INSTRUCTIONS[Opcode.GATHER]}
        super().__init__({**fields, "sums": 1})


class ObjectLookup(wiring.Signature):
    """With ``en`` what is kept of ``object`` is read, and there from the next cycle on."""

    def __init__(self) -> None:
        super().__init__({"en": Out(1), "object": Out(4)})


class WindowPlace(data.StructLayout):
    """Address, in bytes of the ring, of the first pixel that is read of an object's window, and
    coordinates of the window's pixel (0, 0)."""

    def __init__(self, config: CoreConfig):
        pointer = exact_log2(config.memory_words * config.post_lanes)
        super().__init__({"pointer": pointer, "row": COORDINATE, "col": COORDINATE})


class SumPixel(data.StructLayout):
    """Sums of an object's pixel: ``count`` accumulators from ``first_line`` on, of exponent
    ``unit``."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "first_line": config.sum_bits,
                "count": config.line_bits + 1,
                "unit": signed(EXPONENT_BITS),
            }
        )


class WindowCommand(data.StructLayout):
    """GATHER: ``count`` lines of ``slot`` from word ``block`` on, out of an object on a ring.

    The ring is ``ring_size`` words of the vector memory from word ``ring_base`` on; addresses in
    it, and their steps, are in bytes modulo the ring. ``row``, ``col`` (signed) and ``pointer`` are
    coordinates and address of the first pixel that is read, at position (0, 0) of a pooled block;
    position (``block_row``, ``block_col``) is as many pixels further. The object has ``height`` by
    ``width`` pixels of ``segment`` bytes; the next one in a row is ``pitch`` bytes further, the
    one below ``row_pitch`` bytes. The window has ``rows``, from the first one that is read on, by
    ``cols`` pixels; the first pixel read is in its column ``first_col``, and ``skip`` bytes of it
    are left out. ``largest`` takes the largest of all pixels, each from byte ``skip`` on.
    ``sources`` are the slots that the ring covers.

    With ``scatter`` the lines are added to the window, whose ring is in the accumulators; a sum has
    exponent ``unit``.
    """

    PIXEL_BITS = 10

    def __init__(self, config: CoreConfig):
        words, pixel = config.vector_address_bits, self.PIXEL_BITS
        place = WindowPlace(config)
        super().__init__(
            {
                "largest": 1,
                "slot": config.slot_bits,
                "block": config.block_bits,
                "count": config.line_bits + 1,
                **{name: field.shape for name, field in place},
                "block_row": 3,
                "block_col": 3,
                "ring_base": words,
                "ring_size": words + 1,
                "height": 10,
                "width": 10,
                "rows": 4,
                "cols": 4,
                "first_col": 4,
                "segment": pixel,
                "skip": pixel,
                "pitch": pixel,
                "row_pitch": place["pointer"].shape,
                "sources": config.slots,
                "scatter": 1,
                "unit": signed(EXPONENT_BITS),
            }
        )


class ScatterChunk(data.StructLayout):
    """Mantissas for accumulators of one word.

    The byte of a lane of ``mask`` is shifted left by ``shift`` and added to its accumulator. With
    ``cut`` the shift is the largest and should have been larger: lanes whose byte is not 0 are
    counted as saturated.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "word": config.sum_word_bits,
                "mask": config.post_lanes,
                "codes": 8 * config.post_lanes,
                "shift": range(SCATTER_SHIFT_MAX + 1),
                "cut": 1,
            }
        )


class ExponentWrite(wiring.Signature):
    """Writes the shared exponent of a slot in a cycle with ``valid``, seen from the client."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "valid": Out(1),
                "slot": Out(config.slot_bits),
                "exponent": Out(signed(EXPONENT_BITS)),
            }
        )


def Exponents(config: CoreConfig) -> data.ArrayLayout:
    """Shared exponents of all slots."""
    return data.ArrayLayout(signed(EXPONENT_BITS), config.slots)


class AdcRead(wiring.Signature):
    """Read port of the ADC interface, seen from the client.

    ``en`` asks for ``block`` (lines ``block * post_lanes`` and up) of the held counts; their
    calibrated 8-bit codes are on ``codes`` exactly two cycles later. Clipped codes are counted
    among the lanes of ``mask``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "en": Out(1),
                "block": Out(config.block_bits),
                "mask": Out(config.post_lanes),
                "codes": In(8 * config.post_lanes),
            }
        )


class AffineWrite(wiring.Signature):
    """Fills the affine tables, seen from the client; taken in a cycle with ``en``.

    ``address`` is ``table * blocks + block``; a lane has the scale in its low byte and the offset
    in its high byte; ``mask`` has one bit per lane.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "en": Out(1),
                "address": Out(range(max(2, config.affine_tables * config.blocks))),
                "mask": Out(config.post_lanes),
                "data": Out(16 * config.post_lanes),
            }
        )


class IncrementTiming(wiring.Signature):
    """Window timing from the input driver (Out) to the ADC interface.

    Aligned with the PWM lines: the macro's increments of a cycle arrive one cycle later.
    ``first`` and ``last`` mark the first and last cycle of a window, ``active`` all of them.
    ``lsb_log2``, ``precision`` and ``exponent`` (of the driven slot, 0 without one) are valid with
    ``active``.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "first": Out(1),
                "active": Out(1),
                "last": Out(1),
                "lsb_log2": Out(config.lsb_log2_bits),
                "precision": Out(4),
                "exponent": Out(signed(EXPONENT_BITS)),
            }
        )


class MacroProgram(wiring.Signature):
    """Programming port of the crossbar macro, seen from the programmer.

    Each transfer (``valid & ready``) selects one device; the transfer with ``fire`` pulses it and
    all devices selected since the last ``fire``. Selected devices of one fire share the row and
    ``reset`` and differ from each other. ``ready`` is low while the pulse lasts, which a reset
    does not end; what is selected but not fired it forgets.
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "row": Out(config.row_bits),
                "col": Out(config.col_bits),
                "negative": Out(1),
                "device": Out(max(1, (config.devices_per_polarity - 1).bit_length())),
                "reset": Out(1),
                "fire": Out(1),
            }
        )


class SendCommand(data.StructLayout):
    """One SEND; the fields of the instruction."""

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "route": 4,
                "partial": 1,
                "slot": config.slot_bits,
                "first_line": config.line_bits,
                "length": config.line_bits + 1,
                "merge": 1,
                "object": 4,
            }
        )


class CreditGrant(data.StructLayout):
    """``count`` (1..255) credits to give to the producer of ``object``."""

    def __init__(self) -> None:
        super().__init__({"object": 4, "count": 8})


class TableWrite(data.StructLayout):
    """A word of an object (``route`` = 0) or route descriptor is written in a cycle with ``en``.

    A write to any word of an entry puts the entry's counters to their start values.
    """

    def __init__(self) -> None:
        super().__init__({"en": 1, "route": 1, "index": 4, "word": 4, "data": 32})


def descriptor_word(words: Words, word: int) -> data.FlexibleLayout:
    """Fields in one register of a descriptor."""
    low, found = 0, {}
    for field in words[word]:
        found[field.name] = data.Field(Shape(field.width, field.signed), low)
        low += field.width
    return data.FlexibleLayout(32, found)


def table_depth(entries: int) -> int:
    """Words of a memory with one per descriptor."""
    return max(2, entries)


class AccumulatorPort(wiring.Signature):
    """Access to the accumulators of post-processing, seen from the client.

    ``ready`` while post-processing is idle. A read is taken in a cycle with ``read & ready``; the
    block's accumulators (lane 0 lowest) are on ``data`` in the next cycle only. A write is taken in
    every cycle with ``ready`` and in the one after; ``mask`` has one bit per lane.
    """

    def __init__(self, config: CoreConfig):
        width = config.acc_bits * config.post_lanes
        super().__init__(
            {
                "ready": In(1),
                "read": Out(1),
                "block": Out(config.block_bits),
                "data": In(width),
                "write": Out(1),
                "write_block": Out(config.block_bits),
                "mask": Out(config.post_lanes),
                "write_data": Out(width),
            }
        )
