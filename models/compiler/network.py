# SPDX-License-Identifier: Apache-2.0
"""Perceptrons: placement on one crossbar, integer training recipe, instruction programs.

Networks of several crossbars (``CHIP_NETWORKS``) share the recipe; ``models/compiler/mapping.py``
places them. Their first layer's tiles each give a code per column, and what is added is 2 code + 1
of every tile (128 code + 64 in the accumulators), which is the count of the whole layer but for the
tiles' roundings. So everything below holds for the sum as for one crossbar's code.

Real values of the codes (layer l; x input, a activation, d error, all per image):

- input and activation: code / 127. Every layer has a bias row that is driven with code 127.
- weight: w = (G+ - G-) / unit, unit = ``2**(range_forward + 5 - index_log2) / 127`` codes.
  A charge q = sum x w is x . w in units of 127 unit, a count is 2**range_forward of q, and
  ACTIVATE multiplies the count by 2**index_log2 (shift 7 - index_log2), which gives
  ``2**index_log2 q / 2**range_forward = 32 x . w``: the index of the sigmoid table. So no affine
  table is needed.
- error of the last layer: v = 2 (t - y) y (127 - y), real value (t - y) y (1 - y), so that a
  mantissa with exponent 0 is worth u = 1 / (2 * 127**3).
- error of layer l: q = sum d w, m = 2 c + 1, v = m a (127 - a); m is worth 2**(range_backward - 1)
  of q, q is worth u / unit of layer l + 1, a (127 - a) is worth 127**-2. ERROR adds ``bias`` to
  the exponent, so u of layer l = u unit**-1 2**(range_backward - 1 - bias) / 127**2 of layer l + 1;
  bias brings that as near to the last layer's u as a power of two can.
- chi: inc = x d 2**(exponent + chi_shift) stands for eta x d, hence one count of chi is worth
  eta u / (127 * 2**chi_shift). One pulse is worth pulse / unit, so
  ``threshold = (pulse / unit) 127 2**chi_shift / (eta u)``.

chi_shift is fixed for a training run, as chi keeps its contents: the largest one with which the
threshold of the smallest eta still leaves room for one increment below chi's saturation. A
falling eta raises the threshold. A rate whose threshold would be no integer above 0 is refused.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasecore.models.golden.device import DeviceProfile
from phasecore.models.golden.packets import vector_packet
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, SMALL, TINY, CoreConfig
from phasecore.rtl.spec.instructions import GROUP, Function, Opcode, Segment, encode, whole

__all__ = [
    "CHIP_NETWORKS",
    "NETWORKS",
    "ChipNetwork",
    "Layer",
    "Network",
    "Recipe",
    "Training",
    "classes",
    "inference_packets",
    "inference_program",
    "mean_pulse",
    "online_figures",
    "setup_packets",
    "setup_program",
    "training_packets",
    "training_program",
]

ONE = 127
"""Code of 1.0."""

INDEX_LOG2 = 5
"""log2 of the sigmoid table's steps per unit."""

OUTPUT_UNIT = 1 / (2 * ONE**3)
"""Real value of a mantissa 1 with exponent 0 in the last layer's error vector."""

THRESHOLD_ROOM = 0.85
"""Largest threshold as a fraction of the chi range."""

RATE_TOLERANCE = 0.01
"""Part by which rounding a threshold may change a learning rate without a warning."""

COARSE_THRESHOLD = 16
"""Below it chi loses much of what single images add: with 4 an MNIST run was 11 points worse."""

