# SPDX-License-Identifier: Apache-2.0
"""``phasecore device-curves``: the model's devices beside the equations they are made from.

Everything measured comes out of the integers of the golden crossbar, which are those of the macro;
the equations are evaluated in floating point.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.golden.core import Core
from phasecore.models.golden.crossbar import Crossbar
from phasecore.models.golden.device import IDEAL, PROFILES, DeviceProfile
from phasecore.progress import Line, counted
from phasecore.rtl.spec.core import DEFAULT, SMALL, CoreConfig
from phasecore.rtl.spec.instructions import Drift, Opcode, Segment, encode
from phasecore.scripts.commands.options import add_profile
from phasecore.scripts.report import results
from phasecore.scripts.report.pictures import layered, number_axis, picture

__all__ = [
    "PULSES",
    "TIMES",
    "add_parser",
    "drift",
    "plot",
    "program_instruction",
    "programming",
    "read_noise",
    "report",
    "run",
    "write_verify",
]

OPTIONS = ("seed", "out", "overwrite")

PULSES = 20
YEAR = 365 * 86400
TIMES = (1, 60, 3600, 86400, 30 * 86400, YEAR)
"""Seconds at which drift and noise are looked at."""

LEVELS = 8
"""Conductances, from 1/8 of full scale to all of it."""

_ERRORS = ("write_verify", "program_instruction")
_ARRAY = DEFAULT.replace(devices_per_polarity=1)
_NORMAL = np.linspace(-6, 6, 2001)
_DENSITY = np.exp(-(_NORMAL**2) / 2) / np.exp(-(_NORMAL**2) / 2).sum()

Floats = NDArray[np.float64]


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "device-curves",
        help="show what devices do over pulses and time, beside the equations",
        description=(
            "Measure conductance over pulses, drift, read noise and the error of programming in the"
            " golden model, and compare with the equations behind each profile. --out names the"
            " folder of the JSON result and the plots (default: build/devices)."
        ),
    )
    add_profile(parser, several=True)
    return parser


def run(args: argparse.Namespace) -> dict[str, Any]:
    path = results.destination(args, args.out or Path("build") / "devices", "devices", ".png")
    profiles = args.profile or [profile for profile in PROFILES.values() if profile is not IDEAL]
    with counted("devices", len(profiles) * len(MEASURED), "measurements") as line:
        measured = [_measure(profile, args.seed, line) for profile in profiles]
    result = results.record(
        command=args.command, config=_ARRAY, seed=args.seed, times_seconds=TIMES, profiles=measured
    )
    results.write(path, result, args)
    plot(result, path.with_suffix(".png"))
    return {**result, "out": str(path)}


def report(result: dict[str, Any]) -> str:
    lines = []
    for entry in result["profiles"]:
        pulses, left, noise = (entry[key] for key in ("programming", "drift", "read_noise"))
        written, own = (max(entry[key]["deviation"]) for key in _ERRORS)
        steps = ", ".join(f"{pulses['mean'][count]:.2f}" for count in (1, 5, PULSES))
        year = f"{100 * min(left['mean'][-1]):.1f} to {100 * max(left['mean'][-1]):.1f} %"
        grown = f"{noise['deviation'][0]:.3f}, {noise['deviation'][-1]:.3f} uS"
        missed = 100 * entry["program_instruction"]["unverified"]
        lines += [
            f"{entry['name']}, in brackets: off the equations by at most",
            f"  G after 1, 5, {PULSES} SET pulses  {steps} uS ({100 * pulses['mean_error']:.2f} %)",
            f"  left after a year          {year} ({100 * left['mean_error']:.2f} %)",
            f"  read noise, 1 s and a year {grown} ({100 * noise['error']:.2f} %)",
            f"  iterative programming      {written:.2f} uS, the largest deviation",
            f"  PROGRAM instruction        {own:.2f} uS, {missed:.1f} % not reached",
        ]
    return "\n".join([*lines, f"written: {result['out']}"])


def _measure(profile: DeviceProfile, seed: int, line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {"name": profile.name}
    for measure in MEASURED:
        found[measure.__name__] = measure(profile, seed)
        line.step(profile.name)
    return found


def programming(profile: DeviceProfile, seed: int) -> dict[str, Any]:
    """Mean and deviation of G (uS) after RESET and every SET pulse; of the equations likewise.

    The equations are simulated in floating point with other random numbers.
    """
    model = Crossbar(_ARRAY, profile, seed, g=0)
    rows, cols, polarities = np.ogrid[: _ARRAY.rows, : _ARRAY.cols, :2]
    model.program(rows, cols, polarities, reset=True)
    random = np.random.default_rng(seed)
    reference = np.maximum(
        random.normal(profile.reset_mean, profile.reset_sd, model.conductance.size), 0
    )
    found = [_moments(model.conductance * _unit(profile))]
    expected = [_moments(reference)]
    for pulse in range(1, PULSES + 1):
        model.program(rows, cols, polarities)
        memory = math.exp(-pulse / profile.memory_decay)
        mean = profile.set_mean_slope * reference + profile.set_mean
        sd = profile.set_sd_slope * reference + profile.set_sd
        mean, sd = mean + profile.set_mean_memory * memory, sd + profile.set_sd_memory * memory
        reference = reference + mean + np.maximum(sd, 0) * random.standard_normal(reference.size)
        reference = np.clip(reference, profile.g_min, profile.g_full_scale)
        found.append(_moments(model.conductance * _unit(profile)))
        expected.append(_moments(reference))
    (mean_, sd_), (mean_0, sd_0) = np.transpose(found), np.transpose(expected)
    return {
        "mean": _rounded(mean_), "deviation": _rounded(sd_),
        "equations_mean": _rounded(mean_0), "equations_deviation": _rounded(sd_0),
        "mean_error": _largest(mean_[1:] / mean_0[1:] - 1),
        "deviation_error": _largest((sd_[1:] - sd_0[1:]) / np.maximum(sd_0[1:], 0.1)),
    }  # fmt: skip


def drift(profile: DeviceProfile, seed: int) -> dict[str, Any]:
    """Mean and deviation of G(t)/G(0) by time and conductance (uS), measured and by equation."""
    model, levels = _levels(profile, seed)
    before = model.drifted.astype(np.float64).reshape(LEVELS, -1)
    found, expected = [], []
    for time in TIMES:
        model.set_time(time)
        ratio = model.drifted.reshape(LEVELS, -1) / before
        found.append([ratio.mean(axis=1), ratio.std(axis=1)])
        expected.append(np.transpose([_drift_moments(profile, level, time) for level in levels]))
    (mean, sd), (mean_0, sd_0) = (np.swapaxes(values, 0, 1) for values in (found, expected))
    return {
        "conductance": _rounded(levels),
        "mean": [_rounded(row) for row in mean], "deviation": [_rounded(row) for row in sd],
        "equations_mean": [_rounded(row) for row in mean_0],
        "equations_deviation": [_rounded(row) for row in sd_0],
        "mean_error": _largest(mean / mean_0 - 1),
        "deviation_error": _largest(sd - sd_0),
    }  # fmt: skip


def _drift_moments(profile: DeviceProfile, conductance: float, time: float) -> Floats:
    """Mean and deviation of G(t)/G(0) of devices of one conductance, over the spread of nu."""
    level = math.log(conductance / profile.g_full_scale)
    nu, spread = (
        min(max(start + slope * level, low), high)
        for start, slope, low, high in (
            (profile.drift_exponent, profile.drift_exponent_slope, profile.drift_exponent_low,
             profile.drift_exponent_high),
            (profile.drift_spread, profile.drift_spread_slope, profile.drift_spread_low,
             profile.drift_spread_high),
        )
    )  # fmt: skip
    ratio = ((time + profile.drift_time) / profile.drift_time) ** -np.maximum(
        nu + spread * _NORMAL, 0
    )
    mean = float(_DENSITY @ ratio)
    return np.array([mean, math.sqrt(max(float(_DENSITY @ ratio**2) - mean**2, 0))])


def read_noise(profile: DeviceProfile, seed: int) -> dict[str, Any]:
    """Noise of one device (uS) by time, from windows with all lines driven, converters ideal."""
    quiet = replace(profile, adc_noise=0.0, adc_gain_sd=0.0, adc_offset_sd=0.0, dead_adcs=0.0)
    model = Crossbar(_ARRAY, quiet, seed, g=0)
    # A count of the finest range is worth this many conductance codes of one weight.
    codes = 2**_ARRAY.lsb_log2_min / (64 * math.sqrt(_ARRAY.rows))
    drive = np.full(_ARRAY.lines, 64)
    found = []
    for time in TIMES:
        model.set_time(time)
        counts = [model.window(drive, lsb_log2=_ARRAY.lsb_log2_min) for _ in range(100)]
        found.append(float(np.std(counts)) * codes * _unit(profile) / math.sqrt(2))
    level = profile.read_noise_conductance
    expected = [float(profile.read_deviation(level, time)) for time in TIMES]
    return {
        "conductance": level,
        "deviation": _rounded(found),
        "equations_deviation": _rounded(expected),
        "error": _largest(np.array(found) / expected - 1) if min(expected) > 0 else 0.0,
    }


def write_verify(profile: DeviceProfile, seed: int) -> dict[str, Any]:
    """Error of ``Crossbar.write_verified`` (mean and deviation, uS) by target conductance (uS)."""
    model, levels = _levels(profile, seed)
    targets = np.repeat(np.rint(levels / _unit(profile)).astype(np.int64), _ARRAY.rows // LEVELS)
    model.write_verified(np.broadcast_to(targets[:, None], (_ARRAY.rows, _ARRAY.cols)))
    errors = (model.conductance[:, :, 0, 0] - targets[:, None]).reshape(LEVELS, -1) * _unit(profile)
    deviation, expected = errors.std(axis=1), profile.program_deviation(levels)
    # At full scale the device ends where the error begins.
    inner = slice(0, LEVELS - 1)
    return {
        "conductance": _rounded(levels),
        "mean": _rounded(errors.mean(axis=1)),
        "deviation": _rounded(deviation),
        "equations_deviation": _rounded(expected),
        "error": _largest(deviation[inner] / expected[inner] - 1) if expected[0] else 0.0,
    }


def program_instruction(profile: DeviceProfile, seed: int) -> dict[str, Any]:
    """What PROGRAM (SET pulses until the code is reached) leaves: error (uS) by target (uS).

    ``unverified`` is the fraction of weights that did not reach their target. The converters have
    been calibrated before.
    """
    config: CoreConfig = SMALL.replace(devices_per_polarity=1)
    core = Core(config, profile, seed)
    core.run([encode(Opcode.CALIBRATE, drift=Drift.NONE), encode(Opcode.HALT)])
    # A row read drives 31 cycles; a code is worth this many conductance codes.
    code = 2**config.read_lsb_log2 / 31
    wanted = np.arange(1, LEVELS + 1) * 7 / 8 * config.g_max / LEVELS
    targets = np.repeat(np.floor(wanted / code), config.rows // LEVELS).astype(np.int64)
    segment = Segment(row_start=0, row_count=config.rows, col_start=0, col_count=config.cols)
    core.segments[0] = segment
    for row, target in enumerate(targets):
        core.slots[0] = target
        core.run([encode(Opcode.PROGRAM, segment=0, row=row, slot=0), encode(Opcode.HALT)])
    unit = profile.g_full_scale / config.g_max
    errors = (core.crossbar.conductance[:, :, 0, 0] - targets[:, None] * code).reshape(
        LEVELS, -1
    ) * unit
    return {
        "conductance": _rounded(targets[:: config.rows // LEVELS] * code * unit),
        "mean": _rounded(errors.mean(axis=1)),
        "deviation": _rounded(errors.std(axis=1)),
        "pulses": round(core.crossbar.set_pulses / (config.rows * config.cols), 2),
        "unverified": round(core.programmer.unverified / (config.rows * config.cols), 4),
    }


MEASURED = (programming, drift, read_noise, write_verify, program_instruction)
"""What is measured of every profile; keys of a result have the same names."""


def _levels(profile: DeviceProfile, seed: int) -> tuple[Crossbar, Floats]:
    """A crossbar whose rows have ``LEVELS`` conductances, and these in uS."""
    codes = np.rint(np.arange(1, LEVELS + 1) * _ARRAY.g_max / LEVELS).astype(np.int64)
    rows = np.repeat(codes, _ARRAY.rows // LEVELS)
    levels: Floats = codes * np.float64(_unit(profile))
    return Crossbar(_ARRAY, profile, seed, g=rows[:, None, None, None]), levels


def _unit(profile: DeviceProfile) -> float:
    """uS per conductance code."""
    return profile.g_full_scale / _ARRAY.g_max


def _moments(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.mean()), float(values.std())


def _rounded(values: Sequence[float] | NDArray[Any]) -> list[float]:
    return [round(float(value), 5) for value in values]


def _largest(values: NDArray[Any]) -> float:
    return round(float(np.abs(values).max()), 5)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Points with bars of one deviation: measured; lines: the equations."""
    from matplotlib.lines import Line2D

    entries = result["profiles"]
    panels = (_plot_programming, _plot_drift, _plot_noise, _plot_errors)
    with picture(path, 2, 2, size=(10, 7)) as (figure, grid):
        for axes, panel in zip(grid.flat, panels, strict=True):
            for number, entry in enumerate(entries):
                place = number - (len(entries) - 1) / 2
                panel(axes, entry, layered(number, len(entries), 1), place)
        figure.legend(
            [Line2D([], [], **layered(number, len(entries), 1)) for number in range(len(entries))],
            [entry["name"] for entry in entries], loc="outside upper center", ncols=len(entries),
            title="points: integers of model and macro, bars of a standard deviation;"
            " lines: equations (a thick one runs under others)",
        )  # fmt: skip


