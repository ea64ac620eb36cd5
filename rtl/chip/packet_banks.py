# SPDX-License-Identifier: Apache-2.0
"""Stream packets of the host in two banks: one is filled while the other is sent."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.control.load_unit import AxiStream, PacketHeader, PacketReceiver
from phasecore.rtl.interface.head import FOUR
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["PacketBanks"]


class PacketBanks(wiring.Component):
    """Takes packets in turn into two banks and shows the older one.

    Members
    -------
    axis : In(AxiStream)
    malformed : Out(8)
        FaultCode of a stream packet that is dropped in this cycle.
    full, header : Out(1), Out(PacketHeader)
        A packet waits, or is being sent; its header.
    r_en, place, word : In(1), In, Out(64)
        Read of its data flit ``place``, counted from the start of the vector; one cycle later.
    done : In(1)
        The packet is done with.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "axis": In(AxiStream(config)),
                "malformed": Out(8),
                "full": Out(1),
                "header": Out(PacketHeader()),
                "r_en": In(1),
                "place": In(range(config.lines // FOUR)),
                "word": Out(64),
                "done": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = self.config.lines // FOUR
        m.submodules.buffer = buffer = Sram(width=64, depth=2 * beats)
        m.submodules.receiver = receiver = PacketReceiver(self.config)
        connect(m, flipped(self.axis), receiver.axis)
        # Banks that hold a packet; the one that is shown; the one that is filled.
        full, bank, filled = Signal(2), Signal(), Signal()
        headers = Signal(data.ArrayLayout(PacketHeader(), 2))
        m.d.comb += [
            buffer.w_en.eq(receiver.write),
            buffer.w_mask.eq(1),
            buffer.w_address.eq(Cat(receiver.place, filled)),
            buffer.w_data.eq(self.axis.tdata),
            self.malformed.eq(receiver.error),
            # The next packet comes as soon as the other bank is free.
            receiver.release.eq(receiver.staged & ~full.bit_select(~filled, 1)),
            self.full.eq(full.bit_select(bank, 1)),
            self.header.eq(headers[bank]),
            buffer.r_en.eq(self.r_en),
            buffer.r_address.eq(Cat(self.place, bank)),
            self.word.eq(buffer.r_data),
        ]
        with m.If(receiver.staged):
            m.d.sync += [full.bit_select(filled, 1).eq(1), headers[filled].eq(receiver.packet)]
        with m.If(receiver.release):
            m.d.sync += filled.eq(~filled)
        with m.If(self.done):
            m.d.sync += [full.bit_select(bank, 1).eq(0), bank.eq(~bank)]
        return m
