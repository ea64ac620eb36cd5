# SPDX-License-Identifier: Apache-2.0
"""Geometry and number formats of one core: the only place where they are written down.

No Amaranth import: RTL, golden model, benches and scripts all take the same object.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "DEFAULT",
    "PRESETS",
    "SMALL",
    "TINY",
    "CoreConfig",
    "file_text",
    "from_fields",
    "load_named",
    "to_object",
]

T = TypeVar("T")

GAIN_FRACTION = 8
"""Fraction bits of an ADC calibration gain (unsigned 2.8, reset value 1.0 = 256)."""

CALIBRATION_WINDOWS_LOG2 = 4
"""log2 of the windows averaged per calibration measurement."""

DRIFT_FRACTION = 10
"""Fraction bits of the scale of drift compensation (unsigned 2.10, 1.0 = 1024)."""

DRIFT_INCREMENT_LOG2 = 2
"""log2 of the bound of a line's increment in a drift read, all conductances the largest."""

REFERENCE_INCREMENT_LOG2 = 3
"""log2 of what the macro's reference counts per cycle at ``range_min``."""

EXPONENT_BITS = 8
"""Bits of the shared exponent of an error vector, two's complement, saturating."""

ACTIVATION_INDEX_MAX = 255
"""Largest magnitude of the index of the sigmoid (1/32 per step) and tanh (1/64 per step) tables."""

SHORTEST_WINDOW = 16
"""Cycles of a window at the lowest input precision, 5 bits."""

PARTIAL_BITS = 16
"""Bits of a partial sum on the fabric, two's complement, saturating."""

PARTIAL_SHIFT = 6
"""Accumulator bits below a partial sum: without affine, a partial sum is 2 code + 1, exact."""


def _log2(value: int) -> int:
    """Bits that address ``value`` items (``ceil(log2(value))``, at least 1)."""
    return max(1, (value - 1).bit_length())


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def file_text(path: str | Path, what: str) -> str:
    """Text of a file of the user; an error calls it ``what`` and names it."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {what} {path}: not UTF-8 text") from error


def to_object(text: str, what: str) -> dict[str, Any]:
    """The JSON object that ``text`` is; an error calls it ``what``."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object, not {type(values).__name__}")
    return values


