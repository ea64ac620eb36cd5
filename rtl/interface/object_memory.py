# SPDX-License-Identifier: Apache-2.0
"""What is kept of every object in an SRAM: words of its descriptor, and the rest of its state."""

from collections.abc import Iterable

from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, descriptor_word, table_depth
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.instructions import OBJECT

__all__ = ["DescriptorMemory", "ObjectMemory", "add_descriptors"]


class ObjectMemory(wiring.Component):
    """An entry per object in an SRAM, for reads a cycle later.

    Parameters
    ----------
    shape : of an entry
    objects : of the core

    Members
    -------
    write, w_index, given : In(1), In(4), In(shape)
    read, index : In(1), In(4)
    entry : Out(shape)
        From the cycle after ``read`` until the next; without what is written in the same cycle.
    """

    def __init__(self, shape: data.StructLayout, objects: int):
        self.shape, self.objects = shape, objects
        super().__init__(
            {
                "write": In(1),
                "w_index": In(4),
                "given": In(shape),
                "read": In(1),
                "index": In(4),
                "entry": Out(shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = Sram(width=self.shape.size, depth=table_depth(self.objects))
        m.d.comb += [
            store.w_en.eq(self.write),
            store.w_address.eq(self.w_index),
            store.w_mask.eq(1),
            store.w_data.eq(self.given),
            store.r_en.eq(self.read),
            store.r_address.eq(self.index),
            self.entry.eq(store.r_data),
        ]
        return m


class DescriptorMemory(wiring.Component):
    """Keeps word ``word`` of object descriptors for reads a cycle later.

    Parameters
    ----------
    word : which 32-bit word of a descriptor
    objects : of the core

    Members
    -------
    table : In(TableWrite)
    read, index, entry : In(1), In(4), Out(fields)
        As of ObjectMemory.
    """

    def __init__(self, word: int, objects: int):
        self.word, self.objects = word, objects
        self.source = descriptor_word(OBJECT, word)
        self.kept = data.StructLayout({name: field.shape for name, field in self.source})
        super().__init__(
            {"table": In(TableWrite()), "read": In(1), "index": In(4), "entry": Out(self.kept)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table, word = self.table, data.View(self.source, self.table.data)
        m.submodules.store = store = ObjectMemory(self.kept, self.objects)
        m.d.comb += [
            store.write.eq(
                table.en & ~table.route & (table.index < self.objects) & (table.word == self.word)
            ),
            store.w_index.eq(table.index),
            *(store.given[name].eq(word[name]) for name in self.kept.members),
            store.read.eq(self.read),
            store.index.eq(self.index),
            self.entry.eq(store.entry),
        ]
        return m


def add_descriptors(
    m: Module, words: Iterable[int], objects: int, *, table: Value, read: Value, index: Value
) -> list[data.View]:
    """Entries of these words of the descriptors, each in a memory that is a submodule of ``m``."""
    entries = []
    for word in words:
        m.submodules[f"descriptors_{word}"] = memory = DescriptorMemory(word, objects)
        m.d.comb += [memory.table.eq(table), memory.read.eq(read), memory.index.eq(index)]
        entries.append(memory.entry)
    return entries
