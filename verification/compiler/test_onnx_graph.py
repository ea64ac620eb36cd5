# SPDX-License-Identifier: Apache-2.0
"""Graphs of ONNX files compute what the files say; what cannot be mapped is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.graph import Pool
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.models.compiler.tile import long_input
from phasecore.models.compiler.windows import LayerInput
from phasecore.rtl.spec.core import DEFAULT

onnx = pytest.importorskip("onnx")
reference = pytest.importorskip("onnx.reference")


def constant(name, values):
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def stored(path, nodes, constants, shape, output, drop=()):
    make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "g", [make("x", kind, (1, *shape))], [make(output, kind, None)], constants
    )
    onnx.save(onnx.helper.make_model(graph), path)
    return load_graph(path, name="net", dataset="none", largest=1.0, drop=drop)


def node(kind, inputs, output, **attributes):
    return onnx.helper.make_node(kind, inputs, [output], name=f"n_{output}", **attributes)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_residual_and_dense(tmp_path, rng):
    """Layer of the sum comes behind both; rows of a matrix are channels last."""
    first, second = rng.normal(size=(2, 1, 3, 3)), rng.normal(size=(2, 2, 3, 3))
    matrix, bias = rng.normal(size=(2 * 2 * 2, 3)), rng.normal(size=3)
    graph = stored(
        tmp_path / "a.onnx",
        [
            node("Conv", ["x", "w1"], "a", auto_pad="SAME_UPPER"),
            node("Relu", ["a"], "b"),
            node("Conv", ["b", "w2"], "c", pads=[1, 1, 1, 1]),
            node("Add", ["b", "c"], "d"),
            node("Relu", ["d"], "e"),
            node("Conv", ["e", "w2"], "f", pads=[1, 1, 1, 1]),
            node("MaxPool", ["f"], "g", kernel_shape=[2, 2], strides=[2, 2]),
            node("Reshape", ["g", "shape"], "h"),
            node("MatMul", ["h", "m"], "i"),
            node("Add", ["i", "bias"], "j"),
        ],
        [constant("w1", first), constant("w2", second), constant("m", matrix),
         constant("bias", bias), constant("shape", np.array([1, -1]))],
        (1, 4, 4), "j",
    )  # fmt: skip
    names = [layer.name for layer in graph.layers]
    assert names == ["conv1", "conv2", "conv3", "dense4"]
    assert [layer.skip for layer in graph.layers] == [None, "conv1", None, None]
    assert graph.layers[2].pool is Pool.LARGEST
    image = rng.integers(0, 128, (1, 16)).astype(np.uint8)

    def convolved(frame, weights):
        padded = np.pad(frame, ((0, 0), (1, 1), (1, 1)))
        views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum("chwkl,ockl->ohw", views, weights)

    b = np.maximum(convolved(image.reshape(1, 4, 4) / 127, first), 0)
    f = convolved(np.maximum(b + convolved(b, second), 0), second)
    g = f.reshape(2, 2, 2, 2, 2).max(axis=(2, 4))
    assert np.allclose(graph.outputs(image)[0], g.reshape(-1) @ matrix + bias)


def test_what_may_be_dropped_is_left_out(tmp_path, rng):
    """Between a function and the pool behind it: as if it were not there."""
    weights = constant("w", rng.normal(size=(2, 1, 3, 3)))
    path = tmp_path / "a.onnx"

    def graph(between, drop):
        nodes = [
            node("Conv", ["x", "w"], "a", pads=[1, 1, 1, 1]), node("Relu", ["a"], "b"), *between,
            node("MaxPool", ["c" if between else "b"], "d", kernel_shape=[2, 2], strides=[2, 2]),
        ]  # fmt: skip
        return stored(path, nodes, [weights], (1, 4, 4), "d", drop=drop)

    dropped = graph([node("LRN", ["b"], "c", size=3)], ("LRN",))
    image = rng.integers(0, 128, (1, 16)).astype(np.uint8)
    assert np.array_equal(dropped.outputs(image), graph([], ()).outputs(image))
    assert dropped.layers[0].pool is Pool.LARGEST


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "AveragePool", "ReduceMean"])
def test_groups_and_mean_of_a_frame(tmp_path, rng, kind):
    """Channels of one group see no others; normalisation is in weights and biases."""
    grouped, shift = rng.normal(size=(6, 2, 3, 3)), rng.normal(size=6)
    factors = [rng.normal(size=6), rng.normal(size=6), rng.normal(size=6), rng.random(6) + 0.1]
    matrix = rng.normal(size=(3, 6))
    attributes = {
        "GlobalAveragePool": {},
        "AveragePool": {"kernel_shape": [3, 2], "strides": [3, 2]},
        "ReduceMean": {"axes": [2, 3], "keepdims": 1},
    }[kind]
    graph = stored(
        tmp_path / "a.onnx",
        [
            node("Conv", ["x", "w", "b"], "a", group=2),
            node("BatchNormalization", ["a", "0", "1", "2", "3"], "b1", epsilon=0.01),
            node("Relu", ["b1"], "c"),
            node(kind, ["c"], "d", **attributes),
            node("Flatten", ["d"], "e"),
            node("Gemm", ["e", "m"], "f", transB=1, alpha=0.5),
            node("Softmax", ["f"], "g"),
        ],
        [constant("w", grouped), constant("b", shift), constant("m", matrix),
         *(constant(str(at), values) for at, values in enumerate(factors))],
        (4, 5, 4), "g",
    )  # fmt: skip
    conv, dense = graph.layers
    assert (conv.pool, conv.parts, conv.vectors, dense.reads.matrix_rows) == (Pool.FRAME, 2, 1, 6)
    image = rng.integers(0, 128, (1, 80)).astype(np.uint8)
    frame = image.reshape(5, 4, 4).transpose(2, 0, 1) / 127
    views = np.lib.stride_tricks.sliding_window_view(frame, (3, 3), axis=(1, 2))
    halves = [
        np.einsum("chwkl,ockl->ohw", views[2 * at : 2 * at + 2], grouped[3 * at : 3 * at + 3])
        for at in range(2)
    ]
    scale, offset, mean, variance = (one[:, None, None] for one in factors)
    sums = np.concatenate(halves) + shift[:, None, None]
    normal = np.maximum((sums - mean) / np.sqrt(variance + 0.01) * scale + offset, 0)
    assert np.allclose(graph.outputs(image)[0], 0.5 * matrix @ normal.mean(axis=(1, 2)))


def test_tensors_side_by_side(tmp_path, rng):
    """Channels of each begin at a multiple of 8; a matrix behind them has rows of its own order."""
    ones, threes = rng.normal(size=(3, 2, 1, 1)), rng.normal(size=(2, 2, 3, 3))
    matrix = rng.normal(size=(7 * 4, 3))
    graph = stored(
        tmp_path / "a.onnx",
        [
            node("Conv", ["x", "w1"], "a"),
            node("Conv", ["x", "w3"], "b", pads=[1, 1, 1, 1]),
            node("Relu", ["b"], "c"),
            node("Concat", ["a", "c"], "d", axis=1),
            node("Concat", ["d", "x"], "e", axis=1),
            node("Flatten", ["e"], "f"),
            node("MatMul", ["f", "m"], "g"),
        ],
        [constant("w1", ones), constant("w3", threes), constant("m", matrix)],
        (2, 2, 2), "g",
    )  # fmt: skip
    last = graph.layers[-1]
    assert (last.sources, last.reads.channels) == (("conv1", "conv2", "input"), 18)
    assert [part.start for part in graph.lines(last)] == [0, 8, 16]
    image = rng.integers(0, 128, (1, 8)).astype(np.uint8)
    frame = image.reshape(2, 2, 2).transpose(2, 0, 1) / 127
    a = np.einsum("chw,oc->ohw", frame, ones[:, :, 0, 0])
    padded = np.pad(frame, ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    c = np.maximum(np.einsum("chwkl,ockl->ohw", views, threes), 0)
    assert np.allclose(graph.outputs(image)[0], np.concatenate([a, c, frame]).ravel() @ matrix)


def test_pools_whose_windows_overlap(tmp_path, rng):
    """Layers of their own, or in the windows of the only layer that reads them; several means."""
    path = tmp_path / "a.onnx"
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    around = {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("MaxPool", ["a"], "b", **pool, ceil_mode=1),
        node("Conv", ["b", "w1"], "c"),
        node("Conv", ["b", "w2"], "d"),
        node("Concat", ["c", "d"], "e", axis=1),
        node("MaxPool", ["e"], "f", **around),
        node("Conv", ["f", "w3"], "g"),
        node("MaxPool", ["e"], "h", kernel_shape=[2, 2], strides=[2, 2]),
        node("Relu", ["g"], "j"),
        node("MaxPool", ["j"], "k", **pool, pads=[1, 1, 0, 0]),
        node("Concat", ["h", "k"], "l", axis=1),
        node("Conv", ["l", "w4"], "m"),
        node("Conv", ["l", "w5"], "n"),
        node("Concat", ["m", "n"], "o", axis=1),
        node("AveragePool", ["o"], "p", kernel_shape=[3, 3], pads=[0, 0, 1, 2]),
        node("Flatten", ["p"], "q"),
        node("Gemm", ["q", "w6"], "r", transB=1),
    ]
    shapes = {"w": (2, 2, 1, 1), "w1": (3, 2, 1, 1), "w2": (2, 2, 1, 1), "w3": (4, 5, 1, 1),
              "w4": (3, 9, 1, 1), "w5": (2, 9, 1, 1), "w6": (3, 5)}  # fmt: skip
    constants = [constant(name, rng.normal(size=shape)) for name, shape in shapes.items()]
    graph = stored(path, nodes, constants, (2, 8, 7), "r")
    found = {layer.name: layer for layer in graph.layers}
    only = [layer.source for layer in graph.layers if layer.only_pools]
    first, second, *_ = only
    assert len(only) == 4
    fused = [layer for layer in graph.layers if layer.reads.largest and not layer.only_pools]
    assert [layer.reads.kernel for layer in fused] == [(3, 3)]
    assert found[first].name == "conv1"
    assert second in fused[0].sources
    model = onnx.load(path)
    images = rng.integers(0, 128, (3, 112)).astype(np.uint8)
    frames = (images.reshape(3, 8, 7, 2).transpose(0, 3, 1, 2) / 127).astype(np.float64)
    evaluator = reference.ReferenceEvaluator(model)
    exact = [evaluator.run(None, {"x": frame[np.newaxis]})[0] for frame in frames]
    assert np.allclose(graph.outputs(images), np.concatenate(exact))


def test_pools_of_pools_and_of_several_sizes(tmp_path, rng):
    """Pools of windows of two sizes side by side stay layers, whoever reads them."""
    path = tmp_path / "a.onnx"
    nodes = [
        node("Conv", ["x", "w"], "a"),
        node("MaxPool", ["a"], "b", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", ["b"], "c", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("MaxPool", ["c"], "d", kernel_shape=[1, 2], pads=[0, 0, 0, 1]),
        node("MaxPool", ["b"], "e", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Concat", ["d", "e"], "f", axis=1),
        node("Conv", ["f", "w1"], "g"),
        node("MaxPool", ["g"], "h", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w2"], "i"),
        node("Conv", ["g", "w2"], "j"),
        node("Concat", ["i", "j"], "k", axis=1),
        node("MaxPool", ["k"], "l", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", ["l"], "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["m"], "n"),
        node("Gemm", ["n", "w3"], "o", transB=1),
    ]
    shapes = {"w": (2, 1, 1, 1), "w1": (3, 4, 1, 1), "w2": (2, 3, 1, 1), "w3": (3, 4)}
    constants = [constant(name, rng.normal(size=shape)) for name, shape in shapes.items()]
    graph = stored(path, nodes, constants, (1, 8, 8), "o")
    names = [layer.name for layer in graph.layers]
    assert len(set(names)) == len(names)
    # The first pool is of a block, the one before i in its windows.
    assert sum(layer.only_pools for layer in graph.layers) == 3 + 2 + 2
    assert [layer.reads.largest for layer in graph.layers if not layer.only_pools].count(True) == 1
    images = rng.integers(0, 128, (2, 64)).astype(np.uint8)
    evaluator = reference.ReferenceEvaluator(onnx.load(path))
    exact = [evaluator.run(None, {"x": image.reshape(1, 1, 8, 8) / 127})[0] for image in images]
    assert np.allclose(graph.outputs(images), np.concatenate(exact))


def test_outputs_and_inputs_must_be_clear(tmp_path, rng):
    """What is not of the last layer would not be inferred; who reads a view reads the tensor."""
    weights = constant("w", rng.normal(size=(2, 2, 1, 1)))
    first, second = node("Conv", ["x", "w"], "a"), node("Conv", ["a", "w"], "b")
    with pytest.raises(ValueError, match="outputs must be that of the last layer alone"):
        stored(tmp_path / "a.onnx", [first, second], [weights], (2, 4, 4), "a")
    with pytest.raises(ValueError, match="has no layer"):
        stored(tmp_path / "a.onnx", [], [weights], (2, 4, 4), "x")
    with pytest.raises(ValueError, match="input x must have axes for image"):
        stored(tmp_path / "a.onnx", [first], [weights], (2, 4), "a")
    nodes = [first, node("Softmax", ["a"], "s"), node("Conv", ["s", "w"], "b")]
    with pytest.raises(ValueError, match="node n_s: it must come last"):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "b")
    nodes = [first, node("Concat", ["a", "x"], "c", axis=1), node("Relu", ["c"], "r")]
    with pytest.raises(ValueError, match="node n_r: several tensors side by side"):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "r")
    nodes = [first, node("Concat", ["a", "x"], "c", axis=2)]
    with pytest.raises(ValueError, match="node n_c: axis must be that of the channels, 1, not 2"):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "c")
    nodes = [node("Conv", ["x", "w"], "a", strides=[2, 2]),
             node("Concat", ["a", "x"], "c", axis=1)]  # fmt: skip
    with pytest.raises(ValueError, match=r"must be \(2, 2\) of all, not \(4, 4\) of x"):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "c")
    nodes = [first, node("Identity", ["a"], "i"), node("Relu", ["i"], "r"),
             node("Conv", ["a", "w"], "c"), node("Add", ["c", "r"], "d")]  # fmt: skip
    with pytest.raises(ValueError, match="node n_r: i is read by other nodes, too"):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "d")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("LRN", ["a"], "y", {"size": 3}), "n_y: LRN cannot be mapped; --allow-drop leaves it out"),
        (("Conv", ["a", "w"], "y", {"dilations": [2, 2]}), "node n_y: dilations must be 1"),
        (("Conv", ["a", "w"], "y", {"group": 2}),
         r"node n_y: weights must have shape \(outputs, 2 / 2, height, width\)"),
        (("AveragePool", ["a"], "y", {"kernel_shape": [3, 3], "strides": [1, 1]}),
         r"node n_y: blocks \(3, 3\) must be apart and whole ones of \(4, 4\) positions"),
        (("AveragePool", ["a"], "y", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4}),
         r"node n_y: blocks \(2, 2\) must be apart"),
        (("AveragePool", ["a"], "y", {"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1}),
         r"node n_y: blocks \(3, 3\) must be apart"),
        (("MaxPool", ["a"], "y", {"kernel_shape": [5, 5], "strides": [5, 5]}),
         "node n_y: rows of a block must be at most 4, not 5"),
        (("MaxPool", ["a"], "y", {"kernel_shape": [5, 5], "strides": [1, 1]}),
         r"node n_y: kernel height must be in 1\.\.4, not 5"),
        (("MaxPool", ["x"], "y", {"kernel_shape": [2, 2]}), "node n_y: the input cannot be pooled"),
        (("ReduceMean", ["a"], "y", {"axes": [1]}), "node n_y: axes must be those of height"),
        (("GlobalAveragePool", ["x"], "y", {}), "node n_y: the input cannot be changed"),
        (("Reshape", ["a", "w"], "y", {}), "node n_y: shape must be that of one vector"),
        (("Gemm", ["a", "w"], "y", {}), "node n_y: weights must have 32 rows"),
        (("Gemm", ["a", "w"], "y", {"transA": 1}), "node n_y: transA must be 0"),
        (("Relu", ["x"], "y", {}), "node n_y: the input cannot be changed"),
        (("Relu", ["nothing"], "y", {}), "node n_y: no tensor 'nothing'"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped_is_refused(tmp_path, rng, wrong, message):
    kind, inputs, output, attributes = wrong
    weights = constant("w", rng.normal(size=(2, 2, 1, 1)))
    nodes = [node("Conv", ["x", "w"], "a"), node(kind, inputs, output, **attributes)]
    with pytest.raises(ValueError, match=message):
        stored(tmp_path / "a.onnx", nodes, [weights], (2, 4, 4), "y")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\.onnx is no ONNX file"):
        load_graph(path, name="net", dataset="none", largest=1.0)
    with pytest.raises(FileNotFoundError):
        load_graph(tmp_path / "b.onnx", name="net", dataset="none", largest=1.0)


def test_functions_constants_and_dropout(tmp_path, rng):
    """A perceptron as a trainer writes it, its weights being nodes."""
    first, last = rng.normal(size=(6, 9)), rng.normal(size=(3, 6))
    weights = onnx.numpy_helper.from_array(first, "held")
    graph = stored(
        tmp_path / "a.onnx",
        [
            onnx.helper.make_node("Constant", [], ["w1"], value=weights),
            node("Flatten", ["x"], "a"),
            node("Gemm", ["a", "w1"], "b", transB=1),
            node("Tanh", ["b"], "c"),
            node("Dropout", ["c"], "d"),
            node("Gemm", ["d", "w2"], "e", transB=1),
            node("Sigmoid", ["e"], "f"),
        ],
        [constant("w2", last)], (1, 3, 3), "f",
    )  # fmt: skip
    images = rng.integers(0, 127, (4, 9)).astype(np.uint8)
    exact = 1 / (1 + np.exp(-np.tanh(images * graph.code @ first.T) @ last.T))
    assert np.allclose(graph.outputs(images), exact)
    row = long_input(graph, DEFAULT.replace(rows=8, cols=8, post_lanes=8, update_lanes=8))
    assert row.shape == (1, 3, 3)
    assert np.allclose(row.outputs(images), exact)
    assert long_input(graph, DEFAULT).shape == (1, 1, 9)
    whole = LayerInput(height=28, width=28, channels=1, kernel=(28, 28))
    first = replace(graph.layers[0], reads=whole)
    wide = replace(graph, layers=(first, graph.layers[1]), shape=(28, 28, 1))
    assert long_input(wide, DEFAULT).layers[0].reads.kernel == (1, 4)


def test_sums_of_three_are_refused(tmp_path, rng):
    kernel = rng.normal(size=(2, 1, 1, 1))
    nodes = [node("Conv", ["x", "w"], name) for name in "abc"] + [node("Sum", ["a", "b", "c"], "d")]
    with pytest.raises(ValueError, match="node n_d: it must add two values"):
        stored(tmp_path / "a.onnx", nodes, [constant("w", kernel)], (1, 4, 4), "d")
