# SPDX-License-Identifier: Apache-2.0
"""Direct links from a table: every packet goes over one link, none through a node."""

from amaranth.hdl import Cat, Const, Value

from phasecore.rtl.lib.verilog import to_verilog
from phasecore.rtl.noc.network import ROUTER, Network
from phasecore.rtl.noc.router import Router
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER

__all__ = ["DIRECT", "ROUTER", "Direct", "direct_verilog"]

DIRECT = "phasecore_direct"


class Direct(Network):
    """Nodes with the links of ``config.edges``, each in both directions.

    Port k + 1 of a node leads to number k of ``config.neighbours``; nodes with fewer links than
    others have ports without.
    """

    def place(self, node: int) -> dict[str, Value]:
        config = self.config
        around = config.neighbours[node]
        linked = [Cat(Const(1), self._coordinates(other)) for other in around]
        spare = [Const(0, len(linked[0]))] * (config.ports - 1 - len(around)) if linked else []
        near = sum(1 << other for other in (node, *around))
        own = self._coordinates(node)
        return {
            "x": own[: HEADER.coordinate_bits], "y": own[HEADER.coordinate_bits :],
            "near": Const(near, config.nodes), "to": Cat(*linked, *spare),
        }  # fmt: skip

    def other_end(self, node: int, port: int) -> tuple[int, int] | None:
        around = self.config.neighbours
        if port > len(around[node]):
            return None
        other = around[node][port - 1]
        return other, 1 + around[other].index(node)

    def _coordinates(self, node: int) -> Const:
        y, x = divmod(node, self.config.width)
        bits = HEADER.coordinate_bits
        return Const(y << bits | x, 2 * bits)


def direct_verilog(config: NocConfig) -> str:
    """Verilog of a NoC of direct links: module ``ROUTER`` once and module ``DIRECT``."""
    router = to_verilog(Router(config), name=ROUTER)
    return router + "\n" + to_verilog(Direct(config), name=DIRECT)
