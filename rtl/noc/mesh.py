# SPDX-License-Identifier: Apache-2.0
"""Mesh of routers."""

from amaranth.hdl import Const, Value

from phasecore.rtl.lib.verilog import to_verilog
from phasecore.rtl.noc.network import ROUTER, Network
from phasecore.rtl.noc.router import Router
from phasecore.rtl.noc.routing import OPPOSITE, Port
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER

__all__ = ["MESH", "ROUTER", "Mesh", "mesh_verilog"]

MESH = "phasecore_mesh"

_STEP = {Port.NORTH: (0, 1), Port.EAST: (1, 0), Port.SOUTH: (0, -1), Port.WEST: (-1, 0)}


class Mesh(Network):
    """``width`` x ``height`` routers, each linked to its four neighbours."""

    def place(self, node: int) -> dict[str, Value]:
        y, x = divmod(node, self.config.width)
        return {"x": Const(x, HEADER.coordinate_bits), "y": Const(y, HEADER.coordinate_bits)}

    def other_end(self, node: int, port: int) -> tuple[int, int] | None:
        y, x = divmod(node, self.config.width)
        dx, dy = _STEP[port]
        if not (0 <= x + dx < self.config.width and 0 <= y + dy < self.config.height):
            return None
        return node + dy * self.config.width + dx, OPPOSITE[port]


def mesh_verilog(config: NocConfig) -> str:
    """Verilog of the mesh: module ``ROUTER`` once and module ``MESH``."""
    router = to_verilog(Router(config), name=ROUTER)
    return router + "\n" + to_verilog(Mesh(config), name=MESH)
