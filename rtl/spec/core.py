# SPDX-License-Identifier: Apache-2.0
"""Geometry and number formats of one core: the only place where they are written down.

No Amaranth import: RTL, golden model, benches and scripts all take the same object.
"""

from dataclasses import dataclass
from pathlib import Path

from phasecore.rtl.spec.parameters import Parameters, integer

__all__ = ["DEFAULT", "PRESETS", "SMALL", "TINY", "CoreConfig"]

GAIN_FRACTION = 8
"""Fraction bits of an ADC calibration gain (unsigned 2.8, reset value 1.0 = 256)."""

CALIBRATION_WINDOWS_LOG2 = 4
"""log2 of the windows averaged per calibration measurement."""

DRIFT_FRACTION = 10
"""Fraction bits of the scale of drift compensation (unsigned 2.10, 1.0 = 1024)."""

DRIFT_INCREMENT_LOG2 = 2
"""log2 of the bound of a line's increment in a drift read, all conductances the largest."""

REFERENCE_INCREMENT_LOG2 = 3
"""log2 of what the macro's reference counts per cycle at ``lsb_log2_min``."""

EXPONENT_BITS = 8
"""Bits of the shared exponent of an error vector, two's complement, saturating."""

ACTIVATION_INDEX_MAX = 255
"""Largest magnitude of the index of the sigmoid (1/32 per step) and tanh (1/64 per step) tables."""

SHORTEST_WINDOW = 16
"""Cycles of a window at the lowest input precision, 5 bits."""

PARTIAL_BITS = 16
"""Bits of a partial sum on the NoC, two's complement, saturating."""

PARTIAL_SHIFT = 6
"""Accumulator bits below a partial sum: without affine, a partial sum is 2 code + 1, exact."""


