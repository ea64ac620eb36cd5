# SPDX-License-Identifier: Apache-2.0
"""Clock gates: a unit without work gets no clock edges."""

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Elaboratable,
    Instance,
    Module,
    ResetSignal,
    Signal,
    ValueLike,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ClockGate", "add_gated", "gated_domain"]

HOLD_CYCLES = 3
"""Cycles a unit's clock runs on, so that pipelines and strobes behind its last work end."""


def add_gated(m: Module, name: str, unit: Elaboratable, enable: ValueLike) -> None:
    """Add ``unit`` as submodule ``name`` of ``m`` with a clock that runs on demand.

    Its registers see an edge in every cycle with ``enable`` (combinational inputs allowed), with
    reset, and in the ``HOLD_CYCLES`` after. ``enable`` must cover every cycle in which an input or
    a state of the unit could change a register; the same bits in the same cycles as without.
    """
    gated_domain(m, name, enable)
    m.submodules[name] = DomainRenamer(name)(unit)


def gated_domain(m: Module, name: str, enable: ValueLike) -> None:
    """Add a clock domain ``name`` of ``m`` that runs as that of :func:`add_gated`."""
    m.submodules[f"{name}_gate"] = gate = ClockGate()
    m.d.comb += gate.enable.eq(enable)
    domain = ClockDomain(name, local=True)
    # The net itself: an assignment would let the clock come later than the data of a simulation.
    domain.clk = gate.gated
    m.domains += domain
    m.d.comb += domain.rst.eq(ResetSignal())


class ClockGate(wiring.Component):
    """Clock for a unit, as :func:`add_gated` says.

    The gate is a macro: behavioural in ``macro/clock_gate.sv``, a black box for synthesis. It
    saves power in silicon, and time in simulators that evaluate only what a clock reaches.

    Members
    -------
    enable : In(1)
    gated : Out(1)
    """

    def __init__(self) -> None:
        super().__init__({"enable": In(1), "gated": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        recent = Signal(HOLD_CYCLES, init=-1)
        m.d.sync += recent.eq((recent << 1) | self.enable)
        m.submodules.cell = Instance(
            "phasecore_clock_gate",
            i_clk=ClockSignal(),
            i_enable=self.enable | recent.any() | ResetSignal(),
            o_gated=self.gated,
        )
        return m
