# SPDX-License-Identifier: Apache-2.0
"""What a layer reads of a frame, as objects of the core that holds it.

A layer's rows are the im2col matrix's: cell ``(kh KW + kw) C + c`` is channel c of kernel pixel
(kh, kw). An object has the rows of one **tile**, for all positions of the layer in raster order; a
position of a pooled layer is a block of ``block`` positions, which one iteration covers.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import BLOCK_MAX, ObjectDescriptor

__all__ = ["LayerInput", "check_rings", "smallest_depth", "window_object"]

_UNIT = 8
"""Bytes of a vector's pitch."""


@dataclass(frozen=True, kw_only=True)
class LayerInput:
    """Frames of ``height`` by ``width`` pixels of ``channels`` codes, and a kernel over them.

    Raises
    ------
    ValueError
        Naming the parameter: no position, or a kernel that lies outside the frame.
    """

    height: int
    width: int
    channels: int

    kernel: tuple[int, int] = (1, 1)
    """Rows and columns, KH and KW."""

    stride: tuple[int, int] = (1, 1)

    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows of padding above and columns left of the frame, then below and right of it."""

    block: tuple[int, int] = (1, 1)
    """Positions, in rows and columns, of an iteration: those that are pooled into one."""

    largest: bool = False
    """A window is one pixel, the largest of the kernel's in every channel."""

    packed: bool = False
    """A vector is a row of pixels, its horizontal padding with it, or a piece of a row.

    For frames of few channels, whose pixels would fill a small part of a vector.
    """

    span: int | None = None
    """Channels of a vector, of which those from ``offset`` on are read; None: no others."""

    offset: int = 0

    def __post_init__(self) -> None:
        top, left, bottom, right = self.padding
        rows, cols = self.height + top + bottom, self.width + left + right
        for name, value, low, high in (
            ("height", self.height, 1, 1023),
            ("width", self.width, 1, 1023),
            ("channels", self.channels, 1, 65535),
            ("stride of rows", self.stride[0], 1, 15),
            ("stride of columns", self.stride[1], 1, 15),
            ("kernel height", self.kernel[0], 1, rows),
            ("kernel width", self.kernel[1], 1, cols),
            ("padding above", top, 0, self.kernel[0] - 1),
            ("padding below", bottom, 0, self.kernel[0] - 1),
            ("padding on the left", left, 0, self.kernel[1] - 1),
            ("padding on the right", right, 0, self.kernel[1] - 1),
            ("rows of a block", self.block[0], 1, BLOCK_MAX // max(1, self.stride[0]) + 1),
            ("columns of a block", self.block[1], 1, BLOCK_MAX // max(1, self.stride[1]) + 1),
            ("offset", self.offset, 0, (self.span or self.channels) - self.channels),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name, block, count in zip(("rows", "columns"), self.block, self.positions, strict=True):
            if block > count:
                raise ValueError(f"{name} of a block must be at most {count}, not {block}")
        if self.packed and self.largest:
            raise ValueError("packed rows must not be pooled: their padding would count as zeros")

    @property
    def positions(self) -> tuple[int, int]:
        """Rows and columns of positions."""
        top, left, bottom, right = self.padding
        return (
            (self.height + top + bottom - self.kernel[0]) // self.stride[0] + 1,
            (self.width + left + right - self.kernel[1]) // self.stride[1] + 1,
        )

    @property
    def iterations(self) -> tuple[int, int]:
        """Rows and columns of whole blocks; positions behind them are left out."""
        rows, cols = self.positions
        return rows // self.block[0], cols // self.block[1]

    @property
    def matrix_rows(self) -> int:
        """Rows of the im2col matrix."""
        return self.pixels * self.channels

    @property
    def pixels(self) -> int:
        """Pixels of a window: those of the kernel, or the largest of them."""
        return 1 if self.largest else self.kernel[0] * self.kernel[1]

    @property
    def places(self) -> list[tuple[int, int]]:
        """``block_row``, ``block_col`` of GATHER for the positions of a block in raster order."""
        rows, cols = self.block
        return [
            (row * self.stride[0], col * self.stride[1]) for row in range(rows)
            for col in range(cols)
        ]  # fmt: skip

    def row_vectors(self, config: CoreConfig) -> int:
        """Vectors of a row of the frame."""
        return -(-self._row_bytes // config.lines) if self.packed else self.width

    def pitch(self, config: CoreConfig) -> int:
        """From a vector to the next one in the ring, 8 bytes."""
        if not self.packed:
            return -(-(self.span or self.channels) // _UNIT)
        return -(-self._row_bytes // (self.row_vectors(config) * _UNIT))

    def vectors(self, frame: ArrayLike, config: CoreConfig) -> list[NDArray[Any]]:
        """A frame, shape (height, width, channels), as it is sent."""
        codes = np.asarray(frame)
        if not self.packed:
            return list(codes.reshape(-1, self.channels))
        _, left, _, right = self.padding
        rows = np.pad(codes, ((0, 0), (left, right), (0, 0))).reshape(self.height, -1)
        size = _UNIT * self.pitch(config)
        return [row[at : at + size] for row in rows for at in range(0, rows.shape[1], size)]

    @property
    def _row_bytes(self) -> int:
        """Of packed rows."""
        _, left, _, right = self.padding
        return (left + self.width + right) * self.channels


def window_object(
    config: CoreConfig, layer: LayerInput, *, base: int, size: int | None = None, ahead: int = 0,
    tile: tuple[int, int] | None = None, **fields: int,
) -> ObjectDescriptor:  # fmt: skip
    """Object whose iterations see the windows of a layer.

    Parameters
    ----------
    config : the core
    layer : what the layer reads
    base : first word of the ring
    size : words of the ring; None takes as many as the windows need
    ahead : vectors for which there must be room beside those that the windows need
    tile : rows [a, b) of the layer's matrix, for one crossbar; None takes all
    fields : others of the descriptor: producer, route, cursor; with ``sums`` and ``cursor`` 1 the
        windows are for SCATTER (of a layer of 1 x 1 pixels for NORMALISE), on a ring in the
        accumulators that holds a whole frame

    Raises
    ------
    ValueError
        naming parameter and value: a tile outside the matrix or longer than a slot, pixels longer
        than a vector, a ring that the memory has no room for, or with too little room for the
        windows
    """
    if not layer.packed and layer.channels > config.lines:
        raise ValueError(f"channels must be at most {config.lines}, not {layer.channels}")
    pitch = layer.pitch(config)
    given: dict[str, int] = {
        "base": base, "pitch": pitch, "height": layer.height, "width": layer.row_vectors(config),
        "out_height": layer.iterations[0], "out_width": layer.iterations[1],
        "stride_row": layer.block[0] * layer.stride[0], **_tile(config, layer, tile),
        **fields,
    }  # fmt: skip
    if given.get("sums"):
        needed = layer.height * layer.width
    else:
        needed = smallest_depth(ObjectDescriptor(**given)) + ahead
    words = -(-max(needed * pitch * _UNIT, _reach(layer, given)) // config.post_lanes)
    size = words if size is None else size
    if size < words:
        raise ValueError(
            f"size must be at least {words} words for windows of {needed} vectors of"
            f" {_UNIT * pitch} bytes, not {size}"
        )
    ring = size * config.post_lanes
    found = ObjectDescriptor(
        **given, size=size, depth=ring // (_UNIT * pitch), **_steps(layer, given, ring)
    )
    found.check(config)
    found.pack()
    for place in layer.places:
        found.check_block(config, *place)
    return found


def smallest_depth(descriptor: ObjectDescriptor) -> int:
    """Vectors that a ring must hold so that its producer never waits for ever."""
    most, dead = 1, 0
    for place in itertools.product(range(descriptor.out_height), range(descriptor.out_width)):
        most = max(most, descriptor.need(*place) - dead)
        dead = descriptor.dead(*place)
    return most


def check_rings(config: CoreConfig, objects: Sequence[ObjectDescriptor]) -> None:
    """Raise ``ValueError`` if rings overlap, exceed the memory, or a cursor is on none.

    ``objects`` are all of a core, by number. They may share one ring as a whole: cursors, and those
    of several producers, each of which has a part of every vector. Rings of sums are in another
    memory.
    """
    rings: dict[int, tuple[int, ...]] = {}
    for index, found in enumerate(objects):
        if not found.enable or found.partial:
            continue
        try:
            found.check(config)
        except ValueError as error:
            raise ValueError(f"object {index}: {error}") from error
        ring = (found.base, found.size, found.pitch, found.sums)
        for other, of_other in rings.items():
            base, size, _, sums = of_other
            apart = base + size <= found.base or found.base + found.size <= base
            if not apart and sums == found.sums and ring != of_other:
                raise ValueError(
                    f"ring of object {index}, words {found.base}..{found.base + found.size - 1},"
                    f" overlaps that of object {other}, words {base}..{base + size - 1}"
                )
        rings[index] = ring
    for index, found in enumerate(objects):
        if index in rings and found.cursor:
            source = found.source
            if found.sums and source in rings and not objects[source].cursor:
                continue
            if rings.get(source) != rings[index] or objects[source].cursor:
                raise ValueError(
                    f"source must be an object with the ring of its cursor {index}, not {source}"
                )


def _tile(config: CoreConfig, layer: LayerInput, tile: tuple[int, int] | None) -> dict[str, int]:
    """Fields of the pixels of a tile, and of the vectors that they lie in."""
    total = layer.matrix_rows
    first, end = (0, total) if tile is None else tile
    if not 0 <= first < end <= total:
        raise ValueError(f"tile must be part of 0..{total}, not {first}..{end}")
    if end - first > config.lines:
        raise ValueError(f"tile must have at most {config.lines} rows, not {end - first}")
    top, left, _, _ = layer.padding
    rows, cols = layer.kernel
    between = [(count - 1) * step for count, step in zip(layer.block, layer.stride, strict=True)]
    if layer.packed:
        segment = cols * layer.channels
        row, skip = divmod(first, segment)
        rows = (end - 1) // segment - row + 1
        return {
            "packed": 1, "segment": segment, "rows": rows, "count": end - first, "skip": skip,
            "padding_row": top - row, "kernel_height": rows + between[0],
            "kernel_width": layer.row_vectors(config), "stride_col": 0,
            "pixel_pitch": layer.channels,
        }  # fmt: skip
    row = col = 0
    skip = first
    if not layer.largest:
        pixel, skip = divmod(first, layer.channels)
        last = (end - 1) // layer.channels
        (row, col), (last_row, last_col) = divmod(pixel, cols), divmod(last, cols)
        rows = last_row - row + 1
        if rows == 1:
            # Columns that the tile does not have are not waited for.
            cols, left, col = last_col - col + 1, left - col, 0
    return {
        "segment": layer.channels, "rows": rows, "cols": cols, "first_col": col, "skip": skip,
        "count": end - first, "padding_row": top - row, "padding_col": left,
        "kernel_height": rows + between[0], "kernel_width": cols + between[1],
        "stride_col": layer.block[1] * layer.stride[1],
        "pixel_pitch": _UNIT * layer.pitch(config),
    }  # fmt: skip


def _reach(layer: LayerInput, given: Mapping[str, int]) -> int:
    """Bytes that a ring must have for the addresses of a window, be it all padding."""
    row, pixel = given["width"] * given["pitch"] * _UNIT, given["pixel_pitch"]
    begins = max(at[0] * row + at[1] * pixel for at in layer.places) + given["skip"]
    return max(begins + 1, given["segment"], given.get("cols", 1) * pixel)


def _steps(layer: LayerInput, given: Mapping[str, int], ring: int) -> dict[str, int]:
    """Pitch of rows, and steps of the pointer; in bytes modulo the ring."""
    row_pitch, pixel = given["width"] * given["pitch"] * _UNIT, given["pixel_pitch"]
    origin = -given["padding_row"] * row_pitch
    origin += (given.get("first_col", 0) - given.get("padding_col", 0)) * pixel + layer.offset
    steps = {
        "row_pitch": row_pitch,
        "origin": origin,
        "col_step": layer.block[1] * layer.stride[1] * pixel,
        "row_step": layer.block[0] * layer.stride[0] * row_pitch,
        "frame_step": 0 if given.get("sums") else layer.height * row_pitch,
    }
    return {name: step % ring for name, step in steps.items()}
