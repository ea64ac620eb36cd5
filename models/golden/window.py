# SPDX-License-Identifier: Apache-2.0
"""Window unit: GATHER, and the closed forms of its windows (docs/contract)."""

from dataclasses import dataclass
from typing import Any

from phasecore.models.engine.jit import compiled, record, records

__all__ = ["PADDING", "Window", "gather", "gather_cycles"]

PADDING = 0
"""Code of a pixel outside the object."""

_SMALLEST = -128

_WINDOW = record(
    "largest", "slot", "start", "count", "row", "col", "block_row", "block_col", "pointer",
    "ring_base", "ring_size", "height", "width", "rows", "cols", "first_col", "segment", "skip",
    "pitch", "row_pitch",
)  # fmt: skip
"""A window as the unit gets it: fields of ``WindowCommand``, all addresses and sizes in bytes."""

_CYCLES_OF_LAST_WORD = 2
"""From the last chunk's read to the end of the write of its word."""


@compiled
def gather(memory: Any, lines: int, w: Any) -> None:
    """GATHER in ``memory``, a flat array of signed bytes with slots of ``lines`` at its front."""
    to = w.slot * lines + w.start
    for line in range(w.count):
        memory[to + line] = _SMALLEST if w.largest else PADDING
    # Lines of the slot that a pixel's byte ``skip`` and those behind it have.
    line, skip = 0, w.skip
    row, col = 0, w.first_col
    while line < w.count and row < w.rows:
        count = min(w.segment - skip, w.count - line)
        y, x = w.row + w.block_row + row, w.col + w.block_col + col - w.first_col
        if 0 <= y < w.height and 0 <= x < w.width:
            address = w.pointer + (w.block_row + row) * w.row_pitch
            address += (w.block_col + col - w.first_col) * w.pitch + skip
            for byte in range(count):
                value = memory[w.ring_base + (address + byte) % w.ring_size]
                if not w.largest or value > memory[to + byte]:
                    memory[to + line + byte] = value
        if not w.largest:
            line, skip = line + count, 0
        col += 1
        if col == w.cols:
            row, col = row + 1, 0


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


@dataclass(frozen=True, kw_only=True)
class Window:
    """What GATHER takes from one object for a row tile of a layer, for every position.

    Addresses, pitches and sizes are in bytes. Output position (row, col) sees the object from
    pixel ``(row * stride_row - padding_row, col * stride_col - padding_col)`` on. Rows that are
    packed into one pixel each have ``stride_col`` 0 and ``cols`` 1, and move by ``col_step`` bytes.

    Raises
    ------
    ValueError
        Naming the parameter: the window does not fit the object, its pixels or the ring.
    """

    height: int
    width: int
    segment: int
    """Bytes of a pixel."""
    pitch: int
    row_pitch: int
    ring_base: int
    ring_size: int
    """Place and bytes of the ring."""
    origin: int = 0
    """Address of pixel (0, 0) in the ring."""
    rows: int
    cols: int
    stride_row: int = 1
    stride_col: int = 1
    padding_row: int = 0
    padding_col: int = 0
    col_step: int | None = None
    """Bytes from a position to the next one in its row; ``stride_col * pitch`` if None."""
    first_row: int = 0
    first_col: int = 0
    skip: int = 0
    """First pixel of the tile, and its bytes that belong to the tile before."""
    count: int
    """Lines of the tile."""
    largest: bool = False

    def __post_init__(self) -> None:
        total = self.segment if self.largest else self.rows * self.cols * self.segment
        first = self.first_row * self.cols + self.first_col
        before = self.skip + (0 if self.largest else first * self.segment)
        padded = (self.height + 2 * self.padding_row, self.width + 2 * self.padding_col)
        for name, value, low, high in (
            ("rows", self.rows, 1, padded[0]),
            ("cols", self.cols, 1, padded[1]),
            ("first_row", self.first_row, 0, 0 if self.largest else self.rows - 1),
            ("first_col", self.first_col, 0, 0 if self.largest else self.cols - 1),
            ("skip", self.skip, 0, self.segment - 1),
            ("count", self.count, 1, total - before),
            ("pitch", self.pitch, 0, self.ring_size),
            ("row_pitch", self.row_pitch, 0, self.ring_size - 1),
            ("origin", self.origin, 0, self.ring_size - 1),
            ("segment", self.segment, 1, self.ring_size),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low}..{high}, not {value}")
        last = (before + self.count - 1) // self.segment
        several_rows = self.largest or last // self.cols > self.first_row
        if several_rows and self.cols * self.pitch > self.ring_size:
            raise ValueError(
                f"ring_size must be at least {self.cols * self.pitch}, a row of the window,"
                f" not {self.ring_size}"
            )

    def at(
        self, row: int, col: int, *, slot: int, start: int = 0, block: tuple[int, int] = (0, 0)
    ) -> Any:
        """Record of the window at output position (row, col), as ``gather`` takes it.

        ``slot`` and ``start`` say where its lines go; ``block`` is the place in a pooled block of
        which (row, col) is the first position, all of which the ring holds.
        """
        beyond = block[0] * self.row_pitch + block[1] * self.pitch + self.skip
        if beyond >= self.ring_size:
            raise ValueError(f"block {block} begins {beyond} bytes on, beyond the ring")
        y = row * self.stride_row - self.padding_row + self.first_row
        x = col * self.stride_col - self.padding_col + self.first_col
        step = self.stride_col * self.pitch if self.col_step is None else self.col_step
        pointer = self.origin + y * self.row_pitch + col * step
        pointer += (self.first_col - self.padding_col) * self.pitch
        found = records(1, _WINDOW)[0]
        for name in (
            "largest", "count", "ring_base", "ring_size", "height", "width", "cols", "first_col",
            "segment", "skip", "pitch", "row_pitch",
        ):  # fmt: skip
            found[name] = getattr(self, name)
        found.rows = self.rows - self.first_row
        found.row, found.col, found.pointer = y, x, pointer % self.ring_size
        found.slot, found.start = slot, start
        found.block_row, found.block_col = block
        return found
