# SPDX-License-Identifier: Apache-2.0
"""Memory access: the host reads and writes the memories of a core, a register's word at a time."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from phasecore.rtl.core.interfaces import (
    AffineWrite,
    ExponentWrite,
    MemoryPort,
    VectorRead,
    VectorWrite,
)
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.registers.core import AFFINE_BIT
from phasecore.rtl.spec.registers.table import WORD_BYTES

__all__ = ["MemoryAccess"]

LANE_BYTES = 2
"""Of an affine table: the scale, then the offset."""


class MemoryAccess(wiring.Component):
    """Reads and writes words of four bytes of the vector memory, and writes them to affine tables.

    It is the last client of the vector memory, and waits while another one writes affine tables. A
    write to a slot makes the slot's exponent 0, as a LOAD does. Affine tables read 0.

    Members
    -------
    port : In(MemoryPort)
    read, write : Out(VectorRead), Out(VectorWrite)
    exponent_write : Out(ExponentWrite)
        With the word that is written to a slot.
    affine_write : Out(AffineWrite)
    affine_ready : In(1)
        Nobody else writes affine tables in this cycle.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "port": In(MemoryPort()),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "affine_write": Out(AffineWrite(config)),
                "affine_ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, port = self.config, self.port
        lanes = config.post_lanes
        byte, in_affine = port.address[:AFFINE_BIT], port.address[AFFINE_BIT]
        write, exponent, affine = self.write, self.exponent_write, self.affine_write
        # Words of the register in one of the vector memory, or of the affine tables.
        words, pairs = lanes // WORD_BYTES, lanes * LANE_BYTES // WORD_BYTES
        vector_bits, affine_bits = exact_log2(lanes), exact_log2(lanes * LANE_BYTES)
        chosen, chosen_pair = Signal(words), Signal(pairs)
        # What the word that comes is part of, if it is one of the vector memory.
        place, reads_vector = Signal(range(words)), Signal()
        m.d.comb += [
            port.known.eq(byte < Mux(in_affine, config.affine_bytes, config.vector_bytes)),
            chosen.eq(1 << byte[2:vector_bits]),
            chosen_pair.eq(1 << byte[2:affine_bits]),
            port.ready.eq(
                Mux(in_affine, port.read | self.affine_ready,
                    Mux(port.read, self.read.ready, write.ready))
            ),
            self.read.valid.eq(port.read & ~in_affine),
            self.read.address.eq(byte[vector_bits:]),
            write.valid.eq(port.write & ~in_affine),
            write.address.eq(byte[vector_bits:]),
            write.mask.eq(Cat(bit.replicate(WORD_BYTES) for bit in chosen)),
            write.data.eq(port.w_data.replicate(words)),
            exponent.valid.eq(
                write.valid & write.ready & (byte < config.slots * config.lines)
            ),
            exponent.slot.eq(byte[exact_log2(config.lines) :]),
            affine.en.eq(port.write & in_affine & self.affine_ready),
            affine.address.eq(byte[affine_bits:]),
            affine.mask.eq(Cat(bit.replicate(WORD_BYTES // LANE_BYTES) for bit in chosen_pair)),
            affine.data.eq(port.w_data.replicate(pairs)),
            port.r_data.eq(Mux(reads_vector, self.read.data.word_select(place, 32), 0)),
        ]  # fmt: skip
        with m.If(port.read):
            m.d.sync += [place.eq(byte[2:vector_bits]), reads_vector.eq(~in_affine)]
        return m
