# SPDX-License-Identifier: Apache-2.0
"""State of several cores in arrays, shared with the reference's own objects.

The reference's arrays become views of the engine's, so both work on the same words; counters are
copied in before a run and out after it. So the engines can take turns.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import record
from phasecore.models.golden.core import READ_PRECISION, Core
from phasecore.models.golden.fixed_point import Int

__all__ = [
    "DEVICE_CONDUCTANCE", "DEVICE_E", "DEVICE_G", "DEVICE_N", "DEVICE_RESETS", "DEVICE_T",
    "Cores", "Geometry", "State",
]  # fmt: skip

_ARRAYS = {
    "slots": ("", "slots"),
    "exponents": ("", "exponents"),
    "accumulators": ("post", "accumulators"),
    "scales": ("post", "scales"),
    "offsets": ("post", "offsets"),
    "chi": ("update", "chi"),
    "weights": ("crossbar", "_weights"),
    "peaks": ("crossbar", "_peaks"),
    "gain": ("crossbar", "gain"),
    "offset": ("crossbar", "offset"),
    "noise_keys": ("crossbar", "_noise_keys"),
    "dirty": ("programmer", "dirty"),
    "adc_offsets": ("adc", "offsets"),
    "adc_gains": ("adc", "gains"),
}
"""Arrays of :class:`Cores` and whose attributes they are: a block's, or the core's own."""

_DEVICES = ("g", "n", "e", "t", "resets", "_conductances")
"""Arrays of the crossbar that are planes of ``Cores.devices``: arguments cost time, so few."""

DEVICE_G, DEVICE_N, DEVICE_E, DEVICE_T, DEVICE_RESETS, DEVICE_CONDUCTANCE = range(len(_DEVICES))

_COUNTERS = {
    "crossbar": ("windows", "set_pulses", "reset_pulses", "time", "g_noise"),
    "adc": ("clipped", "overranges", "calibration_errors", "drift_baseline", "drift_scale"),
    "post": ("accumulator_saturations", "code_saturations"),
    "update": ("products", "chi_saturations", "transfer_saturations"),
    "programmer": ("set_pulses", "reset_pulses", "refreshed", "unverified"),
}
"""Numbers of the blocks; ``<block>_<name>`` in ``SCALARS``."""

_OWN = ("dropped_packets", "refresh_high", "refresh_low")
"""Numbers of the core itself."""

SCALARS = record(
    *(f"{block}_{name}" for block, names in _COUNTERS.items() for name in names),
    *_OWN, "potentiation", "depression", "range", "precision", "exponent", "backward",
    "polarities", "reference", "first", "stop", "seed",
)  # fmt: skip
"""Numbers of one core: counters, the selection counters, what the latest window was, the seed."""


class Geometry(NamedTuple):
    """Numbers that all cores share: fields of ``CoreConfig`` and ``DeviceTables``."""

    rows: int
    cols: int
    lines: int
    devices: int
    slots: int
    affine_tables: int
    post_lanes: int
    input_bits: int
    range_min: int
    read_range: int
    read_precision: int
    reference_current: int
    reference_count_log2: int
    increment_max: int
    adc_max: int
    calibration_offset_bits: int
    drift_range: int
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

    slots: Int
    exponents: Int
    accumulators: Int
    scales: Int
    offsets: Int
    chi: NDArray[np.int32]
    devices: Int
    """Planes ``DEVICE_G`` .. of every device (cores, planes, rows, cols, 2, devices)."""
    weights: NDArray[np.float64]
    peaks: Int
    """Bounds of the weights of every row and column (cores, 2, lines)."""
    gain: Int
    offset: Int
    noise_keys: NDArray[np.uint64]
    dirty: NDArray[np.bool_]
    adc_offsets: Int
    adc_gains: Int
    counts: Int
    """Of the latest window (cores, lines)."""
    at_limit: NDArray[np.bool_]
    """Lines that counted ``increment_max`` in a cycle of it, likewise."""
    scalars: Any
    """``SCALARS`` (cores,)."""
    mu_table: Int
    sd_table: Int
    x: Int
    """Signed cycles of the lines driven."""
    charge: NDArray[np.float64]
    noise_scales: Int
    """Of every cycle of a window."""
    steps: Int
    """By which a current changes in every cycle of a window, and behind it."""
    codes: Int
    errors: NDArray[np.int32]
    """Error vector of an outer product."""
    sums: Int
    """Counts summed in a calibration (2, lines)."""
    read: Int
    """Codes of row reads by polarity (3, lines)."""
    targets: Int
    pending: NDArray[np.bool_]
    """Columns of a row that are rebuilt."""
    log: NDArray[np.int32]
    """Events (room, 5), see ``trace.py``; no room: not written."""
    logged: Int
    """Events in ``log`` (1,)."""


class State:
    """The arrays of ``cores``, which have the same configuration and profile."""

    def __init__(self, cores: Sequence[Core]):
        self.members = tuple(cores)
        first = cores[0]
        config, tables = first.config, first.crossbar.tables
        shared = {
            "devices": config.devices_per_polarity,
            "read_precision": min(READ_PRECISION, config.input_bits),
        }
        self.geometry = Geometry(
            *(
                shared[name] if name in shared
                else getattr(config if hasattr(config, name) else tables, name)
                for name in Geometry._fields
            )
        )  # fmt: skip
        stacked = {
            name: np.stack([getattr(_owner(core, block), attribute) for core in cores])
            for name, (block, attribute) in _ARRAYS.items()
        }
        devices = np.stack([[getattr(core.crossbar, name) for name in _DEVICES] for core in cores])
        lines = np.zeros(config.lines, dtype=np.int64)
        self.cores = Cores(
            **stacked,
            devices=devices,
            counts=np.zeros((len(cores), config.lines), dtype=np.int64),
            at_limit=np.zeros((len(cores), config.lines), dtype=np.bool_),
            scalars=np.zeros(len(cores), dtype=SCALARS),
            mu_table=tables.mu_table, sd_table=tables.sd_table,
            x=lines.copy(), charge=np.zeros(config.lines),
            noise_scales=np.zeros(config.window_cycles, dtype=np.int64),
            steps=np.zeros(config.window_cycles + 1, dtype=np.int64), codes=lines.copy(),
            errors=lines.astype(np.int32), sums=np.zeros((2, config.lines), dtype=np.int64),
            read=np.zeros((3, config.lines), dtype=np.int64), targets=lines.copy(),
            pending=np.zeros(config.lines, dtype=np.bool_),
            log=np.empty((0, 5), dtype=np.int32), logged=np.zeros(1, dtype=np.int64),
        )  # fmt: skip
        self._views = [
            *((*_ARRAYS[name], list(array)) for name, array in stacked.items()),
            *(("crossbar", name, list(devices[:, plane])) for plane, name in enumerate(_DEVICES)),
        ]

    def load(self) -> None:
        """Take the state of the reference's objects; their arrays become views."""
        for k, core in enumerate(self.members):
            for block, attribute, views in self._views:
                owner, view = _owner(core, block), views[k]
                held = getattr(owner, attribute)
                if held is not view:
                    view[...] = held
                    setattr(owner, attribute, view)
            self.cores.counts[k] = core._window.counts
            self.cores.at_limit[k] = core._window.at_limit
            scalars = self.cores.scalars[k]
            for block, names in _COUNTERS.items():
                for name in names:
                    scalars[f"{block}_{name}"] = getattr(_owner(core, block), name)
            for name in _OWN:
                scalars[name] = getattr(core, name)
            scalars["potentiation"], scalars["depression"] = core.programmer.selection
            scalars["range"], scalars["precision"] = core._window.range_, core._window.precision
            scalars["exponent"], scalars["seed"] = core._window.exponent, core.crossbar.seed

    def store(self) -> None:
        """Give the reference's objects what is not in their arrays."""
        for k, core in enumerate(self.members):
            scalars = self.cores.scalars[k]
            for block, names in _COUNTERS.items():
                for name in names:
                    setattr(_owner(core, block), name, int(scalars[f"{block}_{name}"]))
            core.dropped_packets = int(scalars["dropped_packets"])
            core.programmer.selection = [int(scalars["potentiation"]), int(scalars["depression"])]
            core._window = replace(
                core._window, counts=self.cores.counts[k].copy(),
                at_limit=self.cores.at_limit[k].copy(), range_=int(scalars["range"]),
                precision=int(scalars["precision"]), exponent=int(scalars["exponent"]),
            )  # fmt: skip


def _owner(core: Core, block: str) -> Any:
    return getattr(core, block) if block else core
