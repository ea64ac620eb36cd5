# SPDX-License-Identifier: Apache-2.0
"""State of cores: every array and number declared once, with shape, unit and what is saved of it.

Kernels take :class:`Cores`, in which the core is the first index; the blocks of a
:class:`~phasecore.models.golden.core.Core` hold views of the same words from birth on; checkpoints
take what :data:`SAVED` names. So nothing is copied between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import record, records
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device.profiles import DeviceProfile
from phasecore.models.golden.device.tables import STUCK
from phasecore.rtl.spec.core import EXPONENT_BITS, CoreConfig

__all__ = [
    "DEVICE_CONDUCTANCE",
    "DEVICE_DRIFTED",
    "DEVICE_EVENTS",
    "DEVICE_EVENT_TIME",
    "DEVICE_PULSES",
    "DEVICE_RESETS",
    "SAVED",
    "Block",
    "CoreState",
    "Cores",
    "Geometry",
    "Number",
    "Padded",
    "Plane",
    "View",
]  # fmt: skip

_CACHE_LINE = 64
"""Bytes by which rows are padded: the first columns of rows that are a power of two apart would
share a few sets of a cache."""

READ_PRECISION = 6
"""Input precision of row reads, where the core has as many bits."""

_COUNT_MAX = 2**63 - 1


@dataclass(frozen=True)
class Declared:
    """Shape (names of dimensions, see :func:`_size`) and unit of an array or number of each core.

    ``saved``: its name in checkpoints, empty for what does not outlive a program. Its values are of
    ``signed`` or ``unsigned`` bits, or below ``below``, where a name is one of the configuration's.
    """

    unit: str
    shape: str = ""
    saved: str = ""
    signed: str | int = 0
    unsigned: str | int = 0
    below: str | int = 0

    def bounds(self, config: CoreConfig) -> tuple[int, int]:
        """Least and greatest value that a core can hold; of a plain count 63 bits."""
        if self.signed:
            bits = _value(config, self.signed)
            return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if self.unsigned:
            return 0, (1 << _value(config, self.unsigned)) - 1
        return 0, _value(config, self.below) - 1 if self.below else _COUNT_MAX


def _value(config: CoreConfig, name: str | int) -> int:
    return name if isinstance(name, int) else int(getattr(config, name))


_DEVICES = {
    "conductance": Declared("conductance code after the latest pulse", unsigned="g_bits"),
    "pulses_since_reset": Declared("pulses since RESET, or STUCK", below=STUCK + 1),
    "events": Declared("programming events, 32 bits"),
    "event_time": Declared("seconds since power-up at the latest event", unsigned=32),
    "resets": Declared("RESET pulses"),
}
"""Planes of ``Cores.devices`` that are saved, as ``crossbar.NAME``; the last is made of them."""

DEVICE_CONDUCTANCE, DEVICE_PULSES, DEVICE_EVENTS, DEVICE_EVENT_TIME, DEVICE_RESETS = range(
    len(_DEVICES)
)
DEVICE_DRIFTED = len(_DEVICES)

_NUMBERS = {
    "crossbar_windows": Declared("windows, 32 bits; numbers the read noise", saved="windows"),
    "crossbar_set_pulses": Declared("SET pulses", saved="set_pulses"),
    "crossbar_reset_pulses": Declared("RESET pulses", saved="reset_pulses"),
    "crossbar_time": Declared("seconds since power-up", saved="time", unsigned=32),
    "crossbar_gain_max": Declared("largest of the converters' gains"),
    "crossbar_offset_max": Declared("largest magnitude of their offsets"),
    "crossbar_g_noise": Declared("read noise of a weight now, conductance codes"),
    "adc_clipped": Declared("codes clipped"),
    "adc_overranges": Declared("codes of lines that were at the converter's limit in a cycle"),
    "adc_calibration_errors": Declared("lines without a reference, drift reads without a result"),
    "adc_drift_baseline": Declared("counts of a drift read; 0: none", saved="drift_baseline"),
    "adc_drift_scale": Declared(
        "of the gains, unsigned 2.10", saved="drift_scale", unsigned="drift_scale_bits"
    ),
    "post_accumulator_saturations": Declared("sums clipped to acc_bits"),
    "post_code_saturations": Declared("codes and mantissas clipped to signed bytes"),
    "update_products": Declared("chi words that outer products have visited"),
    "update_chi_saturations": Declared("sums clipped to chi_bits", saved="chi_saturations"),
    "update_transfer_saturations": Declared(
        "visits that left a threshold or more in chi", saved="transfer_saturations"
    ),
    "programmer_set_pulses": Declared("devices SET", saved="set_pulses"),
    "programmer_reset_pulses": Declared("devices RESET", saved="reset_pulses"),
    "programmer_refreshed": Declared("worn pairs RESET", saved="refreshed"),
    "programmer_unverified": Declared("columns left short of their target", saved="unverified"),
    "dropped_packets": Declared("packets that LOAD did not take"),
    "refresh_high": Declared("codes: a pair is worn if its larger one is above"),
    "refresh_low": Declared("codes: and its smaller one above this"),
    "lsb_log2": Declared("of the latest window, log2 of charge per count"),
    "precision": Declared("of the latest window, bits"),
    "exponent": Declared("of the vector that the latest window was driven with"),
    "backward": Declared("of a window: 1 drives columns"),
    "polarities": Declared("of a window: bit 0 connects G+, bit 1 G-"),
    "reference": Declared("of a window: 1 puts the reference current on every line"),
    "driven": Declared("of a window: lines that are driven"),
    "first": Declared("of a window: first line that is counted"),
    "stop": Declared("of a window: line behind the last that is counted"),
    "seed": Declared("of everything random, 32 bits"),
}
"""Numbers of a core; ``saved`` names are those within the block that begins the name."""

_RECORD = record(*_NUMBERS)


class Geometry(NamedTuple):
    """Numbers that all cores share: fields of ``CoreConfig`` and ``DeviceTables``."""

    rows: int
    cols: int
    lines: int
    accumulator_lines: int
    devices: int
    slots: int
    vector_rows: int
    affine_tables: int
    post_lanes: int
    input_bits: int
    lsb_log2_min: int
    read_lsb_log2: int
    read_precision: int
    reference_current: int
    reference_count_log2: int
    increment_max: int
    adc_max: int
    calibration_offset_bits: int
    drift_lsb_log2: int
    drift_scale_bits: int
    gain_bits: int
    acc_bits: int
    chi_bits: int
    update_lanes: int
    pulse_max: int
    verify_iterations: int
    g_max: int
    g_min: int
    mu_slope: int
    sd_slope: int
    reset_mean: int
    reset_sd: int
    adc_noise: int


class Cores(NamedTuple):
    """Arrays of all cores, the core being the first index, and room for what passes by."""

    slots: Annotated[
        Int,
        Declared(
            "code, slots first", "vector_rows lines", saved="slots", signed="output_bits"
        ),
    ]  # fmt: skip
    exponents: Annotated[Int, Declared("log2", "slots", saved="exponents", signed=EXPONENT_BITS)]
    accumulators: Annotated[Int, Declared("1/128 code, then sums", "accumulator_lines")]
    scales: Annotated[Int, Declared("1/128", "affine_tables lines")]
    offsets: Annotated[Int, Declared("1/2 code", "affine_tables lines")]
    chi: Annotated[
        NDArray[np.int32],
        Declared("chi", "rows padded_cols", saved="update.chi", signed="chi_bits"),
    ]  # fmt: skip
    devices: Annotated[
        Int, Declared("see DEVICE_CONDUCTANCE ..", "planes rows cols polarities devices")
    ]
    weights: Annotated[
        NDArray[np.float64], Declared("G+ - G- now, conductance codes", "rows padded_cols")
    ]
    transposed: Annotated[NDArray[np.float64], Declared("``weights``", "cols padded_rows")]
    peaks: Annotated[Int, Declared("bounds of the weights by row and column", "polarities lines")]
    gain: Annotated[Int, Declared("converter's gain, 1/1024", "lines")]
    offset: Annotated[Int, Declared("converter's offset, 1/1024 charge per cycle", "lines")]
    noise_keys: Annotated[NDArray[np.uint64], Declared("hash key, 32 bits", "lines")]
    dirty: Annotated[
        NDArray[np.bool_],
        Declared("row pulsed since its refresh", "rows", saved="programmer.dirty", below=2),
    ]
    selection: Annotated[
        Int,
        Declared(
            "device of the next potentiation, of the next depression", "polarities",
            saved="programmer.selection", below="devices_per_polarity",
        ),
    ]  # fmt: skip
    adc_offsets: Annotated[
        Int,
        Declared(
            "1/16 count of a full window at lsb_log2_min", "lines", saved="adc.offsets",
            signed="calibration_offset_bits",
        ),
    ]  # fmt: skip
    adc_gains: Annotated[
        Int, Declared("unsigned 2.8", "lines", saved="adc.gains", unsigned="gain_bits")
    ]
    counts: Annotated[Int, Declared("counts of the latest window", "lines")]
    at_limit: Annotated[
        NDArray[np.bool_], Declared("counted increment_max in a cycle of it", "lines")
    ]
    scalars: Annotated[Any, Declared("see _NUMBERS")]
    mu_table: Int
    """``DeviceTables.mu_table``."""
    sd_table: Int
    """``DeviceTables.sd_table``."""
    memory: Int
    """``slots`` as one array a core."""
    x: Int
    """Signed cycles of the lines driven, shape (lines,)."""
    driven: Int
    """Numbers of the lines driven, shape (lines + 1,)."""
    charge: NDArray[np.float64]
    """Of a window, shape (lines,)."""
    reach: NDArray[np.float64]
    """Bounds of the currents of lines that may reach the limit, shape (lines,)."""
    noise_scales: Int
    """Of every cycle of a window, 1/4096 count."""
    steps: Int
    """By which a current changes in every cycle of a window, and behind it."""
    codes: Int
    """Of a read-out or a slot, shape (lines,)."""
    deltas: NDArray[np.float32]
    """Error vector of an outer product, scaled, shape (lines,)."""
    sums: Int
    """Counts summed in a calibration, shape (2, lines)."""
    read: Int
    """Codes of row reads by polarity, shape (3, lines)."""
    targets: Int
    """Codes to which a row is rebuilt, shape (lines,)."""
    pending: NDArray[np.bool_]
    """Columns of a row that are rebuilt, shape (lines,)."""
    log: NDArray[np.int32]
    """Events, shape (room, 5), see ``trace.py``; no room: not written."""
    logged: Int
    """Events in ``log``, shape (1,)."""


_ARRAYS = {
    name: (hint.__origin__, hint.__metadata__[0])
    for name, hint in get_type_hints(Cores, include_extras=True).items()
    if hasattr(hint, "__metadata__")
}
"""Type and declaration of what each core has."""


def _saved() -> dict[str, Declared]:
    found = {f"crossbar.{name}": declared for name, declared in _DEVICES.items()}
    for _, declared in _ARRAYS.values():
        if declared.saved:
            found[declared.saved] = declared
    for name, declared in _NUMBERS.items():
        if declared.saved:
            found[f"{name.partition('_')[0]}.{declared.saved}"] = declared
    return found


SAVED = _saved()
"""What outlives a program, by the names of a core's attributes; ``crossbar.weights`` and the noise
are made of it again."""


class CoreState:
    """Arrays of cores with the same configuration and profile, numbered from 0.

    Parameters
    ----------
    config : geometry and formats
    profile : device and converter behaviour
    seeds : of everything random, by core; 32 bits

    Attributes
    ----------
    cores : :class:`Cores`, all zero but the seeds and the devices' tables
    geometry : :class:`Geometry`
    tables : of the profile
    """

    def __init__(self, config: CoreConfig, profile: DeviceProfile, seeds: Sequence[int]):
        for seed in seeds:
            if not 0 <= seed <= 0xFFFFFFFF:
                raise ValueError(f"seed must be in 0..{0xFFFFFFFF}, not {seed}")
        self.config, self.profile = config, profile
        self.tables = profile.tables(config)
        self.geometry = self._geometry()
        own = {
            name: self._zeros(kind, len(seeds), declared)
            for name, (kind, declared) in _ARRAYS.items()
        }
        own["scalars"].seed = seeds
        lines, cycles = config.lines, config.window_cycles
        self.cores = Cores(
            **own, mu_table=self.tables.mu_table, sd_table=self.tables.sd_table,
            memory=own["slots"].reshape(len(seeds), -1), x=np.zeros(lines, dtype=np.int64),
            driven=np.zeros(lines + 1, dtype=np.int64), charge=np.zeros(lines),
            reach=np.zeros(lines), noise_scales=np.zeros(cycles, dtype=np.int64),
            steps=np.zeros(cycles + 1, dtype=np.int64), codes=np.zeros(lines, dtype=np.int64),
            deltas=np.zeros(lines, dtype=np.float32), sums=np.zeros((2, lines), dtype=np.int64),
            read=np.zeros((3, lines), dtype=np.int64), targets=np.zeros(lines, dtype=np.int64),
            pending=np.zeros(lines, dtype=np.bool_), log=np.empty((0, 5), dtype=np.int32),
            logged=np.zeros(1, dtype=np.int64),
        )  # fmt: skip

    def _geometry(self) -> Geometry:
        config = self.config
        special = {
            "devices": config.devices_per_polarity,
            "read_precision": min(READ_PRECISION, config.input_bits),
        }
        return Geometry(
            *(
                special[name] if name in special
                else getattr(config if hasattr(config, name) else self.tables, name)
                for name in Geometry._fields
            )
        )  # fmt: skip

    def _zeros(self, kind: Any, count: int, declared: Declared) -> Any:
        """Array of zeros of an annotated type: ``NDArray[T]``, or records of ``_NUMBERS``."""
        if kind is Any:
            return records(count, _RECORD)
        (scalar,) = kind.__args__[1].__args__
        padding = _CACHE_LINE // np.dtype(scalar).itemsize
        sizes = {
            **self.geometry._asdict(), "planes": DEVICE_DRIFTED + 1, "polarities": 2,
            "padded_rows": self.config.rows + padding, "padded_cols": self.config.cols + padding,
        }  # fmt: skip
        shape = [sizes[name] for name in declared.shape.split()]
        return np.zeros((count, *shape), dtype=scalar)


class Block:
    """A part of core ``number`` of ``state``, whose attributes are views of it."""

    def __init__(self, state: CoreState, number: int = 0):
        self.state, self.number = state, number
        self.config = state.config
        self.cores, self.geometry = state.cores, state.geometry


class View:
    """Attribute of a block that is an array of :class:`Cores`; what is assigned is copied in."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, block: Block, owner: type[Block]) -> Any:
        return getattr(block.cores, self._name)[block.number]

    def __set__(self, block: Block, value: Any) -> None:
        getattr(block.cores, self._name)[block.number, ...] = value


class Padded(View):
    """Attribute that is an array by row and column, without the padding of its rows."""

    def __get__(self, block: Block, owner: type[Block]) -> Any:
        return super().__get__(block, owner)[:, : block.config.cols]

    def __set__(self, block: Block, value: Any) -> None:
        self.__get__(block, type(block))[...] = value


class Plane(View):
    """Attribute that is a plane of ``Cores.devices``, shape (rows, cols, 2, devices)."""

    def __init__(self, plane: int):
        self._plane = plane

    def __get__(self, block: Block, owner: type[Block]) -> Any:
        return block.cores.devices[block.number, self._plane]

    def __set__(self, block: Block, value: Any) -> None:
        block.cores.devices[block.number, self._plane] = value


class Number(View):
    """Attribute that is a number of a core."""

    def __get__(self, block: Block, owner: type[Block]) -> int:
        return int(block.cores.scalars[self._name][block.number])

    def __set__(self, block: Block, value: int) -> None:
        block.cores.scalars[self._name][block.number] = value
