# SPDX-License-Identifier: Apache-2.0
"""Graphs from ONNX files of trained convolutional networks, for inference.

Known are convolutions, fully connected layers, ReLU, sums with a constant or of two tensors, and
pooling of blocks that do not overlap. Whatever else a file has is refused by name. The package
``onnx`` is needed here only (``pip install 'phasecore[onnx]'``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.windows import LayerInput
from phasecore.rtl.spec.instructions import GROUP, Function

__all__ = ["load_graph"]

Array = NDArray[Any]


@dataclass
class _Tensor:
    """A tensor of the graph as the file has it: the codes of a layer, perhaps seen otherwise.

    ``shape``: height, width, channels; ``flat``: it is one vector, in the order of channels first
    (``CHW``) or last (``HWC``); ``last``: its axes have been moved to channels last.
    """

    layer: str
    shape: tuple[int, int, int]
    flat: str = ""
    last: bool = False


def load_graph(
    path: Path, *, name: str, dataset: str, largest: float, layers: int | None = None
) -> Graph:
    """Graph of a file's network.

    Parameters
    ----------
    name, dataset : of the graph
    largest : value of the input that is the code 127
    layers : how many of them, from the first on; None takes all

    Raises
    ------
    ValueError
        naming the node that cannot be mapped, or a file that is none
    ImportError
        without the package ``onnx``
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"{path} needs the package onnx: pip install 'phasecore[onnx]'"
        ) from error
    try:
        model = onnx.load(path)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no ONNX file: {error}") from error
    reader = _Reader(model.graph, onnx)
    for node in model.graph.node:
        try:
            reader.read(node)
        except (ValueError, KeyError) as error:
            text = error.args[0] if isinstance(error, ValueError) else f"no tensor {error}"
            raise ValueError(f"{path}: node {node.name or node.output[0]}: {text}") from error
    found = reader.layers[:layers]
    graph = Graph(
        name=name, dataset=dataset, shape=reader.shape, layers=tuple(found), code=largest / ONE
    )
    graph.check()
    return graph


