# SPDX-License-Identifier: Apache-2.0
"""Energy of a training image, modelled from what a run counted: constants, parts, references.

Nothing here is measured on silicon. Events (windows, chi words, pulses, flits, cycles) are
counted; what an event costs is a constant with a low, a nominal and a high value, a source and a
class. All energies are in nJ.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from phasecore.models.compiler.network import Layer
from phasecore.models.compiler.networks import NETWORKS
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig

__all__ = [
    "CASES",
    "CONSTANTS",
    "PARTS",
    "PUBLISHED",
    "PUBLISHED_NETWORK",
    "Activity",
    "Block",
    "Constant",
    "Range",
    "active_share",
    "activity",
    "core_config",
    "digital",
    "estimate",
    "inferred",
    "layers",
]

CASES = ("low", "nominal", "high")

PUBLISHED_NETWORK = "mlp-784-250-10"
PUBLISHED = {"IBM, mixed precision": 83.2, "IBM, 32-bit digital": 14_350.0}
"""nJ per training image of that network, as quoted from Nandakumar et al., Front. Neurosci. 14:406,
2020. The paper's body could not be read: what the figures include is not known here."""


@dataclass(frozen=True)
class Range:
    """A low, a nominal and a high value, none negative, in this order."""

    low: float
    nominal: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.nominal <= self.high:
            raise ValueError(f"must be 0 <= low <= nominal <= high, not {self}")

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.nominal + other.nominal, self.high + other.high)

    def __mul__(self, other: "Range | float") -> "Range":
        by = other if isinstance(other, Range) else Range(other, other, other)
        return Range(self.low * by.low, self.nominal * by.nominal, self.high * by.high)

    def rounded(self, digits: int = 4) -> dict[str, float]:
        """The values by case."""
        return {case: round(getattr(self, case), digits) for case in CASES}


@dataclass(frozen=True, kw_only=True)
class Constant:
    """What one event costs."""

    meaning: str
    value: Range
    unit: str
    node: str
    voltage: str
    source: str
    kind: str
    """``published``, ``derived`` (computed from published or own figures) or ``assumed``."""

    reason: str
    """How the three values came about."""


def _per_watt(tops: float) -> float:
    """nJ of a product with 256 x 256 weights at ``tops`` TOPS/W; two operations per weight."""
    return 2 * 256**2 / tops * 1e-3


def _pulse(milliamperes: float, volts: float) -> float:
    """pJ of a pulse of 50 ns."""
    return milliamperes * volts * 50


_HOROWITZ = "Horowitz, ISSCC 2014 (45 nm, 0.9 V)"

