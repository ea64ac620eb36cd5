# SPDX-License-Identifier: Apache-2.0
"""Blind pulses of the programmer: entries of the queue become selections."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.analog.selection_scan import Selection
from phasecore.rtl.core.interfaces import Pulse
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["BlindPulses"]


class BlindPulses(wiring.Component):
    """An entry of count c becomes c selections, each with a fire of its own.

    Entries of count 1, of one row and in ascending column order share a ``fire`` as far as they
    are there already; this is decided in the cycle in which a selection is taken, hence not stable
    before.

    Members
    -------
    i : In(stream of Pulse)
    o : Out(stream of Selection)
    left : Out(1)
        An entry waits or is in work.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(Pulse(config))),
                "o": Out(stream.Signature(Selection(config))),
                "left": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry, held = Signal(Pulse(self.config)), Signal()
        # Belongs to an entry of count > 1: its pulses fire alone.
        repeated = Signal()
        finished = Signal()
        following = self.i.p
        joins = (
            self.i.valid
            & (following.row == entry.row)
            & (following.col > entry.col)
            & (following.count == 1)
        )
        m.d.comb += [
            self.o.valid.eq(held),
            self.o.p.row.eq(entry.row),
            self.o.p.col.eq(entry.col),
            self.o.p.negative.eq(entry.negative),
            self.o.p.fire.eq(repeated | ~joins),
            finished.eq(self.o.ready & (entry.count == 1)),
            self.i.ready.eq(~held | finished),
            self.left.eq(self.i.valid | held),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                entry.eq(following),
                held.eq(self.i.valid),
                repeated.eq(following.count != 1),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += entry.count.eq(entry.count - 1)
        return m
