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

__all__ = ["add_gated", "gate"]

HOLD_CYCLES = 3
"""Cycles a unit's clock runs on, so that pipelines and strobes behind its last work end."""


def add_gated(m: Module, name: str, unit: Elaboratable, enable: ValueLike) -> None:
    """Add ``unit`` as submodule ``name`` of ``m`` with a clock that runs on demand.

    Its registers see an edge in every cycle with ``enable`` (combinational inputs allowed), with
    reset, and in the ``HOLD_CYCLES`` after. ``enable`` must cover every cycle in which an input or
    a state of the unit could change a register; the same bits in the same cycles as without.
    """
    domain = ClockDomain(name, local=True)
    m.domains += domain
    m.d.comb += domain.rst.eq(ResetSignal())
    gate(m, name, enable, domain.clk)
    m.submodules[name] = DomainRenamer(name)(unit)


def gate(m: Module, name: str, enable: ValueLike, clock: Signal) -> None:
    """Drive ``clock`` for a unit ``name`` as :func:`add_gated` says.

    The gate is a macro: behavioural in ``macro/clock_gate.sv``, a black box for synthesis. It
    saves power in silicon, and time in simulators that evaluate only what a clock reaches.
    """
    recent = Signal(HOLD_CYCLES, init=-1, name=f"{name}_recent")
    wanted = Signal(name=f"{name}_wanted")
    m.d.comb += wanted.eq(enable)
    m.d.sync += recent.eq((recent << 1) | wanted)
    m.submodules[f"{name}_gate"] = Instance(
        "phasecore_clock_gate",
        i_clk=ClockSignal(),
        i_enable=wanted | recent.any() | ResetSignal(),
        o_gated=clock,
    )