def _log2(value: int) -> int:
    """Bits that address ``value`` items (``ceil(log2(value))``, at least 1)."""
    return max(1, (value - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class CoreConfig(Parameters):
    """Geometry and number formats of one in-memory-computing core."""

    TITLE = KEY = "configuration"

    rows: int = integer(256, 8, 1024, power_of_two=True)
    """Wordlines: driven by a forward, sensed by a backward product."""

    cols: int = integer(256, 8, 1024, power_of_two=True)
    """Bitlines: sensed by a forward, driven by a backward product."""

    input_bits: int = integer(8, 5, 8)
    """Bits of a signed input code; a window lasts ``2**(input_bits - 1)`` cycles."""

    output_bits: int = integer(8, 8, 8)
    """Bits of a signed activation or error mantissa. The lanes are bytes."""

    adc_bits: int = integer(8, 4, 8)
    """Bits of a signed ADC code, which saturates at ``+-(2**(adc_bits - 1) - 1)``."""

    increment_bits: int = integer(5, 5, 16)
    """Bits of a line's signed CCO increment per cycle.

    A converter counts at most ``2**(increment_bits - 1) - 1`` per cycle, up or down; what a cycle's
    current is worth beyond that is lost."""

    g_bits: int = integer(12, 6, 14)
    """Bits of one device's unsigned conductance code."""

    devices_per_polarity: int = integer(2, 1, 8, power_of_two=True)
    """Devices that form G+ (and as many G-) of one weight.

    Two, as in the 8T4R cell of the HERMES core."""

    lsb_log2_min: int = integer(10, 4, 16)
    """Finest ADC range; a range ``r`` makes one count worth ``2**r`` charge units."""

    lsb_log2_max: int = integer(21, 4, 28)
    """Coarsest ADC range, at least ``lsb_log2_min``."""

    post_lanes: int = integer(64, 8, 256, power_of_two=True)
    """Lanes of post-processing and bytes of a vector-memory word.

    At least 1/16 of the lines: counts are read out, a word per cycle, within the shortest window,
    at whose end those of the next one take their place."""

    update_lanes: int = integer(128, 4, 256, power_of_two=True)
    """Weights whose chi is updated per cycle, at most ``cols``."""

    acc_bits: int = integer(24, 24, 32)
    """Bits of a saturating partial-sum accumulator."""

    chi_bits: int = integer(16, 8, 24)
    """Bits of one chi word, two's complement, saturating."""

    pulse_bits: int = integer(3, 1, 4)
    """Bits of a pulse count's magnitude; one visit emits at most ``2**pulse_bits - 1``."""

    queue_depth: int = integer(64, 2, 1024, power_of_two=True)
    """Entries of the pulse queue."""

    slots: int = integer(16, 4, 32, power_of_two=True)
    """Vectors in the vector memory."""

    vector_words: int = integer(0, 0, 1024)
    """Words of the vector memory, a power of two: slots, and rings of objects behind them.

    0: the slots alone, as on a stand-alone core, which has no objects."""

    sum_words: int = integer(0, 0, 256)
    """Words of the accumulators, a power of two: those of a vector, and frames of sums behind them.

    0: those of a vector alone."""

    affine_tables: int = integer(4, 1, 8, power_of_two=True)
    """Per-line scale and offset tables."""

    segments: int = integer(8, 1, 16, power_of_two=True)
    """Segment descriptors (layers or tiles that share the crossbar)."""

    program_depth: int = integer(128, 16, 1024, power_of_two=True)
    """64-bit instructions in the program memory."""

    objects: int = integer(0, 0, 16)
    """Object descriptors of the network interface; 0: a stand-alone core.

    A stand-alone core has AXI-Streams (LOAD, READ) in place of the network interface (SEND,
    AWAIT, RELEASE)."""

    routes: int = integer(0, 0, 16)
    """Route descriptors of the network interface; 0 just when ``objects`` is."""

    axis_bytes: int = integer(8, 8, 8)
    """Bytes of an AXI-Stream beat; the header is one beat."""

    verify_iterations: int = integer(30, 1, 63)
    """Most pulses that program-and-verify gives one device."""

    set_cycles: int = integer(50, 1, 1023)
    """Cycles of one SET pulse, during which the macro takes no other.

    Assumed: 50 ns at 1 GHz."""

    reset_cycles: int = integer(50, 1, 1023)
    """Cycles of one RESET pulse (assumed)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lsb_log2_max < self.lsb_log2_min:
            raise ValueError(
                f"lsb_log2_max must be at least lsb_log2_min ({self.lsb_log2_min}),"
                f" not {self.lsb_log2_max}"
            )
        if self.read_lsb_log2 > self.lsb_log2_max:
            raise ValueError(
                f"lsb_log2_max must be at least {self.read_lsb_log2} for row reads,"
                f" not {self.lsb_log2_max}"
            )
        if self.drift_bits > 32:
            least = self._drift_range + self.line_bits + self.input_bits - 25
            raise ValueError(
                f"lsb_log2_max must be at least {least} for drift reads, not {self.lsb_log2_max}"
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
        if (self.objects == 0) != (self.routes == 0):
            raise ValueError(
                f"routes must be 0 just when objects ({self.objects}) is, not {self.routes}"
            )
        if self.vector_words & (self.vector_words - 1):
            raise ValueError(f"vector_words must be a power of two, not {self.vector_words}")
        if self.vector_words and not self.objects:
            raise ValueError(
                f"vector_words must be 0 on a core without objects, not {self.vector_words}"
            )
        if 0 < self.vector_words < self.slot_words:
            raise ValueError(
                f"vector_words must be 0 or at least slots * blocks ({self.slot_words}),"
                f" not {self.vector_words}"
            )
        if self.sum_words & (self.sum_words - 1):
            raise ValueError(f"sum_words must be a power of two, not {self.sum_words}")
        if self.sum_words and not self.blocks <= self.sum_words <= self.vector_words:
            raise ValueError(
                f"sum_words must be 0 or in {self.blocks}..{self.vector_words}, not"
                f" {self.sum_words}"
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
    def slot_words(self) -> int:
        """Words of all slots, the first of the vector memory."""
        return self.slots * self.blocks

    @property
    def memory_words(self) -> int:
        """Words of the vector memory."""
        return self.vector_words or self.slot_words

    @property
    def accumulator_words(self) -> int:
        """Words of the accumulators."""
        return self.sum_words or self.blocks

    @property
    def accumulator_lines(self) -> int:
        """Accumulators: one per line of a vector, and those of frames of sums."""
        return self.accumulator_words * self.post_lanes

    @property
    def sum_word_bits(self) -> int:
        """Bits that address a word of the accumulators."""
        return max(self.block_bits, _log2(self.accumulator_words))

    @property
    def sum_bits(self) -> int:
        """Bits that address an accumulator."""
        return _log2(self.accumulator_lines)

    @property
    def vector_rows(self) -> int:
        """The vector memory in pieces as long as a slot."""
        return self.memory_words // self.blocks

    @property
    def vector_address_bits(self) -> int:
        """Bits that address a word of the vector memory (``slot * blocks + block``)."""
        return _log2(self.memory_words)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vector memory; the slots come first, a byte per line."""
        return self.memory_words * self.post_lanes

    @property
    def affine_bytes(self) -> int:
        """Bytes of the affine tables: per line a scale and an offset."""
        return self.affine_tables * self.lines * 2

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
    def lsb_log2_bits(self) -> int:
        """Bits that hold an ADC range."""
        return self.lsb_log2_max.bit_length()

    @property
    def read_lsb_log2(self) -> int:
        """ADC range of the row reads of refresh and program-and-verify."""
        return self.lsb_log2_min + self.devices_per_polarity.bit_length() - 1 + 8 - self.adc_bits

    @property
    def drift_lsb_log2(self) -> int:
        """ADC range of drift reads, at which no line counts ``2**DRIFT_INCREMENT_LOG2`` per cycle.

        Coarser than ``lsb_log2_max`` it cannot be."""
        return min(max(self._drift_range, self.lsb_log2_min), self.lsb_log2_max)

    @property
    def _drift_range(self) -> int:
        lines = _log2(min(self.rows, self.cols))
        devices = self.devices_per_polarity.bit_length() - 1
        return lines + devices + self.g_bits - DRIFT_INCREMENT_LOG2

    @property
    def drift_bits(self) -> int:
        """Bits of the unsigned conductance of an array that a drift read finds, at most 32.

        Two polarities of ``2**CALIBRATION_WINDOWS_LOG2`` windows on all lines; a gain below 2."""
        increment = DRIFT_INCREMENT_LOG2 + max(0, self._drift_range - self.lsb_log2_max) + 1
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
        return 1 << (self.lsb_log2_min + REFERENCE_INCREMENT_LOG2)

    @property
    def reference_count_log2(self) -> int:
        """log2 of what the reference counts in a full window at ``lsb_log2_min``."""
        return REFERENCE_INCREMENT_LOG2 + self.input_bits - 1

    @property
    def calibration_offset_bits(self) -> int:
        """Bits of a line's signed offset register (1/16 count at ``lsb_log2_min``, full window)."""
        return 14

    @property
    def gain_bits(self) -> int:
        """Bits of a line's unsigned gain register."""
        return 2 + GAIN_FRACTION

    @property
    def chi_words_per_row(self) -> int:
        """chi-memory words per row."""
        return self.cols // self.update_lanes

    @property
    def chi_depth(self) -> int:
        """chi-memory words (``row * chi_words_per_row + block``)."""
        return self.rows * self.chi_words_per_row

    @property
    def pulse_max(self) -> int:
        """Most pulses that one visit of a weight emits."""
        return (1 << self.pulse_bits) - 1

    @property
    def devices(self) -> int:
        """Devices of the array: ``((row * cols + col) * 2 + polarity) * N + device``."""
        return self.rows * self.cols * 2 * self.devices_per_polarity

    @classmethod
    def load(cls, name: str | Path = "default") -> "CoreConfig":
        """One of ``PRESETS``, or the fields in a JSON file."""
        return cls.named(name, PRESETS)


DEFAULT = CoreConfig()
SMALL = CoreConfig(rows=64, cols=64, post_lanes=32, update_lanes=32, queue_depth=16)
TINY = CoreConfig(
    rows=16, cols=16, devices_per_polarity=1, post_lanes=8, update_lanes=8, queue_depth=4,
    slots=8, segments=4, affine_tables=2, program_depth=64, set_cycles=5, reset_cycles=5,
)  # fmt: skip
PRESETS = {"tiny": TINY, "small": SMALL, "default": DEFAULT}
