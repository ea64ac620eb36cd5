# SPDX-License-Identifier: Apache-2.0
"""Parameters of a chip: its cores, its fabric and where the host is. No Amaranth import."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from phasecore.rtl.spec.core import (
    DEFAULT,
    SMALL,
    TINY,
    CoreConfig,
    from_fields,
    load_named,
    to_object,
)
from phasecore.rtl.spec.noc import FabricConfig

__all__ = ["BRIDGE_FLITS", "CHIPS", "ChipConfig"]

BRIDGE_FLITS = 64
"""Flits, heads included, that the host bridge holds for the host."""


@dataclass(frozen=True, kw_only=True)
class ChipConfig:
    """A mesh whose nodes are cores of one kind, but for one, where the host bridge is."""

    core: CoreConfig = field(default_factory=lambda: DEFAULT.replace(objects=8, streams=8))
    """Every core; with objects and streams."""

    fabric: FabricConfig = field(default_factory=lambda: FabricConfig(width=3, height=2))
    """The mesh; 64 data bits per flit."""

    host: int = 2
    """Node of the host bridge: ``y * width + x``."""

    host_streams: int = 16
    """Streams from the host to objects of the cores, 1..16."""

    host_objects: int = 8
    """Objects of the host, filled by streams of the cores, 1..16."""

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                value = getattr(self, name)
                raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
        for name in ("host", "host_streams", "host_objects"):
            if type(getattr(self, name)) is not int:
                raise TypeError(f"{name} must be an integer, not {getattr(self, name)!r}")
        if not self.core.objects:
            raise ValueError("core.objects must be at least 1 on a chip, not 0")
        if self.fabric.flit_bits != 64:
            raise ValueError(f"fabric.flit_bits must be 64 on a chip, not {self.fabric.flit_bits}")
        if not 0 <= self.host < self.fabric.nodes:
            raise ValueError(f"host must be in 0..{self.fabric.nodes - 1}, not {self.host}")
        for name in ("host_streams", "host_objects"):
            if not 1 <= getattr(self, name) <= 16:
                raise ValueError(f"{name} must be in 1..16, not {getattr(self, name)}")

    @property
    def cores(self) -> tuple[int, ...]:
        """Nodes with a core, ascending."""
        return tuple(node for node in range(self.fabric.nodes) if node != self.host)

    def place(self, node: int) -> tuple[int, int]:
        """Coordinates (x, y) of a node."""
        return node % self.fabric.width, node // self.fabric.width

    def replace(self, **changes: Any) -> "ChipConfig":
        """A copy with some fields changed (checked again)."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ChipConfig":
        """Build from the text of one JSON object; missing keys keep their defaults."""
        return cls.from_dict(to_object(text, "chip configuration"))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ChipConfig":
        """Build from fields by name; missing ones keep their defaults."""
        parts = dict(values)
        for name, kind in _PARTS.items():
            if name in parts:
                parts[name] = from_fields(kind, parts[name], name)
        return from_fields(cls, parts, "chip")

    @classmethod
    def load(cls, name: str | Path) -> "ChipConfig":
        """One of ``CHIPS``, or the fields in a JSON file."""
        return load_named("chip configuration", name, CHIPS, cls.from_dict)


_PARTS: dict[str, type[CoreConfig | FabricConfig]] = {"core": CoreConfig, "fabric": FabricConfig}
"""Fields that have fields of their own."""

CHIPS = {
    "tiny": ChipConfig(core=TINY.replace(objects=4, streams=4)),
    "small": ChipConfig(core=SMALL.replace(objects=8, streams=8)),
    "default": ChipConfig(),
}
"""Chips by the name of their core's preset."""
