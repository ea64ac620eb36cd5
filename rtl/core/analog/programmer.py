# SPDX-License-Identifier: Apache-2.0
"""Programmer: blind pulses from a queue, selective refresh and program-and-verify of rows."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.analog.pulse_queue import PulseQueue
from phasecore.rtl.core.analog.row_engine import RowEngine
from phasecore.rtl.core.analog.selection_scan import Selection
from phasecore.rtl.core.interfaces import (
    AdcRead,
    MacroProgram,
    MvmCommand,
    Pulse,
    RowCommand,
    UnitStatus,
    VectorRead,
)
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
        config = self.config
        m.submodules.queue = queue = PulseQueue(config)
        m.submodules.engine = engine = self._engine
        connect(m, flipped(self.pulses), queue.i)
        connect(m, engine.mvm, flipped(self.mvm))
        connect(m, engine.adc, flipped(self.adc))
        connect(m, engine.read, flipped(self.read))

        blind = stream.Signature(Selection(config)).create(path=("blind",))
        blind_left = self._blind(m, queue, blind)
        settled = self._output(m, blind, engine)
        dirty = Signal(config.rows)
        row_mask = Signal(config.rows)
        m.d.comb += row_mask.eq(Const(1) << Mux(engine.busy, engine.row, blind.p.row))
        with m.If(engine.clean):
            m.d.sync += dirty.eq(dirty & ~row_mask)
        with m.Elif(blind.valid & blind.ready):
            m.d.sync += dirty.eq(dirty | row_mask)
        quiet = ~blind_left & settled
        m.d.comb += [
            engine.rows.payload.eq(self.rows.payload),
            engine.rows.valid.eq(self.rows.valid & quiet),
            self.rows.ready.eq(engine.rows.ready & quiet),
            engine.settled.eq(settled),
            engine.dirty.eq((dirty & row_mask).any()),
            engine.latched.eq(self.latched),
            engine.refresh_high.eq(self.refresh_high),
            engine.refresh_low.eq(self.refresh_low),
            self.status.busy.eq(engine.busy | ~quiet),
            self.status.reads.eq(engine.reads),
            self.refreshed.eq(engine.refreshed),
            self.unverified.eq(engine.unverified),
        ]
        return m

    def _blind(self, m: Module, queue: PulseQueue, blind: stream.Interface) -> Value:
        """Turn queue entries into selections; return 1 while any is left."""
        entry = Signal(Pulse(self.config))
        held = Signal()
        # Belongs to an entry of count > 1: its pulses fire alone.
        repeated = Signal()
        following = queue.o.p
        # Decided in the cycle in which the selection is taken, hence not stable before.
        joins = (
            queue.o.valid
            & (following.row == entry.row)
            & (following.col > entry.col)
            & (following.count == 1)
        )
        finished = Signal()
        m.d.comb += [
            blind.valid.eq(held),
            blind.p.row.eq(entry.row),
            blind.p.col.eq(entry.col),
            blind.p.negative.eq(entry.negative),
            blind.p.fire.eq(repeated | ~joins),
            finished.eq(blind.ready & (entry.count == 1)),
            queue.o.ready.eq(~held | finished),
        ]
        with m.If(queue.o.ready):
            m.d.sync += [
                entry.eq(following),
                held.eq(queue.o.valid),
                repeated.eq(following.count != 1),
            ]
        with m.Elif(blind.ready):
            m.d.sync += entry.count.eq(entry.count - 1)
        return queue.o.valid | held

    def _output(self, m: Module, blind: stream.Interface, engine: RowEngine) -> Value:
        """Name the devices and hold a selection for the macro; return 1 when nothing is left."""
        config = self.config
        chosen = Signal(Selection(config))
        chosen_valid, free, taken = Signal(), Signal(), Signal()
        held = Signal(Selection(config))
        # A pulse from before a reset may last: the macro is busy until it reports ready.
        held_valid, pulsing = Signal(), Signal(init=1)
        device_bits = config.devices_per_polarity.bit_length() - 1
        potentiation = Signal(device_bits)
        depression = Signal(device_bits)
        m.d.comb += [
            chosen.eq(Mux(engine.busy, engine.o.payload, blind.payload)),
            chosen_valid.eq(Mux(engine.busy, engine.o.valid, blind.valid)),
            free.eq(~held_valid | taken),
            engine.o.ready.eq(free & engine.busy),
            blind.ready.eq(free & ~engine.busy),
            self.macro.valid.eq(held_valid & self.crossbar_idle),
            self.macro.row.eq(held.row),
            self.macro.col.eq(held.col),
            self.macro.negative.eq(held.negative),
            self.macro.device.eq(held.device),
            self.macro.reset.eq(held.reset),
            self.macro.fire.eq(held.fire),
            taken.eq(self.macro.valid & self.macro.ready),
            self.set_pulses.eq(taken & ~held.reset),
            self.reset_pulses.eq(taken & held.reset),
        ]
        with m.If(free):
            m.d.sync += [held.eq(chosen), held_valid.eq(chosen_valid)]
            with m.If(chosen_valid & ~chosen.reset):
                m.d.sync += held.device.eq(Mux(chosen.negative, depression, potentiation))
                with m.If(chosen.negative):
                    m.d.sync += depression.eq(depression + 1)
                with m.Else():
                    m.d.sync += potentiation.eq(potentiation + 1)
        # ready goes low in the cycle after a fire and comes back when the pulse is over.
        with m.If(taken & held.fire):
            m.d.sync += pulsing.eq(1)
        with m.Elif(self.macro.ready):
            m.d.sync += pulsing.eq(0)
        return ~held_valid & ~pulsing
