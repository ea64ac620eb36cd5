# SPDX-License-Identifier: Apache-2.0
"""Graphs from ONNX files of trained convolutional networks, for inference.

Known are convolutions, also of groups of channels, fully connected layers, batch normalisation
behind them, ReLU, sigmoid and tanh, sums with a constant or of two tensors, tensors side by side,
pooling, of which only the largest may be taken of windows that overlap, and the mean of a frame.
Whatever else a file has is refused by name. The package ``onnx`` is needed (``pip install
'phasecore[onnx]'``).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.windows import LayerInput
from phasecore.rtl.spec.instructions import GROUP, Function

__all__ = ["DROPPED", "load_graph", "package_for"]

DROPPED = ("LRN",)
"""Operators that a network may be without: its weights then lose some accuracy."""

Array = NDArray[Any]


@dataclass
class _Tensor:
    """A tensor of the graph as the file has it: the codes of a layer, perhaps seen otherwise.

    ``shape``: height, width, channels; ``flat``: it is one vector, in the order of channels first
    (``CHW``) or last (``HWC``); ``last``: its axes have been moved to channels last; ``parts``:
    layers, and channels of each, whose codes lie side by side in it, if they are several;
    ``shared``: other nodes read one of these, too.
    """

    layer: str
    shape: tuple[int, int, int]
    flat: str = ""
    last: bool = False
    parts: tuple[tuple[str, int], ...] = ()
    shared: bool = False

    @property
    def makers(self) -> tuple[tuple[str, int], ...]:
        """Layers, and channels of each, whose codes are in it."""
        return self.parts or ((self.layer, self.shape[2]),)

    def of(self, makers: Sequence[tuple[str, int]], **changes: Any) -> "_Tensor":
        """The same of other layers."""
        parts = tuple(makers) if len(makers) > 1 else ()
        return replace(self, layer=makers[0][0], parts=parts, **changes)

    @property
    def lines(self) -> list[int]:
        """Line of every channel in a vector: those of a layer begin at a multiple of 8."""
        found: list[int] = []
        for _, channels in self.makers:
            first = -(-(found[-1] + 1) // GROUP) * GROUP if found else 0
            found += range(first, first + channels)
        return found


def package_for(path: Path) -> Any:
    """The package ``onnx``; ``ImportError``, naming the file that needs it, without it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"{path} needs the package onnx: pip install 'phasecore[onnx]'"
        ) from error
    return onnx


def load_graph(
    path: Path, *, name: str, dataset: str, largest: float, layers: int | None = None,
    drop: Collection[str] = (),
) -> Graph:  # fmt: skip
    """Graph of a file's network.

    Parameters
    ----------
    name, dataset : of the graph
    largest : value of the input that is the code 127
    layers : how many of them, from the first on; None takes all
    drop : operators, of ``DROPPED``, that are left out, as if they gave what they take

    Raises
    ------
    ValueError
        naming the node that cannot be mapped, or a file that is none
    ImportError
        without the package ``onnx``
    """
    onnx = package_for(path)
    try:
        model = onnx.load(path)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no ONNX file: {error}") from error
    try:
        reader = _Reader(model.graph, onnx, drop)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    for node in model.graph.node:
        try:
            reader.read(node)
        except (ValueError, KeyError) as error:
            text = error.args[0] if isinstance(error, ValueError) else f"no tensor {error}"
            raise ValueError(f"{path}: node {node.name or node.output[0]}: {text}") from error
    found = reader.layers[:layers]
    if not found:
        raise ValueError(f"{path} has no layer")
    made = [one.name for one in model.graph.output]
    if layers is None and [reader.maker(name) for name in made] != [found[-1].name]:
        raise ValueError(f"{path}: outputs must be that of the last layer alone, not {made}")
    graph = Graph(
        name=name, dataset=dataset, shape=reader.shape, layers=tuple(found), code=largest / ONE
    )
    graph.check()
    return graph


