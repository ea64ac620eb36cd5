# SPDX-License-Identifier: Apache-2.0
"""Window unit: GATHER, SCATTER, and where their windows are (docs/contract)."""

from typing import Any

from phasecore.models.engine.jit import compiled, record
from phasecore.models.golden.fixed_point import clip, wrapped
from phasecore.rtl.spec.instructions import SCATTER_SHIFT_MAX

__all__ = ["PADDING", "WINDOW", "gather", "gather_cycles", "place", "pointer", "scatter"]

PADDING = 0
"""Code of a pixel outside the object."""

_SMALLEST = -128

WINDOW = record(
    "largest", "slot", "start", "count", "row", "col", "block_row", "block_col", "pointer",
    "ring_base", "ring_size", "height", "width", "rows", "cols", "first_col", "segment", "skip",
    "pitch", "row_pitch",
)  # fmt: skip
"""A window as the unit gets it: fields of ``WindowCommand``, all addresses and sizes in bytes."""

_CYCLES_OF_LAST_WORD = 2
"""From the last chunk's read to the end of the write of its word."""

_ANY_WIDTH = 1 << 14
"""Width of an object of packed rows, whose columns have no padding."""


@compiled
def place(w: Any, entry: Any, i: Any, slot: int, lines: int, lanes: int) -> None:
    """Fill ``w`` (a ``WINDOW``) for the GATHER or SCATTER ``i`` of an object at its iteration.

    ``entry`` is a record of the object's table. Lines beyond the end of the ``slot`` of ``lines``
    are left out.
    """
    w.largest, w.slot, w.start = i.largest, slot, i.block * lanes
    w.count = min(entry.count, lines - w.start)
    w.row = entry.row * entry.stride_row - entry.padding_row
    w.col = entry.col * entry.stride_col - entry.padding_col + entry.first_col
    w.block_row, w.block_col = i.block_row, i.block_col
    w.pointer = pointer(entry)
    w.ring_base, w.ring_size = entry.ring_base, entry.ring_size
    w.height = entry.frame_height
    w.width = _ANY_WIDTH if entry.packed else entry.frame_width
    w.rows, w.cols, w.first_col = entry.rows, entry.cols, entry.first_col
    w.segment, w.skip = entry.segment, entry.skip
    w.pitch, w.row_pitch = entry.pixel_pitch, entry.row_pitch


@compiled
def pointer(entry: Any) -> int:
    """Byte (or sum) of an object's ring with the first pixel of its iteration."""
    at = entry.origin + entry.frame_number * entry.frame_step
    at += entry.row * entry.row_step + entry.col * entry.col_step
    return at % entry.ring_size


@compiled
def gather(memory: Any, lines: int, w: Any) -> None:
    """GATHER in ``memory``, a flat array of signed bytes with slots of ``lines`` at its front."""
    to, total, largest = w.slot * lines + w.start, w.count, w.largest
    if largest:
        for line in range(total):
            memory[to + line] = _SMALLEST
    # Lines of the slot that a pixel's byte ``skip`` and those behind it have.
    line, skip = 0, w.skip
    row, col = 0, w.first_col
    while line < total and row < w.rows:
        count = min(w.segment - skip, total - line)
        at = _place(w, row, col, skip)
        if largest:
            _take_larger(memory, to, at, count, w)
        else:
            _copy(memory, to + line, at, count, w)
            line, skip = line + count, 0
        col += 1
        if col == w.cols:
            row, col = row + 1, 0
    if not largest:
        memory[to + line : to + total] = PADDING


@compiled
def _place(w: Any, row: int, col: int, skip: int) -> int:
    """Where a pixel's byte ``skip`` is in the ring, -1 if it is outside the object."""
    row, col = w.block_row + row, w.block_col + col - w.first_col
    if not (0 <= w.row + row < w.height and 0 <= w.col + col < w.width):
        return -1
    return wrapped(w.pointer + row * w.row_pitch + col * w.pitch + skip, w.ring_size)


@compiled
def _copy(memory: Any, to: int, at: int, count: int, w: Any) -> None:
    """Bytes from ``at`` on in the ring, or padding."""
    if at < 0:
        memory[to : to + count] = PADDING
        return
    source, room = w.ring_base + at, w.ring_size - at
    for byte in range(min(count, room)):
        memory[to + byte] = memory[source + byte]
    for byte in range(room, count):
        memory[to + byte] = memory[source + byte - w.ring_size]


@compiled
def _take_larger(memory: Any, to: int, at: int, count: int, w: Any) -> None:
    """Bytes from ``at`` on in the ring, where they are larger."""
    if at < 0:
        return
    for byte in range(count):
        value = memory[w.ring_base + wrapped(at + byte, w.ring_size)]
        memory[to + byte] = max(memory[to + byte], value)


@compiled
def scatter(memory: Any, accumulators: Any, lines: int, shift: int, bits: int, w: Any) -> int:
    """SCATTER of lines of a slot in ``memory``, shifted left; the sums that are saturated.

    ``shift`` below 0 adds nothing; one that is too large is cut, and its sums counted.
    """
    limit = 1 << (bits - 1)
    cut = shift > SCATTER_SHIFT_MAX
    left = min(shift, SCATTER_SHIFT_MAX)
    source, total, saturated = w.slot * lines + w.start, w.count, 0
    line, skip = 0, w.skip
    row, col = 0, w.first_col
    while left >= 0 and line < total and row < w.rows:
        count = min(w.segment - skip, total - line)
        at = _place(w, row, col, skip)
        for byte in range(count if at >= 0 else 0):
            value = memory[source + line + byte]
            to = w.ring_base + wrapped(at + byte, w.ring_size)
            exact = accumulators[to] + (value << left)
            accumulators[to] = clip(exact, -limit, limit - 1)
            saturated += exact != accumulators[to] or (cut and value != 0)
        line, skip = line + count, 0
        col += 1
        if col == w.cols:
            row, col = row + 1, 0
    return saturated


@compiled
def gather_cycles(lanes: int, w: Any) -> int:
    """Cycles that a GATHER keeps the unit busy when the memory is always ready.

    One for every chunk; one more for one that crosses the end of a word right behind one that
    fills a word, and for a word that is left over at the end.
    """
    cycles, left, full, rest = _CYCLES_OF_LAST_WORD, w.count, False, 0
    while left > 0:
        block = min(left, lanes) if w.largest else left
        done, row, col, skip = 0, 0, w.first_col, w.skip
        while (row < w.rows) if w.largest else (done < block):
            y, x = w.row + w.block_row + row, w.col + w.block_col + col - w.first_col
            inside = 0 <= y < w.height and 0 <= x < w.width
            address = w.pointer + (w.block_row + row) * w.row_pitch + w.count - left
            address += (w.block_col + col - w.first_col) * w.pitch
            end = skip + block if w.largest else min(w.segment, skip + block - done)
            while skip < end:
                room = lanes - (address + skip) % w.ring_size % lanes if inside else lanes
                count = min(end - skip, room)
                lane = done % lanes
                crosses = not w.largest and lane + count > lanes
                cycles += 2 if crosses and full else 1
                full = not w.largest and lane + count >= lanes
                rest = lane + count - lanes if crosses else 0
                skip += count
                done += 0 if w.largest else count
            skip = w.skip if w.largest else 0
            col += 1
            if col == w.cols:
                row, col = row + 1, 0
        left -= block
    return cycles + (rest > 0)
