# SPDX-License-Identifier: Apache-2.0
"""Networks of ONNX files learn: ranges by rules, places by what fits; refused by name otherwise."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from phasecore.models.compiler.convolution import CONV_NETWORKS, ConvNetwork, conv, dense
from phasecore.models.compiler.graph import GraphLayer, Pool, from_network
from phasecore.models.compiler.network import ChipNetwork, Layer, Network
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.compiler.onnx_file import store_graph
from phasecore.models.compiler.trainable import named_network, trainable
from phasecore.models.golden.device import IDEAL
from phasecore.models.training import checkpoint as checkpoints
from phasecore.models.training.checkpoint import Run
from phasecore.models.training.datasets import load
from phasecore.rtl.spec.instructions import Function


def graph_of(network):
    return from_network(network, [np.zeros((one.rows, one.outputs)) for one in network.layers])


def perceptron(*sizes):
    layers = tuple(
        Layer(inputs=inputs, outputs=outputs, row_start=0, col_start=0)
        for inputs, outputs in pairwise(sizes)
    )
    return graph_of(replace(NETWORKS["mlp-8-6-10"], name="own", layers=layers))


def convolutional(*layers):
    return graph_of(replace(CONV_NETWORKS["conv-8x8"], name="own", layers=layers))


def test_rules_are_those_of_lenet():
    lenet = CONV_NETWORKS["lenet-5"]
    found = trainable(graph_of(lenet))
    assert found.layers == lenet.layers
    assert (found.config, found.chip) == (lenet.config, lenet.chip.replace(core=lenet.config))


@pytest.mark.parametrize("name", ["mlp-196-50-10", "mlp-784-250-10"])
def test_rules_are_those_of_perceptrons(name):
    """Rates and ranges, and as many tiles; on one core layers may be elsewhere."""
    known = NETWORKS[name]
    found = trainable(graph_of(known))
    assert (type(found), found.training, found.config) == (
        type(known),
        known.training,
        known.config,
    )
    assert getattr(found, "tiles", 0) == getattr(known, "tiles", 0)
    for one, other in zip(found.layers, known.layers, strict=True):
        assert replace(one, row_start=0) == replace(other, row_start=0)


def test_the_smallest_hardware_is_taken():
    assert type(trainable(perceptron(200, 40, 10))) is Network
    chip = trainable(perceptron(300, 40, 20, 10))
    assert isinstance(chip, ChipNetwork)
    assert (chip.tiles, chip.chip.noc.nodes) == (2, 6)
    assert trainable(perceptron(1000, 40, 10)).tiles == 4
    # Three tiles of 15 pixels, and 152 instructions of the convolution before them.
    layers = conv(28, 1, 8, 3, padding=1), conv(14, 8, 16, 3), dense(576, 64)
    found = trainable(convolutional(*layers, dense(64, 10, function=Function.SIGMOID)))
    assert isinstance(found, ConvNetwork)
    assert (found.config.program_depth, len(found.chip.cores)) == (256, 11)


def test_a_last_layer_without_function_becomes_a_sigmoid():
    graph = perceptron(64, 20, 10)
    last = replace(graph.layers[-1], function=Function.IDENTITY)
    assert trainable(replace(graph, layers=(*graph.layers[:-1], last))) == trainable(graph)


def changed(graph, at, **fields):
    layers = list(graph.layers)
    if unknown := {name: fields.pop(name) for name in [*fields] if not hasattr(GraphLayer, name)
                   and name not in GraphLayer.__dataclass_fields__}:  # fmt: skip
        fields["reads"] = replace(layers[at].reads, **unknown)
    layers[at] = replace(layers[at], **fields)
    return replace(graph, layers=tuple(layers))


OWN = convolutional(conv(8, 1, 6, 3, padding=1), dense(96, 10, function=Function.SIGMOID))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (changed(perceptron(64, 20, 10), 0, function=Function.RELU),
         r"layer layer0: function must be sigmoid, in a network without convolutions, not relu"),
        (changed(OWN, 0, function=Function.RELU),
         r"layer layer0: function must be tanh or sigmoid, not relu"),
        (changed(OWN, 1, function=Function.TANH),
         r"layer layer1: function must be sigmoid at the end, not tanh"),
        (changed(OWN, 0, pool=Pool.LARGEST),
         r"layer layer0: pool must be the mean, or none, not largest"),
        (changed(OWN, 0, stride=(2, 2)), r"layer layer0: stride must be 1, not \(2, 2\)"),
        (changed(OWN, 0, padding=(1, 1, 0, 0)),
         r"layer layer0: padding must be the same on all sides, not \(1, 1, 0, 0\)"),
        (changed(OWN, 1, largest=True),
         r"layer layer1: largest must be false \(pools of the largest do not train\), not True"),
        (changed(OWN, 1, skip="layer0"),
         r"layer layer1: inputs must be layer0 alone, not layer0, layer0"),
        (perceptron(300, 300, 10), r"own needs 61 rows and 300 columns for each of 5 tiles"),
        (convolutional(conv(28, 1, 16, 17), dense(576, 10, function=Function.SIGMOID)),
         r"layer layer0: kernel must have at most 255 cells, not 289"),
    ],
)  # fmt: skip
def test_refused_by_name(graph, message):
    with pytest.raises(ValueError, match=message):
        trainable(graph)


def test_names_and_files(tmp_path):
    pytest.importorskip("onnx")
    assert named_network("lenet-5") is NETWORKS["lenet-5"]
    with pytest.raises(ValueError, match=r"^network must be one of mlp.*, not 'none.onnx'$"):
        named_network("none.onnx")
    path = tmp_path / "own.onnx"
    store_graph(OWN, path)
    assert named_network(path) == trainable(OWN)
    store_graph(changed(OWN, 0, function=Function.RELU), path)
    with pytest.raises(ValueError, match=r"own\.onnx: layer conv1: function must be tanh or"):
        named_network(path)


@pytest.mark.parametrize(
    "graph", [OWN, perceptron(64, 20, 10), perceptron(300, 20, 10)], ids=["conv", "core", "chip"]
)
def test_a_checkpoint_has_the_whole_network(tmp_path, graph):
    network = trainable(graph)
    data = load("digits")
    run = Run(network=network, config=network.config, profile=IDEAL, seed=3, epochs=1, images=30)
    inputs = run.inputs(data)
    path = tmp_path / "state.npz"
    checkpoints.save(path, inputs=inputs, done=0, curve=[], grown=[], state={})
    found = checkpoints.load(path).run()
    assert found.inputs(data) == inputs
    assert replace(found.network, dataset=network.dataset) == replace(
        network, training=found.network.training
    )
