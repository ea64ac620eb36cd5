# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro, cycle by cycle and device by device (docs/contract/device.md)."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.golden.device import IDEAL, STUCK, DeviceProfile
from phasecore.models.golden.device.physics import initial_state
from phasecore.models.golden.macro_files import MacroFiles
from phasecore.rtl.spec.core import CoreConfig
from phasecore.verification.oracle.device import (
    DRIFT,
    READ_NOISE,
    RESET,
    SET,
    WORD,
    drifted,
    gauss,
    is_free,
    key,
    later,
    line_errors,
    noise_at,
    reset_code,
    set_code,
)
from phasecore.verification.oracle.fixed_point import Int

__all__ = ["Crossbar"]


class Crossbar(MacroFiles):
    """One crossbar with its converters; attributes are those of the golden model's."""

    def __init__(
        self, config: CoreConfig, profile: DeviceProfile = IDEAL, seed: int = 1, *,
        g: ArrayLike | None = None,
    ):  # fmt: skip
        self.config, self.profile, self.seed = config, profile, seed
        self.tables = profile.tables(config)
        self.gain, self.offset = line_errors(config, profile, seed)
        self.conductance, self.pulses_since_reset = initial_state(config, profile, seed)
        if g is not None:
            np.copyto(
                self.conductance,
                np.asarray(g, dtype=np.int64),
                where=self.pulses_since_reset != STUCK,
            )
        self.events, self.event_time, self.resets = (
            np.zeros_like(self.conductance) for _ in range(3)
        )
        self.time = self.windows = self.set_pulses = self.reset_pulses = 0
        self.at_limit: NDArray[np.bool_] = np.zeros(config.lines, dtype=np.bool_)
        self.refresh_weights()

    def refresh_weights(self) -> None:
        """What devices conduct now, and the noise, from devices and ``time``."""
        self.g_noise = noise_at(self.tables, self.time)
        self.drifted = self.conductance.copy()
        if not self.tables.drifts:
            return
        for index in range(self.conductance.size):
            seconds = self.time - int(self.event_time.flat[index])
            if seconds > 0 and is_free(self.pulses_since_reset.flat[index]):
                z = gauss(key(self.seed, DRIFT, index, int(self.events.flat[index])))
                g = int(self.conductance.flat[index])
                code = drifted(self.tables, self.config.g_max, g, seconds, z)
                self.drifted.flat[index] = code

    @property
    def weights(self) -> Int:
        """G+ - G- now, shape (rows, cols)."""
        sums = self.drifted.sum(axis=3)
        weights: Int = sums[:, :, 0] - sums[:, :, 1]
        return weights

    def set_time(self, seconds: int) -> None:
        """Let it be ``seconds`` after power-up."""
        self.time = seconds
        self.refresh_weights()

    def window(
        self, codes: ArrayLike, *, lsb_log2: int, precision: int | None = None,
        backward: bool = False, polarities: int = 3, devices: int | None = None,
        reference: bool = False,
    ) -> Int:  # fmt: skip
        """Counts of a window by line; ``devices``: mask of those enabled, None for all."""
        increments = self.increments(
            codes, lsb_log2=lsb_log2, precision=precision, backward=backward, polarities=polarities,
            devices=devices, reference=reference,
        )  # fmt: skip
        counts: Int = increments.sum(axis=0)
        return counts

    def increments(
        self, codes: ArrayLike, *, lsb_log2: int, precision: int | None = None,
        backward: bool = False, polarities: int = 3, devices: int | None = None,
        reference: bool = False,
    ) -> Int:  # fmt: skip
        """Increments of every cycle, shape (cycles, lines), of which a converter loses what
        exceeds ``increment_max``."""
        config, limit = self.config, self.config.increment_max
        cycles = 1 << (config.input_bits if precision is None else precision) - 1
        weights = self._connected(polarities, devices)
        weights = weights.T if backward else weights
        driven, sensed = weights.shape
        x = np.asarray(codes, dtype=np.int64)[:driven]
        current = config.reference_current if reference else 0
        deviates = [gauss(key(self.seed, READ_NOISE, line, self.windows)) for line in
                    np.arange(sensed).tolist()]  # fmt: skip
        z = np.array(deviates, dtype=np.int64)
        gain, offset = self.gain[:sensed], self.offset[:sensed]
        charge, before = np.zeros(sensed, dtype=np.int64), np.zeros(sensed, dtype=np.int64)
        result = np.zeros((cycles, config.lines), dtype=np.int64)
        for cycle in np.arange(cycles).tolist():
            on = np.sign(x) * (abs(x) > cycle)
            charge += gain * (on @ weights + current) + offset
            squares = int((np.minimum(abs(x), cycle + 1) ** 2).sum())
            noise = self._noise(squares, lsb_log2, polarities, devices)
            after = (charge + ((noise * z << lsb_log2) >> 10)) >> lsb_log2 + 10
            result[cycle, :sensed] = np.clip(after - before, -limit, limit)
            before = after
        self.at_limit = (abs(result) == limit).any(axis=0)
        self.windows = self.windows + 1 & WORD
        return result

    def _connected(self, polarities: int, devices: int | None) -> Int:
        """Weights of the enabled devices of the connected polarities, shape (rows, cols)."""
        number = self.config.devices_per_polarity
        enabled = [device for device in range(number) if devices is None or devices >> device & 1]
        sums = self.drifted[..., enabled].sum(axis=3)
        weights: Int = sums[..., 0] * (polarities & 1) - sums[..., 1] * (polarities >> 1)
        return weights

    def _noise(self, squares: int, lsb_log2: int, polarities: int, devices: int | None) -> int:
        """Deviation, 1/4096 count, when the squared widths so far sum to ``squares``."""
        number = self.config.devices_per_polarity
        enabled = number if devices is None else devices.bit_count()
        share = squares * polarities.bit_count() * enabled
        norm = math.isqrt((share << 8) // (2 * number))
        device = min((self.g_noise * norm << 8) >> lsb_log2, (1 << 31) - 1)
        return math.isqrt(device**2 + (self.tables.adc_noise << 4) ** 2)

    def program(
        self, row: ArrayLike, col: ArrayLike, negative: ArrayLike, device: ArrayLike = 0,
        reset: ArrayLike = False,
    ) -> None:  # fmt: skip
        """One SET or RESET pulse on each device named, in order."""
        for *place, is_reset in np.broadcast(row, col, negative, device, reset):
            self._pulse(tuple(map(int, place)), bool(is_reset))

    def _pulse(self, place: tuple[int, ...], reset: bool) -> None:
        index = int(np.ravel_multi_index(place, self.conductance.shape))
        if is_free(self.pulses_since_reset[place]):
            draw = RESET if reset else SET
            z = gauss(key(self.seed, draw, index, int(self.events[place])))
            g, n, g_max = (
                int(self.conductance[place]),
                int(self.pulses_since_reset[place]),
                self.config.g_max,
            )
            if reset:
                g = reset_code(self.tables, g_max, z)
            else:
                g = set_code(self.tables, g_max, g, n, z)
            self.conductance[place] = self.drifted[place] = g
            self.pulses_since_reset[place] = 0 if reset else later(n)
        self.events[place] = self.events[place] + 1 & WORD
        self.event_time[place] = self.time
        self.resets[place] += reset
        self.reset_pulses += reset
        self.set_pulses += not reset
