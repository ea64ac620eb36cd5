# SPDX-License-Identifier: Apache-2.0
"""What the performance counters of the controller add up."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.control.csr_parts import Events
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Unit

__all__ = ["IssueCounters"]

BUSY = {
    "post_busy": Unit.POST,
    "update_busy": Unit.UPDATE,
    "programmer_busy": Unit.PROGRAMMER,
    "load_busy": Unit.LOAD,
    "read_busy": Unit.READ,
    "gather_busy": Unit.WINDOW,
}
STALLS = ("crossbar", "post", "update", "programmer", "load", "read", "gather", "hazard", "object")
"""Causes of a stall, the units first; a cycle counts for the first that applies."""


class IssueCounters(wiring.Component):
    """Events of every cycle (combinational).

    Members
    -------
    running, issued, stalled : In(1)
        Of the sequencer.
    busy, waiting, refused : In(7)
        Units, as in ``Unit``: those that work, those that the instruction waits for, and the one
        that did not take its command.
    hazard, absent : In(1)
        A slot or table, or an object, is waited for.
    loads, reads : In(1)
        A vector is about to come or to leave.
    events : Out(Events)
    """

    def __init__(self, config: CoreConfig):
        super().__init__(
            {
                "running": In(1),
                "issued": In(1),
                "stalled": In(1),
                "busy": In(len(Unit)),
                "waiting": In(len(Unit)),
                "refused": In(len(Unit)),
                "hazard": In(1),
                "absent": In(1),
                "loads": In(1),
                "reads": In(1),
                "events": Out(Events(config, internal=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counted = self.events
        causes = Signal(len(STALLS))
        m.d.comb += [
            causes.eq(Cat(self.waiting | self.refused, self.hazard, self.absent)),
            counted.cycles.eq(self.running),
            counted.instructions.eq(self.issued),
            counted.loads.eq(self.loads),
            counted.reads.eq(self.reads),
            *(
                counted[name].eq(self.busy[unit])
                for name, unit in BUSY.items() if name in counted.shape().members
            ),
        ]  # fmt: skip
        for position, cause in enumerate(STALLS):
            first, name = causes[position] & ~causes[:position].any(), f"stall_{cause}"
            if name in counted.shape().members:
                m.d.comb += counted[name].eq(self.stalled & first)
        return m
