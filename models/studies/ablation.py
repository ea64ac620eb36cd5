# SPDX-License-Identifier: Apache-2.0
"""Ablations as a table: a recipe with one thing changed, in the hardware's own arithmetic.

Every case is made of configuration, device profile, recipe and registers alone: nothing here
computes in another way than the core does. What the core does not offer (stochastic rounding) is
tried with the float reference of the algorithm and says so.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.mapping import Mapping as NetworkMapping
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import Network
from phasecore.models.compiler.recipe import mean_pulse
from phasecore.models.golden.device import PCM, PCM_DRIFT, PROJECTED_PCM, DeviceProfile
from phasecore.models.training.datasets import Dataset
from phasecore.models.training.float_reference import MixedPrecision
from phasecore.models.training.learner import Learner, stretches
from phasecore.rtl.spec.core import GAIN_FRACTION, CoreConfig
from phasecore.rtl.spec.instructions import Segment

__all__ = ["GROUPS", "Case", "Group", "Rounding", "Setup", "chosen_cases", "whole_pulses"]

CODE = 0.1
"""uS of one code of a row read."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How the float reference rounds increments of chi; see :class:`MixedPrecision`."""

    counts: int | None = None
    is_stochastic: bool = False


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is trained: all that a case may change."""

    network: Network
    config: CoreConfig
    profile: DeviceProfile
    keeps_chi: bool = True
    """Whether chi holds what is less than a pulse from one image to the next."""

    is_calibrated: bool = True
    """Whether the converters have been calibrated."""

    rounding: Rounding | None = None
    """If given, the float reference is trained in place of the hardware."""

    after: int = 0
    """Seconds from training to the test."""

    is_compensated: bool = False
    """Whether the loss of conductance by then is made up for (CALIBRATE, ``drift``)."""

    def check(self) -> None:
        """Raise ``ValueError`` if the hardware would refuse it."""
        self.profile.tables(self.config)
        training = self.network.training
        mapping = self.mapping()
        for eta in (training.eta, training.eta_end):
            for segments in mapping.segments(eta).values():
                for segment in segments if not self.keeps_chi else ():
                    whole_pulses(segment).pack()

    def mapping(self) -> NetworkMapping:
        """The network on its hardware."""
        return map_network(self.network, self.config, self.profile)

    def learner(self, seed: int) -> Learner:
        """The hardware before training."""
        learner = Learner(self.mapping(), seed)
        if not self.is_calibrated:
            for core in learner.cores:
                core.adc.offsets[...] = 0
                core.adc.gains[...] = 1 << GAIN_FRACTION
        return learner

    def reference(self, seed: int) -> MixedPrecision:
        """The float reference before training: pairs of single devices."""
        assert self.rounding is not None
        config = self.config.replace(devices_per_polarity=1)
        units = replace(self, config=config).mapping().recipe.weight_units
        scale = [unit * self.profile.g_full_scale / config.g_max for unit in units]
        return MixedPrecision(
            self.network, self.profile, scale, pulse=mean_pulse(self.profile), seed=seed,
            counts=self.rounding.counts, is_stochastic=self.rounding.is_stochastic,
        )  # fmt: skip

    def train(
        self, learner: Learner, data: Dataset, seed: int, *, epochs: int, images: int
    ) -> None:
        """Learn ``images`` images per epoch, in the order that belongs to ``seed``."""
        for part, eta in self._stretches(data, seed, epochs, images):
            self._set_rate(learner, eta)
            learner.learn(data.train_x[part], data.train_y[part])

    def age(self, learner: Learner) -> None:
        """Let the time between training and test pass; converters are calibrated anew."""
        if not self.after:
            return
        learner.calibrate("baseline")
        for core in learner.cores:
            core.crossbar.set_time(self.after)
        learner.calibrate("compensate" if self.is_compensated else None)

    def train_reference(
        self, mixed: MixedPrecision, data: Dataset, seed: int, *, epochs: int, images: int
    ) -> None:
        """Likewise for the float reference."""
        training = self.network.training
        for part, eta in self._stretches(data, seed, epochs, images):
            mixed.train(data.train_x[part], data.train_y[part], [eta] * len(part))
            mixed.refresh(CODE * training.refresh_high, CODE * training.refresh_low)

    def _stretches(
        self, data: Dataset, seed: int, epochs: int, images: int
    ) -> Iterator[tuple[NDArray[np.int64], float]]:
        """Images between two refreshes, and their learning rate, of the whole run."""
        training = self.network.training
        per_epoch = -(-images // training.refresh_interval)
        endless = stretches(
            training, count=len(data.train_x), seed=seed, epochs=epochs, images=images
        )
        return islice(endless, epochs * per_epoch)

    def _set_rate(self, learner: Learner, eta: float) -> None:
        learner.set_rate(eta)
        if not self.keeps_chi:
            for core in learner.cores:
                core.segments = [segment and whole_pulses(segment) for segment in core.segments]


def whole_pulses(segment: Segment) -> Segment:
    """The segment with a threshold of 1, which leaves nothing in chi.

    What an image adds is then rounded to whole pulses, to nearest. The threshold that there was
    goes into the shift, as the nearest power of two.
    """
    shift = round(math.log2(segment.threshold))
    return replace(segment, threshold=1, chi_shift=segment.chi_shift - shift)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One change of a recipe; what is not named stays.

    ``series`` (may be empty) and ``value`` name it within its group.
    ``config``, ``profile`` and ``training`` replace fields of ``CoreConfig``, ``DeviceProfile``
    and ``Training``; ``scaled`` multiplies fields of the profile.
    """

    group: str
    value: str
    series: str = ""
    config: Mapping[str, int] = field(default_factory=dict)
    profile: Mapping[str, float] = field(default_factory=dict)
    scaled: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 1.0
    """Factor of chi's threshold, which is eta's in its denominator."""

    keeps_chi: bool = True
    is_calibrated: bool = True
    rounding: Rounding | None = None
    after: int = 0
    is_compensated: bool = False

    @property
    def name(self) -> str:
        """Name on the command line."""
        return f"{self.group}={self.series}{'-' if self.series else ''}{self.value}"

    @property
    def changes(self) -> dict[str, Any]:
        """What is changed, for a result file."""
        values = {part.name: getattr(self, part.name) for part in fields(self)[3:]}
        same = {part.name: part.default for part in fields(self)}
        return {
            name: asdict(value) if isinstance(value, Rounding) else value
            for name, value in values.items()
            if value != same[name] and value != {}
        }

    def setup(self, base: Setup) -> Setup:
        """``base`` with the change."""
        network, training = base.network, replace(base.network.training, **self.training)
        training = replace(
            training, eta=training.eta / self.threshold, eta_end=training.eta_end / self.threshold
        )
        scaled = {
            name: factor * getattr(base.profile, name) for name, factor in self.scaled.items()
        }
        return replace(
            base,
            network=replace(network, training=training),
            config=base.config.replace(**self.config),
            profile=replace(base.profile, **{**self.profile, **scaled}),
            keeps_chi=self.keeps_chi,
            is_calibrated=self.is_calibrated,
            rounding=self.rounding,
            after=self.after,
            is_compensated=self.is_compensated,
        )


