# SPDX-License-Identifier: Apache-2.0
"""Network interface: a core's slots and accumulators as sources and destinations of messages."""

from amaranth.hdl import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.interfaces import (
    AccumulatorPort,
    AffineWrite,
    CreditGrant,
    Exponents,
    ExponentWrite,
    SendCommand,
    TableWrite,
    VectorRead,
    VectorWrite,
)
from phasecore.rtl.interface.receiver import MessageReceiver
from phasecore.rtl.interface.sender import MessageSender
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["NetworkInterface"]


class NetworkInterface(wiring.Component):
    """Receives and sends one flit per cycle each, by docs/contract/network_interface.md.

    Latency, from a cycle with the first to the cycle with the second: SEND taken to head on the
    link 2; last flit of merging lines on the link to head of the packet that waited for them 3;
    last flit of a vector on the link to ``arrived`` 1.

    Members
    -------
    i : In(stream of SendCommand)
        Taken when no SEND is in work.
    link_in, link_out : In(Link), Out(Link)
        From and to the local port of the router.
    read, write, exponent_write, exponents : vector memory
    accumulators : Out(AccumulatorPort)
        A write comes in the cycle after one with ``ready``.
    affine_write : Out(AffineWrite)
    table : In(TableWrite)
        Descriptors of objects and routes.
    arrived : Out(objects)
        Strobe: a vector is there: bytes can be read in the next cycle, sums in the one after.
    full : In(objects)
        The ring has no room, from the cycle after ``arrived`` on.
    grants : In(stream of CreditGrant)
        Credits for producers, sent before other traffic.
    busy : Out(1)
        A SEND is in work, or a flit of one or a CREDIT message is not yet on the link.
    active : Out(1)
        Registers may change although nothing comes in.
    reads : Out(slots)
        Slot of the SEND in work, until its last word has been read.
    partial : Out(1)
        The SEND in work still reads the accumulators.
    error, error_code : Out(1), Out(8)
        Strobe of a dropped SEND, or of a message that was dropped in the cycle before, and its
        FaultCode.
    flits_sent, flits_received, credit_stalled : Out(1)
        Flit on either link; the SEND in work waits for credits of its route.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        if not config.objects:
            raise ValueError("objects must be at least 1 with a network interface, not 0")
        if noc.flit_bits != 64:
            raise ValueError(f"flit_bits must be 64, not {noc.flit_bits}")
        self.config, self.noc = config, noc
        super().__init__(
            {
                "i": In(stream.Signature(SendCommand(config))),
                "link_in": In(Link(noc)),
                "link_out": Out(Link(noc)),
                "read": Out(VectorRead(config)),
                "write": Out(VectorWrite(config)),
                "exponent_write": Out(ExponentWrite(config)),
                "exponents": In(Exponents(config)),
                "accumulators": Out(AccumulatorPort(config)),
                "affine_write": Out(AffineWrite(config)),
                "table": In(TableWrite()),
                "arrived": Out(config.objects),
                "full": In(config.objects),
                "grants": In(stream.Signature(CreditGrant())),
                "busy": Out(1),
                "active": Out(1),
                "reads": Out(config.slots),
                "partial": Out(1),
                "error": Out(1),
                "error_code": Out(8),
                "flits_sent": Out(1),
                "flits_received": Out(1),
                "credit_stalled": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = MessageReceiver(self.config, self.noc)
        m.submodules.sender = sender = MessageSender(self.config, self.noc)
        connect(m, flipped(self.link_in), receiver.link)
        connect(m, sender.link, flipped(self.link_out))
        connect(m, flipped(self.i), sender.i)
        connect(m, flipped(self.grants), sender.grants)
        connect(m, sender.read, flipped(self.read))
        connect(m, receiver.write, flipped(self.write))
        connect(m, receiver.exponent_write, flipped(self.exponent_write))
        connect(m, receiver.affine_write, flipped(self.affine_write))
        m.d.comb += [
            receiver.table.eq(self.table),
            sender.table.eq(self.table),
            sender.exponents.eq(self.exponents),
            receiver.full.eq(self.full),
            self.arrived.eq(receiver.arrived),
            receiver.credit_known.eq(sender.credit_known),
            sender.credit_en.eq(receiver.credit_en),
            sender.credit.eq(receiver.credit),
            receiver.credit_excess.eq(sender.credit_excess),
            receiver.merge_object.eq(sender.merge_object),
            sender.received_lines.eq(receiver.received_lines),
            receiver.merge_done.eq(sender.merge_done),
            self.busy.eq(sender.busy),
            self.active.eq(sender.busy | sender.counting | receiver.busy),
            self.reads.eq(sender.reads),
            self.partial.eq(sender.partial),
            self.flits_sent.eq(self.link_out.valid),
            self.flits_received.eq(self.link_in.valid),
            self.credit_stalled.eq(sender.starved),
        ]
        self._share(m, receiver, sender)
        # A SEND that is dropped waits until the receiver has no error.
        sends = receiver.error == FaultCode.NONE
        m.d.comb += [
            sender.drop.eq(sends),
            self.error.eq(~sends | sender.dropped),
            self.error_code.eq(
                Mux(sends & sender.dropped, FaultCode.NOC_OBJECT, receiver.error)
            ),
        ]  # fmt: skip
        return m

    def _share(self, m: Module, receiver: MessageReceiver, sender: MessageSender) -> None:
        """The accumulators' one read per cycle: what comes before what goes."""
        port, own = self.accumulators, receiver.accumulators
        m.d.comb += [
            own.ready.eq(port.ready),
            own.data.eq(port.data),
            port.read.eq(own.read | sender.sums_read),
            port.block.eq(Mux(own.read, own.block, sender.sums_block)),
            port.write.eq(own.write),
            port.write_block.eq(own.write_block),
            port.mask.eq(own.mask),
            port.write_data.eq(own.write_data),
            sender.sums_ready.eq(port.ready & ~own.read),
            sender.sums_data.eq(port.data),
            sender.sums_written.eq(own.write),
            sender.written_place.eq(receiver.written_place),
        ]
