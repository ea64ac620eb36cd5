# SPDX-License-Identifier: Apache-2.0
"""Floating-point references of the training algorithm, written without the integer contract.

:class:`FloatTwin` is plain stochastic gradient descent, the upper bound of what the chip could
learn. :class:`MixedPrecision` is the published algorithm (Nandakumar et al. 2020): products with
the devices' weights, updates gathered in chi, blind pulses when chi holds one pulse's worth. Both
see images one at a time, with sigmoids and the squared error.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ONE, Network
from phasecore.models.golden.device import DeviceProfile

__all__ = ["Descent", "FloatTwin", "MixedPrecision", "sigmoid"]

Real = NDArray[np.float64]

SET_LIMIT = 30
"""Most pulses by which refresh rebuilds one device."""


def sigmoid(a: Real) -> Real:
    """Logistic function."""
    result: Real = 1 / (1 + np.exp(-a))
    return result


class Descent(ABC):
    """Plain SGD on the same network, schedule and targets as the hardware's; batch 1.

    Parameters
    ----------
    network : layers and targets
    weights : by layer, shape (inputs + 1, outputs), the bias last; copied
    """

    def __init__(self, network: Network, weights: Sequence[Real]):
        self.network = network
        self.weights: list[Real] = [np.array(layer, dtype=np.float64) for layer in weights]
        self._targets = network.training.targets(network.layers[-1].outputs) / ONE

    @abstractmethod
    def gradients(self, image: NDArray[np.uint8], label: int) -> list[Real]:
        """Descent direction of every layer, d outer x, for one image."""

    @abstractmethod
    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        """Fraction of images whose largest output is their label's."""

    def step(self, image: NDArray[np.uint8], label: int, eta: float) -> None:
        """Learn one image."""
        for index, direction in enumerate(self.gradients(image, label)):
            self.update(index, eta * self.network.layers[index].eta_scale * direction)

    def update(self, index: int, change: Real) -> None:
        """Apply the wanted ``change`` of a layer's weights."""
        self.weights[index] += change

    def train(
        self, images: NDArray[np.uint8], labels: NDArray[np.uint8], etas: Sequence[float]
    ) -> None:
        """Learn images in order, each at its own rate."""
        for image, label, eta in zip(images, labels, etas, strict=True):
            self.step(image, int(label), eta)


