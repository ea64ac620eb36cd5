# SPDX-License-Identifier: Apache-2.0
"""A core that has a tile of a layer, for inference: its slots, tables, segments and program.

While a window is integrated, the next one is gathered, and what is left of the one before is done.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from phasecore.models.compiler.graph import MEANS, GraphLayer, Pool
from phasecore.models.compiler.mapping.base import Memory
from phasecore.models.compiler.program import activate, gather, loop, product, send, send_sums
from phasecore.models.compiler.quantise import QuantLayer, Tile
from phasecore.models.compiler.windows import LayerInput
from phasecore.models.golden.packets import affine_bytes, vector_bytes
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, Function, Opcode, Segment, encode
from phasecore.rtl.spec.registers.core import affine_address, vector_address

__all__ = ["ALL", "HALT", "GraphObject", "Stage", "Y", "words"]

X = (0, 1)
"""Slots of windows, in turn."""

BIAS, SKIP, POOLED, Y = 2, 3, 4, 5
"""Slots of the constant, of the residual's codes, of what is pooled and of activations; those of a
block whose largest are taken follow each other."""

COUNT_TABLE, BIAS_TABLE, SKIP_TABLE = range(3)
"""Affine tables of the converter's codes, of the constant and of the residual; what is pooled has
its scale behind those of the converter's codes."""

ALL, POOLING, GROUPS = 0, 1, 2
"""Segments: the tile, the lines that are pooled, and from here on the groups of columns."""

SCALE_ONE_LOG2 = 7
"""log2 of a scale of 1.0."""

HALT = encode(Opcode.HALT)


class GraphObject(IntEnum):
    """Objects of a core."""

    FRAME = 0
    SKIP = 1
    PARTIALS = 2
    BLOCK = 3
    """Activations of a block, in slots, for the largest of them."""
    JOINED = 4
    """Vectors of the second tensor that is read, on the frame's ring; then those of others."""