@dataclass(frozen=True, kw_only=True)
class Group:
    """Cases that change the same thing, in ascending order, perhaps in several series."""

    name: str
    title: str
    """Label of an axis."""

    how: str
    """How the change is made."""

    cases: tuple[Case, ...]
    only_named: bool = False
    """Whether the cases are left out unless they are named."""

    plain: str = ""
    """Name of the series without a name, where there are others."""


def _group(
    name: str, title: str, how: str, *series: Mapping[str, Mapping[str, Any]],
    only_named: bool = False, plain: str = "", **more: Mapping[str, Mapping[str, Any]],
) -> Group:  # fmt: skip
    """Changes by value; those of ``more`` belong to the series of that name."""
    named = [*(("", changes) for changes in series), *more.items()]
    cases = [
        Case(group=name, series=title, value=value, **change)
        for title, changes in named
        for value, change in changes.items()
    ]
    return Group(
        name=name, title=title, how=how, cases=tuple(cases), only_named=only_named, plain=plain
    )


def _config(name: str, values: Sequence[int]) -> dict[str, Mapping[str, Any]]:
    return {str(value): {"config": {name: value}} for value in values}


def _scaled(names: Sequence[str], factors: Sequence[float]) -> dict[str, Mapping[str, Any]]:
    return {f"x{factor:g}": {"scaled": dict.fromkeys(names, factor)} for factor in factors}


