# SPDX-License-Identifier: Apache-2.0
"""Programmer: blind pulses from a queue, selective refresh and program-and-verify of rows."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.analog.blind_pulses import BlindPulses
from phasecore.rtl.core.analog.device_selector import DeviceSelector
from phasecore.rtl.core.analog.row_engine import RowEngine
from phasecore.rtl.core.interfaces import (
    AdcRead,
    MacroProgram,
    MvmCommand,
    Pulse,
    RowCommand,
    UnitStatus,
    VectorRead,
)
from phasecore.rtl.lib.queue import Queue
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Programmer"]


class Programmer(wiring.Component):
    """Everything that programs devices (docs/contract/programmer.md).

    A blind entry of count c becomes c SETs, one after another. Entries of count 1, of one row and
    in ascending column order share a ``fire`` as far as the queue holds them already: the
    programmer never waits for a pulse that may not come.

    Members
    -------
    pulses : stream of Pulse
    rows : stream of RowCommand, taken when no blind pulse is left
    mvm, adc, latched : row reads; ``latched`` counts windows whose codes can be read, modulo 4
    read : targets of PROGRAM
    macro : programming port
    crossbar_idle : nothing is transferred to the macro while it is 0
    refresh_high, refresh_low : thresholds of a worn pair
    status : busy while something is queued or in progress, or a pulse lasts, also one from before
        a reset; reads the slot of PROGRAM
    set_pulses, reset_pulses : devices selected for a pulse in this cycle
    refreshed : worn pairs RESET in this cycle
    unverified : columns given up in this cycle
    """

    pulses: stream.Interface
    rows: stream.Interface
    mvm: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        self._engine = RowEngine(config)
        super().__init__(
            {
                "pulses": In(stream.Signature(Pulse(config))),
                "rows": In(stream.Signature(RowCommand(config))),
                "mvm": Out(stream.Signature(MvmCommand(config))),
                "adc": Out(AdcRead(config)),
                "latched": In(2),
                "read": Out(VectorRead(config)),
                "macro": Out(MacroProgram(config)),
                "crossbar_idle": In(1),
                "refresh_high": In(7),
                "refresh_low": In(7),
                "status": Out(UnitStatus(config)),
                "set_pulses": Out(1),
                "reset_pulses": Out(1),
                "refreshed": Out(1),
                "unverified": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, engine = self.config, self._engine
        m.submodules.queue = queue = Queue(Pulse(config), depth=config.queue_depth)
        m.submodules.engine = engine
        m.submodules.blind = blind = BlindPulses(config)
        m.submodules.selector = selector = DeviceSelector(config)
        connect(m, flipped(self.pulses), queue.i)
        connect(m, queue.o, blind.i)
        connect(m, engine.mvm, flipped(self.mvm))
        connect(m, engine.adc, flipped(self.adc))
        connect(m, engine.read, flipped(self.read))
        connect(m, selector.macro, flipped(self.macro))

        dirty, row_mask = Signal(config.rows), Signal(config.rows)
        m.d.comb += row_mask.eq(Const(1) << Mux(engine.busy, engine.row, blind.o.p.row))
        with m.If(engine.clean):
            m.d.sync += dirty.eq(dirty & ~row_mask)
        with m.Elif(blind.o.valid & blind.o.ready):
            m.d.sync += dirty.eq(dirty | row_mask)
        quiet = ~blind.left & selector.settled
        m.d.comb += [
            selector.i.payload.eq(Mux(engine.busy, engine.o.payload, blind.o.payload)),
            selector.i.valid.eq(Mux(engine.busy, engine.o.valid, blind.o.valid)),
            selector.crossbar_idle.eq(self.crossbar_idle),
            engine.o.ready.eq(selector.i.ready & engine.busy),
            blind.o.ready.eq(selector.i.ready & ~engine.busy),
            engine.rows.payload.eq(self.rows.payload),
            engine.rows.valid.eq(self.rows.valid & quiet),
            self.rows.ready.eq(engine.rows.ready & quiet),
            engine.settled.eq(selector.settled),
            engine.dirty.eq((dirty & row_mask).any()),
            engine.latched.eq(self.latched),
            engine.refresh_high.eq(self.refresh_high),
            engine.refresh_low.eq(self.refresh_low),
            self.status.busy.eq(engine.busy | ~quiet),
            self.status.reads.eq(engine.reads),
            self.set_pulses.eq(selector.set_pulses),
            self.reset_pulses.eq(selector.reset_pulses),
            self.refreshed.eq(engine.refreshed),
            self.unverified.eq(engine.unverified),
        ]
        return m
