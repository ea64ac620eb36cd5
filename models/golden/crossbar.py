# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro: state of every device, products in closed form, programming.

Written from docs/contract/crossbar.md; all results are the bits of the macro.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.golden.device import (
    IDEAL,
    N_MAX,
    STUCK,
    DeviceProfile,
    Stream,
    drifted,
    gauss,
    initial_state,
    key,
    line_errors,
    line_keys,
    mix,
    noise_at,
)
from phasecore.models.golden.fixed_point import Int
from phasecore.rtl.spec.core import CoreConfig

__all__ = ["Crossbar"]

_MASK = 0xFFFFFFFF


class Crossbar:
    """One crossbar with its converters.

    Parameters
    ----------
    config : geometry
    profile : device and converter physics
    seed : of everything random, 32 bits
    g : conductance codes to start from, shape (rows, cols, 2, N) or broadcastable to it;
        otherwise :func:`phasecore.models.golden.device.initial_state`

    Attributes
    ----------
    g, n, e, t, resets : int64 arrays, shape (rows, cols, 2, N)
        Conductance code after the latest pulse, pulses since RESET (or ``STUCK``), programming
        events, time of the latest one, and how many were RESETs, of every device; index 2 is 0
        for G+, 1 for G-. Call :meth:`refresh_weights` after writing one of them directly.
    time : int
        Seconds since power-up; :meth:`set_time` sets it.
    g_noise : int
        Read noise of one weight at this time, conductance codes.
    gain, offset : int64 arrays, shape (lines,)
        Errors of the converters, in 1/1024 and in 1/1024 charge per cycle.
    windows, set_pulses, reset_pulses : int
        What has been done; ``windows`` numbers the read noise.
    at_limit : bool array, shape (lines,)
        Lines that counted ``increment_max``, up or down, in a cycle of the latest window.
    """

    def __init__(
        self,
        config: CoreConfig,
        profile: DeviceProfile = IDEAL,
        seed: int = 1,
        *,
        g: ArrayLike | None = None,
    ):
        if not 0 <= seed <= _MASK:
            raise ValueError(f"seed must be in 0..{_MASK}, not {seed}")
        self.config = config
        self.profile = profile
        self.seed = seed
        self.tables = profile.tables(config)
        self.gain, self.offset = line_errors(config, profile, seed)
        self._noise_keys = line_keys(seed, Stream.READ_NOISE, np.arange(config.lines))
        # Bounds of the weights of every row and column, for the compiled engine.
        self._peaks: Int = np.zeros((2, config.lines), dtype=np.int64)
        self.g, self.n = initial_state(config, profile, seed)
        if g is not None:
            codes = np.asarray(g, dtype=np.int64)
            if codes.min() < 0 or codes.max() > config.g_max:
                raise ValueError(f"conductance codes must be in 0..{config.g_max}")
            np.copyto(self.g, codes, where=self.n != STUCK)
        self.e: Int = np.zeros_like(self.g)
        self.t: Int = np.zeros_like(self.g)
        self.resets: Int = np.zeros_like(self.g)
        self.time = 0
        self.windows = 0
        self.set_pulses = 0
        self.reset_pulses = 0
        self.at_limit = np.zeros(config.lines, dtype=np.bool_)
        self.refresh_weights()

    def refresh_weights(self) -> None:
        """Recompute what devices conduct now, weights and noise from devices and ``time``."""
        self._conductances = drifted(
            self.tables, self.seed, self.time, self.config.g_max, self.g, self.n, self.e, self.t
        )
        sums = self._conductances.sum(axis=-1)
        self._weights: NDArray[np.float64] = (sums[:, :, 0] - sums[:, :, 1]).astype(np.float64)
        self._peaks[0, : self.config.rows] = np.abs(self._weights).max(axis=1)
        self._peaks[1, : self.config.cols] = np.abs(self._weights).max(axis=0)
        self.g_noise = noise_at(self.tables, self.time)

    def set_time(self, seconds: int) -> None:
        """Let it be ``seconds`` after power-up, for drift, read noise and the pulses to come."""
        if not 0 <= seconds <= _MASK:
            raise ValueError(f"time must be in 0..{_MASK}, not {seconds}")
        if seconds != self.time:
            self.time = seconds
            self.refresh_weights()

    @property
    def conductances(self) -> Int:
        """What every device conducts now, conductance codes, shape (rows, cols, 2, N)."""
        return self._conductances.copy()

    @property
    def weights(self) -> Int:
        """G+ - G- of every weight in conductance codes now, shape (rows, cols)."""
        return self._weights.astype(np.int64)

    def endurance(self) -> dict[str, float]:
        """Pulses and RESETs that a device has seen: the most, and the mean over all devices."""
        return {
            "pulses_max": int(self.e.max()),
            "pulses_mean": float(self.e.mean()),
            "resets_max": int(self.resets.max()),
            "resets_mean": float(self.resets.mean()),
        }

    def window(
        self,
        codes: ArrayLike,
        *,
        range: int,
        precision: int | None = None,
        backward: bool = False,
        polarities: int = 3,
        devices: int | None = None,
        reference: bool = False,
    ) -> Int:
        """Final counts of one integration window.

        Parameters
        ----------
        codes : integers, at least as many as driven lines
            Signed pulse width of every line in cycles, magnitude below ``2**(precision - 1)``; the
            input driver has removed signs and bits already. What exceeds the driven side of the
            array is ignored.
        range : ADC range
        precision : the window lasts ``2**(precision - 1)`` cycles; default ``input_bits``
        backward : drive columns and sense rows
        polarities : bit 0 connects G+, bit 1 G-
        devices : mask of device enables; default all
        reference : put the reference current on every sensed line

        Returns
        -------
        int64 array, shape (lines,)
            Counts, 0 on lines that are not sensed.
        """
        cycles, x = self._pulses(codes, precision, backward)
        weights = self._enabled(x, backward, polarities, devices)
        sensed = weights.shape[1]
        current = self.config.reference_current if reference else 0
        if self._may_reach_limit(x, weights, current, range):
            steps = self.increments(
                codes, range=range, precision=precision, backward=backward, polarities=polarities,
                devices=devices, reference=reference,
            )  # fmt: skip
            total: Int = steps.sum(axis=0)
            return total
        # Sums stay below 2**53, so that the float product is exact.
        charge = (x @ weights).astype(np.int64) + current * cycles
        phase = self.gain[:sensed] * charge + self.offset[:sensed] * cycles
        squares = int(np.sum(x * x))
        scale = self._noise_scale(squares, range, polarities, devices)
        phase += (scale * self._deviates()[:sensed] << range) >> 10
        counts: Int = np.zeros(self.config.lines, dtype=np.int64)
        counts[:sensed] = phase >> (range + 10)
        self.at_limit = np.zeros(self.config.lines, dtype=np.bool_)
        return counts

    def increments(
        self,
        codes: ArrayLike,
        *,
        range: int,
        precision: int | None = None,
        backward: bool = False,
        polarities: int = 3,
        devices: int | None = None,
        reference: bool = False,
    ) -> Int:
        """Increments of every cycle of one window, shape (cycles, lines); slow.

        Takes what :meth:`window` takes and integrates cycle by cycle. What a cycle counts beyond
        ``increment_max`` is lost.
        """
        cycles, x = self._pulses(codes, precision, backward)
        weights = self._enabled(x, backward, polarities, devices)
        sensed = weights.shape[1]
        deviates = self._deviates()[:sensed]
        limit = self.config.increment_max
        result = np.zeros((cycles, self.config.lines), dtype=np.int64)
        charge = np.zeros(sensed, dtype=np.int64)
        before = np.zeros(sensed, dtype=np.int64)
        for cycle in np.arange(cycles):
            drive = np.sign(x) * (np.abs(x) > cycle)
            current = (drive @ weights).astype(np.int64)
            current += self.config.reference_current if reference else 0
            charge += current * self.gain[:sensed] + self.offset[:sensed]
            squares = int(np.sum(np.minimum(np.abs(x), cycle + 1) ** 2))
            scale = self._noise_scale(squares, range, polarities, devices)
            after = (charge + ((scale * deviates << range) >> 10)) // 2 ** (range + 10)
            result[cycle, :sensed] = np.clip(after - before, -limit, limit)
            before = after
        self.at_limit = np.any(np.abs(result) == limit, axis=0)
        return result

    def _pulses(
        self, codes: ArrayLike, precision: int | None, backward: bool
    ) -> tuple[int, NDArray[np.float64]]:
        """Cycles of the window and pulse widths of the driven lines."""
        cycles = 1 << ((self.config.input_bits if precision is None else precision) - 1)
        driven = self.config.cols if backward else self.config.rows
        x = np.asarray(codes)[:driven].astype(np.float64)
        if len(x) != driven:
            raise ValueError(f"{driven} lines are driven, but there are {len(x)} codes")
        if np.abs(x).max() >= cycles:
            raise ValueError(f"pulse widths must be below the {cycles} cycles of the window")
        return cycles, x

    def _enabled(
        self, x: NDArray[np.float64], backward: bool, polarities: int, devices: int | None
    ) -> NDArray[np.float64]:
        """Weights of the enabled devices, shape (driven lines, sensed lines)."""
        every = (1 << self.config.devices_per_polarity) - 1
        weights = self._weights
        if polarities != 3 or devices not in (None, every):
            mask = every if devices is None else devices
            enabled = mask >> np.arange(self.config.devices_per_polarity) & 1
            # Lines that are not driven do not matter.
            lines = (slice(None), x != 0) if backward else (x != 0,)
            sums = (self._conductances[lines] * enabled).sum(axis=-1)
            weights = np.zeros_like(self._weights)
            weights[lines] = sums[..., 0] * (polarities & 1) - sums[..., 1] * (polarities >> 1)
        return weights.T if backward else weights

    def _may_reach_limit(
        self, x: NDArray[np.float64], weights: NDArray[np.float64], current: int, range: int
    ) -> bool:
        """Whether a line could count ``increment_max`` in a cycle; never wrongly False."""
        driven = x != 0
        largest = np.abs(weights[driven]).sum(axis=0) + current
        sensed = len(largest)
        charge = self.gain[:sensed] * largest + np.abs(self.offset[:sensed])
        # The norm grows by sqrt(lines) per cycle at most; a deviate is below 5; roots are floored.
        norm = np.sqrt(np.count_nonzero(driven)) + 1
        noise = 5 * (self.g_noise * norm / 2**range + self.tables.adc_noise / 256) + 0.1
        limit = self.config.increment_max
        return bool(np.max(charge) / 2 ** (range + 10) + noise + 1 > limit)

    def _noise_scale(self, squares: int, range: int, polarities: int, devices: int | None) -> int:
        """Deviation of the read noise, 1/4096 count, when the squared widths sum to ``squares``."""
        number = self.config.devices_per_polarity
        enabled = number if devices is None else devices.bit_count()
        norm = math.isqrt((squares * polarities.bit_count() * enabled << 8) // (2 * number))
        device = min((self.g_noise * norm << 8) >> range, (1 << 31) - 1)
        return math.isqrt(device**2 + (self.tables.adc_noise << 4) ** 2)

    def _deviates(self) -> Int:
        """Normal deviates of the next window, 1/256, shape (lines,)."""
        window = self.windows
        self.windows = window + 1 & _MASK
        return gauss(mix(self._noise_keys ^ np.uint64(window)))

    def program(
        self,
        row: ArrayLike,
        col: ArrayLike,
        negative: ArrayLike,
        device: ArrayLike = 0,
        reset: ArrayLike = False,
    ) -> None:
        """One SET or RESET pulse on each device named; the arguments are broadcast.

        The devices of one call must differ from each other.
        """
        rows, cols, polarity, number, kind = np.broadcast_arrays(
            *map(np.atleast_1d, (row, col, negative, device, reset))
        )
        index = (rows.astype(np.int64) * self.config.cols + cols) * 2 + polarity
        index = index * self.config.devices_per_polarity + number
        if index.size > 1 and np.unique(index).size != index.size:
            raise ValueError("a device is named twice in one call")
        is_reset = kind.astype(bool)
        self._set(index[~is_reset])
        self._reset(index[is_reset])
        sums = self._conductances[rows, cols].sum(axis=-1)
        weights = sums[..., 0] - sums[..., 1]
        self._weights[rows, cols] = weights
        for peaks, lines in zip(self._peaks, (rows, cols), strict=True):
            np.maximum.at(peaks, lines, np.abs(weights))

    def _set(self, index: Int) -> None:
        if not index.size:
            return
        tables = self.tables
        old, pulses, e = self.g.reshape(-1)[index], self.n.reshape(-1)[index], self.e.reshape(-1)
        memory = np.minimum(pulses, N_MAX)
        z = gauss(key(self.seed, Stream.SET, index, e[index]))
        mean = tables.mu_table[memory] + (old * tables.mu_slope >> 8)
        deviation = np.maximum(tables.sd_table[memory] + (old * tables.sd_slope >> 8), 0)
        delta = (mean * 256 + deviation * z + 2048) >> 12
        new = np.clip(old + delta, tables.g_min, self.config.g_max)
        self._pulsed(index, new, np.minimum(pulses + 1, N_MAX))
        self.set_pulses += index.size

    def _reset(self, index: Int) -> None:
        if not index.size:
            return
        tables = self.tables
        z = gauss(key(self.seed, Stream.RESET, index, self.e.reshape(-1)[index]))
        value = (tables.reset_mean * 256 + tables.reset_sd * z + 2048) >> 12
        self._pulsed(index, np.clip(value, 0, self.config.g_max), np.zeros_like(index))
        self.resets.reshape(-1)[index] += 1
        self.reset_pulses += index.size

    def _pulsed(self, index: Int, new: Int, pulses: Int) -> None:
        """Devices after an event, those that are stuck with what they conduct anyway."""
        n, e = self.n.reshape(-1), self.e.reshape(-1)
        free = n[index] != STUCK
        for array in (self.g, self._conductances):
            array.reshape(-1)[index[free]] = new[free]
        n[index[free]] = pulses[free]
        e[index] = e[index] + 1 & _MASK
        self.t.reshape(-1)[index] = self.time

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
        if wanted.shape != self._weights.shape or np.abs(wanted).max() > largest:
            raise ValueError(
                f"weights must be {self._weights.shape} codes of at most {largest},"
                f" not {wanted.shape} up to {np.abs(wanted).max()}"
            )
        shares = np.stack([np.maximum(wanted, 0), np.maximum(-wanted, 0)], axis=-1)[..., None]
        # The first devices take what does not divide evenly.
        number = np.arange(config.devices_per_polarity)
        targets = (shares + config.devices_per_polarity - 1 - number) // len(number)
        index = np.arange(self.g.size)
        z = gauss(key(self.seed, Stream.WRITE, index, self.e.reshape(-1))) / 256
        unit = self.profile.g_full_scale / config.g_max
        errors = self.profile.program_deviation(targets * unit) / unit
        written = np.rint(targets + errors * z.reshape(targets.shape)).astype(np.int64)
        new = np.clip(written, 0, config.g_max).reshape(-1)
        self._pulsed(index, new, np.full_like(index, N_MAX))
        self.refresh_weights()

    def write_macro_files(self, prefix: str | Path) -> None:
        """Write ``<prefix>.{params,g,n,e,t}.hex``, which the macro loads with +phasecore_macro."""
        tables = self.tables
        scalars = [
            self.seed, self.windows, tables.g_min, tables.mu_slope, tables.sd_slope,
            tables.reset_mean, tables.reset_sd, tables.g_noise, tables.adc_noise, self.time,
            tables.drift_time, *tables.nu, *tables.nu_spread,
        ]  # fmt: skip
        arrays = (
            tables.mu_table, tables.sd_table, tables.noise_table, tables.log2_table,
            tables.exp2_table, self.gain, self.offset,
        )  # fmt: skip
        words = scalars + [int(value) for array in arrays for value in array]
        for name, values in (
            ("params", words),
            ("g", self.g.reshape(-1).tolist()),
            ("n", self.n.reshape(-1).tolist()),
            ("e", self.e.reshape(-1).tolist()),
            ("t", self.t.reshape(-1).tolist()),
        ):
            Path(f"{prefix}.{name}.hex").write_text(_hex(values), encoding="utf-8")

    def read_macro_files(self, prefix: str | Path) -> None:
        """Take devices, window count and time from files that the macro's ``dump`` task wrote.

        They do not tell RESETs from other events; ``resets`` stay.
        """
        for name in ("g", "n", "e", "t"):
            values = _read_hex(Path(f"{prefix}.{name}.hex"))
            getattr(self, name)[...] = np.reshape(values, self.g.shape)
        words = _read_hex(Path(f"{prefix}.params.hex"))
        self.windows, self.time = words[1], words[9]
        self.refresh_weights()


def _hex(values: Iterable[Any]) -> str:
    return "".join(f"{value & _MASK:x}\n" for value in values)


def _read_hex(path: Path) -> list[int]:
    """Words of a ``$writememh`` file."""
    lines = (line.split("//")[0] for line in path.read_text(encoding="utf-8").splitlines())
    return [int(word, 16) for line in lines for word in line.split() if not word.startswith("@")]