X, TARGET = 0, 1
"""Slots of the image and of the target vector; activations and errors follow."""


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

    range_forward: int = 15
    """ADC range of forward products."""

    range_backward: int = 13
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

    error_shift: int | None = None
    """Fixed right shift of every error vector's products, 0..31; None: as large a mantissa as fits
    (shared exponent)."""

    def __post_init__(self) -> None:
        for name in ("eta", "eta_end"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, not {value}")
        for name, low, high in (
            ("epochs", 1, None), ("refresh_interval", 1, None), ("refresh_high", 0, ONE),
            ("refresh_low", 0, ONE), ("target_margin", 0, ONE // 2), ("error_shift", 0, 31),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and (value < low or (high is not None and value > high)):
                limits = f"at least {low}" if high is None else f"in {low}..{high}"
                raise ValueError(f"{name} must be {limits}, not {value}")

    @property
    def error_fields(self) -> dict[str, int]:
        """Fields ``fixed`` and ``shift`` of ERROR."""
        return {"fixed": int(self.error_shift is not None), "shift": self.error_shift or 0}

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

    def check(self, config: CoreConfig) -> None:
        """Raise ``ValueError`` unless the layers fit into ``config`` without sharing a cell."""
        self._check_cells(config, 0)
        for name, size, needed in [
            ("slots", config.slots, 2 * len(self.layers) + 2),
            ("segments", config.segments, len(self.layers)),
        ]:
            if size < needed:
                raise ValueError(f"{self.name} needs {needed} {name}, not {size}")

    def _check_cells(self, config: CoreConfig, first: int) -> None:
        """Check that layers ``first`` and up fit beside each other and follow one another."""
        used = np.zeros((config.rows, config.cols), dtype=np.bool_)
        for number, layer in enumerate(self.layers):
            if number and layer.inputs != self.layers[number - 1].outputs:
                raise ValueError(
                    f"{self.name} layer {number} has {layer.inputs} inputs;"
                    f" the layer before has {self.layers[number - 1].outputs} outputs"
                )
            if number < first:
                continue
            bottom, right = layer.row_start + layer.rows, layer.col_start + layer.outputs
            if bottom > config.rows or right > config.cols:
                raise ValueError(
                    f"{self.name} needs {bottom} rows and {right} columns for layer {number};"
                    f" the crossbar has {config.rows} and {config.cols}"
                )
            cells = used[layer.row_start : bottom, layer.col_start : right]
            if cells.any():
                raise ValueError(f"{self.name} layer {number} shares cells with another layer")
            cells[:] = True
        if self.layers[0].row_start % GROUP:
            raise ValueError(
                f"row_start of layer 0 must be a multiple of {GROUP},"
                f" not {self.layers[0].row_start}"
            )

    def output(self, layer: int) -> int:
        """Slot of a layer's activations, where the next layer's rows (or its columns) are."""
        return TARGET + 1 + layer

    def error(self, layer: int) -> int:
        """Slot of a layer's error vector, on its columns."""
        return TARGET + 1 + len(self.layers) + layer

    def input(self, layer: int) -> int:
        """Slot of a layer's inputs, on its rows."""
        return self.output(layer - 1) if layer else X


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

    def check(self, config: CoreConfig) -> None:
        """Raise ``ValueError`` unless the tiles and the head's layers fit into ``config``."""
        first = self.layers[0]
        if len(self.layers) < 2 or not 1 <= self.tiles <= first.inputs:
            raise ValueError(
                f"{self.name} needs 2 layers and 1..{first.inputs} tiles,"
                f" not {len(self.layers)} and {self.tiles}"
            )
        bottom, right = first.row_start + self.tile_rows(0), first.col_start + first.outputs
        if bottom > config.rows or right > config.cols:
            raise ValueError(
                f"{self.name} needs {bottom} rows and {right} columns for each of {self.tiles}"
                f" tiles of layer 0; the crossbar has {config.rows} and {config.cols}"
            )
        self._check_cells(config, 1)
        hidden = self.layers[1].row_start
        if first.col_start != hidden or hidden % GROUP:
            raise ValueError(
                f"col_start of layer 0 and row_start of layer 1 must be the same multiple of"
                f" {GROUP}, not {first.col_start} and {hidden}"
            )


class Recipe:
    """Integer parameters of a network on one configuration.

    Parameters
    ----------
    network, config, profile : what is trained on what
    eta_min : smallest learning rate of the run; default: that of the network's training

    Attributes
    ----------
    weight_units : conductance codes of a weight of 1.0, by layer
    shifts : ``shift`` of ACTIVATE, by layer
    biases : exponent ``bias`` of ERROR, by layer
    error_units : real value of an error mantissa 1 with exponent 0, by layer
    chi_shifts : by layer
    """

    def __init__(
        self,
        network: Network,
        config: CoreConfig,
        profile: DeviceProfile,
        *,
        eta_min: float | None = None,
    ):
        network.check(config)
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
            (layer.range_forward + coarser, layer.range_backward + coarser) for layer in layers
        ]
        # The charge of fewer input bits is smaller, not the weight.
        self.weight_units = [
            2.0 ** (forward + layer.steps_log2 - index + 8 - config.input_bits) / ONE
            for layer, index, (forward, _) in zip(layers, indices, self._ranges, strict=True)
        ]
        self.shifts = [7 - index for index in indices]
        self.biases = [0] * len(layers)
        self.error_units = [OUTPUT_UNIT] * len(layers)
        for index in reversed(range(network.last)):
            backward = self._ranges[index + 1][1] + 8 - config.input_bits
            backward -= layers[index].shared_log2
            ratio = 2.0 ** (backward - 1) / (self.weight_units[index + 1] * ONE**2)
            exact = self.error_units[index + 1] * ratio
            self.biases[index] = round(math.log2(exact / OUTPUT_UNIT))
            self.error_units[index] = exact * 2.0 ** -self.biases[index]
        limit = THRESHOLD_ROOM * 2 ** (config.chi_bits - 1)
        one = [
            pulse / weight * ONE / (layer.eta_scale * unit)
            for layer, weight, unit in zip(layers, self.weight_units, self.error_units, strict=True)
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

    def weights(self, codes: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Weights of every layer, bias last, from all G+ - G- of the crossbar (rows, cols)."""
        return [
            codes[layer.row_start :, layer.col_start :][: layer.rows, : layer.outputs] / unit
            for layer, unit in zip(self.network.layers, self.weight_units, strict=True)
        ]

    def segments(self, eta: float) -> list[Segment]:
        """Segment descriptors for one learning rate."""
        return [self.segment(index, eta) for index in range(len(self.network.layers))]

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
            range_forward=forward,
            range_backward=backward,
        )
        segment.check(self.config)
        # Checks the other fields, such as chi_shift.
        segment.pack()
        return segment


def training_program(
    recipe: Recipe, images: int, *, refresh_interval: int = 0, read: bool = False
) -> list[int]:
    """Program that trains on ``images`` images, one at a time.

    It takes the packets of :func:`training_packets`. All layers are refreshed after every
    ``refresh_interval`` images (0: never), of which ``images`` must be a multiple; ``read`` sends
    the output vector of every image.
    """
    network = recipe.network
    inner = refresh_interval or images
    if images < 1 or images % inner:
        raise ValueError(f"images must be a positive multiple of {inner}, not {images}")
    program = [
        encode(Opcode.LOAD, affine=0, slot=X),
        encode(Opcode.LOAD, affine=0, slot=TARGET),
        *_forward(recipe),
    ]
    if read:
        program.append(_read(network))
    program += _backward(recipe)
    # A layer's pulses leave after the backward product that still needs its weights.
    program += [
        encode(
            Opcode.OUTER, segment=layer, slot=network.input(layer), error=network.error(layer),
            transfer=1,
        )
        for layer in reversed(range(len(network.layers)))
    ]  # fmt: skip
    program += _loop(0, inner)
    if refresh_interval:
        program += [
            encode(Opcode.REFRESH, segment=layer, all_rows=0)
            for layer in range(len(network.layers))
        ]
        program += _loop(1, images // inner)
    return [*program, encode(Opcode.HALT)]


def inference_program(recipe: Recipe, images: int) -> list[int]:
    """Program that sends the output vectors of the ``images`` of :func:`inference_packets`."""
    program = [
        encode(Opcode.LOAD, affine=0, slot=X),
        *_forward(recipe),
        _read(recipe.network),
        *_loop(0, images),
    ]
    return [*program, encode(Opcode.HALT)]


def training_packets(
    recipe: Recipe, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> list[bytes]:
    """Image and target packet of every image, in order."""
    targets = _target_packets(recipe)
    packets = inference_packets(recipe, images)
    return [
        packet
        for image, label in zip(packets, labels, strict=True)
        for packet in (image, targets[int(label)])
    ]


def inference_packets(recipe: Recipe, images: NDArray[np.uint8]) -> list[bytes]:
    """Image packets: the codes of the first layer's rows, the bias code last."""
    first = recipe.network.layers[0]
    if images.ndim != 2 or images.shape[1] != first.inputs:
        raise ValueError(
            f"images must have shape (images, {first.inputs}), not {tuple(images.shape)}"
        )
    driven = np.pad(images, ((0, 0), (0, 1)), constant_values=ONE)
    return [vector_packet(row, config=recipe.config, start=first.row_start) for row in driven]


def classes(network: Network, vectors: Sequence[NDArray[np.int8]]) -> NDArray[np.int64]:
    """Class of every vector sent by READ: its largest output, the first of equals."""
    skipped = network.layers[-1].col_start % GROUP
    best: NDArray[np.int64] = np.argmax(np.stack(vectors)[:, skipped:], axis=1)
    return best


def online_figures(
    network: Network, sent: Sequence[NDArray[np.int8]], labels: NDArray[np.uint8]
) -> tuple[float, float]:
    """Mean squared error and accuracy of output vectors sent before their images were learnt."""
    outputs = network.layers[-1].outputs
    values = np.stack(sent)[:, -outputs:] / ONE
    targets = network.training.targets(outputs)[labels] / ONE
    right = classes(network, sent) == labels
    return float(np.mean(np.sum((values - targets) ** 2, axis=1))), float(np.mean(right))


def setup_program(recipe: Recipe) -> list[int]:
    """Program to run once before training: calibration, then the packets of
    :func:`setup_packets`."""
    network = recipe.network
    return [
        encode(Opcode.CALIBRATE),
        *(
            encode(Opcode.LOAD, affine=0, slot=network.output(layer))
            for layer in range(network.last)
        ),
        encode(Opcode.HALT),
    ]


def setup_packets(recipe: Recipe) -> list[bytes]:
    """Bias code of every hidden layer's output slot; ACTIVATE never writes that line."""
    code = np.array([ONE])
    layers = recipe.network.layers[1:]
    return [_aligned(layer.bias_line, code, recipe.config) for layer in layers]


def _forward(recipe: Recipe) -> Iterator[int]:
    network = recipe.network
    for index, layer in enumerate(network.layers):
        yield encode(
            Opcode.FORWARD, segment=index, slot=network.input(index),
            precision=recipe.config.input_bits, input_signs=3, polarities=3,
        )  # fmt: skip
        is_last = index == network.last
        yield encode(
            Opcode.ACTIVATE, segment=index, side=0, from_slot=0, slot=0, accumulate=0,
            function=Function.SIGMOID, shift=recipe.shifts[index], affine=0, table=0,
            destination=network.output(index),
            start=layer.col_start if is_last else network.layers[index + 1].row_start,
        )  # fmt: skip


def _backward(recipe: Recipe) -> Iterator[int]:
    network = recipe.network
    for index in reversed(range(len(network.layers))):
        is_last = index == network.last
        if not is_last:
            yield encode(
                Opcode.BACKWARD, segment=index + 1, slot=network.error(index + 1),
                precision=recipe.config.input_bits, input_signs=3, polarities=3,
            )  # fmt: skip
        yield encode(
            Opcode.ERROR, segment=index if is_last else index + 1, side=0 if is_last else 1,
            from_slot=int(is_last), slot=TARGET if is_last else 0, output=network.output(index),
            function=Function.SIGMOID, bias=recipe.biases[index], destination=network.error(index),
            start=network.layers[index].col_start, **network.training.error_fields,
        )  # fmt: skip


def _loop(counter: int, count: int) -> list[int]:
    """Back to the start of the program until the body has run ``count`` times."""
    return [encode(Opcode.LOOP, counter=counter, target=0, count=count)] if count > 1 else []


def _read(network: Network) -> int:
    layer = network.layers[-1]
    start = layer.col_start // GROUP * GROUP
    return encode(
        Opcode.READ, slot=network.output(network.last), start=start,
        length=layer.col_start + layer.outputs - start,
    )  # fmt: skip


def _aligned(line: int, codes: NDArray[np.int64], config: CoreConfig) -> bytes:
    """Packet of ``codes`` for ``line`` and up, with zeros before to the start of a group."""
    skipped = line % GROUP
    padded = np.pad(codes, (skipped, 0))
    return vector_packet(padded, config=config, start=line - skipped)


def _target_packets(recipe: Recipe) -> list[bytes]:
    """Target packet by label."""
    layer = recipe.network.layers[-1]
    codes = recipe.network.training.targets(layer.outputs)
    return [_aligned(layer.col_start, row, recipe.config) for row in codes]


def _perceptron(
    dataset: str, inputs: int, hidden: int, config: CoreConfig, *, rows: tuple[int, int]
) -> Network:
    """Two layers that begin at column 0 and at the given rows."""
    first, second = rows
    return Network(
        name=f"mlp-{inputs}-{hidden}-10",
        dataset=dataset,
        layers=(
            Layer(inputs=inputs, outputs=hidden, row_start=first, col_start=0),
            Layer(inputs=hidden, outputs=10, row_start=second, col_start=0, index_log2=3),
        ),
        config=config,
    )


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        _perceptron("mnist14", 196, 50, DEFAULT, rows=(56, 0)),
        _perceptron("digits", 64, 50, SMALL.replace(rows=128), rows=(56, 0)),
        _perceptron("digits48", 48, 14, SMALL, rows=(0, 49)),
        _perceptron("digits8", 8, 6, TINY, rows=(0, 9)),
    )
}
"""Networks by name; ``config`` is the one they were tuned for."""


def _tiled(
    dataset: str,
    inputs: int,
    hidden: int,
    chip: ChipConfig,
    tiles: int,
    *,
    index_log2: int = 3,
    eta_scale: float = 1.0,
    training: Training | None = None,
) -> ChipNetwork:
    """Two layers, the first of which is dealt out over ``tiles`` cores.

    ``index_log2`` and ``eta_scale`` are of the other one. An error common to many images moves all
    weights of an output by a pulse at about the same time, which adds up over the hidden
    activations: the more there are, the less a pulse and the rate may be.
    """
    return ChipNetwork(
        name=f"mlp-{inputs}-{hidden}-10",
        dataset=dataset,
        layers=(
            Layer(inputs=inputs, outputs=hidden, row_start=0, col_start=0),
            Layer(
                inputs=hidden, outputs=10, row_start=0, col_start=0, index_log2=index_log2,
                eta_scale=eta_scale,
            ),
        ),
        config=chip.core,
        training=training or Training(),
        chip=chip,
        tiles=tiles,
    )  # fmt: skip


CHIP_NETWORKS: Mapping[str, ChipNetwork] = {
    network.name: network
    for network in (
        _tiled(
            "mnist",
            784,
            250,
            CHIPS["default"],
            4,
            index_log2=2,
            eta_scale=0.2,
            training=Training(eta_end=0.2, refresh_interval=100),
        ),
        _tiled("digits", 64, 14, CHIPS["small"], 4),
        _tiled("digits48", 48, 12, CHIPS["tiny"], 4),
    )
}
"""Networks of several cores by name; ``chip`` is the one they were tuned for."""
