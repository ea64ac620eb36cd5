# SPDX-License-Identifier: Apache-2.0
"""Networks as ONNX files compute elsewhere what they compute here."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.graph import INPUT, Graph, Pool, from_network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.compiler.onnx_file import store_graph
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.rtl.spec.instructions import Function
from phasecore.verification.compiler.graphs import layer, pool, pooled, residual

reference = pytest.importorskip("onnx.reference")


def trained(name):
    rng = np.random.default_rng(2)
    network = NETWORKS[name]
    return from_network(
        network, [rng.normal(0, 0.3, (layer.rows, layer.outputs)) for layer in network.layers]
    )


def overlapping(rng):
    """Pools whose windows overlap, before a layer and in the windows of one."""
    around = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
    small = {"height": 4, "width": 4}
    layers = (
        layer(rng, "first", INPUT, 2, height=7, width=7, channels=1, **around, packed=True),
        pool("pool", "first", height=7, width=7, channels=2, **around, stride=(2, 2)),
        layer(rng, "next", "pool", 3, **small, channels=2, **around, function=Function.TANH),
        layer(rng, "last", "next", 4, **small, channels=3, **around, largest=True, pool=Pool.FRAME),
    )  # fmt: skip
    return Graph(name="overlapping", dataset="none", shape=(7, 7, 1), layers=layers)


def elsewhere(graph, path, images):
    """What ONNX's own evaluator makes of a file."""
    height, width, channels = graph.shape
    values = (images * graph.code).astype(np.float32).reshape(-1, height, width, channels)
    values = values.transpose(0, 3, 1, 2)
    if height == width == 1:
        values = values.reshape(len(images), channels)
    (found,) = reference.ReferenceEvaluator(str(path)).run(None, {"input": values})
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found


@pytest.mark.parametrize(
    "make",
    [
        lambda: trained("lenet-5"),
        lambda: trained("mlp-784-250-10"),
        lambda: trained("mlp-64-50-10"),
        lambda: pooled(np.random.default_rng(1)),
        lambda: pooled(np.random.default_rng(1), Pool.MEAN, Function.TANH),
        lambda: overlapping(np.random.default_rng(1)),
    ],
    ids=["lenet-5", "five cores", "a core", "largest", "mean", "overlapping"],
)
def test_a_file_computes_the_same(tmp_path, make):
    graph = make()
    images = np.random.default_rng(3).integers(0, 128, (3, graph.inputs)).astype(np.uint8)
    path = tmp_path / "network.onnx"
    store_graph(graph, path)
    exact = graph.outputs(images)
    found = elsewhere(graph, path, images).reshape(exact.shape)
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()
    again = load_graph(path, name=graph.name, dataset="none", largest=1)
    assert np.abs(again.outputs(images) - exact).max() < 1e-5 * np.abs(exact).max()
    assert [layer.function for layer in again.layers] == [one.function for one in graph.layers]
    assert [layer.pool for layer in again.layers] == [one.pool for one in graph.layers]


def test_branches_are_refused(tmp_path):
    graph = residual(np.random.default_rng(1))
    with pytest.raises(ValueError, match="layer side does not follow down alone"):
        store_graph(graph, tmp_path / "a.onnx")
    packed = replace(trained("lenet-5")).with_packed_first()
    with pytest.raises(ValueError, match="layer layer0 does not follow input alone"):
        store_graph(packed, tmp_path / "a.onnx")
    assert not [*tmp_path.iterdir()]