class FloatTwin(Descent):
    """Fully connected layers."""

    def forward(self, images: NDArray[np.uint8]) -> list[Real]:
        """Input and activations of every layer, shape (..., lines), the bias 1.0 last.

        The activations of the last layer have no bias.
        """
        values: list[Real] = [_with_bias(images / ONE)]
        for weights in self.weights:
            values.append(_with_bias(sigmoid(values[-1] @ weights)))
        values[-1] = values[-1][..., :-1]
        return values

    def gradients(self, image: NDArray[np.uint8], label: int) -> list[Real]:
        values = self.forward(image)
        y = values[-1]
        error: Real = (self._targets[label] - y) * y * (1 - y)
        directions = []
        for index in reversed(range(len(self.weights))):
            directions.append(np.outer(values[index], error))
            if index:
                hidden = values[index][:-1]
                error = self.weights[index][:-1] @ error * hidden * (1 - hidden)
        return directions[::-1]

    def accuracy(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
        return float(np.mean(self.forward(images)[-1].argmax(axis=1) == labels))


class MixedPrecision(FloatTwin):
    """Float weights held by pairs of devices that only blind SET pulses and RESETs change.

    Parameters
    ----------
    network : layers and targets
    profile : devices; an increment is N(mean, sd) as in
    :class:`~phasecore.models.golden.device.DeviceProfile` scale : uS of a weight of 1.0, by layer
    pulse : uS taken for one pulse by the threshold
    seed : of initial conductances and programming
    counts : chi counts of one pulse, to which every increment is rounded; None: not rounded
    is_stochastic : round up or down by chance, so that the mean is kept, and not to nearest

    Attributes
    ----------
    conductances : by layer, shape (2, inputs + 1, outputs): G+ and G- in uS
    chi : by layer, in weights
    pulses, refreshed : SET pulses given, pairs rebuilt
    """

    def __init__(
        self,
        network: Network,
        profile: DeviceProfile,
        scale: Sequence[float],
        *,
        pulse: float,
        seed: int,
        counts: int | None = None,
        is_stochastic: bool = False,
    ):
        self.profile = profile
        self.counts = counts
        self.is_stochastic = is_stochastic
        self.scale = list(scale)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        shapes = [(2, layer.rows, layer.outputs) for layer in network.layers]
        self.conductances: list[Real] = [
            np.clip(
                self._rng.normal(profile.initial_mean, profile.initial_sd, shape),
                profile.g_min,
                profile.g_full_scale,
            )
            for shape in shapes
        ]
        self._pulses_since_reset = [np.ones(shape) for shape in shapes]
        self.chi: list[Real] = [np.zeros(shape[1:]) for shape in shapes]
        self.thresholds = [pulse / unit for unit in self.scale]
        self.pulses = 0
        self.refreshed = 0
        super().__init__(network, [np.zeros(shape[1:]) for shape in shapes])
        for index in range(len(shapes)):
            self._read(index)

    def update(self, index: int, change: Real) -> None:
        """Gather ``change`` in chi and pulse the weights that have a pulse's worth."""
        chi, threshold = self.chi[index], self.thresholds[index]
        chi += change if self.counts is None else self._rounded(change, threshold / self.counts)
        count = np.trunc(chi / threshold).astype(np.int64)
        if not count.any():
            return
        chi -= count * threshold
        for polarity, wanted in enumerate((count, -count)):
            for turn in range(int(wanted.max())):
                self._set(index, polarity, wanted > turn)
        self._read(index)

    def refresh(self, high: float, low: float) -> None:
        """Rebuild pairs whose larger conductance exceeds ``high`` and the smaller ``low`` (uS)."""
        for index, pair in enumerate(self.conductances):
            worn = (pair.max(axis=0) > high) & (pair.min(axis=0) > low)
            if not worn.any():
                continue
            self.refreshed += int(np.count_nonzero(worn))
            wanted = pair[0] - pair[1]
            profile = self.profile
            fresh = self._rng.normal(profile.reset_mean, profile.reset_sd, pair.shape)
            pair[:, worn] = np.maximum(fresh, 0)[:, worn]
            self._pulses_since_reset[index][:, worn] = 0
            for polarity, target in enumerate((wanted, -wanted)):
                for _ in range(SET_LIMIT):
                    short = worn & (target > 0) & (pair[polarity] < target)
                    if not short.any():
                        break
                    self._set(index, polarity, short)
            self._read(index)

    def _rounded(self, change: Real, unit: float) -> Real:
        """Multiples of ``unit``."""
        scaled = change / unit
        if self.is_stochastic:
            rounded: Real = np.floor(scaled + self._rng.random(scaled.shape)) * unit
        else:
            rounded = np.rint(scaled) * unit
        return rounded

    def _set(self, index: int, polarity: int, where: NDArray[np.bool_]) -> None:
        """One SET pulse on the devices of one polarity."""
        profile = self.profile
        g = self.conductances[index][polarity]
        age = self._pulses_since_reset[index][polarity]
        age[where] += 1
        old = g[where]
        memory = np.exp(-age[where] / profile.memory_decay)
        mean = profile.set_mean_slope * old + profile.set_mean + profile.set_mean_memory * memory
        sd = profile.set_sd_slope * old + profile.set_sd + profile.set_sd_memory * memory
        drawn = old + self._rng.normal(mean, np.maximum(sd, 0))
        g[where] = np.clip(drawn, profile.g_min, profile.g_full_scale)
        self.pulses += len(old)

    def _read(self, index: int) -> None:
        """Take the weights from the devices."""
        positive, negative = self.conductances[index]
        self.weights[index] = (positive - negative) / self.scale[index]


def _with_bias(values: Real) -> Real:
    pad = [(0, 0)] * (values.ndim - 1) + [(0, 1)]
    return np.pad(values, pad, constant_values=1.0)
