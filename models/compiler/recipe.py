# SPDX-License-Identifier: Apache-2.0
"""Integer training recipe: ranges, shifts, exponents and thresholds of a network's layers.

It holds for layers on one crossbar. Where several tiles share a layer, each gives a code per
column, and what is added is 2 code + 1 of every tile (128 code + 64 in the accumulators), which is
the count of the whole layer but for the tiles' roundings. So everything below holds for the sum as
for one crossbar's code.

Real values of the codes (layer l; x input, a activation, d error, all per image):

- input and activation: code / 127. Every layer has a bias row that is driven with code 127.
- weight: w = (G+ - G-) / unit, unit = ``2**(forward_lsb_log2 + 5 - index_log2) / 127`` codes.
  A charge q = sum x w is x . w in units of 127 unit, a count is 2**forward_lsb_log2 of q, and
  ACTIVATE multiplies the count by 2**index_log2 (shift 7 - index_log2), which gives
  ``2**index_log2 q / 2**forward_lsb_log2 = 32 x . w``: the index of the sigmoid table. So no affine
  table is needed.
- error of the last layer: v = 2 (t - y) y (127 - y), real value (t - y) y (1 - y), so that a
  mantissa with exponent 0 is worth u = 1 / (2 * 127**3).
- error of layer l: q = sum d w, m = 2 c + 1, v = m a (127 - a); m is worth
  2**(backward_lsb_log2 - 1) of q, q is worth u / unit of layer l + 1, a (127 - a) is worth
  127**-2. DELTA adds ``bias`` to the exponent, so u of layer l =
  u unit**-1 2**(backward_lsb_log2 - 1 - bias) / 127**2 of layer l + 1; bias brings that as near
  to the last layer's u as a power of two can.
- chi: inc = x d 2**(exponent + chi_shift) stands for eta x d, hence one count of chi is worth
  eta u / (127 * 2**chi_shift). One pulse is worth pulse / unit, so
  ``threshold = (pulse / unit) 127 2**chi_shift / (eta u)``.

chi_shift is fixed for a training run, as chi keeps its contents: the largest one with which the
threshold of the smallest eta still leaves room for one increment below chi's saturation. A
falling eta raises the threshold. A rate whose threshold would be no integer above 0 is refused.
"""

import math

from phasecore.models.compiler.network import ONE, Network
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Segment

__all__ = ["Recipe", "mean_pulse"]

OUTPUT_UNIT = 1 / (2 * ONE**3)
"""Real value of a mantissa 1 with exponent 0 in the last layer's error vector."""

THRESHOLD_ROOM = 0.85
"""Largest threshold as a fraction of the chi range."""

RATE_TOLERANCE = 0.01
"""Part by which rounding a threshold may change a learning rate without a warning."""

COARSE_THRESHOLD = 16
"""Below it chi loses much of what single images add: with 4 an MNIST run was 11 points worse."""


def mean_pulse(profile: DeviceProfile, *, pulses: int = 10) -> float:
    """Mean of the first ``pulses`` increments after RESET of a device without spread, uS.

    With the ten pulses of the default the pcm profile has the 0.77 uS of the literature.

    >>> mean_pulse(DeviceProfile(set_mean=0.5))
    0.5
    """
    g = profile.reset_mean
    for count in range(1, pulses + 1):
        memory = math.exp(-count / profile.memory_decay)
        g += profile.set_mean_slope * g + profile.set_mean + profile.set_mean_memory * memory
    mean = (g - profile.reset_mean) / pulses
    if not mean > 0:
        raise ValueError(f"the mean SET pulse of {profile.name} is {mean:g} uS, not above 0")
    return mean