def _rounding(*, is_stochastic: bool) -> dict[str, Mapping[str, Any]]:
    return {
        str(counts): {"rounding": Rounding(counts=counts, is_stochastic=is_stochastic)}
        for counts in (1, 2, 4, 16, 64)
    }


def _rates(*names: str) -> dict[str, Mapping[str, Any]]:
    """A share of faults, divided evenly over the fields ``names`` of the profile."""
    return {
        f"{100 * rate:g}%": {"profile": dict.fromkeys(names, rate / len(names))}
        for rate in (0.0001, 0.001, 0.01, 0.03, 0.1)
    }


def _retention(profile: DeviceProfile, *, is_compensated: bool) -> dict[str, Mapping[str, Any]]:
    """Times after training with ``profile``, which is pcm but for its drift and read noise."""
    changed = {
        name: value
        for name, value in asdict(profile).items()
        if name != "name" and value != getattr(PCM, name)
    }
    times = {"1s": 1, "1h": 3600, "1d": 86_400, "1y": 31_557_600}
    return {
        name: {"profile": changed, "after": seconds, "is_compensated": is_compensated}
        for name, seconds in times.items()
    }


_SPREAD = ("set_sd", "set_sd_slope", "set_sd_memory")
_CONVERTER = ("adc_gain_sd", "adc_offset_sd")
_LINEAR = {"set_mean": 0.77, "set_mean_slope": 0.0, "set_mean_memory": 0.0}

