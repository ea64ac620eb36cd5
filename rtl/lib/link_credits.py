# SPDX-License-Identifier: Apache-2.0
"""Credits of a link: the buffers that its receiver has free."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LinkCredits"]


class LinkCredits(wiring.Component):
    """Counts the free buffers of each virtual channel at the other end of a link.

    The sender sends on a channel only with a credit, the receiver returns one for each flit that
    has left its buffer; then the count stays in 0..depth.

    Parameters
    ----------
    channels : virtual channels
    depth : buffers of each

    Members
    -------
    sent, returned : In(channels)
        A flit is sent on the channel, a credit comes back in this cycle.
    count : Out(one count per channel)
    """

    def __init__(self, channels: int, depth: int):
        self.channels = channels
        count = data.ArrayLayout(depth.bit_length(), channels)
        super().__init__(
            {
                "sent": In(channels),
                "returned": In(channels),
                "count": Out(count, init=[depth] * channels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [
            self.count[vc].eq(self.count[vc] + self.returned[vc] - self.sent[vc])
            for vc in range(self.channels)
        ]
        return m