@dataclass(frozen=True)
class Stage:
    """A core, which has a tile of a layer.

    Attributes
    ----------
    number : of the layer
    part : of the tile among the layer's
    sources : tensors whose vectors its frame has, and the line there that each begins at
    reads : what its windows are of
    """

    node: int
    number: int
    part: int
    quantised: QuantLayer
    sources: dict[str, int]
    reads: LayerInput

    @property
    def layer(self) -> GraphLayer:
        """What it is a part of."""
        return self.quantised.layer

    @property
    def tile(self) -> Tile:
        """What it has of it."""
        return self.quantised.tiles[self.part]

    @property
    def name(self) -> str:
        """That of the layer, and number of the tile if there are several."""
        count = len(self.quantised.tiles)
        return self.layer.name if count == 1 else f"{self.layer.name}.{self.part}"

    @property
    def is_last(self) -> bool:
        """It has the layer's last tile, which makes the activations."""
        return self.part + 1 == len(self.quantised.tiles)

    @property
    def columns(self) -> int:
        """Columns of the tile."""
        return self.layer.columns

    @property
    def pool_line(self) -> int:
        """First of the lines that are pooled, behind those of the converter's codes, if any."""
        return 0 if self.layer.only_pools else -(-self.columns // GROUP) * GROUP

    @property
    def shifted(self) -> int:
        """First of the slots of outputs that lie elsewhere in the vectors of a reader."""
        layer = self.layer
        return Y + (len(layer.reads.places) if layer.pool is Pool.LARGEST else layer.groups)

    def check(self, config: CoreConfig, firsts: Sequence[int]) -> None:
        """Raise ``ValueError``, naming the layer, for what a core has no room for.

        ``firsts`` are those of :meth:`program`.
        """
        layer = self.layer
        slots = self.shifted + len(_shifts(firsts))
        objects = GraphObject.JOINED + len(self.sources) - 1
        lines = self.pool_line + layer.outputs if layer.pool in MEANS else self.columns
        for name, needed, present in (
            ("columns", self.columns, config.cols),
            ("lines", lines, config.lines),
            ("slots", slots, config.slots),
            ("objects", objects, config.objects),
            ("routes", len(firsts), config.routes),
            ("segments", GROUPS + layer.groups, config.segments),
            ("affine_tables", SKIP_TABLE + 1, config.affine_tables),
        ):
            if needed > present:
                raise ValueError(f"layer {layer.name} needs {needed} {name}; a core has {present}")

    def segments(self) -> list[Segment]:
        """The tile, the lines that are pooled, and groups of columns."""
        layer, rows = self.layer, max(1, self.tile.height)
        lsb = {"forward_lsb_log2": self.tile.lsb_log2, "backward_lsb_log2": self.tile.lsb_log2}

        def lines(first: int, count: int) -> Segment:
            return Segment(row_start=0, row_count=rows, col_start=first, col_count=count, **lsb)

        pooled = lines(self.pool_line, layer.outputs) if layer.pool in MEANS else lines(0, 1)
        groups = [lines(at * layer.outputs, layer.outputs) for at in range(layer.groups)]
        return [lines(0, self.columns), pooled, *groups]

    def constants(self, config: CoreConfig) -> Iterator[Memory]:
        """What a core has in its slots and affine tables."""
        one, tile = self.quantised, self.tile
        zeros = np.zeros_like(tile.scale)
        if tile.copies > 1:
            # Lines between two copies.
            empty = words(vector_bytes(np.zeros(config.lines, dtype=np.int64), config=config))
            yield from ((vector_address(config, slot), empty) for slot in X)
        if not self.layer.only_pools:
            yield affine_address(config, COUNT_TABLE), words(affine_bytes(tile.scale, tile.offset))
        if self.is_last and self.layer.pool in MEANS:
            behind = affine_address(config, COUNT_TABLE, self.pool_line)
            yield behind, words(affine_bytes(one.pool_scale, np.zeros_like(one.pool_scale)))
        if self.is_last and not self.layer.only_pools:
            yield affine_address(config, BIAS_TABLE), words(affine_bytes(one.bias_scale, zeros))
            codes = vector_bytes(one.bias_codes, config=config)
            yield vector_address(config, BIAS), words(codes)
        if self.is_last and self.layer.skip is not None:
            yield affine_address(config, SKIP_TABLE), words(affine_bytes(one.skip_scale, zeros))

    def program(self, config: CoreConfig, images: int, firsts: Sequence[int]) -> list[int]:
        """Program for ``images``; ``firsts``: line of every route's vectors that the first output
        takes.

        The first window, then blocks, each with the next one's first window.
        """
        if self.layer.only_pools:
            return [*self._pool(images, firsts), HALT]
        frames = self.layer.pool is Pool.FRAME and self.is_last
        blocks = images * (1 if frames else self.layer.windows)
        end = list(self._finish(self._last, firsts))
        found = [*self._window(config, 0), *self._sums(0)]
        if blocks > 1:
            target = len(found)
            self._append_rest(found, config, firsts)
            found += [*self._window(config, 0), *end, *self._sums(0)]
            found += loop(blocks - 1, target=target)
        self._append_rest(found, config, firsts)
        found += [*end, HALT]
        if len(found) > config.program_depth:
            raise ValueError(
                f"program_depth must be at least {len(found)} for layer {self.layer.name}, not"
                f" {config.program_depth}"
            )
        return found

    def _pool(self, images: int, firsts: Sequence[int]) -> list[int]:
        """Windows of which there are no products: each is sent, or their mean.

        Those between the first and the last of a frame are alike, in a loop.
        """
        found: list[int] = []
        for index in sorted({0, min(1, self._last), self._last}):
            target = len(found)
            found.append(gather(GraphObject.FRAME, Y, largest=True))
            found.append(encode(Opcode.RELEASE, objects=1 << GraphObject.FRAME))
            if self.layer.pool in MEANS:
                found += self._mean(index)
            if 0 < index < self._last:
                found += loop(self._last - 1, counter=1, target=target)
        is_mean = self.layer.pool in MEANS
        slots = self._slots(POOLED if is_mean else Y, firsts)
        found += [*self._copies(slots), *self._sends(slots, firsts)]
        return found + loop(images * (1 if is_mean else self.layer.windows))

    @property
    def _joined(self) -> int:
        """Mask of the objects beside the frame that windows are of."""
        return ((1 << (len(self.sources) - 1)) - 1) << GraphObject.JOINED

    @property
    def _last(self) -> int:
        """Number of the last window of those that are pooled."""
        if self.layer.pool is Pool.FRAME and self.is_last:
            return self.layer.windows - 1
        return len(self.layer.reads.places) - 1

    def _append_rest(self, program: list[int], config: CoreConfig, firsts: Sequence[int]) -> None:
        """Windows of a block behind the first, each while the one before is finished.

        Those of a frame are in a loop: all between the first and the last are alike.
        """
        index = 1
        while index <= self._last:
            target = len(program)
            program += self._window(config, index)
            program += self._finish(index - 1, firsts)
            program += self._sums(index)
            times = 1
            if self.layer.pool is Pool.FRAME and index == 2:
                times = self._last - 1
                program += loop(times, counter=1, target=target)
            index += times

    def _window(self, config: CoreConfig, index: int) -> Iterator[int]:
        """Window ``index`` of a block: gathered and driven; the frame goes on behind the last."""
        places = self.layer.reads.places
        row, col = places[index % len(places)]
        # The first window of a block does not take the slot of the last one before it.
        slot = X[index % len(X)]
        if self._joined:
            yield encode(Opcode.AWAIT, objects=self._joined)
        for copy in range(self.tile.copies):
            block = copy * self.tile.pitch // config.post_lanes
            largest = self.layer.reads.largest
            yield gather(GraphObject.FRAME, slot, row, col, block=block, largest=largest)
        yield product(Opcode.FORWARD, config, segment=ALL, slot=slot)
        if (index + 1) % len(places) == 0:
            yield encode(Opcode.RELEASE, objects=1 << GraphObject.FRAME | self._joined)

    def _sums(self, index: int) -> Iterator[int]:
        """All that is added up for the window that is integrated, and its activations."""
        added = {"accumulate": int(self.part > 0), "affine": 1}
        if self.part:
            yield encode(Opcode.AWAIT, objects=1 << GraphObject.PARTIALS)
        if not self.is_last:
            yield activate(ALL, Function.NONE, **added, table=COUNT_TABLE)
            return
        yield activate(ALL, Function.NONE, from_slot=1, slot=BIAS, **added, table=BIAS_TABLE)
        added["accumulate"] = 1
        if self.layer.skip is not None:
            yield gather(GraphObject.SKIP, SKIP)
            yield encode(Opcode.RELEASE, objects=1 << GraphObject.SKIP)
            yield activate(ALL, Function.NONE, from_slot=1, slot=SKIP, **added, table=SKIP_TABLE)
        layer, line = self.layer, self.pool_line if self.layer.pool in MEANS else 0
        for group in range(layer.groups):
            slot = index if layer.pool is Pool.LARGEST else group
            yield activate(
                GROUPS + group, layer.function, **added, table=COUNT_TABLE,
                shift=self.quantised.shift, destination=Y + slot, destination_line=line,
            )  # fmt: skip

    def _finish(self, index: int, firsts: Sequence[int]) -> Iterator[int]:
        """What is left to do for a window when the next one is integrated."""
        layer = self.layer
        partials = encode(Opcode.RELEASE, objects=1 << GraphObject.PARTIALS)
        if not self.is_last:
            yield send_sums(0, length=self.columns)
            if self.part:
                yield partials
            return
        if layer.pool in MEANS:
            yield from self._mean(index)
        if index < self._last:
            if self.part:
                yield partials
            return
        if layer.pool is Pool.LARGEST:
            yield encode(
                Opcode.GATHER, object=GraphObject.BLOCK, destination=POOLED, block=0, block_row=0,
                block_col=0, largest=1,
            )  # fmt: skip
        slots = self._slots(Y if layer.pool is Pool.NONE else POOLED, firsts)
        # In accumulators that take the next window's sums behind this.
        yield from self._copies(slots)
        if self.part:
            yield partials
        yield from self._sends(slots, firsts)

    def _slots(self, slot: int, firsts: Sequence[int]) -> dict[int, int]:
        """Slots of the outputs, which are in one, by the line that the first of them has there."""
        shifts = _shifts(firsts)
        return {0: slot} | {first: self.shifted + at for at, first in enumerate(shifts)}

    def _copies(self, slots: Mapping[int, int]) -> Iterator[int]:
        """Outputs at other lines, for readers whose vectors they are a part of."""
        for first, slot in slots.items():
            if first:
                yield activate(
                    GROUPS, Function.IDENTITY, from_slot=1, slot=slots[0], shift=SCALE_ONE_LOG2,
                    destination=slot, destination_line=first,
                )  # fmt: skip

    def _sends(self, slots: Mapping[int, int], firsts: Sequence[int]) -> Iterator[int]:
        """The outputs, to every route."""
        for route, first in enumerate(firsts):
            yield send(route, slots[first], first_line=first, length=self.layer.outputs)

    def _mean(self, index: int) -> Iterator[int]:
        """Add a window's activations to those before; their mean with the last."""
        layer = self.layer
        for group in range(layer.groups):
            at = index * layer.groups + group
            final = at == layer.pooled - 1
            yield activate(
                POOLING, Function.IDENTITY if final else Function.NONE, from_slot=1,
                slot=Y + group, accumulate=int(at > 0), affine=1, table=COUNT_TABLE,
                shift=self.quantised.pool_shift if final else 0, destination=POOLED,
            )  # fmt: skip


def _shifts(firsts: Sequence[int]) -> list[int]:
    """Lines other than 0, each once."""
    return sorted(set(firsts) - {0})


def words(data: bytes) -> bytes:
    """Whole words of four bytes."""
    return data + bytes(-len(data) % 4)
