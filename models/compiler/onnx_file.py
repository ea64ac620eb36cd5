# SPDX-License-Identifier: Apache-2.0
"""ONNX files of graphs whose layers follow one another: networks that were trained here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phasecore import files
from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
from phasecore.models.compiler.onnx_graph import package_for
from phasecore.rtl.spec.instructions import Function

__all__ = ["store_graph"]

OPSET = 13
IR_VERSION = 8
"""As old as the operators need, so that any runtime reads the file."""

_POOLS = {Pool.MEAN: "AveragePool", Pool.LARGEST: "MaxPool", Pool.FRAME: "GlobalAveragePool"}


def store_graph(graph: Graph, path: Path) -> None:
    """Write a graph, in floating point; its input is that of one image or of several.

    Input (images, channels, height, width), or (images, values) of a perceptron: the value of a
    code times ``graph.code``, for networks trained here 0 to 1.

    Raises
    ------
    ValueError
        naming the layer, for layers that do not follow one another
    ImportError
        without the package ``onnx``
    """
    onnx = package_for(path)
    kind = onnx.TensorProto.FLOAT
    height, width, channels = graph.shape
    is_row = height == width == 1
    shape = (channels,) if is_row else (channels, height, width)
    nodes: list[Any] = []
    constants: list[Any] = []
    before = INPUT
    for layer in graph.layers:
        if layer.inputs != (before,) or layer.groups > 1:
            raise ValueError(f"layer {layer.name} does not follow {before} alone")
        operators = [*_operators(layer, is_row=is_row)]
        for number, (operator, values, attributes) in enumerate(operators, 1):
            names = [f"{layer.name}_{name}" for name in values]
            constants += [
                onnx.numpy_helper.from_array(value.astype(np.float32), name)
                for name, value in zip(names, values.values(), strict=True)
            ]
            is_last = number == len(operators)
            made = layer.name if is_last else f"{layer.name}_{operator.lower()}"
            nodes.append(onnx.helper.make_node(
                operator, [before, *names], [made], name=made, **attributes
            ))  # fmt: skip
            before = made
        is_row = layer.reads.positions == (1, 1)
    last = graph.layers[-1]
    frame = (1, 1) if last.pool is Pool.FRAME else last.reads.iterations
    made_shape = (last.outputs,) if is_row else (last.outputs, *frame)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, graph.name,
            [onnx.helper.make_tensor_value_info(INPUT, kind, ("images", *shape))],
            [onnx.helper.make_tensor_value_info(before, kind, ("images", *made_shape))], constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="phasecore",
    )  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    files.write(path, model.SerializeToString())


def _operators(
    layer: GraphLayer, *, is_row: bool
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Operators of a layer, each behind the one before: name, values, attributes."""
    reads = layer.reads
    kernel, window = reads.kernel, {"pads": [*reads.padding], "strides": reads.stride}
    if reads.largest:
        if kernel != (1, 1):
            yield "MaxPool", {}, {"kernel_shape": kernel, **window}
        # What is read of its output are single pixels.
        kernel, window = (1, 1), {}
    if not layer.only_pools:
        matrix = layer.weights.reshape(*kernel, reads.channels, layer.columns)
        if reads.positions == (1, 1) and layer.pool is Pool.NONE:
            if not is_row:
                yield "Flatten", {}, {}
            # Flattened channels come first.
            rows = matrix.transpose(2, 0, 1, 3).reshape(-1, layer.columns)
            yield "Gemm", {"weights": rows, "bias": layer.bias}, {}
        else:
            values = {"weights": matrix.transpose(3, 2, 0, 1), "bias": layer.bias}
            yield "Conv", values, window
    if layer.function is not Function.IDENTITY:
        yield layer.function.name.capitalize(), {}, {}
    if layer.pool is not Pool.NONE:
        block = {"kernel_shape": reads.block, "strides": reads.block}
        yield _POOLS[layer.pool], {}, {} if layer.pool is Pool.FRAME else block
