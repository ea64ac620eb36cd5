# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro: integration windows in closed form, and the devices of a core.

Written from docs/contract/device.md; all results are the bits of the macro.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device.physics import (
    DriftTables,
    drift,
    initial_state,
    line_errors,
    noise_at,
    reset_device,
    set_device,
)
from phasecore.models.golden.device.profiles import IDEAL, DeviceProfile
from phasecore.models.golden.device.tables import N_MAX, STUCK
from phasecore.models.golden.fixed_point import clip, isqrt
from phasecore.models.golden.hash import Draw, deviates, gauss, line_keys, mix
from phasecore.models.golden.macro_files import MacroFiles
from phasecore.models.golden.state import (
    DEVICE_CONDUCTANCE,
    DEVICE_DRIFTED,
    DEVICE_EVENT_TIME,
    DEVICE_EVENTS,
    DEVICE_PULSES,
    DEVICE_RESETS,
    Block,
    Cores,
    CoreState,
    Geometry,
    Number,
    Plane,
    View,
)
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["BOTH", "Crossbar", "count", "drive_slot", "list_driven", "prepare", "window"]

_MASK = 0xFFFFFFFF

BOTH = 3
"""Polarities of a product; row reads connect one."""

_STEP = 16
"""Lines of a product that are done together."""

LARGEST_DEVIATION = (1 << 31) - 1
"""Of the read noise, 1/4096 count."""

Charges = NDArray[np.float64]
"""Integers below 2**53: sums of them are exact, whatever their order."""


@compiled
def drive_slot(
    cores: Cores, k: int, vector: Int, precision: int, signs: int, start: int, count: int
) -> None:
    """Signed cycles ``x`` of each line that a stored vector drives."""
    x, driven, found = cores.x, cores.driven, 0
    x[:] = 0
    positive, negative = signs & 1, -(signs >> 1 & 1)
    for line in range(start, start + count):
        code = vector[line]
        magnitude = min(abs(code), 127) >> (8 - precision)
        x[line] = magnitude * (positive if code > 0 else negative)
        driven[found] = line
        found += x[line] != 0
    cores.scalars[k].driven = found


@compiled
def list_driven(cores: Cores, k: int) -> None:
    """Take ``x`` as it is for the next window."""
    found = 0
    for line in range(len(cores.x)):
        cores.driven[found] = line
        found += cores.x[line] != 0
    cores.scalars[k].driven = found


@compiled
def prepare(
    scalars: Any, precision: int, lsb_log2: int, backward: int, polarities: int, reference: int,
    first: int, stop: int,
) -> None:  # fmt: skip
    """What the next :func:`window` of a core is like, apart from ``x``; with exponent 0."""
    # Fields, not arguments of the window: literals would compile it once for each combination.
    scalars.first, scalars.stop = first, stop
    scalars.precision, scalars.lsb_log2, scalars.exponent = precision, lsb_log2, 0
    scalars.backward, scalars.polarities, scalars.reference = backward, polarities, reference


@compiled
def window(cores: Cores, geometry: Geometry, k: int) -> None:
    """Drive ``cores.x`` for a window; count on lines ``first`` .. ``stop - 1``, where sensed.

    Lines that are not sensed count 0, other lines keep what they had.
    """
    x, scalars = cores.x, cores.scalars[k]
    sensed = geometry.rows if scalars.backward else geometry.cols
    charge = cores.charge[scalars.first : min(scalars.stop, sensed)]
    cycles = 1 << (scalars.precision - 1)
    driven = cores.driven[: scalars.driven]
    cores.charge[:] = geometry.reference_current * cycles if scalars.reference else 0
    if scalars.polarities != BOTH:
        _one_polarity(charge, x, cores.devices[k, DEVICE_DRIFTED], scalars)
    elif scalars.backward:
        _add_rows(cores.charge[:sensed], x, driven, cores.transposed[k], scalars)
    else:
        _add_rows(cores.charge[:sensed], x, driven, cores.weights[k], scalars)
    count(cores, geometry, k, charge)