class _Reader:
    """Layers of a file's nodes, one after another."""

    def __init__(self, graph: Any, onnx: Any, drop: Collection[str]):
        self._drop = drop
        self._constants: dict[str, Array] = {
            one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer
        }
        self._attribute = onnx.helper.get_attribute_value
        self._to_array = onnx.numpy_helper.to_array
        self._uses: dict[str, int] = {}
        for node in graph.node:
            for tensor in node.input:
                self._uses[tensor] = self._uses.get(tensor, 0) + 1
        self._outputs = [made.name for made in graph.output]
        for tensor in self._outputs:
            self._uses[tensor] = self._uses.get(tensor, 0) + 1
        (given,) = (one for one in graph.input if one.name not in self._constants)
        axes = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
        if len(axes) not in (2, 4) or min(axes[1:]) < 1:
            raise ValueError(
                f"input {given.name} must have axes for image, channels, height and width, or image"
                f" and values, of known lengths, not {axes}"
            )
        channels, height, width = (*axes[1:], 1, 1)[:3]
        self.shape = height, width, channels
        self._tensors = {given.name: _Tensor(INPUT, self.shape)}
        self.layers: list[GraphLayer] = []
        self._named = 0

    def read(self, node: Any) -> None:
        """Take a node, whose inputs are known."""
        known: dict[str, Callable[[Any, dict[str, Any]], _Tensor | None]] = {
            "Conv": self._conv, "MatMul": self._matmul, "Gemm": self._matmul, "Add": self._add,
            "Sum": self._add, "BatchNormalization": self._normalise, "Relu": self._function,
            "Sigmoid": self._function, "Tanh": self._function, "MaxPool": self._pool,
            "AveragePool": self._pool, "GlobalAveragePool": self._mean, "ReduceMean": self._mean,
            "Reshape": self._reshape, "Flatten": self._reshape, "Squeeze": self._reshape,
            "Transpose": self._transpose, "Concat": self._concat, "Identity": self._same,
            "Dropout": self._same, "Constant": self._constant, "ConstantOfShape": self._filled,
            "Softmax": self._last,
        }  # fmt: skip
        known |= dict.fromkeys(self._drop, self._same)
        if node.op_type in DROPPED and node.op_type not in known:
            raise ValueError(f"{node.op_type} cannot be mapped; --allow-drop leaves it out")
        if node.op_type not in known:
            raise ValueError(f"{node.op_type} cannot be mapped; {', '.join(known)} can")
        attributes = {one.name: self._attribute(one) for one in node.attribute}
        found = known[node.op_type](node, attributes)
        if found is not None:
            self._tensors[node.output[0]] = found

    def maker(self, name: str) -> str:
        """Layer that makes a tensor; nothing if none does."""
        found = self._tensors.get(name)
        return found.layer if found and not found.parts else ""

    def _index(self, name: str) -> int:
        return next(at for at, layer in enumerate(self.layers) if layer.name == name)

    def _check_one(self, tensor: _Tensor) -> None:
        """Raise ``ValueError`` unless one layer makes the tensor."""
        if tensor.layer == INPUT:
            raise ValueError("the input cannot be changed")
        if tensor.parts:
            raise ValueError("several tensors side by side cannot be changed, but each before")

    def _changed(self, tensor: _Tensor, used: str, **changes: Any) -> GraphLayer:
        """Change the layer that makes a tensor, which nobody else reads."""
        self._check_one(tensor)
        if self._uses[used] > 1:
            raise ValueError(f"{used} is read by other nodes, too")
        at = self._index(tensor.layer)
        self.layers[at] = replace(self.layers[at], **changes)
        return self.layers[at]

    def _maker(self, tensor: _Tensor, *, linear: bool) -> GraphLayer:
        """Layer that makes a tensor and does not pool; ``linear``: has no function yet."""
        self._check_one(tensor)
        layer = self.layers[self._index(tensor.layer)]
        if layer.is_pooled or (linear and layer.function is not Function.IDENTITY):
            raise ValueError("it must follow the products of a layer")
        return layer

    def _append(
        self, tensor: _Tensor, kind: str, reads: LayerInput, weights: Array, parts: int = 1
    ) -> _Tensor:
        """Layer of a kind; ``reads`` and ``weights`` are of the channels as the file has them."""
        name, lines = self._name(kind), tensor.lines
        # Lines between the channels of several layers have no weights.
        spread = np.zeros((len(weights) // len(lines), lines[-1] + 1, weights.shape[1]))
        spread[:, lines] = weights.reshape(-1, len(lines), weights.shape[1])
        reads = replace(reads, channels=spread.shape[1])
        self.layers.append(GraphLayer(
            name=name, source=tensor.layer, joined=tuple(layer for layer, _ in tensor.parts[1:]),
            reads=reads, weights=spread.reshape(reads.matrix_rows, -1),
            bias=np.zeros(weights.shape[1]), function=Function.IDENTITY, parts=parts,
        ))  # fmt: skip
        return _Tensor(name, (*reads.positions, weights.shape[1]))

    def _name(self, kind: str) -> str:
        """Of another layer; some before may be gone."""
        self._named += 1
        return f"{kind}{self._named}"

    def _conv(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor, weights = self._tensors[node.input[0]], self._constants[node.input[1]]
        height, width, channels = tensor.shape
        parts = given.get("group", 1)
        if any(step != 1 for step in given.get("dilations", ())):
            raise ValueError("dilations must be 1")
        if weights.ndim != 4 or weights.shape[1] * parts != channels or len(weights) % parts:
            raise ValueError(
                f"weights must have shape (outputs, {channels} / {parts}, height, width), outputs"
                f" being a multiple of group = {parts}, not {weights.shape}"
            )
        kernel, stride = weights.shape[2:], tuple(given.get("strides", (1, 1)))
        is_only = self._uses[node.input[0]] == 1
        packed = tensor.layer == INPUT and is_only and channels < GROUP // 2
        padding = _padding(given, (height, width), kernel, stride)
        reads = LayerInput(
            height=height, width=width, channels=channels, kernel=kernel, stride=stride,
            padding=padding, packed=packed,
        )  # fmt: skip
        if is_only and kernel == stride == (1, 1) and not any(padding) and parts == 1:
            tensor, reads = self._without_pool(tensor, reads)
        # Weights between channels of two groups are 0.
        spread = np.zeros((*kernel, parts, channels // parts, parts, len(weights) // parts))
        grouped = weights.transpose(2, 3, 1, 0).reshape(*kernel, channels // parts, parts, -1)
        for part in range(parts):
            spread[:, :, part, :, part] = grouped[:, :, :, part]
        matrix = spread.reshape(reads.matrix_rows, -1)
        found = self._append(tensor, "conv", reads, matrix, parts=parts)
        if len(node.input) > 2:
            self.layers[-1] = replace(self.layers[-1], bias=self._bias(node.input[2]))
        return found

    def _matmul(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor, weights = self._tensors[node.input[0]], self._constants[node.input[1]]
        height, width, channels = tensor.shape
        if given.get("transA"):
            raise ValueError("transA must be 0")
        weights = given.get("alpha", 1.0) * (weights.T if given.get("transB") else weights)
        if weights.ndim != 2 or len(weights) != height * width * channels:
            raise ValueError(
                f"weights must have {height * width * channels} rows, not shape {weights.shape}"
            )
        if tensor.flat != "HWC" and height * width > 1:
            shape = (channels, height, width, -1)
            weights = weights.reshape(shape).transpose(1, 2, 0, 3).reshape(weights.shape)
        reads = LayerInput(height=height, width=width, channels=channels, kernel=(height, width))
        found = self._append(tensor, "dense", reads, weights)
        if len(node.input) > 2:
            self.layers[-1] = replace(
                self.layers[-1], bias=given.get("beta", 1.0) * self._bias(node.input[2])
            )
        return found

    def _bias(self, name: str) -> Array:
        return self._constants[name].astype(np.float64).reshape(-1)

    def _add(self, node: Any, given: dict[str, Any]) -> _Tensor:
        constant = [name for name in node.input if name in self._constants]
        tensors = [name for name in node.input if name not in self._constants]
        if len(node.input) != 2 or len(constant) > 1:
            raise ValueError(f"it must add two values, of which one is a tensor, not {node.input}")
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
            if other.parts:
                raise ValueError("several tensors side by side cannot be added")
            if layer.skip is None and self._uses[tensors[at]] == 1:
                self._changed(tensor, tensors[at], skip=other.layer)
                # Behind both.
                self.layers.append(self.layers.pop(self._index(tensor.layer)))
                return tensor
        raise ValueError("one of its tensors must be the products of a layer, read by it alone")

    def _place(self, tensor: _Tensor) -> int:
        return -1 if tensor.layer == INPUT or tensor.parts else self._rank(tensor.layer)

    def _rank(self, name: str) -> int:
        """Layers with a long way from the input come last."""
        layer = self.layers[self._index(name)]
        return 1 + (0 if layer.source == INPUT else self._rank(layer.source))

    def _function(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor = self._tensors[node.input[0]]
        self._maker(tensor, linear=True)
        self._changed(tensor, node.input[0], function=Function[node.op_type.upper()])
        return tensor

    def _filled(self, node: Any, given: dict[str, Any]) -> None:
        value = self._to_array(given["value"]) if "value" in given else np.zeros(1, np.float32)
        shape = self._constants[node.input[0]].tolist()
        self._constants[node.output[0]] = np.full(shape, value.item(), value.dtype)

    def _constant(self, node: Any, given: dict[str, Any]) -> None:
        if "value" not in given:
            raise ValueError(f"a constant must be a tensor, value, not {', '.join(given)}")
        self._constants[node.output[0]] = self._to_array(given["value"])

    def _pool(self, node: Any, given: dict[str, Any]) -> _Tensor:
        name = node.input[0]
        tensor, size = self._tensors[name], self._tensors[name].shape[:2]
        block, stride = tuple(given["kernel_shape"]), tuple(given.get("strides", (1, 1)))
        padding = _padding(given, size, block, stride)
        if given.get("ceil_mode", 0):
            padding = _padded_to_the_end(size, block, stride, padding)
        is_largest = node.op_type == "MaxPool"
        counts_padding = any(padding) and given.get("count_include_pad", 0)
        if not is_largest and not counts_padding and _covers(size, block, padding):
            return self._mean_of_frame(tensor, name)
        apart = stride == block and not any(padding) and not tensor.parts
        # A pool of a pool is a layer of its own.
        again = is_largest and (
            tensor.layer == INPUT or self.layers[self._index(tensor.layer)].is_pooled
        )
        if apart and self._uses[name] == 1 and not again:
            layer = self._maker(tensor, linear=False)
            reads = replace(layer.reads, block=block)
            kind = Pool.LARGEST if is_largest else Pool.MEAN
            self._changed(tensor, name, reads=reads, pool=kind)
            return replace(tensor, shape=(*reads.iterations, layer.outputs))
        if not is_largest:
            raise ValueError(
                f"blocks {block} must be apart and whole ones of {size} positions, of products that"
                " nothing else reads"
            )
        return self._largest(tensor, block, stride, padding)

    def _largest(
        self, tensor: _Tensor, kernel: Any, stride: Any, padding: tuple[int, int, int, int]
    ) -> _Tensor:
        """A layer for each of those that make a tensor, which takes the largest of windows."""
        makers = []
        for source, channels in tensor.makers:
            if source == INPUT:
                raise ValueError("the input cannot be pooled")
            reads = LayerInput(
                height=tensor.shape[0], width=tensor.shape[1], channels=channels, kernel=kernel,
                stride=stride, padding=padding, largest=True,
            )  # fmt: skip
            self.layers.append(GraphLayer.pooling(self._name("pool"), source, reads))
            makers.append((self.layers[-1].name, channels))
        return tensor.of(makers, shape=(*reads.positions, tensor.shape[2]))

    def _without_pool(self, tensor: _Tensor, reads: LayerInput) -> tuple[_Tensor, LayerInput]:
        """What a layer of single pixels reads if it takes the largest of windows itself, where all
        that makes its pixels are pools of the same windows that nothing else reads."""
        names = [name for name, _ in tensor.makers]
        if INPUT in names or tensor.shared:
            return tensor, reads
        pools = [self.layers[self._index(name)] for name in names]
        sources = {pool.source for pool in pools}
        windows = {replace(pool.reads, channels=1) for pool in pools}
        alike = len(sources) == len(pools) and len(windows) == 1
        if not alike or not all(pool.only_pools for pool in pools):
            return tensor, reads
        self.layers = [layer for layer in self.layers if layer.name not in names]
        found = tensor.of([(pool.source, pool.columns) for pool in pools])
        return found, replace(pools[0].reads, channels=reads.channels)

    def _mean(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensor = self._tensors[node.input[0]]
        found = self._mean_of_frame(tensor, node.input[0])
        if node.op_type == "GlobalAveragePool":
            return found
        axes = given.get("axes")
        if axes is None and len(node.input) > 1:
            axes = self._constants[node.input[1]].tolist()
        wanted = [1, 2] if tensor.last else [2, 3]
        if axes is None or sorted(axis % 4 for axis in axes) != wanted:
            raise ValueError(f"axes must be those of height and width, {wanted}, not {axes}")
        return found if given.get("keepdims", 1) else replace(found, flat="HWC")

    def _mean_of_frame(self, tensor: _Tensor, used: str) -> _Tensor:
        if tensor.shared:
            raise ValueError(f"a part of {used} is read by other nodes, too")
        for name, channels in tensor.makers:
            one = _Tensor(name, (*tensor.shape[:2], channels))
            self._maker(one, linear=False)
            self._changed(one, used, pool=Pool.FRAME)
        return replace(tensor, shape=(1, 1, tensor.shape[2]))

    def _normalise(self, node: Any, given: dict[str, Any]) -> _Tensor:
        """Batch normalisation with fixed statistics, as other weights and biases."""
        tensor = self._tensors[node.input[0]]
        layer = self._maker(tensor, linear=True)
        if layer.skip is not None:
            raise ValueError("it must not follow a sum of two tensors")
        scale, shift, mean, variance = map(self._bias, node.input[1:5])
        scale = scale / np.sqrt(variance + given.get("epsilon", 1e-5))
        self._changed(
            tensor, node.input[0], weights=layer.weights * scale,
            bias=(layer.bias - mean) * scale + shift,
        )  # fmt: skip
        return tensor

    def _same(self, node: Any, given: dict[str, Any]) -> _Tensor | None:
        name = node.input[0]
        if name in self._constants:
            self._constants[node.output[0]] = self._constants[name]
            return None
        return self._seen(node)

    def _last(self, node: Any, given: dict[str, Any]) -> _Tensor:
        """Left out behind the last layer: the largest output stays the largest."""
        if node.output[0] not in self._outputs or self._uses[node.output[0]] > 1:
            raise ValueError("it must come last")
        return self._seen(node)

    def _seen(self, node: Any) -> _Tensor:
        """The same tensor under another name: whoever reads one of the names reads both."""
        one, other = node.input[0], node.output[0]
        self._uses[other] = self._uses.get(other, 0) + self._uses[one] - 1
        return self._tensors[one]

    def _concat(self, node: Any, given: dict[str, Any]) -> _Tensor:
        tensors = [self._tensors[name] for name in node.input]
        first = tensors[0]
        axis = 3 if first.last else 1
        if first.flat or given["axis"] % 4 != axis:
            raise ValueError(f"axis must be that of the channels, {axis}, not {given['axis']}")
        for name, one in zip(node.input, tensors, strict=True):
            if one.shape[:2] != first.shape[:2] or one.last != first.last or one.flat:
                raise ValueError(
                    f"height and width must be {first.shape[:2]} of all, not {one.shape[:2]} of"
                    f" {name}"
                )
        makers = [maker for one in tensors for maker in one.makers]
        shape = (*first.shape[:2], sum(channels for _, channels in makers))
        shared = any(one.shared for one in tensors) or any(
            self._uses[name] > 1 for name in node.input
        )
        return first.of(makers, shape=shape, shared=shared)

    def _reshape(self, node: Any, given: dict[str, Any]) -> _Tensor | None:
        name = node.input[0]
        if name in self._constants:
            shape = self._constants[node.input[1]]
            self._constants[node.output[0]] = self._constants[name].reshape(shape)
            return None
        tensor = self._seen(node)
        height, width, channels = tensor.shape
        if node.op_type == "Reshape":
            shape = self._constants[node.input[1]].tolist()
            if len(shape) != 2 or shape[1] not in (-1, height * width * channels):
                raise ValueError(f"shape must be that of one vector an image, not {shape}")
        elif node.op_type == "Flatten" and given.get("axis", 1) != 1:
            raise ValueError(f"axis must be 1, not {given['axis']}")
        elif node.op_type == "Squeeze" and height * width > 1:
            raise ValueError(f"height and width must be 1, not {height} and {width}")
        return replace(tensor, flat="HWC" if tensor.last else "CHW")

    def _transpose(self, node: Any, given: dict[str, Any]) -> _Tensor:
        if list(given["perm"]) != [0, 2, 3, 1]:
            raise ValueError(f"perm must be [0, 2, 3, 1], not {list(given['perm'])}")
        return replace(self._seen(node), last=True)


def _covers(size: Sequence[int], kernel: Sequence[int], padding: Sequence[int]) -> bool:
    """All of a frame is in the first window."""
    return all(
        width - before >= length
        for length, width, before in zip(size, kernel, padding[:2], strict=True)
    )


def _padded_to_the_end(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, int, int, int]:  # fmt: skip
    """With as much padding below and right as the last window needs that begins in the frame."""
    top, left, bottom, right = padding
    ends = []
    for length, width, step, before, after in zip(
        size, kernel, stride, (top, left), (bottom, right), strict=True
    ):
        last = -(-(before + length + after - width) // step) * step
        last = last if last < before + length else last - step
        ends.append(max(after, last + width - before - length))
    return top, left, ends[0], ends[1]


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