class Recipe:
    """Integer parameters of a network on one configuration.

    Parameters
    ----------
    network, config, profile : what is trained on what
    eta_min : smallest learning rate of the run; default: that of the network's training
    carried : layers, from the first one on, whose errors come as mantissas m of DELTA with the
        derivative of the identity: v = 2 m a (127 - a) there, 2 * 127**2 times the sum's

    Attributes
    ----------
    weight_units : conductance codes of a weight of 1.0, by layer
    shifts : ``shift`` of ACTIVATE, by layer
    biases : exponent ``bias`` of DELTA, by layer
    delta_units : real value of an error mantissa 1 with exponent 0, by layer
    chi_shifts : by layer
    """

    def __init__(
        self,
        network: Network,
        config: CoreConfig,
        profile: DeviceProfile,
        *,
        eta_min: float | None = None,
        carried: int = 0,
    ):
        self.network, self.config, self.profile = network, config, profile
        ends = (network.training.eta, network.training.eta_end)
        eta_min = min(ends) if eta_min is None else eta_min
        pulse = mean_pulse(profile) * config.g_max / profile.g_full_scale
        # Several devices: weights of twice the range, made of smaller pulses.
        coarser = (
            config.g_bits - 12 + config.devices_per_polarity.bit_length() // 2
            + config.input_bits - 8
        )  # fmt: skip
        layers = network.layers
        # As many ADC levels less for the same charge, and the same weights and activations.
        fewer = 8 - config.adc_bits
        indices = [layer.index_log2 + fewer for layer in layers]
        if max(indices) > 7:
            raise ValueError(
                f"adc_bits must be at least {config.adc_bits + max(indices) - 7} for"
                f" {network.name}, not {config.adc_bits}"
            )
        coarser += fewer
        self._ranges = [
            (layer.forward_lsb_log2 + coarser, layer.backward_lsb_log2 + coarser)
            for layer in layers
        ]
        # The charge of fewer input bits is smaller, not the weight.
        self.weight_units = [
            2.0 ** (forward + layer.steps_log2 - index + 8 - config.input_bits) / ONE
            for layer, index, (forward, _) in zip(layers, indices, self._ranges, strict=True)
        ]
        self.shifts = [7 - index for index in indices]
        self.biases = [0] * len(layers)
        self.delta_units = [OUTPUT_UNIT] * len(layers)
        for index in reversed(range(network.last)):
            backward = self._ranges[index + 1][1] + 8 - config.input_bits
            backward -= layers[index].shared_log2
            ratio = 2.0 ** (backward - 1) / (self.weight_units[index + 1] * ONE**2)
            if index < carried:
                ratio /= 2 * ONE**2
            exact = self.delta_units[index + 1] * ratio
            self.biases[index] = round(math.log2(exact / OUTPUT_UNIT))
            self.delta_units[index] = exact * 2.0 ** -self.biases[index]
        limit = THRESHOLD_ROOM * 2 ** (config.chi_bits - 1)
        one = [
            pulse / weight * ONE / (layer.eta_scale * unit)
            for layer, weight, unit in zip(layers, self.weight_units, self.delta_units, strict=True)
        ]
        self.chi_shifts = [math.floor(math.log2(limit * eta_min / value)) for value in one]
        self._thresholds = [
            value * 2.0**shift for value, shift in zip(one, self.chi_shifts, strict=True)
        ]
        self._ends = [eta for eta in ends if eta >= eta_min]
        for eta in self._ends:
            for index in range(len(layers)):
                self._threshold(index, eta)

    def rates(self, eta: float) -> list[float]:
        """Learning rate, by layer, that the whole thresholds stand for where ``eta`` is wanted."""
        return [exact / self._threshold(i, eta) for i, exact in enumerate(self._thresholds)]

    def warnings(self) -> list[str]:
        """What the integers do not hold well of the rates at the run's start and end."""
        found = []
        for eta in dict.fromkeys(self._ends):
            for index, used in enumerate(self.rates(eta)):
                threshold = self._threshold(index, eta)
                where = f"eta {eta:g} in layer {index}"
                if abs(used / eta - 1) > RATE_TOLERANCE:
                    found.append(f"{where}: {used:.4g} is used, its threshold being {threshold}")
                if threshold < COARSE_THRESHOLD:
                    found.append(
                        f"{where}: a pulse is {threshold} counts of chi, smaller gradients are lost"
                    )
        return found

    def _threshold(self, index: int, eta: float) -> int:
        """Threshold of a layer; ``ValueError`` where chi has none for the rate."""
        exact = self._thresholds[index] / eta
        most = (1 << (self.config.chi_bits - 1)) - 1
        if not 1 <= exact <= most:
            raise ValueError(
                f"eta {eta:g} does not fit beside the run's other rates: layer {index} of"
                f" {self.network.name} would need a threshold of {exact:.3g}, chi of"
                f" {self.config.chi_bits} bits has 1..{most}"
            )
        return round(exact)

    def segment(self, index: int, eta: float, *, rows: int | None = None) -> Segment:
        """Segment descriptor of a layer, or of its tile of ``rows`` rows."""
        layer = self.network.layers[index]
        forward, backward = self._ranges[index]
        segment = Segment(
            row_start=layer.row_start,
            row_count=layer.rows if rows is None else rows,
            col_start=layer.col_start,
            col_count=layer.outputs,
            threshold=self._threshold(index, eta),
            chi_shift=self.chi_shifts[index],
            forward_lsb_log2=forward,
            backward_lsb_log2=backward,
        )
        segment.check(self.config)
        # Checks the other fields, such as chi_shift.
        segment.pack()
        return segment
