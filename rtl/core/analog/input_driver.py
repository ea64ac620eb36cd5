# SPDX-License-Identifier: Apache-2.0
"""Input driver: vectors to pulse-width modulated (PWM) drive lines."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.analog.vector_loader import VectorLoader
from phasecore.rtl.core.analog.window_driver import WindowDriver
from phasecore.rtl.core.interfaces import (
    Exponents,
    IncrementTiming,
    MvmCommand,
    MvmSource,
    UnitStatus,
    VectorRead,
)
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["InputDriver"]


class InputDriver(wiring.Component):
    """Drives the lines of the crossbar for one window per command.

    One command is loaded while the window of another runs; a loaded command starts in the cycle
    after the last one of the running window. The first window cycle of a command taken by an idle
    driver is 3 cycles and one per word later (SLOT, ALL), 3 (ONE_HOT) or 2 cycles later.

    Magnitudes are kept as bit planes, one bit per line, so that all lines are compared with the
    elapsed time by a handful of vector-wide operations.

    Parameters
    ----------
    config : CoreConfig

    Members
    -------
    i : In(stream.Signature(MvmCommand(config)))
    read : Out(VectorRead(config)); words of the slot that hold lines of the command
    exponents : In(Exponents(config))
    timing : Out(IncrementTiming(config)); aligned with the macro controls
    backward, polarities, devices, range, reference : Out; macro controls, held between windows
    first, active : Out(1); first cycle and all cycles of a window
    pwm_positive, pwm_negative : Out(lines); registered, low between windows
    issued : Out(2); commands taken, modulo 4
    status : Out(UnitStatus(config)); busy while a command is loading, waiting or running, and
        reads its slot until it is completely loaded
    window : Out(1); the same as ``active``
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(MvmCommand(config))),
                "read": Out(VectorRead(config)),
                "exponents": In(Exponents(config)),
                "timing": Out(IncrementTiming(config)),
                "backward": Out(1),
                "polarities": Out(2),
                "devices": Out(config.devices_per_polarity),
                "lsb_log2": Out(config.lsb_log2_bits),
                "first": Out(1),
                "active": Out(1),
                "reference": Out(1),
                "pwm_positive": Out(config.lines),
                "pwm_negative": Out(config.lines),
                "issued": Out(2),
                "status": Out(UnitStatus(config)),
                "window": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.loader = loader = VectorLoader(self.config)
        m.submodules.driver = driver = WindowDriver(self.config)
        connect(m, flipped(self.i), loader.i)
        connect(m, loader.read, flipped(self.read))
        connect(m, driver.timing, flipped(self.timing))
        for name in (
            "backward", "polarities", "lsb_log2", "reference", "first", "active", "pwm_positive",
            "pwm_negative",
        ):  # fmt: skip
            m.d.comb += getattr(self, name).eq(getattr(driver, name))
        for name in ("command", "exponent", "positive", "negative"):
            m.d.comb += getattr(driver, name).eq(getattr(loader, name))
        planes = zip(driver.magnitude, loader.magnitude, strict=True)
        m.d.comb += [
            [now.eq(later) for now, later in planes],
            driver.start.eq(loader.taken & loader.loaded & (~self.active | driver.last)),
            loader.start.eq(driver.start),
            loader.exponents.eq(self.exponents),
            self.issued.eq(loader.issued),
            self.window.eq(self.active),
            self.status.busy.eq(loader.taken | self.active),
            self.devices.eq(-1),
        ]
        from_slot = loader.command.source == MvmSource.SLOT
        with m.If(loader.taken & ~loader.loaded & from_slot):
            m.d.comb += self.status.reads.eq(1 << loader.command.slot)
        return m
