# SPDX-License-Identifier: Apache-2.0
"""Graphs of trained layers, in floating point: what is mapped on a chip for inference.

A layer reads the pixels of one tensor, may add another one (a residual) before its function, and
may pool what comes out. A tensor is the input or has the name of the layer that makes it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasecore.models.compiler.convolution import POOL, ConvLayer
from phasecore.models.compiler.network import ONE, Layer, Network, Training
from phasecore.models.compiler.windows import LayerInput
from phasecore.rtl.spec.instructions import GROUP, Function

__all__ = [
    "INPUT",
    "MEANS",
    "Graph",
    "GraphLayer",
    "Images",
    "Pool",
    "Real",
    "decibels",
    "from_network",
]

INPUT = "input"
"""Name of the tensor that the host sends."""

BATCH = 64
"""Images that are computed at a time."""

Real = NDArray[np.float64]

Images = NDArray[np.uint8] | NDArray[np.int8]
"""Input codes, shape (images, inputs)."""

T = TypeVar("T", bound=np.generic)

_FUNCTIONS: Mapping[Function, Callable[[Any], Any]] = {
    Function.IDENTITY: lambda a: a,
    Function.RELU: lambda a: np.maximum(a, 0),
    Function.SIGMOID: lambda a: 1 / (1 + np.exp(-a)),
    Function.TANH: np.tanh,
}


class Pool(Enum):
    """What becomes of the positions of a block."""

    NONE = "none"
    MEAN = "mean"
    LARGEST = "largest"
    FRAME = "mean of the frame"
    """Of all positions; there are no blocks."""


MEANS = (Pool.MEAN, Pool.FRAME)


@dataclass(frozen=True, kw_only=True)
class GraphLayer:
    """A convolution, or a fully connected layer: its kernel is as large as the frame.

    Attributes
    ----------
    source, reads : tensor that it reads, and which pixels; ``reads.block`` are the positions that
        are pooled
    joined : tensors whose channels come behind the source's (concatenation), each from the next
        multiple of 8 on; ``reads`` has the channels of all, and of what lies between
    weights : shape (reads.matrix_rows, columns), rows in the order of the im2col matrix
    bias : shape (columns,)
    skip : tensor of the same shape as the activations that is added before the function
    groups : parts of equal length, of a position's activations, that are pooled with one another
    parts : of the channels, those of one seeing no weights of another (grouped convolutions)
    copies : that there must be of every weight at least; more use more crossbars

    Without weights, shape (0, channels), the layer only pools: the windows of ``reads.largest``,
    which overlap or which several layers read, or all of the frame.
    """

    name: str
    source: str
    reads: LayerInput
    weights: Real = field(repr=False)
    bias: Real = field(repr=False)
    function: Function = Function.RELU
    pool: Pool = Pool.NONE
    skip: str | None = None
    groups: int = 1
    parts: int = 1
    copies: int = 1
    joined: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that windows are of."""
        return self.source, *self.joined

    @property
    def inputs(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return self.sources if self.skip is None else (*self.sources, self.skip)

    @classmethod
    def pooling(
        cls, name: str, source: str, reads: LayerInput, pool: Pool = Pool.NONE
    ) -> "GraphLayer":  # fmt: skip
        """A layer without weights."""
        none = np.zeros((0, reads.channels))
        return cls(
            name=name, source=source, reads=reads, weights=none, bias=none.sum(axis=0),
            function=Function.IDENTITY, pool=pool,
        )  # fmt: skip

    @property
    def only_pools(self) -> bool:
        """It has no weights."""
        return not len(self.weights)

    @property
    def is_pooled(self) -> bool:
        """Its tensor is of pooled values."""
        return self.only_pools or self.pool is not Pool.NONE

    @property
    def columns(self) -> int:
        """Columns of the weights."""
        return len(self.weights.T)

    @property
    def outputs(self) -> int:
        """Codes of a vector that the layer sends."""
        return self.columns // self.groups

    @property
    def has_rows(self) -> bool:
        """A vector that it sends is a row of pixels."""
        return self.reads.packed and self.reads.iterations[1] == 1

    @property
    def rows_sent(self) -> tuple[int, ...]:
        """How the host sends an input for it: columns beside packed rows; nothing by pixel."""
        reads = self.reads
        return (reads.width, reads.padding[1], reads.padding[3]) if reads.packed else ()

    @property
    def windows(self) -> int:
        """Blocks of windows of a frame."""
        return math.prod(self.reads.iterations)

    @property
    def vectors(self) -> int:
        """Vectors of a frame that the layer sends."""
        return 1 if self.pool is Pool.FRAME else self.windows

    @property
    def pooled(self) -> int:
        """Activations of which an output is made."""
        positions = self.windows if self.pool is Pool.FRAME else math.prod(self.reads.block)
        return positions * self.groups

    def activations(self, sums: Real) -> Real:
        """What the function makes of sums."""
        found: Real = _FUNCTIONS[self.function](sums)
        return found

    def check(self) -> None:
        """Raise ``ValueError``, naming the layer, for what no core does."""
        blocks = math.prod(self.reads.block)
        pooled = blocks * self.groups > 1
        for name, wrong in (
            (f"weights must have {self.reads.matrix_rows} rows, not {len(self.weights)}",
             len(self.weights) != self.reads.matrix_rows and not self.only_pools),
            ("weights must be there where more is done than pooling",
             self.only_pools and not self._is_plain_pool),
            (f"bias must have {self.columns} values, not {len(self.bias)}",
             self.bias.shape != (self.columns,)),
            ("pool must be mean or largest where a block has several positions, and only there",
             self.pool is not Pool.FRAME and pooled != (self.pool is not Pool.NONE)),
            ("mean of the frame must have no blocks", self.pool is Pool.FRAME and blocks > 1),
            ("largest must not pool groups of a position, mean does",
             self.pool is Pool.LARGEST and self.groups > 1),
            (f"skip must not be {self.skip} of a layer that pools", pooled and bool(self.skip)),
            ("function must not be NONE", self.function is Function.NONE),
            ("packed rows must not be joined", self.reads.packed and bool(self.joined)),
            (f"inputs must not be twice among {', '.join(self.sources)}",
             len(set(self.sources)) < len(self.sources)),
        ):  # fmt: skip
            if wrong:
                raise ValueError(f"layer {self.name}: {name}")

    @property
    def _is_plain_pool(self) -> bool:
        """Nothing but pooling is asked for."""
        reads = self.reads
        return (
            reads.largest and self.columns == reads.channels and not self.bias.any()
            and self.function is Function.IDENTITY and self.pool in (Pool.NONE, Pool.FRAME)
            and len(self.inputs) == 1 and reads.block == (1, 1)
        )  # fmt: skip

    def packed(self) -> "GraphLayer":
        """The same with all positions of a row in one window, as a banded matrix.

        Columns of positions that are pooled horizontally are in one group each.
        """
        reads, outputs = self.reads, self.outputs
        count = reads.iterations[1] * reads.block[1]
        across = count if self.pool is Pool.FRAME else reads.block[1]
        kernel, step = reads.kernel, reads.stride[1]
        width = kernel[1] + (count - 1) * step
        # Cells by row, column and channel of the kernel; then by group, pixel and output.
        weights = self.weights.reshape(*kernel, reads.channels, outputs)
        banded = np.zeros((kernel[0], width, reads.channels, across, count // across, outputs))
        for at in range(count):
            columns = slice(at * step, at * step + kernel[1])
            banded[:, columns, :, at % across, at // across] = weights
        _, left, _, right = reads.padding
        unused = reads.width + left + right - width
        wide = replace(
            reads, kernel=(kernel[0], width), stride=(reads.stride[0], unused + 1),
            block=(reads.block[0], 1),
        )  # fmt: skip
        return replace(
            self, reads=wide, weights=banded.reshape(wide.matrix_rows, -1),
            bias=np.tile(self.bias, count), groups=across,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Layers in an order in which each comes after those that it reads; the last one's is output.

    ``code`` is the value of an input code of 1. What a :class:`~phasecore.models.compiler.network.
    Network` says of its training holds nothing here, where nothing is trained.
    """

    name: str
    dataset: str
    shape: tuple[int, int, int]
    """Height, width and channels of the input."""
    layers: tuple[GraphLayer, ...]
    ends: tuple[str, ...] = ()
    """Tensors whose channels side by side are the output; () is that of the last layer alone."""
    code: float = 1 / ONE
    training: Training = field(default_factory=Training)

    @property
    def inputs(self) -> int:
        """Codes of one image."""
        return math.prod(self.shape)

    @property
    def results(self) -> tuple[GraphLayer, ...]:
        """Layers whose tensors are the output."""
        return tuple(self.layer(name) for name in self.ends or (self.layers[-1].name,))

    def layer(self, name: str) -> GraphLayer:
        """The layer that makes a tensor."""
        return next(layer for layer in self.layers if layer.name == name)

    def channels(self, tensor: str) -> int:
        """Codes of a vector of a tensor."""
        if tensor == INPUT:
            return self.shape[2]
        return self.layer(tensor).outputs

    def lines(self, layer: GraphLayer) -> tuple[range, ...]:
        """Channels of a layer's windows that each of its sources has."""
        if not layer.joined:
            return (range(layer.reads.channels),)
        found, first = [], 0
        for tensor in layer.sources:
            found.append(range(first, first + self.channels(tensor)))
            first = -(-found[-1].stop // GROUP) * GROUP
        return tuple(found)

    def check(self) -> None:
        """Raise ``ValueError``, naming the layer, for a graph that is none, or cannot be mapped."""
        sizes = {INPUT: self.inputs}
        for layer in self.layers:
            layer.check()
            reads = layer.reads
            if layer.name in sizes:
                raise ValueError(f"layer {layer.name}: there is another tensor of that name")
            for tensor in layer.inputs:
                if tensor not in sizes:
                    name = "skip" if tensor == layer.skip else "source"
                    raise ValueError(f"layer {layer.name}: {name} {tensor} is not made before it")
            lines = self.lines(layer)
            wanted = [
                ("source", tensor, reads.height * reads.width * len(part))
                for tensor, part in zip(layer.sources, lines, strict=True)
            ]
            if layer.skip is not None:
                wanted.append(("skip", layer.skip, layer.windows * layer.outputs))
            for name, tensor, size in wanted:
                if sizes[tensor] != size:
                    raise ValueError(
                        f"layer {layer.name}: {name} {tensor} must have {size} codes, not"
                        f" {sizes[tensor]}"
                    )
            if lines[-1].stop != reads.channels:
                raise ValueError(
                    f"layer {layer.name}: channels must be {lines[-1].stop}, those of its sources,"
                    f" not {reads.channels}"
                )
            cells = layer.weights.reshape(-1, reads.channels, layer.columns)
            if np.delete(cells, [line for part in lines for line in part], axis=1).any():
                raise ValueError(f"layer {layer.name}: weights between its sources must be 0")
            self._check_rows_sent(layer)
            sizes[layer.name] = layer.vectors * layer.outputs
        unknown = [name for name in self.ends if name not in sizes or name == INPUT]
        if unknown or len({layer.vectors for layer in self.results}) > 1:
            raise ValueError(f"ends must be tensors of as many vectors, not {', '.join(self.ends)}")

    def _check_rows_sent(self, layer: GraphLayer) -> None:
        """Raise ``ValueError`` unless the input is sent as the layer, if it does, reads it."""
        read = [layer.rows_sent] if INPUT in layer.sources else []
        if layer.skip == INPUT:
            read.append(())
        first = self.layers[0]
        if any(rows != first.rows_sent for rows in read):
            raise ValueError(
                f"layer {layer.name}: input must be sent as layer {first.name} reads it, packed or"
                " not"
            )

    def with_packed_first(self) -> "Graph":
        """The same, the first layer having all positions of a row in one window.

        Layers that read it then read rows of pixels.
        """
        first = self.layers[0]
        found = [first.packed()]
        for layer in self.layers[1:]:
            if layer.skip == first.name:
                raise ValueError(f"layer {layer.name}: skip {layer.skip} must not be packed")
            if layer.joined and first.name in layer.sources:
                raise ValueError(f"layer {layer.name}: joined {first.name} must not be packed")
            reads = replace(layer.reads, packed=True) if layer.source == first.name else layer.reads
            found.append(replace(layer, reads=reads))
        return replace(self, layers=tuple(found))

    def run(self, images: Images | Real) -> Iterator[tuple[GraphLayer, Real, Real, Real]]:
        """Every layer with its windows, shape (images, positions, rows), their sums with bias and
        skip, and its output tensor, shape (images, codes)."""
        tensors: dict[str, Any] = {INPUT: images * self.code}
        for layer in self.layers:
            windows = self.windows(layer, tensors)
            sums = windows if layer.only_pools else windows @ layer.weights + layer.bias
            if layer.skip is not None:
                sums += tensors[layer.skip].reshape(sums.shape)
            tensors[layer.name] = _pooled(layer, layer.activations(sums))
            yield layer, windows, sums, tensors[layer.name]

    def windows(self, layer: GraphLayer, tensors: Mapping[str, NDArray[T]]) -> NDArray[T]:
        """Rows of a layer's im2col matrix at all positions, in raster order.

        ``tensors`` are those before it by name, shape (images, codes); the shape is then (images,
        positions, rows).
        """
        return _windows(layer.reads, self._joined(layer, tensors))

    def _joined(self, layer: GraphLayer, tensors: Mapping[str, NDArray[T]]) -> NDArray[T]:
        """Tensor that a layer's windows are of; channels that no source has are 0."""
        if not layer.joined:
            return tensors[layer.source]
        reads = layer.reads
        source = tensors[layer.source]
        count, pixels = len(source), reads.height * reads.width
        found = np.zeros((count, pixels, reads.channels), dtype=source.dtype)
        for tensor, part in zip(layer.sources, self.lines(layer), strict=True):
            found[:, :, part] = tensors[tensor].reshape(count, -1, len(part))
        return found.reshape(count, -1)

    def outputs(self, images: Images | Real) -> Real:
        """Output of every image, shape (images, codes)."""
        parts = []
        for start in range(0, len(images), BATCH):
            run = self.run(images[start : start + BATCH])
            parts.append(self.output({layer.name: made for layer, _, _, made in run}))
        return np.concatenate(parts)

    def output(self, tensors: Mapping[str, NDArray[T]]) -> NDArray[T]:
        """Output of all images, of tensors by name, shape (images, codes)."""
        found = [
            tensors[layer.name].reshape(-1, layer.vectors, layer.outputs) for layer in self.results
        ]
        whole = np.concatenate(found, axis=2)
        return whole.reshape(len(whole), -1)


def _windows(reads: LayerInput, tensor: NDArray[T]) -> NDArray[T]:
    top, left, bottom, right = reads.padding
    frames = tensor.reshape(-1, reads.height, reads.width, reads.channels)
    # Padding is never the largest.
    kind: Any = tensor.dtype
    lowest = -np.inf if np.issubdtype(kind, np.floating) else np.iinfo(kind).min
    outside = lowest if reads.largest else 0
    frames = np.pad(frames, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=outside)
    views = np.lib.stride_tricks.sliding_window_view(frames, reads.kernel, axis=(1, 2))
    views = views[:, :: reads.stride[0], :: reads.stride[1]]
    rows, cols = views.shape[1:3]
    found = views.max((4, 5)) if reads.largest else views.transpose(0, 1, 2, 4, 5, 3)
    return found.reshape(len(tensor), rows * cols, reads.matrix_rows)


def _pooled(layer: GraphLayer, values: Real) -> Real:
    """Output tensor, of activations of all positions."""
    rows, cols = layer.reads.iterations
    high, wide = layer.reads.block
    frames = values.reshape(len(values), *layer.reads.positions, layer.groups, layer.outputs)
    if layer.pool is Pool.FRAME:
        whole: Real = frames.mean((1, 2, 3))
        return whole
    blocks = frames[:, : rows * high, : cols * wide]
    blocks = blocks.reshape(len(values), rows, high, cols, wide, layer.groups, layer.outputs)
    reduced = blocks.max((2, 4, 5)) if layer.pool is Pool.LARGEST else blocks.mean((2, 4, 5))
    found: Real = reduced.reshape(len(values), -1)
    return found


def decibels(found: Real, exact: Real) -> float:
    """Signal to noise of values beside the exact ones, dB; infinite if they are equal."""
    noise = float(((found - exact) ** 2).sum())
    return 10 * float(np.log10((exact**2).sum() / noise)) if noise else math.inf


def from_network(network: Network, weights: Sequence[ArrayLike]) -> Graph:
    """Graph of a trained network: ``weights`` by layer, bias last, as a learner has them."""
    layers, source = [], INPUT
    frame = _shape(network.layers[0])
    for index, (layer, whole) in enumerate(zip(network.layers, weights, strict=True)):
        reads = _reads(layer, frame)
        matrix = np.asarray(whole, dtype=np.float64)
        is_pooled = layer.shared_log2 > 0
        layers.append(GraphLayer(
            name=f"layer{index}", source=source, reads=reads, weights=matrix[:-1], bias=matrix[-1],
            function=layer.function, pool=Pool.MEAN if is_pooled else Pool.NONE,
        ))  # fmt: skip
        source, frame = f"layer{index}", (*reads.iterations, layer.outputs)
    return Graph(
        name=network.name, dataset=network.dataset, shape=_shape(network.layers[0]),
        layers=tuple(layers),
    )  # fmt: skip


def _shape(layer: Layer) -> tuple[int, int, int]:
    """Frame that a layer reads, if it is the first."""
    if isinstance(layer, ConvLayer):
        return layer.height, layer.width, layer.channels
    return 1, 1, layer.inputs


def _reads(layer: Layer, frame: tuple[int, int, int]) -> LayerInput:
    """What a layer reads of a frame; a fully connected one reads all of it."""
    if not isinstance(layer, ConvLayer) or layer.positions == 1:
        height, width, channels = frame
        return LayerInput(height=height, width=width, channels=channels, kernel=(height, width))
    return LayerInput(
        height=layer.height, width=layer.width, channels=layer.channels,
        kernel=(layer.kernel, layer.kernel), padding=(layer.padding,) * 4,
        block=(POOL, POOL) if layer.pooled else (1, 1), packed=layer.channels < GROUP // 2,
    )  # fmt: skip