@compiled
def count(cores: Cores, geometry: Geometry, k: int, charge: Charges) -> None:
    """Count what :func:`window` does of charges by the lines driven, up to the last one sensed."""
    x, scalars = cores.x, cores.scalars[k]
    lines = slice(scalars.first, scalars.first + len(charge))
    cycles = 1 << (scalars.precision - 1)
    driven = cores.driven[: scalars.driven]
    squares, largest = _measure(x, driven, cores.peaks[k, scalars.backward])
    _convert(
        cores.counts[k, lines], charge, cores.gain[k, lines], cores.offset[k, lines],
        cores.noise_keys[k, lines], scalars.crossbar_windows,
        _noise_scale(geometry, scalars, squares), cycles, scalars.lsb_log2,
    )  # fmt: skip
    sensed, driving = geometry.cols, geometry.rows
    if scalars.backward:
        sensed, driving = driving, sensed
    cores.counts[k, sensed:] = 0
    cores.at_limit[k, :] = False
    if scalars.polarities != BOTH:
        largest = len(driven) * geometry.devices * geometry.g_max
    gain, offset = scalars.crossbar_gain_max, scalars.crossbar_offset_max
    if _may_reach_limit(geometry, scalars, len(driven), largest, gain, offset):
        _count_exactly(cores, geometry, k, x[:driving], driven, len(charge))
    scalars.crossbar_windows = (scalars.crossbar_windows + 1) & 0xFFFFFFFF


@compiled
def _measure(x: Int, driven: Int, peaks: Int) -> Any:
    """Sum of the squared widths of the lines driven, and of the bounds of their weights."""
    squares = largest = 0
    for at in range(len(driven)):
        i = driven[at]
        squares += x[i] * x[i]
        largest += peaks[i]
    return squares, largest


