# SPDX-License-Identifier: Apache-2.0
"""Networks that train, of graphs: ranges, rates and places for layers of one's own.

The graph gives the layers and their sizes; its weights are not used, training begins with random
ones. What is tuned for the built-in networks is a rule here, which gives LeNet-5 all of its ranges
and rates.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from phasecore.models.compiler.convolution import POOL, ConvLayer, ConvNetwork
from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
from phasecore.models.compiler.mapping import map_network
from phasecore.models.compiler.network import ChipNetwork, Layer, Network, Training
from phasecore.models.compiler.networks import NETWORKS
from phasecore.models.compiler.onnx_graph import load_graph
from phasecore.models.compiler.placement import MOST_CORES, graph_chip
from phasecore.models.golden.device import IDEAL
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.core import DEFAULT, CoreConfig
from phasecore.rtl.spec.instructions import GROUP, Function

__all__ = ["named_network", "trainable"]

FORWARD_LSB_LOG2 = {Function.TANH: 15, Function.SIGMOID: 17}
"""Converter range with which a weight is at most 1."""

INDEX_LOG2 = {Function.TANH: 1, Function.SIGMOID: 2}

WIDTH = 20
"""Largest weight, in units of 1 / sqrt(inputs) ..."""

MOST = 2
"""... and at all."""

POSITIONS = 160
"""Positions of a convolution whose gradients add up without a lower rate."""

LAST_RATE = 0.3
"""Rate of the last layer behind convolutions ..."""

HIDDEN = 50
"""... and activations that a perceptron's last layer has at the full rate."""

WIDE = 100
"""Activations from which on a perceptron's last layer has a narrower sigmoid and the run ends at a
higher rate."""


def named_network(name: str | Path) -> Network:
    """One of ``NETWORKS``, or that of an ONNX file (:func:`trainable`), which has no data set.

    Raises ``ValueError`` for other names, and naming the layer that does not train.
    """
    path = Path(name)
    if str(name) in NETWORKS:
        return NETWORKS[str(name)]
    if not path.is_file():
        raise ValueError(
            f"network must be one of {', '.join(NETWORKS)}, or an ONNX file, not {str(name)!r}"
        )
    graph = load_graph(path, name=path.stem, dataset="", largest=1.0)
    try:
        return trainable(graph)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def trainable(graph: Graph) -> Network:
    """The network of a graph's layers, which follow one another.

    A perceptron's functions are sigmoids; it has one core if its rows fit, else tiles and a head.
    Convolutions come first, with square kernels, steps of 1, tanh and perhaps the mean of 2 x 2.
    A last layer without function is trained as a sigmoid: the loss is the squared error.

    Raises ``ValueError``, naming the layer, for what does not train, or does not fit.
    """
    source = INPUT
    for layer in graph.layers:
        if layer.inputs != (source,):
            raise ValueError(
                f"layer {layer.name}: inputs must be {source} alone, not {', '.join(layer.inputs)}:"
                " only layers one after another train"
            )
        _check(
            layer,
            largest=not layer.reads.largest,
            _wanted="false (pools of the largest do not train)",
        )
        source = layer.name
    last = graph.layers[-1]
    if last.function is Function.IDENTITY:
        last = replace(last, function=Function.SIGMOID)
    _check(last, function=last.function is Function.SIGMOID, _wanted="sigmoid at the end")
    layers = (*graph.layers[:-1], last)
    if _is_dense(layers[0]):
        return _perceptron(graph.name, layers)
    return _convolutional(graph.name, layers)


def _is_dense(layer: GraphLayer) -> bool:
    return layer.reads.positions == (1, 1)


def _check(layer: GraphLayer, *, _wanted: str, **fields: bool) -> None:
    """Raise ``ValueError``, naming layer and field, unless all fields are right."""
    for name, right in fields.items():
        if not right:
            value = getattr(layer if hasattr(layer, name) else layer.reads, name)
            words = value.name.lower() if isinstance(value, Function | Pool) else value
            raise ValueError(f"layer {layer.name}: {name} must be {_wanted}, not {words}")


def _fitting(
    core: CoreConfig, make: Callable[[ChipConfig, int], Network], choices: Sequence[int]
) -> Network:
    """The network that ``make`` gives on the smallest chip that it can learn on, with the first of
    the ``choices`` that does."""
    chips = [CHIPS["default"].replace(core=core)]
    chips += [graph_chip(core, cores) for cores in (11, 23, MOST_CORES["mesh"])]
    reason: ValueError | None = None
    for chip in chips:
        for choice in choices:
            try:
                network = make(chip, choice)
                mapping = map_network(network, network.config, IDEAL)
                mapping.training(np.zeros((1, network.inputs), np.uint8), np.zeros(1, np.uint8))
            except ValueError as error:
                reason = error
            else:
                return network
    assert reason is not None
    raise reason