CONSTANTS: Mapping[str, Constant] = {
    "mvm": Constant(
        meaning="window of 128 cycles of a 256 x 256 crossbar, with drivers and converters",
        value=Range(_per_watt(10.5), _per_watt(9.76), _per_watt(2.48)),
        unit="nJ", node="14 nm", voltage="not known here", kind="derived",
        source="Khaddam-Aljameh et al., JSSC 57(4), 2022 (10.5 TOPS/W); Le Gallo et al., Nat."
        " Electron. 6, 2023 (one phase 9.76, four phases 2.48 TOPS/W)",
        reason="Two operations per weight at the published efficiency of whole cores in use."
        " High: as four phases, which that chip uses for precision. Taken in proportion to window"
        " cycles and array size, so a refresh read of 32 cycles costs a quarter.",
    ),
    "int8_mac": Constant(
        meaning="8-bit product added to a 32-bit sum, digital",
        value=Range(0.015, 0.03, 0.06),
        unit="pJ", node="14 nm", voltage="0.8 V", kind="derived", source=_HOROWITZ,
        reason="0.2 pJ of the product and 0.1 pJ of the addition at 45 nm; a tenth of these at"
        " 14 nm, half and twice of that as bounds.",
    ),
    "mac_gates": Constant(
        meaning="the same in the gates of `phasecore synth`",
        value=Range(2248, 2248, 2248),
        unit="NAND2", node="any node", voltage="any", kind="derived",
        source="`phasecore synth`'s flow",
        reason="Registered 8 x 8 bit product and 32-bit sum, synthesized as the core's blocks are;"
        " int8_mac / mac_gates is the energy of a gate in a cycle in which its block works, so"
        " what that flow overestimates cancels.",
    ),
    "sram_bit": Constant(
        meaning="a bit read from or written to an SRAM",
        value=Range(156 / 20, 156 / 10, 156 / 3),
        unit="fJ", node="14 nm", voltage="0.8 V", kind="assumed", source=_HOROWITZ,
        reason="64 bits of an 8 KiB memory take 10 pJ at 45 nm. Scaled by 10 as logic is; by 20"
        " for memories this wide; by 3 if wires hardly scale.",
    ),
    "set_pulse": Constant(
        meaning="SET pulse of one device",
        value=Range(_pulse(0.09, 1.5), _pulse(0.09, 2), _pulse(0.09, 3)),
        unit="pJ", node="90 nm PCM", voltage="1.5 / 2 / 3 V, assumed", kind="assumed",
        source="none: 90 uA and 50 ns are recalled from the mixed-precision experiments",
        reason="Current x time x supply of the programming driver.",
    ),
    "reset_pulse": Constant(
        meaning="RESET pulse of one device",
        value=Range(_pulse(0.3, 1.5), _pulse(0.5, 2), _pulse(0.8, 3)),
        unit="pJ", node="90 nm PCM", voltage="1.5 / 2 / 3 V, assumed", kind="assumed",
        source="none",
        reason="0.3, 0.5, 0.8 mA for 50 ns: melting takes several times the current of SET.",
    ),
    "byte_hop": Constant(
        meaning="a byte through a router and the link behind it",
        value=Range(0.15, 0.19, 1.0),
        unit="pJ", node="12 nm", voltage="0.8 V", kind="published",
        source="Fischer et al., FlooNoC, arXiv 2409.17606 (0.15) and arXiv 2305.08562 (0.19)",
        reason="High is assumed: 0.1 pJ per bit for a millimetre of wire on top.",
    ),
    "clocked_flip_flop": Constant(
        meaning="clock of a flip-flop whose block has nothing to do, one cycle",
        value=Range(0.4, 1, 2),
        unit="fJ", node="14 nm", voltage="0.8 V", kind="assumed", source="none",
        reason="0.6 to 3 fF of clock pin and share of the tree, times voltage squared.",
    ),
    "idle_clocked": Constant(
        meaning="share of idle cycles in which an idle block is clocked",
        value=Range(0, 0.1, 1),
        unit="1", node="any node", voltage="any", kind="assumed", source="none",
        reason="The RTL gates the clocks of driver, converters, post-processing, update unit and"
        " programmer, which run while there is work; those of controller, registers and vector"
        " memory always run. Nominal is what gates per block leave, low perfect gates, high the"
        " same design without gates. Not measured on the RTL's own gates.",
    ),
    "gate_leakage": Constant(
        meaning="leakage of a NAND2 equivalent",
        value=Range(0.5, 2, 10),
        unit="nW", node="14 nm", voltage="0.8 V", kind="assumed", source="none",
        reason="Standard thresholds from room temperature to a warm chip.",
    ),
    "bit_leakage": Constant(
        meaning="leakage of an SRAM bit",
        value=Range(0.002, 0.01, 0.05),
        unit="nW", node="14 nm", voltage="0.8 V", kind="assumed", source="none",
        reason="Dense cells of high threshold, likewise.",
    ),
    "period": Constant(
        meaning="clock period, for leakage only",
        value=Range(1, 1, 2),
        unit="ns", node="14 nm", voltage="0.8 V", kind="assumed",
        source="Khaddam-Aljameh et al., JSSC 57(4), 2022 (1 GHz)",
        reason="The reference silicon's clock, not a result of this design.",
    ),
}  # fmt: skip

_IN_NJ = {"nJ": 1.0, "pJ": 1e-3, "fJ": 1e-6}

LEAKED = 1e-9
"""nJ of 1 nW in 1 ns."""

PARTS = (
    "crossbar and converters", "post-processing", "chi memory and update", "programming",
    "network", "control, idle clocks, leakage",
)  # fmt: skip

COUNTERS = (
    "window", "mvms", "post_busy", "chi_words_updated", "programmer_busy", "load_busy", "read_busy",
    "set_pulses", "reset_pulses", "cycles",
)  # fmt: skip
"""Counters that a result must have; those of a chip, ``flits_received``, too."""

