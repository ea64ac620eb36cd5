# SPDX-License-Identifier: Apache-2.0
"""Perceptrons: layers, the data set they are for and how they are trained.

What hardware does with them is a :class:`~phasecore.models.compiler.mapping.Mapping`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import PRESETS, CoreConfig
from phasecore.rtl.spec.instructions import Function, whole

__all__ = [
    "INDEX_LOG2",
    "ONE",
    "ChipNetwork",
    "Layer",
    "Network",
    "Training",
    "classes",
    "online_figures",
]

ONE = 127
"""Code of 1.0."""

INDEX_LOG2 = 5
"""log2 of the sigmoid table's steps per unit."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A fully connected sigmoid layer and its place; the row after its inputs is the bias.

    Ranges and ``index_log2`` are for 12-bit conductances, one device per polarity, 8-bit inputs and
    8-bit ADC codes; :class:`Recipe` shifts them for other configurations.
    """

    inputs: int
    outputs: int
    row_start: int
    col_start: int

    forward_lsb_log2: int = 15
    """ADC range of forward products."""

    backward_lsb_log2: int = 13
    """ADC range of backward products."""

    index_log2: int = 2
    """log2 of the sigmoid table's steps per ADC count; at most 7."""

    eta_scale: float = 1.0
    """Learning rate of this layer in units of the network's."""

    def __post_init__(self) -> None:
        for name, low in (("inputs", 1), ("outputs", 1), ("row_start", 0), ("col_start", 0)):
            if whole(name, getattr(self, name)) < low:
                raise ValueError(f"{name} must be at least {low}, not {getattr(self, name)}")

    @property
    def steps_log2(self) -> int:
        """log2 of the activation table's steps per unit."""
        return INDEX_LOG2

    @property
    def shared_log2(self) -> int:
        """log2 of the activations whose mean is one input of the next layer."""
        return 0

    @property
    def function(self) -> Function:
        """Activation function."""
        return Function.SIGMOID

    @property
    def rows(self) -> int:
        """Rows with the bias row."""
        return self.inputs + 1

    @property
    def bias_line(self) -> int:
        """Line of the bias row."""
        return self.row_start + self.inputs


@dataclass(frozen=True, kw_only=True)
class Training:
    """Hyper-parameters of a training run."""

    eta: float = 1.0
    """Learning rate at the start."""

    eta_end: float = 0.05
    """Learning rate at the end; it falls geometrically, image by image."""

    epochs: int = 5
    """Times that the training images are seen, unless said otherwise."""

    refresh_interval: int = 200
    """Images from one REFRESH to the next."""

    refresh_high: int = 75
    """A worn pair's larger code exceeds this (one code is about 0.1 uS) ..."""

    refresh_low: int = 30
    """... and its smaller code this."""

    target_margin: int = 6
    """Targets are this code and 127 minus it: a saturated sigmoid passes no error back."""

    delta_shift: int | None = None
    """Fixed right shift of every error vector's products, 0..31; None: as large a mantissa as fits
    (shared exponent)."""

    def __post_init__(self) -> None:
        for name in ("eta", "eta_end"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value}")
        for name, low, high in (
            ("epochs", 1, None), ("refresh_interval", 1, None), ("refresh_high", 0, ONE),
            ("refresh_low", 0, ONE), ("target_margin", 0, ONE // 2), ("delta_shift", 0, 31),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                limits = f"at least {low}" if high is None else f"in {low}..{high}"
                raise ValueError(f"{name} must be {limits}, not {value}")

    @property
    def delta_fields(self) -> dict[str, int]:
        """Fields ``fixed`` and ``shift`` of DELTA."""
        return {"fixed": int(self.delta_shift is not None), "shift": self.delta_shift or 0}

    def rate(self, progress: float) -> float:
        """Learning rate after the fraction ``progress`` of the run."""
        return float(self.eta * (self.eta_end / self.eta) ** progress)

    def targets(self, outputs: int) -> NDArray[np.int64]:
        """Target codes by class, shape (outputs, outputs)."""
        span = ONE - 2 * self.target_margin
        codes: NDArray[np.int64] = self.target_margin + span * np.eye(outputs, dtype=np.int64)
        return codes


@dataclass(frozen=True, kw_only=True)
class Network:
    """Layers on one crossbar, the data set they are for and how they are trained."""

    name: str
    dataset: str
    layers: tuple[Layer, ...]
    config: CoreConfig
    training: Training = Training()

    @property
    def inputs(self) -> int:
        """Codes of one image."""
        return self.layers[0].inputs

    @property
    def last(self) -> int:
        """Number of the last layer."""
        return len(self.layers) - 1

    @property
    def presets(self) -> Mapping[str, CoreConfig]:
        """Configurations of its cores by the names of presets."""
        return PRESETS

    @property
    def weights(self) -> int:
        """Weights of all layers, those of the biases among them."""
        return sum(layer.rows * layer.outputs for layer in self.layers)


@dataclass(frozen=True, kw_only=True)
class ChipNetwork(Network):
    """Layers on the cores of a chip: the rows of the first are dealt out over ``tiles`` cores.

    Row i goes to tile i mod ``tiles``: neighbouring inputs, which are often dark together, and so
    pulses and the cycles of an update, spread evenly. The other layers share the head core. Tiles'
    rows begin at ``row_start`` of layer 0; its columns are the head's hidden lines.
    """

    chip: ChipConfig
    tiles: int

    def tile_rows(self, tile: int) -> int:
        """Rows of a tile; the bias row is the last of tile ``inputs mod tiles``."""
        return len(range(tile, self.layers[0].rows, self.tiles))

    @property
    def presets(self) -> Mapping[str, CoreConfig]:
        return {name: chip.core for name, chip in CHIPS.items()}


def classes(vectors: Sequence[NDArray[np.int8]]) -> NDArray[np.int64]:
    """Class of every output vector: its largest output, the first of equals."""
    best: NDArray[np.int64] = np.argmax(np.stack(vectors), axis=1)
    return best


def online_figures(
    network: Network, sent: Sequence[NDArray[np.int8]], labels: NDArray[np.uint8]
) -> tuple[float, float]:
    """Mean squared error and accuracy of output vectors sent before their images were learnt."""
    values = np.stack(sent) / ONE
    targets = network.training.targets(network.layers[-1].outputs)[labels] / ONE
    right = classes(sent) == labels
    return float(np.mean(np.sum((values - targets) ** 2, axis=1))), float(np.mean(right))