@compiled
def _noise_scale(geometry: Geometry, scalars: Any, squares: int) -> int:
    """Deviation of the read noise, 1/4096 count, when the squared widths sum to ``squares``."""
    polarities = (scalars.polarities & 1) + (scalars.polarities >> 1)
    norm = isqrt((squares * polarities << 8) // 2)
    device = min((scalars.crossbar_g_noise * norm << 8) >> scalars.lsb_log2, LARGEST_DEVIATION)
    converter = geometry.adc_noise << 4
    return isqrt(device * device + converter * converter)


@compiled
def _may_reach_limit(
    geometry: Geometry, scalars: Any, driven: int, largest: int, gain: int, offset: int
) -> bool:
    """Whether a line could count ``increment_max`` in a cycle; never wrongly False.

    ``largest`` bounds the current of the devices.
    """
    current = largest + (geometry.reference_current if scalars.reference else 0)
    counts = (gain * current + offset) / float(1 << (scalars.lsb_log2 + 10))
    # The norm grows by sqrt(lines) per cycle at most; a deviate is below 5; roots are floored.
    device = scalars.crossbar_g_noise * (np.sqrt(driven) + 1) / float(1 << scalars.lsb_log2)
    noise = 5 * (device + geometry.adc_noise / 256) + 0.1
    return counts + noise + 1 > geometry.increment_max


@compiled
def _count_exactly(
    cores: Cores, geometry: Geometry, k: int, x: Int, driven: Int, lines: int
) -> None:
    """Count again, cycle by cycle, on those of the ``lines`` that may reach the limit."""
    scalars = cores.scalars[k]
    first = scalars.first
    reach = cores.reach[first : first + lines]
    reach[:] = 0
    if scalars.polarities != BOTH:
        for at in range(len(driven)):
            for line in range(lines):
                reach[line] += abs(_weight(cores, geometry, k, driven[at], first + line))
    elif scalars.backward:
        _add_magnitudes(reach, driven, cores.transposed[k], first)
    else:
        _add_magnitudes(reach, driven, cores.weights[k], first)
    is_scaled = False
    for line in range(lines):
        gain, offset = cores.gain[k, first + line], abs(cores.offset[k, first + line])
        largest = int(reach[line])
        if _may_reach_limit(geometry, scalars, len(driven), largest, gain, offset):
            if not is_scaled:
                _scale_noise(cores, geometry, k, x)
                is_scaled = True
            _integrate(cores, geometry, k, x, first + line, 1 << (scalars.precision - 1))


@compiled
def _add_magnitudes(reach: Charges, driven: Int, weights: Charges, first: int) -> None:
    """Add what the lines driven can pull at most on lines ``first`` and up."""
    for at in range(len(driven)):
        row = weights[driven[at], first : first + len(reach)]
        for line in range(len(reach)):
            reach[line] += abs(row[line])


@compiled
def _scale_noise(cores: Cores, geometry: Geometry, k: int, x: Int) -> None:
    """Deviations of the read noise up to each cycle of a window."""
    scalars = cores.scalars[k]
    steps = cores.steps
    steps[:] = 0
    for i in range(len(x)):
        steps[abs(x[i])] += 1
    squares, on = 0, len(x) - steps[0]
    for cycle in range(1 << (scalars.precision - 1)):
        squares += on * (2 * cycle + 1)
        cores.noise_scales[cycle] = _noise_scale(geometry, scalars, squares)
        on -= steps[cycle + 1]


@compiled
def _integrate(cores: Cores, geometry: Geometry, k: int, x: Int, line: int, cycles: int) -> None:
    """Count on a line; what exceeds ``increment_max`` in a cycle is lost."""
    scalars, steps, limit = cores.scalars[k], cores.steps, geometry.increment_max
    steps[:] = 0
    for i in range(len(x)):
        if x[i]:
            step = np.sign(x[i]) * _weight(cores, geometry, k, i, line)
            steps[0] += step
            steps[abs(x[i])] -= step
    key = np.uint32(cores.noise_keys[k, line] ^ np.uint32(scalars.crossbar_windows))
    z = gauss(mix(key))
    current = geometry.reference_current if scalars.reference else 0
    charge = count = before = 0
    at_limit = False
    for cycle in range(cycles):
        current += steps[cycle]
        charge += cores.gain[k, line] * current + cores.offset[k, line]
        noise = (cores.noise_scales[cycle] * z << scalars.lsb_log2) >> 10
        after = (charge + noise) >> (scalars.lsb_log2 + 10)
        increment = clip(after - before, -limit, limit)
        at_limit |= abs(increment) == limit
        count += increment
        before = after
    cores.counts[k, line] = count
    cores.at_limit[k, line] = at_limit


@compiled
def _weight(cores: Cores, geometry: Geometry, k: int, driven: int, sensed: int) -> int:
    """Weight between two lines, of the polarities that are connected."""
    scalars = cores.scalars[k]
    row, col = (sensed, driven) if scalars.backward else (driven, sensed)
    if scalars.polarities == BOTH:
        return int(cores.weights[k, row, col])
    total = 0
    for device in range(geometry.devices):
        for negative in range(2):
            if scalars.polarities >> negative & 1:
                g = cores.devices[k, DEVICE_DRIFTED, row, col, negative, device]
                total += -g if negative else g
    return total


@compiled
def _add_rows(charge: Charges, x: Int, driven: Int, weights: Charges, scalars: Any) -> None:
    """Charges of the lines counted, and of some behind them; ``weights`` by driven line."""
    # Whole vectors of the machine, and several rows for every time that a charge is touched.
    count = min(scalars.stop, len(charge)) - scalars.first
    stop = min(scalars.first + (count + _STEP - 1) // _STEP * _STEP, len(charge))
    first, charge = scalars.first, charge[scalars.first : stop]
    at = 0
    while at + 4 <= len(driven):
        i, j, k, m = driven[at], driven[at + 1], driven[at + 2], driven[at + 3]
        a, b, c, d = float(x[i]), float(x[j]), float(x[k]), float(x[m])
        row_a, row_b = weights[i, first:stop], weights[j, first:stop]
        row_c, row_d = weights[k, first:stop], weights[m, first:stop]
        for line in range(len(charge)):
            charge[line] += (
                a * row_a[line] + b * row_b[line] + c * row_c[line] + d * row_d[line]
            )  # fmt: skip
        at += 4
    while at < len(driven):
        a, row_a = float(x[driven[at]]), weights[driven[at], first:stop]
        for line in range(len(charge)):
            charge[line] += a * row_a[line]
        at += 1


@compiled
def _one_polarity(charge: Charges, x: Int, g: Int, scalars: Any) -> None:
    """Charges of the lines with G+ or G- alone, or neither."""
    if not scalars.polarities:
        return
    first, stop = scalars.first, scalars.first + len(charge)
    backward, negative = scalars.backward, scalars.polarities - 1
    for i in range(g.shape[1] if backward else g.shape[0]):
        if not x[i]:
            continue
        devices = g[first:stop, i, negative] if backward else g[i, first:stop, negative]
        code = -x[i] if negative else x[i]
        for j in range(len(charge)):
            total = 0
            for number in range(devices.shape[1]):
                total += devices[j, number]
            charge[j] += code * total


@compiled
def _convert(
    counts: Int, charge: Charges, gain: Int, offset: Int, keys: Any, number: int, scale: int,
    cycles: int, lsb_log2: int,
) -> None:  # fmt: skip
    """Counts of the charges with the noise of window ``number``."""
    event = np.uint32(number)
    for j in range(len(charge)):
        phase = gain[j] * np.int64(charge[j]) + offset[j] * cycles
        if scale:
            phase += (scale * gauss(mix(np.uint32(keys[j] ^ event))) << lsb_log2) >> 10
        counts[j] = phase >> (lsb_log2 + 10)


@compiled
def _program(cores: Cores, geometry: Geometry, k: int, devices: Int, resets: Any) -> None:
    """One pulse on each of ``devices``: row, column, polarity and number of each."""
    for at in range(len(devices)):
        place = devices[at]
        row, col, negative, device = place[0], place[1], place[2], place[3]
        if resets[at]:
            reset_device(cores, geometry, k, row, col, negative, device)
        else:
            set_device(cores, geometry, k, row, col, negative, device)


@compiled
def _sum_weights(weights: Charges, transposed: Charges, peaks: Int, g: Int) -> None:
    """Weights, transposed ones, and bounds by row and column, of conductances."""
    rows, cols = g.shape[0], g.shape[1]
    peaks[:] = 0
    for row in range(rows):
        for col in range(cols):
            total = 0
            for device in range(g.shape[3]):
                total += g[row, col, 0, device] - g[row, col, 1, device]
            weights[row, col] = transposed[col, row] = total
            peaks[0, row] = max(peaks[0, row], abs(total))
            peaks[1, col] = max(peaks[1, col], abs(total))


class Crossbar(Block, MacroFiles):
    """Devices and converters of a core, alone or of one of several.

    Parameters
    ----------
    config : geometry
    profile : device and converter physics
    seed : of everything random, 32 bits
    g : conductance codes to start from, shape (rows, cols, 2, N) or broadcastable to it; None draws
        them (:func:`~phasecore.models.golden.device.physics.initial_state`)

    Attributes
    ----------
    g, n, e, t, resets : int64 arrays, shape (rows, cols, 2, N)
        Conductance code after the latest pulse, pulses since RESET (or ``STUCK``), programming
        events, time of the latest one, and how many were RESETs, of every device; index 2 is 0
        for G+, 1 for G-. Call :meth:`refresh_weights` after writing one of them directly.
    gain, offset : int64 arrays, shape (lines,)
        Errors of the converters, in 1/1024 and in 1/1024 charge per cycle.
    counts, at_limit : shape (lines,)
        Counts of the latest window, and whether a line counted ``increment_max`` in one of its
        cycles.
    windows, set_pulses, reset_pulses : what has been done; ``windows`` numbers the read noise
    time : seconds since power-up; :meth:`set_time` sets it
    g_noise : read noise of one weight at this time, conductance codes
    """

    conductance, pulses_since_reset, events, event_time, resets = map(
        Plane, (DEVICE_CONDUCTANCE, DEVICE_PULSES, DEVICE_EVENTS, DEVICE_EVENT_TIME, DEVICE_RESETS)
    )
    gain, offset = View("gain"), View("offset")
    counts, at_limit = View("counts"), View("at_limit")
    windows, time = Number("crossbar_windows"), Number("crossbar_time")
    g_noise = Number("crossbar_g_noise")
    set_pulses, reset_pulses = Number("crossbar_set_pulses"), Number("crossbar_reset_pulses")

    def __init__(
        self, config: CoreConfig, profile: DeviceProfile = IDEAL, seed: int = 1, *,
        g: ArrayLike | None = None,
    ):  # fmt: skip
        self._be(CoreState(config, profile, [seed]), 0, g)

    @classmethod
    def of(cls, state: CoreState, number: int, g: ArrayLike | None) -> "Crossbar":
        """That of core ``number`` of a state."""
        crossbar = cls.__new__(cls)
        crossbar._be(state, number, g)
        return crossbar

    def _be(self, state: CoreState, number: int, initial: ArrayLike | None) -> None:
        super().__init__(state, number)
        self.profile, self.tables = state.profile, state.tables
        config, seed = self.config, self.seed
        self.gain, self.offset = line_errors(config, self.profile, seed)
        scalars = self.cores.scalars[number]
        scalars.crossbar_gain_max = self.gain.max()
        scalars.crossbar_offset_max = np.abs(self.offset).max()
        keys = line_keys(seed, Draw.READ_NOISE, config.lines)
        self.cores.noise_keys[number] = keys
        self.conductance, self.pulses_since_reset = initial_state(config, self.profile, seed)
        if initial is not None:
            codes = np.asarray(initial, dtype=np.int64)
            if codes.min() < 0 or codes.max() > config.g_max:
                raise ValueError(f"conductance codes must be in 0..{config.g_max}")
            np.copyto(self.conductance, codes, where=self.pulses_since_reset != STUCK)
        self.refresh_weights()

    @property
    def seed(self) -> int:
        """Of everything random."""
        return int(self.cores.scalars["seed"][self.number])

    def refresh_weights(self) -> None:
        """Make weights, their bounds and the read noise anew from devices and ``time``."""
        k, cores = self.number, self.cores
        devices, g_max = cores.devices[k], self.config.g_max
        drift(devices, DriftTables.of(self.tables), self.seed, self.time, g_max)
        _sum_weights(cores.weights[k], cores.transposed[k], cores.peaks[k], devices[DEVICE_DRIFTED])
        cores.scalars["crossbar_g_noise"][k] = noise_at(self.tables, self.time)

    def set_time(self, seconds: int) -> None:
        """Let it be ``seconds`` after power-up, for drift, read noise and the pulses to come."""
        if not 0 <= seconds <= _MASK:
            raise ValueError(f"time must be in 0..{_MASK}, not {seconds}")
        if seconds != self.time:
            self.time = seconds
            self.refresh_weights()

    @property
    def drifted(self) -> Int:
        """What every device conducts now, conductance codes, shape (rows, cols, 2, N)."""
        found: Int = self.cores.devices[self.number, DEVICE_DRIFTED].copy()
        return found

    @property
    def weights(self) -> Int:
        """G+ - G- of every weight in conductance codes now, shape (rows, cols)."""
        return self.cores.weights[self.number, :, : self.config.cols].astype(np.int64)

    def endurance(self) -> dict[str, float]:
        """Pulses and RESETs that a device has seen: the most, and the mean over all devices."""
        return {
            "pulses_max": int(self.events.max()),
            "pulses_mean": float(self.events.mean()),
            "resets_max": int(self.resets.max()),
            "resets_mean": float(self.resets.mean()),
        }

    def window(
        self, codes: ArrayLike, *, lsb_log2: int, precision: int | None = None,
        backward: bool = False, polarities: int = BOTH, reference: bool = False,
    ) -> Int:  # fmt: skip
        """Final counts of one integration window.

        Parameters
        ----------
        codes : integers, at least as many as driven lines
            Signed pulse width of every line in cycles, magnitude below ``2**(precision - 1)``.
        lsb_log2 : of the converter, log2 of the charge that counts 1
        precision : the window lasts ``2**(precision - 1)`` cycles; default ``input_bits``
        backward : drive columns and sense rows
        polarities : bit 0 connects G+, bit 1 G-
        reference : put the reference current on every sensed line

        Returns
        -------
        int64 array, shape (lines,), 0 on lines that are not sensed
        """
        precision = self.config.input_bits if precision is None else precision
        driven = self.config.cols if backward else self.config.rows
        widths = np.asarray(codes, dtype=np.int64)[:driven]
        if len(widths) != driven or np.abs(widths).max() >= 1 << (precision - 1):
            raise ValueError(
                f"codes must be {driven} pulse widths below {1 << (precision - 1)}, not"
                f" {len(widths)} up to {np.abs(widths).max()}"
            )
        self.cores.x[:] = 0
        self.cores.x[:driven] = widths
        prepare(
            self.cores.scalars[self.number], precision, lsb_log2, int(backward), polarities,
            int(reference), 0, self.config.lines,
        )  # fmt: skip
        list_driven(self.cores, self.number)
        window(self.cores, self.geometry, self.number)
        found: Int = self.counts.copy()
        return found

    def program(
        self, row: ArrayLike, col: ArrayLike, negative: ArrayLike, device: ArrayLike = 0,
        reset: ArrayLike = False,
    ) -> None:  # fmt: skip
        """One SET or RESET pulse on each device named, in order; the arguments are broadcast."""
        *places, kind = np.broadcast_arrays(row, col, negative, device, reset)
        devices = np.stack([np.ravel(axis).astype(np.int64) for axis in places], axis=-1)
        _program(self.cores, self.geometry, self.number, devices, np.ravel(kind).astype(np.bool_))

    def write_verified(self, weights: ArrayLike) -> None:
        """Write weights as iterative programming does, with the error that it leaves.

        A model of its result, not of its pulses: every device gets its target and a normal
        deviate of the profile's ``program_deviation``, within 0 and full scale. A device counts
        one event and ``N_MAX`` pulses, so that nothing is left of the programming memory.

        Parameters
        ----------
        weights : integers, shape (rows, cols)
            Conductance codes; the devices of the polarity by sign share them, the others get 0.
        """
        config = self.config
        wanted = np.asarray(weights, dtype=np.int64)
        largest = config.devices_per_polarity * config.g_max
        if wanted.shape != self.weights.shape or np.abs(wanted).max() > largest:
            raise ValueError(
                f"weights must be {self.weights.shape} codes of at most {largest},"
                f" not {wanted.shape} up to {np.abs(wanted).max()}"
            )
        shares = np.stack([np.maximum(wanted, 0), np.maximum(-wanted, 0)], axis=-1)[..., None]
        # The first devices take what does not divide evenly.
        number = np.arange(config.devices_per_polarity)
        targets = (shares + config.devices_per_polarity - 1 - number) // len(number)
        z = deviates(self.seed, Draw.WRITE, self.events) / 256
        unit = self.profile.g_full_scale / config.g_max
        errors = self.profile.program_deviation(targets * unit) / unit
        written = np.rint(targets + errors * z).astype(np.int64)
        free = self.pulses_since_reset != STUCK
        np.copyto(self.conductance, np.clip(written, 0, config.g_max), where=free)
        np.copyto(self.pulses_since_reset, N_MAX, where=free)
        self.events[...] = self.events + 1 & _MASK
        self.event_time[...] = self.time
        self.refresh_weights()
