# SPDX-License-Identifier: Apache-2.0
"""Credits and a receiver's buffers: together always as many as the buffers."""

from amaranth.hdl import Assert, Assume, Cover, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from phasecore.rtl.lib.link_credits import LinkCredits

__all__ = ["CreditContract"]


class CreditContract(wiring.Component):
    """Sender and receiver that keep the rules: buffers neither overflow nor get lost."""

    def __init__(self, channels: int, depth: int):
        self.channels, self.depth = channels, depth
        super().__init__({"sent": In(channels), "returned": In(channels)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.credits = credits = LinkCredits(self.channels, self.depth)
        m.d.comb += [
            Assume(~ResetSignal()), credits.sent.eq(self.sent), credits.returned.eq(self.returned),
        ]  # fmt: skip
        for vc in range(self.channels):
            held = Signal(range(self.depth + 2), name=f"held_{vc}")
            m.d.sync += held.eq(held + self.sent[vc] - self.returned[vc])
            m.d.comb += [
                Assume(~self.sent[vc] | (credits.count[vc] != 0)),
                Assume(~self.returned[vc] | (held != 0)),
                Assert(credits.count[vc] + held == self.depth),
                Cover(credits.count[vc] == 0),
            ]
        return m
