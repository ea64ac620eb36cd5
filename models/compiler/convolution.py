# SPDX-License-Identifier: Apache-2.0
"""Convolutional networks: layers, and what their kernels cover (docs/contract).

A convolution's rows are the cells that a kernel covers at one position. The recipe of
``models/compiler/recipe.py`` holds for one position's products.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phasecore.models.compiler.network import INDEX_LOG2, Layer, Network, Training
from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = [
    "CONV_NETWORKS",
    "POOL",
    "ConvLayer",
    "ConvNetwork",
    "check_layers",
    "conv",
    "dense",
]

POOL = 2
"""Points pooled in either direction."""

TANH_INDEX_LOG2 = 6
"""log2 of the tanh table's steps per unit."""


@dataclass(frozen=True, kw_only=True)
class ConvLayer(Layer):
    """A kernel that slides over an object in steps of one; make it with :func:`conv` or
    :func:`dense`.

    The input object has ``height`` x ``width`` points of ``channels`` codes; ``inputs`` is what a
    position sees of it.
    """

    height: int = 1
    width: int = 1
    channels: int
    kernel: int = 1
    padding: int = 0
    pooled: bool = False
    function: Function = Function.TANH

    @property
    def steps_log2(self) -> int:
        return TANH_INDEX_LOG2 if self.function is Function.TANH else INDEX_LOG2

    @property
    def shared_log2(self) -> int:
        return (POOL * POOL).bit_length() - 1 if self.pooled else 0

    @property
    def cells(self) -> int:
        """Codes of the input object."""
        return self.height * self.width * self.channels

    @property
    def out_height(self) -> int:
        """Positions, and points before pooling, from top to bottom."""
        return self.height + 2 * self.padding - self.kernel + 1

    @property
    def out_width(self) -> int:
        """Positions, and points before pooling, from left to right."""
        return self.width + 2 * self.padding - self.kernel + 1

    @property
    def positions(self) -> int:
        """Products per image."""
        return self.out_height * self.out_width

    @property
    def out_cells(self) -> int:
        """Codes of the object that the next layer takes."""
        return self.positions * self.outputs >> self.shared_log2

    def gather(self) -> Int:
        """Cell of the input object that every row is at every position, shape (positions, rows).

        Cell ``cells`` stands for the padding's 0, ``cells + 1`` for the bias code.
        """
        frame = np.pad(
            np.arange(self.cells).reshape(self.height, self.width, self.channels),
            ((self.padding, self.padding), (self.padding, self.padding), (0, 0)),
            constant_values=self.cells,
        )
        windows = np.lib.stride_tricks.sliding_window_view(frame, (self.kernel,) * 2, axis=(0, 1))
        # The window's axes come last; a row's order is row, column, channel of the kernel.
        rows: Int = windows.transpose(0, 1, 3, 4, 2).reshape(self.positions, self.inputs)
        return np.pad(rows, ((0, 0), (0, 1)), constant_values=self.cells + 1)

    def pool_cells(self) -> Int:
        """Cell of the next layer's object for every activation, shape (positions, outputs)."""
        step = POOL if self.pooled else 1
        row, col = np.divmod(np.arange(self.positions), self.out_width)
        point: Int = row // step * (self.out_width // step) + col // step
        return point[:, None] * self.outputs + np.arange(self.outputs)


@dataclass(frozen=True, kw_only=True)
class ConvNetwork(Network):
    """Layers one after another on the cores of a chip."""

    layers: tuple[ConvLayer, ...]
    chip: ChipConfig

    @property
    def inputs(self) -> int:
        return self.layers[0].cells

    @property
    def presets(self) -> Mapping[str, CoreConfig]:
        return {name: chip.core for name, chip in CHIPS.items()}


