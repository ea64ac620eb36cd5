# SPDX-License-Identifier: Apache-2.0
"""Windows of objects: what GATHER, SCATTER, NORMALISE need of a descriptor beside the pointer."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    GatherCommand,
    ObjectLookup,
    SumPixel,
    TableWrite,
    WindowCommand,
    WindowPlace,
    descriptor_word,
)
from phasecore.rtl.interface.object_flags import ObjectFlags
from phasecore.rtl.interface.object_memory import ObjectMemory, add_descriptors
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["WindowTable"]


class WindowTable(wiring.Component):
    """Makes commands of the window unit of those of the program.

    Members
    -------
    table : In(TableWrite)
    lookup : In(ObjectLookup)
        The object that ``i`` names in the next cycle.
    i : In(stream of GatherCommand)
        The payload counts at any time.
    place : In(WindowPlace)
        Of the object that it names.
    window, sources : Out(1), Out(slots)
        It has the window that is named; slots that its ring covers.
    pixel : Out(SumPixel)
        Its sums, for NORMALISE.
    gathered : Out(objects)
        Vectors are neither partial sums nor in slots: only the window unit reads them.
    o : Out(stream of WindowCommand)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "table": In(TableWrite()),
                "lookup": In(ObjectLookup()),
                "i": In(stream.Signature(GatherCommand())),
                "place": In(WindowPlace(config)),
                "window": Out(1),
                "sources": Out(config.slots),
                "pixel": Out(SumPixel(config)),
                "gathered": Out(config.objects),
                "o": Out(stream.Signature(WindowCommand(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, wish, command = self.config, self.i.payload, self.o.payload
        m.submodules.flags = flags = ObjectFlags(config)
        head, ring, frame, window, tile, pitches, last = add_descriptors(
            m, (0, 1, 3, 6, 7, 8, 10), config.objects, table=self.table, read=self.lookup.en,
            index=self.lookup.object,
        )  # fmt: skip
        # Lines from the first one of the window on, of which none is beyond the slot.
        left = Signal(range(config.lines + 1))
        whole = tile.skip + tile.count <= window.segment
        m.d.comb += [
            flags.table.eq(self.table),
            self.gathered.eq(~flags.partial & (~flags.in_slots | flags.sums)),
            self.window.eq(
                (flags.known & ~flags.partial & (1 << wish.object)).any()
                & (head.sums == wish.sums)
                & (tile.skip < window.segment) & (tile.count != 0)
                & (window.rows != 0) & (window.first_col < window.cols)
                & (~wish.largest | (whole & (window.first_col == 0)))
            ),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            left.eq(config.lines - (wish.block << exact_log2(config.post_lanes))),
            command.largest.eq(wish.largest),
            command.slot.eq(wish.destination),
            command.block.eq(wish.block),
            command.count.eq(Mux(tile.count < left, tile.count, left)),
            command.pointer.eq(self.place.pointer),
            command.row.eq(self.place.row),
            command.col.eq(self.place.col + window.first_col),
            command.block_row.eq(wish.block_row),
            command.block_col.eq(wish.block_col),
            command.ring_base.eq(ring.base),
            command.ring_size.eq(ring.size),
            command.height.eq(frame.height),
            command.width.eq(Mux(head.packed, ~0, frame.width)),
            *(command[name].eq(window[name]) for name in ("segment", "rows", "cols", "first_col")),
            command.skip.eq(tile.skip),
            command.pitch.eq(tile.pixel_pitch),
            command.row_pitch.eq(pitches.row_pitch),
            command.sources.eq(self.sources),
            command.scatter.eq(wish.sums),
            command.unit.eq(last.unit),
            self.pixel.first_line.eq(
                (ring.base << exact_log2(config.post_lanes)) + self.place.pointer + tile.skip
            ),
            self.pixel.count.eq(command.count),
            self.pixel.unit.eq(last.unit),
        ]  # fmt: skip
        self._cover(m)
        return m

    def _cover(self, m: Module) -> None:
        """Slots of a ring, found when it is written."""
        config, table = self.config, self.table
        ring = data.View(descriptor_word(OBJECT, 1), table.data)
        shape = data.StructLayout({"slots": config.slots})
        m.submodules.covered = covered = ObjectMemory(shape, config.objects)
        end = ring.base + ring.size
        m.d.comb += [
            covered.write.eq(
                table.en & ~table.route & (table.index < config.objects) & (table.word == 1)
            ),
            covered.w_index.eq(table.index),
            *(
                covered.given.slots[slot].eq(
                    (ring.base < (slot + 1) * config.blocks) & (end > slot * config.blocks)
                )
                for slot in range(config.slots)
            ),
            covered.read.eq(self.lookup.en),
            covered.index.eq(self.lookup.object),
            self.sources.eq(covered.entry.slots),
        ]