CONTROL = ("controller", "csr", "axil", "vectors", "(glue)")
"""Blocks that work whenever a core runs."""


@dataclass(frozen=True)
class Block:
    """Size of one block of a core, as ``phasecore synth`` counts it."""

    nand2: int
    flip_flops: int
    sram_bits: int


@dataclass(frozen=True)
class Activity:
    """What happened per training image.

    Attributes
    ----------
    cores : in use
    cycles : from one image to the next
    counts : counters, summed over the cores
    """

    cores: int
    cycles: float
    counts: Mapping[str, float]


def _field(result: Mapping[str, Any], *path: str) -> Any:
    """Value at a path of a result; ``ValueError`` names what is missing."""
    value: Any = result
    for depth, name in enumerate(path, 1):
        value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            raise ValueError(
                f"the result has no field {'.'.join(path[:depth])!r}: energy needs the counters of"
                " a training run, as `phasecore simulate` records them"
            )
    return value


def core_config(result: Mapping[str, Any]) -> tuple[CoreConfig, ChipConfig | None]:
    """Configuration of the cores of a result, and that of the chip if it ran on one."""
    config = _field(result, "config")
    if "core" in config:
        chip = ChipConfig.from_json(json.dumps(config))
        return chip.core, chip
    return CoreConfig.from_json(json.dumps(config)), None


def activity(result: Mapping[str, Any]) -> Activity:
    """Activity per training image of a recorded run; ``ValueError`` if a counter is missing."""
    _, chip = core_config(result)
    images = _field(result, "images")
    names = (*COUNTERS, "flits_received") if chip else COUNTERS
    counts = {name: _field(result, "counters", name) / images for name in names}
    cycles = _field(result, "cycles_per_image", "total")
    return Activity(_field(result, "cores"), cycles, counts)


