# SPDX-License-Identifier: Apache-2.0
"""Faults of a chip, counted by kind, with a record of the first."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.spec.registers.chip import ADDRESS_BITS
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["FaultLog"]


class FaultLog(wiring.Component):
    """Counts errors of several sources; of those of one cycle the first source's is the first.

    Parameters
    ----------
    sources : how many sources

    Members
    -------
    clear : In(1)
        Forget all.
    code, address : In(8), In, one per source
        FaultCode of an error in this cycle, or NONE; the address that belongs to it.
    count : Out(32), one per source
    total : Out(32)
    first, first_address : Out(8), Out
        Of the first error since ``clear``.
    """

    def __init__(self, sources: int):
        super().__init__(
            {
                "clear": In(1),
                "code": In(8).array(sources),
                "address": In(ADDRESS_BITS).array(sources),
                "count": Out(32).array(sources),
                "total": Out(32),
                "first": Out(8),
                "first_address": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        errors = [code.any() for code in self.code]
        m.d.sync += [
            count.eq(Mux(self.clear, 0, count + error))
            for count, error in zip(self.count, errors, strict=True)
        ]
        m.d.sync += self.total.eq(Mux(self.clear, 0, self.total + sum(errors)))
        for code, address in reversed(list(zip(self.code, self.address, strict=True))):
            with m.If((self.first == FaultCode.NONE) & code.any()):
                m.d.sync += [self.first.eq(code), self.first_address.eq(address)]
        with m.If(self.clear):
            m.d.sync += [self.first.eq(FaultCode.NONE), self.first_address.eq(0)]
        return m
