# SPDX-License-Identifier: Apache-2.0
"""Parameters of the fabric: the only place where they are written down. No Amaranth import."""

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = ["ARBITERS", "FabricConfig"]

ARBITERS = ("round_robin", "age")
"""``round_robin``: all input channels of an output in turn. ``age``: the oldest packet first."""


@dataclass(frozen=True, kw_only=True)
class FabricConfig:
    """A mesh of routers."""

    width: int = 4
    """Columns of nodes, 1..8; x counts eastward."""

    height: int = 4
    """Rows of nodes, 1..8; y counts northward."""

    flit_bits: int = 64
    """Data bits of a flit, 32..256."""

    virtual_channels: int = 2
    """Virtual channels of a link, 1..4; the lower half (rounded up) is the XY network."""

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
        if self.arbiter not in ARBITERS:
            raise ValueError(f"arbiter must be one of {', '.join(ARBITERS)}, not {self.arbiter!r}")

    @property
    def nodes(self) -> int:
        """Nodes of the mesh; node ``y * width + x`` is at (x, y)."""
        return self.width * self.height

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
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"fabric configuration is not JSON: {error}") from error
        if not isinstance(values, dict):
            kind = type(values).__name__
            raise ValueError(f"fabric configuration must be a JSON object, not {kind}")
        known = sorted(field.name for field in fields(cls))
        for key in values:
            if key not in known:
                raise ValueError(f"unknown fabric key {key!r}; known: {', '.join(known)}")
        return cls(**values)


_RANGES = [
    ("width", 1, 8),
    ("height", 1, 8),
    ("flit_bits", 32, 256),
    ("virtual_channels", 1, 4),
    ("depth", 2, 16),
    ("age_bits", 4, 16),
    ("timeout", 3, 65535),
]