def from_fields(cls: type[T], values: Any, kind: str) -> T:
    """The dataclass of ``values`` by field; missing ones keep their defaults, others are refused.

    ``kind`` is what an error calls a key.
    """
    if not isinstance(values, dict):
        raise TypeError(f"{kind} must be an object of its fields, not {values!r}")
    known = sorted(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    for key in values:
        if key not in known:
            raise ValueError(f"unknown {kind} key {key!r}; known: {', '.join(known)}")
    return cls(**values)


def load_named(
    kind: str, name: str | Path, known: Mapping[str, T], build: Callable[[dict[str, Any]], T]
) -> T:
    """What has that name among ``known``, or is in that JSON file; an error calls it ``kind``."""
    if str(name) in known:
        return known[str(name)]
    if not Path(name).exists():
        names = ", ".join(known)
        raise ValueError(f"{kind} {str(name)!r} is neither one of {names} nor a JSON file")
    return build(to_object(file_text(name, kind), f"{kind} {name}"))


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Geometry and number formats of one in-memory-computing core."""

    rows: int = 256
    """Wordlines: driven by a forward, sensed by a backward product. Power of two, 8..1024."""

    cols: int = 256
    """Bitlines: sensed by a forward, driven by a backward product. Power of two, 8..1024."""

    input_bits: int = 8
    """Bits of a signed input code; a window lasts ``2**(input_bits - 1)`` cycles. 5..8."""

    output_bits: int = 8
    """Bits of a signed activation or error mantissa. Must be 8 (the lanes are bytes)."""

    adc_bits: int = 8
    """Bits of a signed ADC code, which saturates at ``+-(2**(adc_bits - 1) - 1)``. 4..8."""

    increment_bits: int = 5
    """Bits of a line's signed CCO increment per cycle. 5..16.

    A converter counts at most ``2**(increment_bits - 1) - 1`` per cycle, up or down; what a cycle's
    current is worth beyond that is lost."""

    g_bits: int = 12
    """Bits of one device's unsigned conductance code. 6..14."""

    devices_per_polarity: int = 2
    """Devices that form G+ (and as many G-) of one weight. 1, 2, 4 or 8.

    Two, as in the 8T4R cell of the HERMES core."""

    range_min: int = 10
    """Finest ADC range; a range ``r`` makes one count worth ``2**r`` charge units. 4..16."""

    range_max: int = 21
    """Coarsest ADC range. ``range_min``..28."""

    post_lanes: int = 64
    """Lanes of post-processing and bytes of a vector-memory word. Power of two, 8..256.

    At least 1/16 of the lines: counts are read out, a word per cycle, within the shortest window,
    at whose end those of the next one take their place."""

    update_lanes: int = 128
    """Weights whose chi is updated per cycle. Power of two, 4..256, at most ``cols``."""

    acc_bits: int = 24
    """Bits of a saturating partial-sum accumulator. 24..32."""

    chi_bits: int = 16
    """Bits of one chi word, two's complement, saturating. 8..24."""

    pulse_bits: int = 3
    """Bits of a pulse count's magnitude; one visit emits at most ``2**pulse_bits - 1``. 1..4."""

    queue_depth: int = 64
    """Entries of the pulse queue. Power of two, 2..1024."""

    slots: int = 16
    """Vectors in the vector memory. Power of two, 4..32."""

    affine_tables: int = 4
    """Per-line scale and offset tables. Power of two, 1..8."""

    segments: int = 8
    """Segment descriptors (layers or tiles that share the crossbar). Power of two, 1..16."""

    program_depth: int = 128
    """64-bit instructions in the program memory. Power of two, 16..1024."""

    objects: int = 0
    """Object descriptors of the network interface, 0..16; 0: a stand-alone core.

    A stand-alone core has AXI-Streams (LOAD, READ) in place of the network interface (SEND,
    AWAIT, RELEASE)."""

    streams: int = 0
    """Stream descriptors of the network interface, 0..16; 0 just when ``objects`` is."""

    stream_bytes: int = 8
    """Bytes of an AXI-Stream beat. 8 (the header is one beat)."""

    verify_iterations: int = 30
    """Most pulses that program-and-verify gives one device. 1..63."""

    set_cycles: int = 50
    """Cycles of one SET pulse, during which the macro takes no other. 1..1023.

    Assumed: 50 ns at 1 GHz."""

    reset_cycles: int = 50
    """Cycles of one RESET pulse. 1..1023 (assumed)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int:
                raise TypeError(f"{field.name} must be an integer, not {value!r}")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {value}")
        for name in _POWERS_OF_TWO:
            value = getattr(self, name)
            if not _power_of_two(value):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if self.range_max < self.range_min:
            raise ValueError(
                f"range_max must be at least range_min ({self.range_min}), not {self.range_max}"
            )
        if self.read_range > self.range_max:
            raise ValueError(
                f"range_max must be at least {self.read_range} for row reads, not {self.range_max}"
            )
        if self.drift_bits > 32:
            least = self._drift_range + self.line_bits + self.input_bits - 25
            raise ValueError(
                f"range_max must be at least {least} for drift reads, not {self.range_max}"
            )
        if self.post_lanes > min(self.rows, self.cols):
            raise ValueError(
                f"post_lanes must be at most rows and cols ({min(self.rows, self.cols)}),"
                f" not {self.post_lanes}"
            )
        if self.blocks > SHORTEST_WINDOW:
            raise ValueError(
                f"post_lanes must be at least {self.lines // SHORTEST_WINDOW} for {self.lines}"
                f" lines, not {self.post_lanes}"
            )
        if (self.objects == 0) != (self.streams == 0):
            raise ValueError(
                f"streams must be 0 just when objects ({self.objects}) is, not {self.streams}"
            )
        if self.update_lanes > self.cols:
            raise ValueError(
                f"update_lanes must be at most cols ({self.cols}), not {self.update_lanes}"
            )

    @property
    def lines(self) -> int:
        """Elements of a vector: one per line of the longer side."""
        return max(self.rows, self.cols)

    @property
    def line_bits(self) -> int:
        """Bits that address a line."""
        return _log2(self.lines)

    @property
    def row_bits(self) -> int:
        """Bits that address a row."""
        return _log2(self.rows)

    @property
    def col_bits(self) -> int:
        """Bits that address a column."""
        return _log2(self.cols)

    @property
    def blocks(self) -> int:
        """Vector-memory words of a vector, passes of the post-processing lanes."""
        return self.lines // self.post_lanes

    @property
    def block_bits(self) -> int:
        """Bits that address a block of a vector."""
        return _log2(self.blocks)

    @property
    def slot_bits(self) -> int:
        """Bits that address a slot."""
        return _log2(self.slots)

    @property
    def vector_address_bits(self) -> int:
        """Bits that address a word of the vector memory (``slot * blocks + block``)."""
        return _log2(self.slots * self.blocks)

    @property
    def code_max(self) -> int:
        """Largest magnitude of an activation or error mantissa; codes are symmetric."""
        return (1 << (self.output_bits - 1)) - 1

    @property
    def adc_max(self) -> int:
        """Largest magnitude of an ADC code."""
        return (1 << (self.adc_bits - 1)) - 1

    @property
    def window_cycles(self) -> int:
        """Cycles of a full-precision integration window."""
        return 1 << (self.input_bits - 1)

    @property
    def range_bits(self) -> int:
        """Bits that hold an ADC range."""
        return self.range_max.bit_length()

    @property
    def read_range(self) -> int:
        """ADC range of the row reads of refresh and program-and-verify."""
        return self.range_min + self.devices_per_polarity.bit_length() - 1 + 8 - self.adc_bits

    @property
    def drift_range(self) -> int:
        """ADC range of drift reads, at which no line counts ``2**DRIFT_INCREMENT_LOG2`` per cycle.

        Coarser than ``range_max`` it cannot be."""
        return min(max(self._drift_range, self.range_min), self.range_max)

    @property
    def _drift_range(self) -> int:
        lines = _log2(min(self.rows, self.cols))
        devices = self.devices_per_polarity.bit_length() - 1
        return lines + devices + self.g_bits - DRIFT_INCREMENT_LOG2

    @property
    def drift_bits(self) -> int:
        """Bits of the unsigned conductance of an array that a drift read finds, at most 32.

        Two polarities of ``2**CALIBRATION_WINDOWS_LOG2`` windows on all lines; a gain below 2."""
        increment = DRIFT_INCREMENT_LOG2 + max(0, self._drift_range - self.range_max) + 1
        line = min(increment, self.increment_bits - 1) + self.input_bits - 1
        return line + 1 + CALIBRATION_WINDOWS_LOG2 + self.line_bits

    @property
    def drift_scale_bits(self) -> int:
        """Bits of the unsigned scale of drift compensation."""
        return 2 + DRIFT_FRACTION

    @property
    def g_max(self) -> int:
        """Largest conductance code."""
        return (1 << self.g_bits) - 1

    @property
    def increment_max(self) -> int:
        """Most that a line counts in a cycle, up or down."""
        return (1 << (self.increment_bits - 1)) - 1

    @property
    def count_bits(self) -> int:
        """Bits of a line's signed up/down counter: never overflows within a window."""
        return self.increment_bits + self.input_bits - 1

    @property
    def reference_current(self) -> int:
        """Current, in conductance codes, that the macro's reference puts on every sensed line."""
        return 1 << (self.range_min + REFERENCE_INCREMENT_LOG2)

    @property
    def reference_count_log2(self) -> int:
        """log2 of what the reference counts in a full window at ``range_min``."""
        return REFERENCE_INCREMENT_LOG2 + self.input_bits - 1

    @property
    def calibration_offset_bits(self) -> int:
        """Bits of a line's signed offset register (1/16 count at ``range_min``, full window)."""
        return 14

    @property
    def gain_bits(self) -> int:
        """Bits of a line's unsigned gain register."""
        return 2 + GAIN_FRACTION

    @property
    def chi_blocks(self) -> int:
        """chi-memory words per row."""
        return self.cols // self.update_lanes

    @property
    def chi_depth(self) -> int:
        """chi-memory words (``row * chi_blocks + block``)."""
        return self.rows * self.chi_blocks

    @property
    def pulse_max(self) -> int:
        """Most pulses that one visit of a weight emits."""
        return (1 << self.pulse_bits) - 1

    @property
    def devices(self) -> int:
        """Devices of the array: ``((row * cols + col) * 2 + polarity) * N + device``."""
        return self.rows * self.cols * 2 * self.devices_per_polarity

    def replace(self, **changes: int) -> "CoreConfig":
        """A copy with some fields changed (checked again)."""
        return replace(self, **changes)

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CoreConfig":
        """Build from a mapping; missing keys keep their defaults, unknown keys are refused."""
        return from_fields(cls, values, "configuration")

    @classmethod
    def from_json(cls, text: str) -> "CoreConfig":
        """Build from the text of one JSON object."""
        return cls.from_dict(to_object(text, "configuration"))

    @classmethod
    def load(cls, name: str | Path = "default") -> "CoreConfig":
        """One of ``PRESETS``, or the fields in a JSON file."""
        return load_named("configuration", name, PRESETS, cls.from_dict)


_RANGES = [
    ("rows", 8, 1024),
    ("cols", 8, 1024),
    ("input_bits", 5, 8),
    ("output_bits", 8, 8),
    ("adc_bits", 4, 8),
    ("increment_bits", 5, 16),
    ("g_bits", 6, 14),
    ("devices_per_polarity", 1, 8),
    ("range_min", 4, 16),
    ("range_max", 4, 28),
    ("post_lanes", 8, 256),
    ("update_lanes", 4, 256),
    ("acc_bits", 24, 32),
    ("chi_bits", 8, 24),
    ("pulse_bits", 1, 4),
    ("queue_depth", 2, 1024),
    ("slots", 4, 32),
    ("affine_tables", 1, 8),
    ("segments", 1, 16),
    ("program_depth", 16, 1024),
    ("objects", 0, 16),
    ("streams", 0, 16),
    ("stream_bytes", 8, 8),
    ("verify_iterations", 1, 63),
    ("set_cycles", 1, 1023),
    ("reset_cycles", 1, 1023),
]

_POWERS_OF_TWO = [
    "rows", "cols", "devices_per_polarity", "post_lanes", "update_lanes", "queue_depth", "slots",
    "affine_tables", "segments", "program_depth",
]  # fmt: skip

DEFAULT = CoreConfig()
SMALL = CoreConfig(rows=64, cols=64, post_lanes=32, update_lanes=32, queue_depth=16)
TINY = CoreConfig(
    rows=16, cols=16, devices_per_polarity=1, post_lanes=8, update_lanes=8, queue_depth=4,
    slots=8, segments=4, affine_tables=2, program_depth=64, set_cycles=5, reset_cycles=5,
)  # fmt: skip
PRESETS = {"tiny": TINY, "small": SMALL, "default": DEFAULT}
