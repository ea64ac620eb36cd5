# SPDX-License-Identifier: Apache-2.0
"""AXI4-Lite slave and register file."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.control.csr_file import CsrFile
from phasecore.rtl.lib.axi_lite import AxiLiteBus, AxiLiteSlave
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY
from phasecore.verification.support.formal import prove
from phasecore.verification.support.formal_streams import StreamContract

TILE = TINY.replace(objects=4, routes=4)


class Registers(wiring.Component):
    """Register file behind its AXI4-Lite slave."""

    def __init__(self, config):
        self._file = CsrFile(config)
        members = {
            name: member for name, member in self._file.signature.members.items() if name != "bus"
        }
        super().__init__({"axil": In(AxiLiteBus()), **members})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = AxiLiteSlave()
        m.submodules.file = file = self._file
        connect(m, flipped(self.axil), slave.axil)
        connect(m, slave.bus, file.bus)
        for name, member in self.signature.members.items():
            own, inner = getattr(self, name), getattr(file, name, None)
            if member.is_signature and name != "axil":
                connect(m, flipped(own), inner)
            elif member.flow is Out:
                m.d.comb += own.eq(inner)
            elif name != "axil":
                m.d.comb += inner.eq(own)
        return m


@pytest.mark.parametrize(
    "config", [TINY, TILE, SMALL, DEFAULT], ids=["tiny", "tile", "small", "default"]
)
def test_registers_over_axi(simulate, config):
    simulate(Registers(config), config, bench="phasecore.verification.core.tb_axi_lite")


def test_register_bus_holds_its_request(tmp_path):
    dut = StreamContract(AxiLiteSlave(), requests=("bus",))
    prove(dut, name="axi_lite", tmp_path=tmp_path, depth=12)