def _points(style: Mapping[str, Any]) -> dict[str, Any]:
    """Style of the measured points of a profile: beside one another, so all of one size."""
    return {
        "color": style["color"], "marker": style["marker"], "markersize": 4, "elinewidth": 0.8,
        "linestyle": "none",
    }  # fmt: skip


def _line(style: Mapping[str, Any]) -> dict[str, Any]:
    return {**style, "marker": ""}


def _plot_programming(
    axes: Any, entry: Mapping[str, Any], style: Mapping[str, Any], place: float
) -> None:
    values, pulses = entry["programming"], np.arange(PULSES + 1)
    axes.plot(pulses, values["equations_mean"], **_line(style))
    axes.errorbar(pulses + 0.15 * place, values["mean"], values["deviation"], **_points(style))
    number_axis(axes.xaxis, "SET pulses since RESET")
    axes.set_ylabel("conductance, µS")


def _plot_drift(
    axes: Any, entry: Mapping[str, Any], style: Mapping[str, Any], place: float
) -> None:
    values, times = entry["drift"], np.array(TIMES) * 1.15**place
    for level, dashes in ((0, "--"), (LEVELS - 1, "-")):
        mean, sd, line = (
            [row[level] for row in values[key]] for key in ("mean", "deviation", "equations_mean")
        )
        axes.plot(TIMES, line, **{**_line(style), "linestyle": dashes})
        axes.errorbar(times, mean, sd, **_points(style))
    axes.set(xscale="log", xlabel="seconds since the pulse", ylabel="G(t) / G(0)")
    axes.set_title(f"solid: full scale; dashed: 1/{LEVELS} of it")