def check_layers(network: ConvNetwork, config: CoreConfig) -> None:
    """Raise ``ValueError`` unless the layers follow one another and fit into cores."""
    before = network.inputs
    for index, layer in enumerate(network.layers):
        if layer.cells != before:
            raise ValueError(
                f"{network.name} layer {index} takes {layer.cells} codes;"
                f" the layer before has {before}"
            )
        before = layer.out_cells
        if layer.outputs > config.cols:
            raise ValueError(
                f"{network.name} needs {layer.outputs} columns for layer {index};"
                f" the crossbar has {config.cols}"
            )
        if layer.pooled and (layer.out_height % POOL or layer.out_width % POOL):
            raise ValueError(
                f"{network.name} layer {index} has {layer.out_height} x {layer.out_width} points,"
                f" which are not pooled {POOL} x {POOL}"
            )
    last = network.layers[-1]
    if last.positions > 1 or last.pooled:
        raise ValueError(f"the last layer of {network.name} must have one position, not pooled")


def conv(
    size: int, channels: int, outputs: int, kernel: int, *, padding: int = 0,
    forward_lsb_log2: int = 13, backward_lsb_log2: int = 13, eta_scale: float = 1.0,
) -> ConvLayer:  # fmt: skip
    """A square convolution with tanh, pooled.

    All positions of an image move the same few weights; ``eta_scale`` below 1 saves pulses.
    """
    return ConvLayer(
        inputs=kernel * kernel * channels, outputs=outputs, row_start=0, col_start=0, height=size,
        width=size, channels=channels, kernel=kernel, padding=padding, pooled=True, index_log2=1,
        forward_lsb_log2=forward_lsb_log2, backward_lsb_log2=backward_lsb_log2,
        eta_scale=eta_scale,
    )  # fmt: skip


def dense(
    inputs: int, outputs: int, *, function: Function = Function.TANH, index_log2: int = 1,
    forward_lsb_log2: int = 13, backward_lsb_log2: int = 13, eta_scale: float = 1.0,
) -> ConvLayer:  # fmt: skip
    """A fully connected layer."""
    return ConvLayer(
        inputs=inputs, outputs=outputs, row_start=0, col_start=0, channels=inputs,
        function=function, index_log2=index_log2, forward_lsb_log2=forward_lsb_log2,
        backward_lsb_log2=backward_lsb_log2, eta_scale=eta_scale,
    )  # fmt: skip


def _network(core: CoreConfig, **values: Any) -> ConvNetwork:
    """On the default chip's cores, but for their configuration."""
    return ConvNetwork(config=core, chip=CHIPS["default"].replace(core=core), **values)


_CORE = CHIPS["default"].core

CONV_NETWORKS: Mapping[str, ConvNetwork] = {
    network.name: network
    for network in (
        _network(
            _CORE.replace(devices_per_polarity=8),
            name="lenet-5",
            dataset="mnist",
            layers=(
                conv(
                    28, 1, 6, 5, padding=2, forward_lsb_log2=14, backward_lsb_log2=14,
                    eta_scale=0.2,
                ),
                conv(14, 6, 16, 5, forward_lsb_log2=14, backward_lsb_log2=15),
                dense(400, 120, forward_lsb_log2=15, backward_lsb_log2=15),
                dense(120, 84, forward_lsb_log2=14, backward_lsb_log2=14),
                dense(
                    84, 10, function=Function.SIGMOID, index_log2=2, forward_lsb_log2=16,
                    backward_lsb_log2=14, eta_scale=0.3,
                ),
            ),
            training=Training(eta=0.06, eta_end=0.005, epochs=10),
        ),
        _network(
            _CORE.replace(rows=64, cols=16, post_lanes=16, update_lanes=16),
            name="conv-8x8",
            dataset="digits",
            layers=(
                conv(8, 1, 6, 3, padding=1),
                dense(96, 10, function=Function.SIGMOID, index_log2=2, forward_lsb_log2=15),
            ),
            training=Training(eta=0.3, eta_end=0.1),
        ),
    )
}  # fmt: skip
"""Convolutional networks by name; ``chip`` is the one they were tuned for."""
