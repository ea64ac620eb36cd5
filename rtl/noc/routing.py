# SPDX-License-Identifier: Apache-2.0
"""Where a flit may go: ports, coordinates, outputs of a head."""

from amaranth.hdl import Mux, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER, Header

__all__ = ["OPPOSITE", "PORTS", "Port", "claim_order", "field", "masks", "place", "reachable"]


class Port:
    """Ports of a mesh's router; a link to the north goes to the router at y + 1.

    With direct links port k + 1 belongs to neighbour k.
    """

    LOCAL, NORTH, EAST, SOUTH, WEST = range(5)


PORTS = 5
"""Of a mesh's router; in general ``NocConfig.ports``."""

OPPOSITE = {
    Port.NORTH: Port.SOUTH, Port.SOUTH: Port.NORTH, Port.EAST: Port.WEST, Port.WEST: Port.EAST,
}  # fmt: skip

CLAIM_ORDER = (Port.EAST, Port.WEST, Port.NORTH, Port.SOUTH, Port.LOCAL)
"""A multicast claims its outputs in this order, so that claims never wait in a circle."""


def reachable(config: NocConfig, port: int, vc: int) -> tuple[int, ...]:
    """Outputs that a flit of channel ``vc`` at input ``port`` may take."""
    if port == Port.LOCAL:
        return tuple(range(config.ports))
    if config.direct:
        return (Port.LOCAL,)
    straight = (Port.LOCAL, OPPOSITE[port])
    turns = (Port.EAST, Port.WEST) if config.order(vc) else (Port.NORTH, Port.SOUTH)
    return straight if port in turns else tuple(sorted({*straight, *turns}))


def claim_order(config: NocConfig) -> tuple[int, ...]:
    """Outputs in the order in which a multicast claims them."""
    return (*range(1, config.ports), Port.LOCAL) if config.direct else CLAIM_ORDER


def place(config: NocConfig, header: Header = HEADER) -> dict[str, wiring.Member]:
    """Inputs, constant, that tell a router where it is.

    ``x``, ``y``; with direct links also ``near``, one bit per node that it reaches, itself
    included, and ``to``, the coordinates of each neighbour, ``linked`` or not.
    """
    coordinates = {"x": header.coordinate_bits, "y": header.coordinate_bits}
    members: dict[str, wiring.Member] = {name: In(width) for name, width in coordinates.items()}
    if config.direct:
        neighbour = data.StructLayout({"linked": 1, **coordinates})
        members |= {
            "near": In(config.nodes), "to": In(data.ArrayLayout(neighbour, config.ports - 1)),
        }  # fmt: skip
    return members


def field(flit: data.View, header: Header, name: str) -> Value:
    """A field of the header in a head flit."""
    position = header[name]
    return flit.data[position.low : position.low + position.width]


def masks(flit: data.View, header: Header) -> tuple[Value, Value]:
    """Columns and rows that a head flit names, one bit each, for unicasts and multicasts."""
    several = field(flit, header, "multicast")
    return tuple(
        Mux(several, field(flit, header, many), (1 << field(flit, header, one))[: header.mask_bits])
        for one, many in (("x", "cols"), ("y", "rows"))
    )