def layers(result: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Layers of the network that a result is about."""
    name, known = _field(result, "network"), NETWORKS
    if name not in known:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(known)}")
    return known[name].layers


def estimate(
    done: Activity, core: CoreConfig, chip: ChipConfig | None, blocks: Mapping[str, Block]
) -> dict[str, Range]:
    """Energy per training image by part, nJ.

    ``blocks`` are those of one core. Gates of a block cost ``int8_mac / mac_gates`` per cycle in
    which it works; ``adc`` and ``driver`` are within ``mvm`` while a window is open. On a chip the
    network interface sends and receives; what is not counted there, local control and the window
    unit, is idle.
    """
    counts, lanes = done.counts, core.post_lanes
    # Every window's codes are taken once at most, `lanes` lines per pass.
    passes = min(counts["mvms"] * -(-core.lines // lanes), counts["post_busy"])
    pass_bits = lanes * (2 * core.acc_bits + 2 * core.output_bits)
    vector_bits = counts["mvms"] * core.lines * core.input_bits
    on_chip = "network" in blocks
    moved = {"load_unit": counts["load_busy"], "read_unit": counts["read_busy"]}
    if on_chip:
        moved = {"network": sum(moved.values())}
    control = [name for name in CONTROL if name in blocks or not on_chip]
    chi_bits = 2 * core.update_lanes * core.chi_bits
    busy = {
        "adc": counts["window"],
        "driver": counts["window"],
        "post": passes,
        "update": counts["chi_words_updated"],
        "programmer": counts["programmer_busy"],
        **dict.fromkeys(control, counts["cycles"]),
        **moved,
    }
    busy |= {name: 0.0 for name in blocks if name not in busy}
    worked = {name: _gates(blocks, name) * cycles for name, cycles in busy.items()}
    parts = [
        _products(counts["window"], core),
        worked["post"] + _cost("sram_bit") * (passes * pass_bits + vector_bits),
        worked["update"] + _cost("sram_bit") * (counts["chi_words_updated"] * chi_bits),
        _cost("set_pulse") * counts["set_pulses"]
        + _cost("reset_pulse") * counts["reset_pulses"]
        + worked["programmer"],
        _sum(worked[name] for name in moved) + _network(counts, chip),
        _sum(worked[name] for name in control) + _idle(done, busy, blocks) + _leakage(done, blocks),
    ]
    return dict(zip(PARTS, parts, strict=True))


def inferred(windows: int, passed: float, core: CoreConfig) -> dict[str, Range]:
    """Energy of an image that is inferred, nJ: what is known of it without gates and clocks.

    Parameters
    ----------
    windows : of all crossbars
    passed : bytes times routers that they pass, of all vectors and partial sums
    """
    # A word is gathered from a ring into a slot, and read by the driver.
    bits = 3 * windows * core.lines * core.input_bits
    return {
        "crossbars and converters": _products(windows * core.window_cycles, core),
        "vector memory": _cost("sram_bit") * bits,
        "network": _cost("byte_hop") * passed,
    }


def digital(
    network: Iterable[Layer], *, share: float = 1.0, update_bits: int = 16
) -> dict[str, Range]:
    """Energy of the same training work in an int8 digital design, nJ: arithmetic, weight memory.

    Every weight is read as 8 bits forward, those behind the first layer once more backward, and
    read and written as ``update_bits`` by the update, all in SRAM beside the arithmetic. ``share``
    is the part of forward and update that is done, below 1 if zero inputs are skipped. Control,
    clocks, activations and leakage come on top.
    """
    widths = list(network)
    forward = share * sum(layer.rows * layer.outputs for layer in widths)
    backward = sum(layer.inputs * layer.outputs for layer in widths[1:])
    bits = 8 * (forward + backward) + 2 * update_bits * forward
    return {
        "arithmetic": _cost("int8_mac") * (2 * forward + backward),
        "weight memory": _cost("sram_bit") * bits,
    }


def active_share(done: Activity, core: CoreConfig, network: Iterable[Layer]) -> float:
    """Part of the chi words that updates visited; rows with input 0 are skipped."""
    words = sum(layer.rows * -(-layer.outputs // core.update_lanes) for layer in network)
    return min(1.0, done.counts["chi_words_updated"] / words)


def _products(cycles: float, core: CoreConfig) -> Range:
    """Energy of windows of so many cycles together."""
    return _cost("mvm") * (cycles / 128 * (core.rows * core.cols / 256**2))


def _cost(name: str) -> Range:
    """A constant in nJ."""
    constant = CONSTANTS[name]
    return constant.value * _IN_NJ[constant.unit]


def _sum(ranges: Iterable[Range]) -> Range:
    return sum(ranges, Range(0, 0, 0))


def _gates(blocks: Mapping[str, Block], name: str) -> Range:
    """Energy of a block in a cycle in which it works."""
    if name not in blocks:
        raise ValueError(f"the area result has no block {name!r}")
    return _cost("int8_mac") * (blocks[name].nand2 / CONSTANTS["mac_gates"].value.nominal)


def _network(counts: Mapping[str, float], chip: ChipConfig | None) -> Range:
    """Flits of a mesh: every one received has come its own way, also a copy of a multicast."""
    if chip is None:
        return Range(0, 0, 0)
    size = counts["flits_received"] * chip.noc.flit_bits / 8
    return _cost("byte_hop") * _routers(chip.noc.width, chip.noc.height) * size


def _routers(width: int, height: int) -> Range:
    """Routers on the way of a packet on a mesh: neighbours, mean of all pairs, corner to corner."""
    nodes = [(x, y) for y in range(height) for x in range(width)]
    ways = [abs(a - c) + abs(b - d) for a, b in nodes for c, d in nodes if (a, b) != (c, d)]
    return Range(2, 1 + sum(ways) / len(ways), width + height - 1)


def _idle(done: Activity, busy: Mapping[str, float], blocks: Mapping[str, Block]) -> Range:
    """Clocks of blocks that have nothing to do."""
    cycles = done.cores * done.cycles
    idle = sum(blocks[name].flip_flops * max(0.0, cycles - busy[name]) for name in busy)
    return _cost("clocked_flip_flop") * CONSTANTS["idle_clocked"].value * idle


def _leakage(done: Activity, blocks: Mapping[str, Block]) -> Range:
    gates = sum(block.nand2 for block in blocks.values())
    bits = sum(block.sram_bits for block in blocks.values())
    power = CONSTANTS["gate_leakage"].value * gates + CONSTANTS["bit_leakage"].value * bits
    return power * CONSTANTS["period"].value * (done.cores * done.cycles * LEAKED)