def _plot_noise(
    axes: Any, entry: Mapping[str, Any], style: Mapping[str, Any], place: float
) -> None:
    values, times = entry["read_noise"], np.array(TIMES) * 1.15**place
    axes.plot(TIMES, values["equations_deviation"], **_line(style))
    axes.errorbar(
        times, values["deviation"], label=f"{entry['name']}, {values['conductance']:.1f} µS",
        **_points(style),
    )  # fmt: skip
    axes.legend()
    axes.set(xscale="log", xlabel="seconds since power-up", ylabel="read noise of a device, µS")
    # From 0: the noise of some is as good as constant.
    axes.update_datalim([(TIMES[0], 0)])


def _plot_errors(
    axes: Any, entry: Mapping[str, Any], style: Mapping[str, Any], place: float
) -> None:
    written, own = (entry[key] for key in _ERRORS)
    if max(written["equations_deviation"]):
        axes.plot(written["conductance"], written["equations_deviation"], **_line(style))
        axes.errorbar(written["conductance"], written["deviation"], **_points(style))
    axes.plot(own["conductance"], own["deviation"], **{**style, "linestyle": ":"})
    axes.set_title("dotted: PROGRAM; solid: iterative")
    axes.set(xlabel="target, µS", ylabel="standard deviation of programming, µS")
