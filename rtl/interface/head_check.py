# SPDX-License-Identifier: Apache-2.0
"""Check of the head flit of a message."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.interface.head import EIGHT, FOUR, HeadFlit
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.messages import MessageKind
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["HeadCheck"]


class HeadCheck(wiring.Component):
    """Why the message of a head must be dropped (combinational).

    Members
    -------
    head : In(HeadFlit)
    known, partial, full : In(1)
        The object of the message is enabled, takes partial sums, has no room for another vector.
    pitch : In(8)
        Flits that a vector of the object may have.
    credit_known : In(1)
        The route of a CREDIT message is enabled, and has the member.
    error : Out(8)
        FaultCode, NONE if the message is good; of several errors the last of a kind's list.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "head": In(HeadFlit()),
                "known": In(1),
                "partial": In(1),
                "full": In(1),
                "pitch": In(8),
                "credit_known": In(1),
                "error": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lines, message = self.config.lines, self.head.message
        flits, end = Signal(8), Signal(9)
        m.d.comb += [flits.eq(self.head.length - 1), end.eq(message.start + flits)]
        room = Mux(message.kind == MessageKind.VECTOR, lines // EIGHT, lines // FOUR)
        outside = (flits == 0) | (end > room)
        unknown = message.object >= self.config.affine_tables
        faults: dict[MessageKind, list[tuple[Value, FaultCode]]] = {
            MessageKind.CREDIT: [
                (flits != 0, FaultCode.NOC_RANGE),
                (~self.credit_known, FaultCode.NOC_OBJECT),
            ],
            MessageKind.AFFINE: [
                (outside, FaultCode.NOC_RANGE),
                (unknown, FaultCode.NOC_OBJECT),
            ],
        }
        for kind in (MessageKind.VECTOR, MessageKind.PARTIAL):
            other = self.partial != int(kind is MessageKind.PARTIAL)
            too_long = (end > self.pitch) if kind is MessageKind.VECTOR else Const(0)
            faults[kind] = [
                (self.full, FaultCode.NOC_CREDIT),
                (outside | too_long, FaultCode.NOC_RANGE),
                (~self.known | other, FaultCode.NOC_OBJECT),
            ]
        with m.Switch(message.kind):
            for kind, found in faults.items():
                with m.Case(kind):
                    for condition, code in found:
                        with m.If(condition):
                            m.d.comb += self.error.eq(code)
        return m
