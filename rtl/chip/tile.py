# SPDX-License-Identifier: Apache-2.0
"""A core of a chip: the units of a core behind a network interface."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from phasecore.rtl.core.core import CoreBlocks
from phasecore.rtl.core.digital.window_unit import WindowUnit
from phasecore.rtl.interface.local_control import LocalControl
from phasecore.rtl.interface.network_interface import NetworkInterface
from phasecore.rtl.interface.window_table import WindowTable
from phasecore.rtl.lib.axi_lite import RegisterBus
from phasecore.rtl.lib.clock_gate import add_gated
from phasecore.rtl.noc.link import Link
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.registers.table import FaultCode

__all__ = ["Tile"]


class Tile(wiring.Component):
    """A core of a chip, with its network interface and local control.

    Members
    -------
    bus : In(RegisterBus)
        The registers of ``rtl/spec/registers/core.py``.
    link_in, link_out : In(Link), Out(Link)
        From and to the local port of the node's router.
    start : In(1)
        Starts the program like CONTROL.start.
    running, halted, failed : Out(1)
        A program runs; the last one ended with HALT, all units idle; an error was counted.
    """

    def __init__(self, config: CoreConfig, noc: NocConfig):
        if not config.objects:
            raise ValueError("objects must be at least 1 in a chip, not 0")
        self.config, self.noc = config, noc
        super().__init__(
            {
                "bus": In(RegisterBus()),
                "link_in": In(Link(noc)),
                "link_out": Out(Link(noc)),
                "start": In(1),
                "running": Out(1),
                "halted": Out(1),
                "failed": Out(1),
            }
        )

    def _gate(
        self, m: Module, units: CoreBlocks, network: NetworkInterface, local: LocalControl,
        windows: WindowTable, window: WindowUnit,
    ) -> None:  # fmt: skip
        """Clocks that run while there is work, as those of the other units."""
        controller, written = units.controller, units.csr.table.en
        coming = self.link_in.valid | self.link_out.credit.any()
        asked = controller.send.valid | local.grants.valid
        # What the receiver keeps of the accumulators is stale once post-processing has worked.
        add_gated(
            m, "network", network,
            network.active | coming | asked | written | ~network.accumulators.ready,
        )  # fmt: skip
        looked_up = controller.lookup.en
        add_gated(
            m, "local", local,
            local.busy | controller.release.valid | network.arrived.any() | written | looked_up,
        )  # fmt: skip
        add_gated(m, "windows", windows, looked_up | written)
        add_gated(m, "window", window, window.status.busy | window.i.valid)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = CoreBlocks(m, self.config)
        controller, csr, post = units.controller, units.csr, units.post
        network = NetworkInterface(self.config, self.noc)
        local, window = LocalControl(self.config), WindowUnit(self.config)
        windows = WindowTable(self.config)
        self._gate(m, units, network, local, windows, window)
        units.share_vectors(m, (window, network), (window, network))
        units.share_tables(m, network)
        connect(m, controller.send, network.i)
        connect(m, controller.release, local.release)
        connect(m, controller.gather, windows.i)
        connect(m, windows.o, window.i)
        connect(m, window.status, controller.units.window)
        connect(m, local.grants, network.grants)
        connect(m, network.accumulators, post.accumulators)
        connect(m, window.scatter, post.scatter)
        connect(m, flipped(self.bus), csr.bus)
        connect(m, flipped(self.link_in), network.link_in)
        connect(m, network.link_out, flipped(self.link_out))
        m.d.comb += [
            network.exponents.eq(units.exponents),
            window.exponents.eq(units.exponents),
            network.table.eq(csr.table),
            local.table.eq(csr.table),
            windows.table.eq(csr.table),
            *(
                getattr(unit.lookup, name).eq(getattr(controller.lookup, name))
                for unit in (local, windows)
                for name in ("en", "object")
            ),
            windows.place.eq(local.place),
            local.arrived.eq(network.arrived),
            network.full.eq(local.full),
            controller.network.ready.eq(local.ready),
            controller.network.partial.eq(network.partial),
            controller.network.gathered.eq(windows.gathered),
            controller.network.window.eq(windows.window),
            controller.network.sources.eq(windows.sources),
            controller.network.pixel.eq(windows.pixel),
            controller.units.read.busy.eq(network.busy | local.busy),
            controller.units.read.reads.eq(network.reads),
            csr.start.eq(self.start),
            csr.noc_fault.eq(network.error | local.refused),
            local.counted.eq(~network.error),
            csr.noc_fault_code.eq(Mux(network.error, network.error_code, FaultCode.NOC_OBJECT)),
            self.running.eq(controller.sequencer.running),
            self.halted.eq(controller.sequencer.halted),
            self.failed.eq(csr.failed),
        ]
        units.count(m, {
            "flits_sent": network.flits_sent,
            "flits_received": network.flits_received,
            "credit_stalled": network.credit_stalled,
        })  # fmt: skip
        return m
