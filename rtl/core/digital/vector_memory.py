# SPDX-License-Identifier: Apache-2.0
"""Vector memory: the slots of a core and the rings behind them, and the slots' exponents."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.interfaces import Exponents, ExponentWrite, VectorRead, VectorWrite
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["VectorMemory"]


class VectorMemory(wiring.Component):
    """One word read and one word written per cycle, index 0 first; exponents in registers.

    A read of the word that is written in the same cycle returns the old one. A client may change
    or withdraw a request that was not taken.

    Parameters
    ----------
    config : CoreConfig
    readers, writers, exponent_writers : number of clients, at least 1

    Members
    -------
    read : In(VectorRead) array of ``readers``
    write : In(VectorWrite) array of ``writers``
    exponent_write : In(ExponentWrite) array of ``exponent_writers``; all are taken in the same
        cycle, the lowest index wins when two name the same slot
    exponents : Out(Exponents), from the cycle after the write
    """

    def __init__(self, config: CoreConfig, *, readers: int, writers: int, exponent_writers: int):
        self.config = config
        super().__init__(
            {
                "read": In(VectorRead(config)).array(readers),
                "write": In(VectorWrite(config)).array(writers),
                "exponent_write": In(ExponentWrite(config)).array(exponent_writers),
                "exponents": Out(Exponents(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.memory = memory = Sram(
            width=8 * config.post_lanes, depth=config.memory_words, granularity=8
        )
        self._arbitrate(m, self.read, memory.r_en)
        self._arbitrate(m, self.write, memory.w_en)
        # Without a valid one the last port's address and data stand there, and are not used.
        for index, port in reversed(list(enumerate(self.read, 1))):
            m.d.comb += port.data.eq(memory.r_data)
            with m.If(port.valid | (index == len(self.read))):
                m.d.comb += memory.r_address.eq(port.address)
        for index, port in reversed(list(enumerate(self.write, 1))):
            with m.If(port.valid | (index == len(self.write))):
                m.d.comb += [
                    memory.w_address.eq(port.address),
                    memory.w_mask.eq(port.mask),
                    memory.w_data.eq(port.data),
                ]
        for port in reversed(list(self.exponent_write)):
            with m.If(port.valid):
                m.d.sync += self.exponents[port.slot].eq(port.exponent)
        return m

    def _arbitrate(self, m: Module, ports, enable) -> None:
        """Make every port ready that has no valid one before it."""
        valid = [port.valid for port in ports]
        for index, port in enumerate(ports):
            m.d.comb += port.ready.eq(~Cat(valid[:index]).any())
        m.d.comb += enable.eq(Cat(valid).any())
