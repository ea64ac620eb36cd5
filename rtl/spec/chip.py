# SPDX-License-Identifier: Apache-2.0
"""Parameters of a chip: its cores, its NoC and where the host is. No Amaranth import."""

from dataclasses import dataclass
from pathlib import Path

from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY, CoreConfig
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.parameters import Parameters, integer, part

__all__ = ["CHIPS", "ChipConfig"]


@dataclass(frozen=True, kw_only=True)
class ChipConfig(Parameters):
    """A mesh whose nodes are cores of one kind, but for one, where the host bridge is."""

    TITLE = "chip configuration"
    KEY = "chip"

    core: CoreConfig = part(DEFAULT.replace(objects=8, routes=8, vector_words=512, sum_words=64))
    """Every core; with objects and routes."""

    noc: NocConfig = part(NocConfig(width=3, height=2))
    """The mesh; 64 data bits per flit."""

    host: int = integer(2)
    """Node of the host bridge: ``y * width + x``."""

    host_routes: int = integer(16, 1, 16)
    """Routes from the host to objects of the cores."""

    host_objects: int = integer(8, 1, 16)
    """Objects of the host, filled by routes of the cores."""

    bridge_flits: int = integer(64, 64, 512, power_of_two=True)
    """Flits, heads included, that the host bridge holds for the host."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.core.objects:
            raise ValueError("core.objects must be at least 1 on a chip, not 0")
        if self.noc.flit_bits != 64:
            raise ValueError(f"noc.flit_bits must be 64 on a chip, not {self.noc.flit_bits}")
        if not 0 <= self.host < self.noc.nodes:
            raise ValueError(f"host must be in 0..{self.noc.nodes - 1}, not {self.host}")

    @property
    def cores(self) -> tuple[int, ...]:
        """Nodes with a core, ascending."""
        return tuple(node for node in range(self.noc.nodes) if node != self.host)

    def place(self, node: int) -> tuple[int, int]:
        """Coordinates (x, y) of a node."""
        return node % self.noc.width, node // self.noc.width

    @classmethod
    def load(cls, name: str | Path) -> "ChipConfig":
        """One of ``CHIPS``, or the fields in a JSON file."""
        return cls.named(name, CHIPS)


CHIPS = {
    "tiny": ChipConfig(core=TINY.replace(objects=4, routes=4, vector_words=64, sum_words=16)),
    "small": ChipConfig(core=SMALL.replace(objects=8, routes=8, vector_words=128, sum_words=16)),
    "default": ChipConfig(),
}
"""Chips by the name of their core's preset."""
