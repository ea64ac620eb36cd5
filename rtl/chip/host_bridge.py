# SPDX-License-Identifier: Apache-2.0
"""Host bridge: stream packets of the host on one side, a node of the NoC on the other."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.chip.bridge_receiver import BridgeReceiver
from phasecore.rtl.chip.bridge_sender import BridgeSender
from phasecore.rtl.core.control.load_unit import AxiStream
from phasecore.rtl.core.interfaces import TableWrite
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["HostBridge"]


class HostBridge(wiring.Component):
    """The host as a node of the NoC, by docs/contract/host_bridge.md.

    Members
    -------
    s_axis : In(AxiStream)
        VECTOR and AFFINE packets for routes of the host.
    m_axis : Out(AxiStream)
        RESULT packets of objects of the host.
    link_in, link_out : In(Link), Out(Link)
        From and to the local port of the node's router.
    table : In(TableWrite)
        Descriptors of the host's objects and routes.
    packet_fault, noc_fault : Out(8), Out(8)
        FaultCode of a stream packet, and of a packet for an undefined route, that is dropped in
        this cycle, or of a message that was in the cycle before; or NONE.
    flits_sent, flits_received, credit_stalled : Out(1)
        Flit on either link; a packet waits for the credits of its route.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        super().__init__(
            {
                "s_axis": In(AxiStream(config.core)),
                "m_axis": Out(AxiStream(config.core)),
                "link_in": In(Link(config.noc)),
                "link_out": Out(Link(config.noc)),
                "table": In(TableWrite()),
                "packet_fault": Out(8),
                "noc_fault": Out(8),
                "flits_sent": Out(1),
                "flits_received": Out(1),
                "credit_stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sender = sender = BridgeSender(self.config)
        m.submodules.receiver = receiver = BridgeReceiver(self.config)
        connect(m, flipped(self.s_axis), sender.axis)
        connect(m, receiver.axis, flipped(self.m_axis))
        connect(m, flipped(self.link_in), receiver.link)
        connect(m, sender.link, flipped(self.link_out))
        connect(m, receiver.grants, sender.grants)
        m.d.comb += [
            sender.table.eq(self.table),
            receiver.table.eq(self.table),
            sender.credit_en.eq(receiver.credit_en),
            sender.credit.eq(receiver.credit),
            receiver.credit_known.eq(sender.credit_known),
            receiver.credit_excess.eq(sender.credit_excess),
            # A packet for an undefined route waits until no message is dropped.
            sender.drop.eq(receiver.error == FaultCode.NONE),
            self.packet_fault.eq(sender.malformed),
            self.noc_fault.eq(
                Mux(sender.undefined & sender.drop, FaultCode.NOC_OBJECT, receiver.error)
            ),
            self.flits_sent.eq(self.link_out.valid),
            self.flits_received.eq(self.link_in.valid),
            self.credit_stalled.eq(sender.stalled),
        ]
        return m