# Perceptrons


def _perceptron(name: str, layers: tuple[GraphLayer, ...]) -> Network:
    for layer in layers:
        _check(
            layer, function=layer.function is Function.SIGMOID,
            _wanted="sigmoid, in a network without convolutions",
        )  # fmt: skip
        _check(layer, positions=_is_dense(layer), _wanted="one")
    hidden = layers[-1].reads.matrix_rows if len(layers) > 1 else 1
    training = Training(eta_end=0.2, refresh_interval=100) if hidden > WIDE else Training()
    found, row = [], 0
    for layer in layers:
        is_output = layer is layers[-1] and len(layers) > 1
        found.append(Layer(
            inputs=layer.reads.matrix_rows, outputs=layer.outputs, row_start=row, col_start=0,
            index_log2=3 if is_output and hidden <= WIDE else 2,
            eta_scale=min(1.0, HIDDEN / hidden) if is_output else 1.0,
        ))  # fmt: skip
        row = -(-(row + found[-1].rows) // GROUP) * GROUP
    values: dict[str, Any] = {"name": name, "dataset": "", "training": training}
    if found[-1].row_start + found[-1].rows <= DEFAULT.rows:
        return Network(layers=tuple(found), config=DEFAULT, **values)
    first = found[0]
    # The head's layers lie one below the other from its first row on.
    moved = [replace(layer, row_start=layer.row_start - found[1].row_start) for layer in found[1:]]
    core = CHIPS["default"].core

    def make(chip: ChipConfig, tiles: int) -> Network:
        return ChipNetwork(
            layers=(first, *moved), config=core, chip=chip, tiles=tiles, **values
        )  # fmt: skip

    least = -(-first.rows // core.rows)
    return _fitting(core, make, range(least, least + 4))


# Convolutions


def _convolutional(name: str, layers: tuple[GraphLayer, ...]) -> Network:
    core = CHIPS["default"].core.replace(devices_per_polarity=8)
    for layer in layers:
        rows = layer.reads.matrix_rows
        if not _is_dense(layer) and rows >= core.rows:
            raise ValueError(
                f"layer {layer.name}: kernel must have at most {core.rows - 1} cells, not {rows}"
            )
    found = tuple(_layer(layer, is_last=layer is layers[-1]) for layer in layers)

    def make(chip: ChipConfig, depth: int) -> Network:
        config = core.replace(program_depth=depth)
        return ConvNetwork(
            name=name, dataset="", layers=found, config=config, chip=chip.replace(core=config),
            training=Training(eta=0.2, eta_end=0.02),
        )  # fmt: skip

    return _fitting(core, make, [core.program_depth << more for more in range(4)])


def _layer(layer: GraphLayer, *, is_last: bool) -> ConvLayer:
    """A layer with the ranges and the rate of the rules."""
    reads, is_dense = layer.reads, _is_dense(layer)
    _check(layer, function=layer.function in FORWARD_LSB_LOG2, _wanted="tanh or sigmoid")
    if not is_dense:
        top = reads.padding[0]
        _check(layer, kernel=reads.kernel[0] == reads.kernel[1], _wanted="square")
        _check(layer, stride=reads.stride == (1, 1), _wanted="1")
        _check(layer, padding=reads.padding == (top,) * 4, _wanted="the same on all sides")
        _check(layer, parts=layer.parts == 1, _wanted="1")
        _check(layer, pool=layer.pool in (Pool.NONE, Pool.MEAN), _wanted="the mean, or none")
        _check(layer, block=reads.block in ((1, 1), (POOL, POOL)), _wanted=f"{POOL} x {POOL}")
    # Mantissas that come from a convolution behind have not been multiplied by a derivative yet.
    is_inner = not is_dense and layer.source != INPUT
    inputs = reads.matrix_rows
    weight_log2 = min(round(math.log2(WIDTH / math.sqrt(inputs))), MOST.bit_length() - 1)
    rate = LAST_RATE if is_last else min(1.0, POSITIONS / math.prod(reads.positions))
    place: dict[str, Any] = {"channels": inputs} if is_dense else {
        "height": reads.height, "width": reads.width, "channels": reads.channels,
        "kernel": reads.kernel[0], "padding": reads.padding[0], "pooled": layer.pool is Pool.MEAN,
    }  # fmt: skip
    return ConvLayer(
        inputs=inputs, outputs=layer.outputs, row_start=0, col_start=0, function=layer.function,
        index_log2=INDEX_LOG2[layer.function],
        forward_lsb_log2=FORWARD_LSB_LOG2[layer.function] - weight_log2,
        backward_lsb_log2=15 - weight_log2 + is_inner, eta_scale=round(rate, 1), **place,
    )  # fmt: skip
