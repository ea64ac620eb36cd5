# SPDX-License-Identifier: Apache-2.0
"""Receiving half of the host bridge: messages for the host's objects become RESULT packets."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.chip.message_intake import MessageIntake
from phasecore.rtl.chip.result_sender import ResultSender
from phasecore.rtl.core.control.load_unit import AxiStream
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.interface.descriptor_table import DescriptorTable
from phasecore.rtl.interface.head import CreditRoute
from phasecore.rtl.interface.route_credits import MemberCredits
from phasecore.rtl.lib.sram import Sram
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.chip import ChipConfig

__all__ = ["BridgeReceiver"]


class BridgeReceiver(wiring.Component):
    """Takes a flit in every cycle; channels never wait for each other, nor for the host.

    A packet gets room for all of it with its head, or is dropped. Packets leave whole, in the
    order of their heads, one beat per cycle, with one cycle between packets and one more behind a
    ``last``, whose credit must have left.

    Members
    -------
    link : In(Link)
    axis : Out(AxiStream)
        RESULT packets.
    table : In(TableWrite)
        Descriptors of objects.
    grants : Out(stream of CreditRoute)
        The credit of a packet with ``last`` that has left.
    credit_en, credit, credit_known, credit_excess : Out(1), Out(MemberCredits), In(1), In(1)
        Credits for a route of the host, as of ``RouteTable``.
    error : Out(8)
        FaultCode of a message that was dropped in the cycle before.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "link": In(Link(config.noc)),
                "axis": Out(AxiStream(config.core)),
                "table": In(TableWrite()),
                "grants": Out(stream.Signature(CreditRoute())),
                "credit_en": Out(1),
                "credit": Out(MemberCredits()),
                "credit_known": In(1),
                "credit_excess": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = Sram(width=64, depth=config.bridge_flits)
        m.submodules.intake = intake = MessageIntake(config)
        m.submodules.results = results = ResultSender(config)
        m.submodules.objects = objects = DescriptorTable(
            route=False, word=0, entries=config.host_objects, kept=CreditRoute()
        )
        connect(m, flipped(self.link), intake.link)
        connect(m, results.axis, flipped(self.axis))
        connect(m, results.grants, flipped(self.grants))
        # One bit per possible number, so that no number is outside.
        used, enabled = Signal(range(config.bridge_flits + 1)), Signal(16)
        m.d.sync += used.eq(used + intake.taken - results.freed)
        m.d.comb += [
            intake.room.eq(config.bridge_flits - used),
            intake.front.eq(results.front),
            results.whole.eq((used != 0) & ~intake.arriving),
            buffer.w_en.eq(intake.w_en),
            buffer.w_mask.eq(1),
            buffer.w_address.eq(intake.w_address),
            buffer.w_data.eq(intake.w_data),
            buffer.r_en.eq(results.r_en),
            buffer.r_address.eq(results.r_address),
            results.r_data.eq(buffer.r_data),
            objects.table.eq(self.table),
            objects.index[0].eq(results.object),
            results.route.eq(objects.entry[0]),
            results.enabled.eq(enabled.bit_select(results.object, 1)),
            intake.known.eq(enabled.bit_select(intake.object, 1)),
            self.credit_en.eq(intake.credit_en),
            self.credit.eq(intake.credit),
            intake.credit_known.eq(self.credit_known),
            intake.credit_excess.eq(self.credit_excess),
            self.error.eq(intake.error),
        ]
        with m.If(objects.written):
            word = data.View(objects.source, self.table.data)
            m.d.sync += enabled.bit_select(self.table.index, 1).eq(
                word.enable & (word.vc < config.noc.virtual_channels)
            )
        return m
