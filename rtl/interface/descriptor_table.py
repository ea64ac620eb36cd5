# SPDX-License-Identifier: Apache-2.0
"""One word of all descriptors of a kind."""

from amaranth.hdl import Module
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import TableWrite, descriptor_word, table_depth
from phasecore.rtl.spec.instructions import OBJECT, ROUTE

__all__ = ["DescriptorTable"]


class DescriptorTable(wiring.Component):
    """Keeps word ``word`` of object or route descriptors for reads without delay.

    Parameters
    ----------
    route : descriptors of routes, else of objects
    word : which 32-bit word of a descriptor
    entries : descriptors
    kept : layout of the fields that are kept, by name; default: all of the word
    reads : read ports

    Members
    -------
    table : In(TableWrite)
    given : Out(1)
        A word of one of these descriptors is written in this cycle.
    written : Out(1)
        It is this one.
    index, entry : In(4), Out(fields), as many as ``reads``
        The entry of a descriptor (combinational); undefined if there is none.
    """

    def __init__(
        self,
        *,
        route: bool,
        word: int,
        entries: int,
        kept: data.StructLayout | None = None,
        reads: int = 1,
    ):
        self.route, self.word, self.entries, self.reads = route, word, entries, reads
        self.source = descriptor_word(ROUTE if route else OBJECT, word)
        self.kept = kept or data.StructLayout({name: field.shape for name, field in self.source})
        super().__init__(
            {
                "table": In(TableWrite()),
                "given": Out(1),
                "written": Out(1),
                "index": In(4).array(reads),
                "entry": Out(self.kept).array(reads),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        table, word = self.table, data.View(self.source, self.table.data)
        m.submodules.store = store = memory.Memory(
            shape=self.kept, depth=table_depth(self.entries), init=[]
        )
        write = store.write_port()
        m.d.comb += [
            self.given.eq(table.en & (table.route == self.route) & (table.index < self.entries)),
            self.written.eq(self.given & (table.word == self.word)),
            write.addr.eq(table.index),
            write.en.eq(self.written),
            *(write.data[name].eq(word[name]) for name in self.kept.members),
        ]
        for index, entry in zip(self.index, self.entry, strict=True):
            read = store.read_port(domain="comb")
            m.d.comb += [read.addr.eq(index), entry.eq(read.data)]
        return m
