# SPDX-License-Identifier: Apache-2.0
"""Sequencer with its register file."""

import pytest
from amaranth.hdl import Assume, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.control.controller import Controller
from phasecore.rtl.core.control.csr_file import CsrFile
from phasecore.rtl.lib.axi_lite import RegisterBus
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

TO_REGISTERS = ("sequencer", "busy", "events")
TILE = CHIPS["tiny"].core


class ControllerWithRegisters(wiring.Component):
    """Controller and register file; the ports of the units and the register bus."""

    def __init__(self, config):
        self._config = config
        self._controller = Controller(config)
        members = dict(self._controller.signature.members)
        for name in TO_REGISTERS:
            del members[name]
        super().__init__({"bus": In(RegisterBus()), **members})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller = controller = self._controller
        m.submodules.file = file = CsrFile(self._config)
        connect(m, flipped(self.bus), file.bus)
        connect(m, controller.sequencer, file.sequencer)
        m.d.comb += [
            file.busy.eq(controller.busy),
            file.controller_events.eq(controller.events),
            file.calibrating.eq(self.calibrating),
        ]
        for name, member in self.signature.members.items():
            if name == "bus":
                continue
            own, inner = getattr(self, name), getattr(controller, name)
            if member.is_signature:
                connect(m, flipped(own), inner)
            elif member.flow is Out:
                m.d.comb += own.eq(inner)
            else:
                m.d.comb += inner.eq(own)
        return m


@pytest.mark.parametrize(
    "config", [TINY, TILE, SMALL, DEFAULT], ids=["tiny", "tile", "small", "default"]
)
def test_controller(simulate, config):
    simulate(
        ControllerWithRegisters(config), config, bench="phasecore.verification.core.tb_controller"
    )


@pytest.mark.parametrize("config", [TINY, TILE], ids=["tiny", "tile"])
def test_commands_are_held(config, tmp_path):
    dut = StreamContract(Controller(config), environment=_monotone)
    prove(dut, name="controller", tmp_path=tmp_path, depth=14)


def _monotone(m, controller):
    """While a command waits, no unit becomes busy and no slot becomes used on its own."""
    waits = Signal()
    offered = [
        getattr(controller, name)
        for name, member in controller.signature.members.items()
        if member.is_signature and isinstance(member.signature, stream.Signature)
    ]
    m.d.sync += waits.eq(sum(port.valid & ~port.ready for port in offered) != 0)
    for path, _, port in controller.signature.flatten(controller):
        if path[0] in ("windows", "units", "network", "calibrating"):
            value = Value.cast(port)
            before = Signal(len(value), name="before_" + "_".join(map(str, path)))
            m.d.sync += before.eq(value)
            with m.If(waits):
                # An object that is there stays until it is released, and so does its window's
                # place; descriptors do not change.
                kept = path[0] == "network" and path[1] in ("ready", "gathered")
                risen = before & ~value if kept else value & ~before
                is_held = path[0] == "windows" or path[:2] == ("network", "pixel")
                m.d.comb += Assume(value == before if is_held else risen == 0)
