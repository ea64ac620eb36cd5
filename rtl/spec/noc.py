# SPDX-License-Identifier: Apache-2.0
"""Parameters of the NoC: the only place where they are written down. No Amaranth import."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from phasecore.rtl.spec.parameters import Parameters, choice, integer
from phasecore.rtl.spec.topology import Edge, neighbours, prism, problems

__all__ = ["ARBITERS", "TOPOLOGIES", "NocConfig"]

ARBITERS = ("round_robin", "age")
"""``round_robin``: all input channels of an output in turn. ``age``: the oldest packet first."""

TOPOLOGIES = ("mesh", "prism", "table")
"""``mesh``: routers, packets go over several. The others are direct links: ``prism`` P_n x K_m with
``width`` columns of ``height`` cores, ``table`` the edges of ``links``."""


@dataclass(frozen=True, kw_only=True)
class NocConfig(Parameters):
    """Nodes and what joins them."""

    TITLE = "NoC configuration"
    KEY = "noc"

    topology: str = choice("mesh", TOPOLOGIES)
    """What joins the nodes."""

    width: int = integer(4, 1, 8)
    """Columns of nodes; x counts eastward."""

    height: int = integer(4, 1, 8)
    """Rows of nodes; y counts northward."""

    links: tuple[Edge, ...] = ()
    """Edges (source node, target node) of the topology ``table``, else nothing."""

    flit_bits: int = integer(64, 32, 256)
    """Data bits of a flit."""

    virtual_channels: int = integer(2, 1, 4)
    """Virtual channels of a link."""

    networks: int = integer(2, 1, 2)
    """Virtual networks: with two, the lower half of the channels (rounded up) is the XY
    network and the upper half YX; with one, all channels are XY."""

    depth: int = integer(4, 2, 16)
    """Flits that a virtual channel buffers at its receiver."""

    arbiter: str = choice("round_robin", ARBITERS)
    """Who gets an output."""

    age_bits: int = integer(10, 4, 16)
    """Bits of a packet's time of injection; only carried with ``arbiter = "age"``."""

    timeout: int = integer(1023, 3, 65535)
    """Idle cycles inside a packet after which the injecting router ends it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "links", _edges(self.links))
        if self.topology != "table" and self.links:
            raise ValueError(f"links are for the topology 'table', not {self.topology!r}")
        if self.topology == "table" and (wrong := problems(self.nodes, self.links)):
            raise ValueError(f"links: {'; '.join(wrong)}")

    @property
    def nodes(self) -> int:
        """How many nodes; node ``y * width + x`` is at (x, y)."""
        return self.width * self.height

    @property
    def direct(self) -> bool:
        """True if nodes have direct links and no packet passes through a node."""
        return self.topology != "mesh"

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Table of a direct NoC, forward."""
        return prism(self.width, self.height) if self.topology == "prism" else self.links

    @cached_property
    def neighbours(self) -> list[tuple[int, ...]]:
        """Nodes that each node has links with; port k + 1 leads to number k."""
        return neighbours(self.nodes, self.edges)

    @property
    def ports(self) -> int:
        """Ports of a router: the local one, then four directions or the links of any node."""
        return 1 + max(map(len, self.neighbours)) if self.direct else 5

    @property
    def vc_bits(self) -> int:
        """Bits that name a virtual channel."""
        return max(1, (self.virtual_channels - 1).bit_length())

    @property
    def credit_bits(self) -> int:
        """Bits that count the free buffers of a virtual channel."""
        return self.depth.bit_length()

    @property
    def xy_channels(self) -> int:
        """Virtual channels of the XY network; the others are the YX network."""
        if self.networks == 1:
            return self.virtual_channels
        return (self.virtual_channels + 1) // 2

    def order(self, vc: int) -> int:
        """Virtual network of a channel: 0 XY, 1 YX."""
        return int(vc >= self.xy_channels)


def _edges(links: Any) -> tuple[Edge, ...]:
    """Pairs of integers, from tuples or from the lists of JSON."""
    pairs = links if isinstance(links, list | tuple) else [links]
    for pair in pairs:
        whole = isinstance(pair, list | tuple) and all(type(node) is int for node in pair)
        if not whole or len(pair) != 2:
            raise TypeError(f"links must be pairs of nodes, not {pair!r}")
    return tuple((source, target) for source, target in pairs)