GROUPS: tuple[Group, ...] = (
    _group(
        "chi",
        "no chi: threshold",
        "Nothing less than a pulse is kept: what one image gives is rounded to whole pulses at once"
        " (`threshold` 1, the real threshold as a power of two in `chi_shift`; what exceeds"
        " `pulse_max` pulses stays). The smaller the threshold, the more pulses.",
        {
            f"off-x{factor:g}": {"keeps_chi": False, "threshold": factor}
            for factor in (4, 2, 1, 0.5, 0.25, 1 / 16, 1 / 64)
        },
    ),
    _group(
        "chi-width",
        "chi, bits",
        "`chi_bits`; `chi_shift` goes with it, so that the threshold fits and increments lose their"
        " low bits.",
        _config("chi_bits", (8, 10, 12, 14, 16, 20)),
    ),
    _group(
        "threshold",
        "threshold, mean pulses",
        "Segments' `threshold`, in units of what a mean pulse adds. It holds the learning rate too:"
        " four times the threshold is a quarter of the rate.",
        {f"{factor:g}": {"threshold": factor} for factor in (0.25, 0.5, 1.0, 2.0, 4.0)},
    ),
    _group(
        "converter-bits",
        "converter, bits",
        "`adc_bits`: counts are worth more charge (`range` + 8 - bits) and count as much more"
        " (`shift` of ACTIVATE, `bias` of DELTA, thresholds of refresh): fewer levels for the same"
        " charge.",
        _config("adc_bits", (4, 5, 6, 7, 8)),
    ),
    _group(
        "input-bits",
        "inputs, bits",
        "`input_bits`: images, activations and errors lose low bits on their way to the crossbar,"
        " windows get shorter.",
        _config("input_bits", (5, 6, 7, 8)),
    ),
    _group(
        "error-format",
        "errors: fixed shift or shared exponent",
        "DELTA with `fixed` and the shift named, in all layers, in place of normalising.",
        {
            **{
                f"fixed-{shift}": {"training": {"delta_shift": shift}}
                for shift in (7, 9, 11, 13, 15)
            },
            "shared": {"training": {"delta_shift": None}},
        },
    ),
    _group(
        "read-noise",
        "read noise of devices",
        "Profile: `read_noise` and its slope.",
        _scaled(("read_noise", "read_noise_slope"), (0, 1, 2, 4)),
    ),
    _group(
        "converter-noise",
        "noise of converters",
        "Profile: `adc_noise`.",
        _scaled(("adc_noise",), (0, 1, 2, 4)),
    ),
    _group(
        "set-spread",
        "spread of SET pulses",
        "Profile: `set_sd`, its slope and its memory.",
        _scaled(_SPREAD, (0, 1, 2)),
    ),
    _group(
        "device-curve",
        "devices",
        "Profile: mean increment. `linear`: 0.77 uS whatever the conductance; `ideal`: besides"
        " without spread; `steep`: it falls twice as fast with conductance; `worn`: training begins"
        " at 6 uS. Pulses of G+ and G- are of one kind: the profile has no asymmetry besides that"
        " of the curve.",
        {
            "ideal": {"profile": {**_LINEAR, **dict.fromkeys(_SPREAD, 0.0)}},
            "linear": {"profile": _LINEAR},
            "pcm": {},
            "steep": {"scaled": {"set_mean_slope": 2}},
            "worn": {"profile": {"initial_mean": 6.0}},
        },
    ),
    _group(
        "devices",
        "devices per polarity, N",
        "`devices_per_polarity`; weights reach farther and pulses are smaller by about its root.",
        _config("devices_per_polarity", (1, 2, 4, 8)),
    ),
    _group(
        "refresh",
        "images between refreshes",
        "REFRESH after so many images; `off`: no pair counts as worn.",
        {
            **{
                str(interval): {"training": {"refresh_interval": interval}}
                for interval in (50, 100, 200, 400, 1600)
            },
            "off": {"training": {"refresh_high": 127}},
        },
    ),
    _group(
        "converter-spread",
        "spread of converters",
        "Profile: gains and offsets of the converters, with CALIBRATE and (`raw`) without.",
        _scaled(_CONVERTER, (0, 0.25, 0.5, 1, 2)),
        plain="calibrated",
        raw={
            value: {**change, "is_calibrated": False}
            for value, change in _scaled(_CONVERTER, (0.25, 0.5, 1, 2)).items()
        },
    ),
    _group(
        "stuck",
        "devices stuck",
        "Profile: `stuck_low` and `stuck_high`, half of the share each: devices that no pulse"
        " changes, at 0 or at full conductance.",
        _rates("stuck_low", "stuck_high"),
        plain="low and high",
        low=_rates("stuck_low"),
    ),
    _group(
        "dead-lines",
        "lines dead",
        "Profile: `dead_rows`, `dead_cols`: all devices of the line stuck at 0; `dead_adcs`: a"
        " converter that counts nothing but noise. The place of a fault is drawn per array.",
        rows=_rates("dead_rows"),
        cols=_rates("dead_cols"),
        converters=_rates("dead_adcs"),
    ),
    _group(
        "retention",
        "time after training",
        "Profile: drift of `pcm_drift`, or of `projected_pcm` with its read noise, and pcm besides."
        " After training CALIBRATE BASELINE, then the time passes, then CALIBRATE as ever or"
        " (`compensated`) CALIBRATE COMPENSATE; then the test.",
        _retention(PCM_DRIFT, is_compensated=False),
        plain="drifting",
        compensated=_retention(PCM_DRIFT, is_compensated=True),
        projected=_retention(PROJECTED_PCM, is_compensated=False),
    ),
    _group(
        "rounding",
        "chi counts per pulse, float reference",
        "Neither RTL nor golden model rounds by chance. These runs are of the float reference of"
        " the algorithm (`MixedPrecision`, one device per polarity): increments of chi are rounded"
        " to counts, so many per pulse, to nearest or (`stochastic`) by chance; `exact`: not at"
        " all.",
        {"exact": {"rounding": Rounding()}},
        plain="exact",
        nearest=_rounding(is_stochastic=False),
        stochastic=_rounding(is_stochastic=True),
        only_named=True,
    ),
)  # fmt: skip


def chosen_cases(names: Sequence[str] = ()) -> Iterator[Case]:
    """Cases of the groups and cases named, in the order of the table.

    Default: all but those of the float reference, which takes long for a large network. Raises
    ``ValueError`` for a name that there is not.
    """
    known = {name for group in GROUPS for name in (group.name, *(c.name for c in group.cases))}
    for name in names:
        if name not in known:
            near = [case for case in sorted(known) if case.startswith(f"{name.split('=')[0]}=")]
            raise ValueError(
                f"unknown case {name!r}; known: {', '.join(near or [g.name for g in GROUPS])}"
            )
    for group in GROUPS:
        for case in group.cases:
            if group.name in names or case.name in names or not (names or group.only_named):
                yield case
