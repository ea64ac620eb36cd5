# SPDX-License-Identifier: Apache-2.0
"""The chip: tiles on a NoC, a host bridge and the register hub."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from phasecore.rtl.chip.host_bridge import HostBridge
from phasecore.rtl.chip.register_hub import RegisterHub
from phasecore.rtl.chip.tile import Tile
from phasecore.rtl.core.control.load_unit import AxiStream
from phasecore.rtl.lib.axi_lite import AxiLiteBus
from phasecore.rtl.lib.flat_ports import connect_flat, flat_members
from phasecore.rtl.lib.verilog import to_verilog
from phasecore.rtl.noc.direct import Direct
from phasecore.rtl.noc.mesh import Mesh
from phasecore.rtl.noc.network import ROUTER, Network, flit_bits
from phasecore.rtl.noc.router import Router
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.registers.chip import ADDRESS_BITS

__all__ = ["CHIP", "TILE", "Chip", "chip_verilog"]

CHIP = "phasecore_chip"
TILE = "phasecore_tile"


class Chip(wiring.Component):
    """Cores on a NoC; ports are flat AXI names, active-high ``rst``.

    Tiles and routers are instances of one Verilog module each: convert with :func:`chip_verilog`.

    Members
    -------
    s_axil_* : AXI4-Lite slave, 32 bit: a page of registers per node
    s_axis_* : AXI-Stream slave: VECTOR and AFFINE packets for the host's routes
    m_axis_* : AXI-Stream master: RESULT packets of the host's objects
    halted : Out(1)
        No core runs, and the last program of each that was started ended with HALT.
    """

    def __init__(self, config: ChipConfig):
        self.config = config
        self._groups = {
            "s_axil": In(AxiLiteBus(ADDRESS_BITS)),
            "s_axis": In(AxiStream(config.core)),
            "m_axis": Out(AxiStream(config.core)),
        }
        super().__init__({**flat_members(self._groups), "halted": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        noc = Direct if config.noc.direct else Mesh
        m.submodules.mesh = mesh = noc(config.noc)
        m.submodules.hub = hub = RegisterHub(config)
        m.submodules.bridge = bridge = HostBridge(config)
        for node in config.cores:
            self._tile(m, node, mesh, hub)
        self._link(m, mesh, config.host, bridge.link_in, bridge.link_out)
        m.d.comb += [
            bridge.table.eq(hub.table),
            hub.packet_fault.eq(bridge.packet_fault),
            hub.noc_fault.eq(bridge.noc_fault),
            hub.router_faults.eq(mesh.errors),
            hub.flits_sent.eq(bridge.flits_sent),
            hub.flits_received.eq(bridge.flits_received),
            hub.credit_stalled.eq(bridge.credit_stalled),
            self.halted.eq(hub.all_halted),
        ]
        inner = {"s_axil": hub.s_axil, "s_axis": bridge.s_axis, "m_axis": bridge.m_axis}
        connect_flat(m, self, self._groups, inner)
        return m

    def _tile(self, m: Module, node: int, mesh: Network, hub: RegisterHub) -> None:
        """Tile of ``node``, its register page and its links."""
        bus = hub.buses[node]
        link_in, link_out = self._wires(node, "in"), self._wires(node, "out")
        self._link(m, mesh, node, link_in, link_out)
        m.submodules[f"core_{node}"] = Instance(
            TILE,
            i_clk=ClockSignal(), i_rst=ResetSignal(),
            i_start=hub.start[node], o_running=hub.running[node], o_halted=hub.halted[node],
            o_failed=hub.failed[node],
            **{f"i_bus__{name}": getattr(bus, name)
               for name in ("valid", "write", "address", "w_data", "w_strobe")},
            **{f"o_bus__{name}": getattr(bus, name) for name in ("ready", "r_data", "error")},
            **{f"i_link_in__{name}": getattr(link_in, name) for name in ("valid", "vc", "flit")},
            o_link_in__credit=link_in.credit,
            **{f"o_link_out__{name}": getattr(link_out, name) for name in ("valid", "vc", "flit")},
            i_link_out__credit=link_out.credit,
        )  # fmt: skip

    def _wires(self, node: int, way: str) -> "_Wires":
        return _Wires(self.config, f"core_{node}_{way}")

    def _link(self, m: Module, mesh: Network, node: int, link_in: object, link_out: object) -> None:
        """Join ``link_in`` to what the mesh ejects at ``node``, ``link_out`` to what it injects."""
        noc = self.config.noc
        channels = noc.virtual_channels
        received = Cat(
            mesh.o_head[node], mesh.o_tail[node], mesh.o_data.word_select(node, noc.flit_bits)
        )
        sent = _bits(link_out.flit)
        m.d.comb += [
            link_in.valid.eq(mesh.o_valid[node]),
            link_in.vc.eq(mesh.o_vc.word_select(node, noc.vc_bits)),
            _bits(link_in.flit).eq(Cat(received, Const(0, len(sent) - len(received)))),
            mesh.o_credit.word_select(node, channels).eq(link_in.credit),
            mesh.i_valid[node].eq(link_out.valid),
            mesh.i_vc.word_select(node, noc.vc_bits).eq(link_out.vc),
            mesh.i_head[node].eq(sent[0]),
            mesh.i_tail[node].eq(sent[1]),
            mesh.i_data.word_select(node, noc.flit_bits).eq(sent[2 : 2 + noc.flit_bits]),
            link_out.credit.eq(mesh.i_credit.word_select(node, channels)),
        ]


def _bits(flit: object) -> Signal:
    """A flit as one value, be it a view or a signal."""
    return flit.as_value() if hasattr(flit, "as_value") else flit


class _Wires:
    """Signals of a link at the port of an instance."""

    def __init__(self, config: ChipConfig, name: str):
        noc = config.noc
        self.valid = Signal(name=f"{name}_valid")
        self.vc = Signal(noc.vc_bits, name=f"{name}_vc")
        self.flit = Signal(flit_bits(noc), name=f"{name}_flit")
        self.credit = Signal(noc.virtual_channels, name=f"{name}_credit")


def chip_verilog(config: ChipConfig) -> str:
    """Verilog of the chip: modules ``ROUTER`` and ``TILE`` once each, and module ``CHIP``."""
    return "\n".join([
        to_verilog(Router(config.noc), name=ROUTER),
        to_verilog(Tile(config.core, config.noc), name=TILE),
        to_verilog(Chip(config), name=CHIP),
    ])  # fmt: skip
