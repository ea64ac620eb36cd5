# SPDX-License-Identifier: Apache-2.0
"""Files from which the macro takes its state, and into which it dumps it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.golden.device.tables import DeviceTables

__all__ = ["MacroFiles"]

_MASK = 0xFFFFFFFF


class MacroFiles:
    """Reading and writing of what has a crossbar's attributes."""

    tables: Any
    seed: Any
    gain: Any
    offset: Any
    windows: Any
    time: Any
    conductance: Any
    pulses_since_reset: Any
    events: Any
    event_time: Any

    def refresh_weights(self) -> None:
        """Take in what has been read."""
        raise NotImplementedError

    def write_macro_files(self, prefix: str | Path) -> None:
        """Write ``<prefix>.NAME.hex``, which the macro loads with +phasecore_macro; NAME is
        params, conductance, pulses_since_reset, events, event_time."""
        tables: DeviceTables = self.tables
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
            ("conductance", self.conductance.reshape(-1).tolist()),
            ("pulses_since_reset", self.pulses_since_reset.reshape(-1).tolist()),
            ("events", self.events.reshape(-1).tolist()),
            ("event_time", self.event_time.reshape(-1).tolist()),
        ):
            Path(f"{prefix}.{name}.hex").write_text(_hex(values), encoding="utf-8")

    def read_macro_files(self, prefix: str | Path) -> None:
        """Take devices, window count and time from files that the macro's ``dump`` task wrote.

        They do not tell RESETs from other events; ``resets`` stay.
        """
        for name in ("conductance", "pulses_since_reset", "events", "event_time"):
            values = _read_hex(Path(f"{prefix}.{name}.hex"))
            getattr(self, name)[...] = np.reshape(values, self.conductance.shape)
        words = _read_hex(Path(f"{prefix}.params.hex"))
        self.windows, self.time = words[1], words[9]
        self.refresh_weights()


def _hex(values: Iterable[Any]) -> str:
    return "".join(f"{value & _MASK:x}\n" for value in values)


def _read_hex(path: Path) -> list[int]:
    """Words of a ``$writememh`` file."""
    lines = (line.split("//")[0] for line in path.read_text(encoding="utf-8").splitlines())
    return [int(word, 16) for line in lines for word in line.split() if not word.startswith("@")]
