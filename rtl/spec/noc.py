# SPDX-License-Identifier: Apache-2.0
"""Parameters of the fabric: the only place where they are written down. No Amaranth import."""

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from phasecore.rtl.spec.core import from_fields, to_object
from phasecore.rtl.spec.topology import Edge, neighbours, prism, problems

__all__ = ["ARBITERS", "TOPOLOGIES", "FabricConfig"]

ARBITERS = ("round_robin", "age")
"""``round_robin``: all input channels of an output in turn. ``age``: the oldest packet first."""

TOPOLOGIES = ("mesh", "prism", "table")
"""``mesh``: routers, packets go over several. The others are direct links: ``prism`` P_n x K_m with
``width`` columns of ``height`` cores, ``table`` the edges of ``links``."""


@dataclass(frozen=True, kw_only=True)
class FabricConfig:
    """Nodes and what joins them."""

    topology: str = "mesh"
    """What joins the nodes: one of ``TOPOLOGIES``."""

    width: int = 4
    """Columns of nodes, 1..8; x counts eastward."""

    height: int = 4
    """Rows of nodes, 1..8; y counts northward."""

    links: tuple[Edge, ...] = ()
    """Edges (source node, target node) of the topology ``table``, else nothing."""

    flit_bits: int = 64
    """Data bits of a flit, 32..256."""

    virtual_channels: int = 2
    """Virtual channels of a link, 1..4."""

    networks: int = 2
    """Virtual networks, 1..2: with two, the lower half of the channels (rounded up) is the XY
    network and the upper half YX; with one, all channels are XY."""

    depth: int = 4
    """Flits that a virtual channel buffers at its receiver, 2..16."""

    arbiter: str = "round_robin"
    """Who gets an output: one of ``ARBITERS``."""

    age_bits: int = 10
    """Bits of a packet's time of injection, 4..16; only carried with ``arbiter = "age"``."""

    timeout: int = 1023
    """Idle cycles inside a packet after which the injecting router ends it, 3..65535."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name} must be an integer, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name, choices in (("arbiter", ARBITERS), ("topology", TOPOLOGIES)):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
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
        """Table of a direct fabric, forward."""
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

    def replace(self, **changes: Any) -> "FabricConfig":
        """A copy with some fields changed (checked again)."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "FabricConfig":
        """Build from the text of one JSON object; missing keys keep their defaults."""
        return from_fields(cls, to_object(text, "fabric configuration"), "fabric")


def _edges(links: Any) -> tuple[Edge, ...]:
    """Pairs of integers, from tuples or from the lists of JSON."""
    pairs = links if isinstance(links, list | tuple) else [links]
    for pair in pairs:
        whole = isinstance(pair, list | tuple) and all(type(node) is int for node in pair)
        if not whole or len(pair) != 2:
            raise TypeError(f"links must be pairs of nodes, not {pair!r}")
    return tuple((source, target) for source, target in pairs)


_RANGES = [
    ("width", 1, 8),
    ("height", 1, 8),
    ("flit_bits", 32, 256),
    ("virtual_channels", 1, 4),
    ("networks", 1, 2),
    ("depth", 2, 16),
    ("age_bits", 4, 16),
    ("timeout", 3, 65535),
]