class _Reader:
    """Layers of a file's nodes, one after another."""

    def __init__(self, graph: Any, onnx: Any):
        self._constants: dict[str, Array] = {
            one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer
        }
        self._attribute = onnx.helper.get_attribute_value
        self._uses: dict[str, int] = {}
        for node in graph.node:
            for tensor in node.input:
                self._uses[tensor] = self._uses.get(tensor, 0) + 1
        (given,) = (one for one in graph.input if one.name not in self._constants)
        _, channels, height, width = (axis.dim_value for axis in given.type.tensor_type.shape.dim)
        self.shape = height, width, channels
        self._tensors = {given.name: _Tensor(INPUT, self.shape)}
        self.layers: list[GraphLayer] = []

    def read(self, node: Any) -> None:
        """Take a node, whose inputs are known."""
        known: dict[str, Callable[[Any, dict[str, Any]], _Tensor | None]] = {
            "Conv": self._conv, "MatMul": self._matmul, "Gemm": self._matmul, "Add": self._add,
            "Relu": self._relu, "MaxPool": self._pool, "AveragePool": self._pool,
            "Reshape": self._reshape, "Flatten": self._reshape, "Transpose": self._transpose,
            "Softmax": lambda node, _: self._tensors[node.input[0]],
        }  # fmt: skip
        if node.op_type not in known:
            raise ValueError(f"{node.op_type} cannot be mapped; {', '.join(known)} can")
        attributes = {one.name: self._attribute(one) for one in node.attribute}
        found = known[node.op_type](node, attributes)
        if found is not None:
            self._tensors[node.output[0]] = found

    def _index(self, name: str) -> int:
        return next(at for at, layer in enumerate(self.layers) if layer.name == name)

    def _changed(self, tensor: _Tensor, used: str, **changes: Any) -> GraphLayer:
        """Change the layer that makes a tensor, which nobody else reads."""
        if tensor.layer == INPUT:
            raise ValueError("the input cannot be changed")
        if self._uses[used] > 1:
            raise ValueError(f"{used} is read by other nodes, too")
        at = self._index(tensor.layer)
        self.layers[at] = replace(self.layers[at], **changes)
        return self.layers[at]

    def _maker(self, tensor: _Tensor, *, linear: bool) -> GraphLayer:
        """Layer that makes a tensor and does not pool; ``linear``: has no function yet."""
        if tensor.layer == INPUT:
            raise ValueError("the input cannot be changed")
        layer = self.layers[self._index(tensor.layer)]
        if layer.pool is not Pool.NONE or (linear and layer.function is not Function.IDENTITY):
            raise ValueError("it must follow the products of a layer")
        return layer

    def _append(self, tensor: _Tensor, kind: str, reads: LayerInput, weights: Array) -> _Tensor:
        name = f"{kind}{len(self.layers) + 1}"
        self.layers.append(GraphLayer(
            name=name, source=tensor.layer, reads=reads, weights=weights.astype(np.float64),
            bias=np.zeros(weights.shape[1]), function=Function.IDENTITY,
        ))  # fmt: skip
        return _Tensor(name, (*reads.positions, weights.shape[1]))

    def _conv(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor, weights = self._tensors[node.input[0]], self._constants[node.input[1]]
        height, width, channels = tensor.shape
        if given.get("group", 1) != 1 or any(step != 1 for step in given.get("dilations", ())):
            raise ValueError("group and dilations must be 1")
        kernel, stride = weights.shape[2:], tuple(given.get("strides", (1, 1)))
        packed = tensor.layer == INPUT and channels < GROUP // 2
        reads = LayerInput(
            height=height, width=width, channels=channels, kernel=kernel, stride=stride,
            padding=_padding(given, (height, width), kernel, stride), packed=packed,
        )  # fmt: skip
        matrix = weights.transpose(2, 3, 1, 0).reshape(reads.matrix_rows, -1)
        found = self._append(tensor, "conv", reads, matrix)
        if len(node.input) > 2:
            self.layers[-1] = replace(self.layers[-1], bias=self._bias(node.input[2]))
        return found

    def _matmul(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor, weights = self._tensors[node.input[0]], self._constants[node.input[1]]
        height, width, channels = tensor.shape
        weights = weights.T if given.get("transB") else weights
        if tensor.flat != "HWC" and height * width > 1:
            shape = (channels, height, width, -1)
            weights = weights.reshape(shape).transpose(1, 2, 0, 3).reshape(weights.shape)
        reads = LayerInput(height=height, width=width, channels=channels, kernel=(height, width))
        found = self._append(tensor, "dense", reads, weights)
        if len(node.input) > 2:
            self.layers[-1] = replace(self.layers[-1], bias=self._bias(node.input[2]))
        return found

    def _bias(self, name: str) -> Array:
        return self._constants[name].astype(np.float64).reshape(-1)

    def _add(self, node: Any, given: dict[str, Any]) -> _Tensor:
        constant = [name for name in node.input if name in self._constants]
        tensors = [name for name in node.input if name not in self._constants]
        if constant:
            tensor = self._tensors[tensors[0]]
            layer = self._maker(tensor, linear=True)
            bias = layer.bias + self._bias(constant[0])
            self._changed(tensor, tensors[0], bias=bias)
            return tensor
        # The sum is made by the layer of the two that comes last and does nothing else yet.
        found = [self._tensors[name] for name in tensors]
        order = sorted(range(2), key=lambda at: -self._place(found[at]))
        for at in order:
            tensor, other = found[at], found[1 - at]
            try:
                layer = self._maker(tensor, linear=True)
            except ValueError:
                continue
            if layer.skip is None and self._uses[tensors[at]] == 1:
                self._changed(tensor, tensors[at], skip=other.layer)
                # Behind both.
                self.layers.append(self.layers.pop(self._index(tensor.layer)))
                return tensor
        raise ValueError("one of its tensors must be the products of a layer, read by it alone")

    def _place(self, tensor: _Tensor) -> int:
        return -1 if tensor.layer == INPUT else self._rank(tensor.layer)

    def _rank(self, name: str) -> int:
        """Layers with a long way from the input come last."""
        layer = self.layers[self._index(name)]
        return 1 + (0 if layer.source == INPUT else self._rank(layer.source))

    def _relu(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor = self._tensors[node.input[0]]
        self._maker(tensor, linear=True)
        self._changed(tensor, node.input[0], function=Function.RELU)
        return tensor

    def _pool(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor = self._tensors[node.input[0]]
        layer = self._maker(tensor, linear=False)
        block = tuple(given["kernel_shape"])
        if tuple(given.get("strides", (1, 1))) != block or any(given.get("pads", ())):
            raise ValueError("strides must be as kernel_shape, pads 0: blocks must not overlap")
        reads = replace(layer.reads, block=block)
        kind = Pool.LARGEST if node.op_type == "MaxPool" else Pool.MEAN
        self._changed(tensor, node.input[0], reads=reads, pool=kind)
        return replace(tensor, shape=(*reads.iterations, layer.outputs))

    def _reshape(self, node: Any, given: dict[str, Any]) -> _Tensor | None:
        name = node.input[0]
        if name in self._constants:
            shape = self._constants[node.input[1]]
            self._constants[node.output[0]] = self._constants[name].reshape(shape)
            return None
        tensor = self._tensors[name]
        return replace(tensor, flat="HWC" if tensor.last else "CHW")

    def _transpose(self, node: Any, given: dict[str, Any]) -> _Tensor:
        if list(given["perm"]) != [0, 2, 3, 1]:
            raise ValueError(f"perm must be [0, 2, 3, 1], not {list(given['perm'])}")
        return replace(self._tensors[node.input[0]], last=True)


def _padding(
    given: dict[str, Any], size: Sequence[int], kernel: Sequence[int], stride: Sequence[int]
) -> tuple[int, int, int, int]:
    """Above, left, below and right, as the attributes say."""
    automatic = given.get("auto_pad", b"NOTSET").decode()
    if automatic in ("NOTSET", "VALID"):
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        return top, left, bottom, right
    both = [
        max(0, (-(-length // step) - 1) * step + width - length)
        for length, width, step in zip(size, kernel, stride, strict=True)
    ]
    less, more = [part // 2 for part in both], [-(-part // 2) for part in both]
    first, last = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return first[0], first[1], last[0], last[1]
