# SPDX-License-Identifier: Apache-2.0
"""Output of the programmer: names the devices and drives the macro."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.core.analog.selection_scan import Selection
from phasecore.rtl.core.interfaces import MacroProgram
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["DeviceSelector"]


class DeviceSelector(wiring.Component):
    """Holds a selection for the macro; the counters of selections name the device of a SET.

    Members
    -------
    i : In(stream of Selection)
    macro : Out(MacroProgram)
    crossbar_idle : In(1)
        Nothing is transferred to the macro while it is 0.
    settled : Out(1)
        Nothing waits to be pulsed or is being pulsed.
    set_pulses, reset_pulses : Out(1)
        A device is selected in this cycle.
    """

    i: stream.Interface

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(Selection(config))),
                "macro": Out(MacroProgram(config)),
                "crossbar_idle": In(1),
                "settled": Out(1),
                "set_pulses": Out(1),
                "reset_pulses": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, chosen = self.config, self.i.payload
        held, taken = Signal(Selection(config)), Signal()
        # A pulse from before a reset may last: the macro is busy until it reports ready.
        held_valid, pulsing = Signal(), Signal(init=1)
        device_bits = config.devices_per_polarity.bit_length() - 1
        potentiation = Signal(device_bits)
        depression = Signal(device_bits)
        m.d.comb += [
            self.i.ready.eq(~held_valid | taken),
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
            self.settled.eq(~held_valid & ~pulsing),
        ]
        with m.If(self.i.ready):
            m.d.sync += [held.eq(chosen), held_valid.eq(self.i.valid)]
            with m.If(self.i.valid & ~chosen.reset):
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
        return m
