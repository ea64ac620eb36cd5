# SPDX-License-Identifier: Apache-2.0
"""Cores with feature maps between them: a convolutional network (docs/contract/convolution.md).

Every product, activation, threshold transfer, pulse and refresh is an instruction of a core;
im2col, pooling, col2im and the sum over positions are here. No RTL does that part yet.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from phasecore.models.compiler.convolution import ALIGNED_BITS
from phasecore.models.compiler.mapping.base import Job
from phasecore.models.compiler.mapping.convolution import (
    DELTA_SLOT,
    OUTPUT_SLOT,
    STEPS,
    TARGET_SLOT,
    X_SLOT,
    ConvJob,
    ConvMapping,
    Plan,
)
from phasecore.models.compiler.network import ONE
from phasecore.models.engine.jit import compiled, record, records
from phasecore.models.engine.programs import Decoder
from phasecore.models.engine.scheduler import Engine
from phasecore.models.golden import post_processing, programmer, update_unit
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.core import Core
from phasecore.models.golden.fixed_point import clip, copy, round_shift, saturate_code
from phasecore.models.golden.instructions import product
from phasecore.models.golden.noc import nothing
from phasecore.models.golden.packet_arrays import Packets
from phasecore.models.golden.packets import Result
from phasecore.models.golden.state import Cores, CoreState, Geometry
from phasecore.models.golden.update_unit import RIGHT_SHIFT_MAX
from phasecore.rtl.spec.core import EXPONENT_BITS, PARTIAL_SHIFT

__all__ = ["ConvCores"]

_FORWARD, _ACTIVATE, _BACKWARD, _SUMS, _DELTA, _OUTER, _TRANSFER, _REFRESH = range(len(STEPS))
_X, _TARGET, _OUTPUT, _DELTAS = X_SLOT, TARGET_SLOT, OUTPUT_SLOT, DELTA_SLOT
_EXPONENT_MAX = (1 << (EXPONENT_BITS - 1)) - 1

LAYER = record(
    "cells", "positions", "rows", "outputs", "out_cells", "shared_log2", "function", "bias",
    "first", "tiles", "cells_at", "outputs_at", "positions_at", "gather_at", "gradient_at",
)  # fmt: skip
"""Sizes of a layer, its first core and their number, and where its parts of ``Maps`` begin."""


class Maps(NamedTuple):
    """Objects of an image, all layers' one after the other."""

    layers: Any
    """``LAYER`` by layer."""
    code: Any
    """Instructions by core, as in ``STEPS``."""
    gather: Int
    pool: Int
    cells: Int
    """Input objects, each with the padding's and the bias code behind it."""
    sums: Int
    """What col2im adds up, laid out like ``cells``."""
    outputs: Int
    """Activations by position."""
    mantissas: Int
    """Errors, laid out like ``outputs``."""
    exponents: Int
    """Of the errors, by position."""
    gradient: Int
    """Sums over positions by row and column."""


class ConvCores:
    """Cores of a network, which learn one image after another; they are not traced.

    Parameters
    ----------
    mapping : what is on which core
    seed : core n has seed + n

    Attributes
    ----------
    cores : by number
    """

    def __init__(self, mapping: ConvMapping, seed: int):
        self._outputs = mapping.hardware.plans[-1].layer.outputs
        seeds = [seed + node for node in mapping.nodes]
        self._state = CoreState(mapping.config, mapping.profile, seeds)
        self.cores = {node: Core.of(self._state, at) for at, node in enumerate(mapping.nodes)}
        self._engine, self._decoder = Engine(self._state), Decoder(mapping.config)
        self._maps = _maps(mapping.hardware.plans, mapping.recipe.biases)

    def run(self, job: Job) -> list[Result]:
        """Output vectors of a job's images, of before each is learnt; of another job none."""
        if not isinstance(job, ConvJob):
            words = [job.programs.get(node) for node in self.cores]
            segments = [core.segments for core in self.cores.values()]
            programs = self._engine.programs(words, segments)
            self._engine.run(programs, nothing(), Packets.of([]), traced=False)
            return []
        maps = self._maps._replace(code=self._code(job))
        found = np.zeros((len(job.images), self._outputs), dtype=np.int8)
        state = self._state
        _images(state.cores, state.geometry, maps, job.images, job.targets, found)
        if job.refresh:
            _refresh(state.cores, state.geometry, maps)
        return [Result(OUTPUT_SLOT, 0, codes) for codes in found]

    def _code(self, job: ConvJob) -> Any:
        """Instructions of all cores, with the lines that are read out of each product."""
        parts = []
        for node, words in job.programs.items():
            segments = self.cores[node].segments
            part = self._decoder.decode(words, segments)[: len(STEPS)]
            segment = segments[0]
            assert segment is not None
            part["live_start"] = 0
            part["live_stop"][_FORWARD] = segment.col_count
            part["live_stop"][_BACKWARD] = segment.row_count
            parts.append(part)
        return np.stack(parts).view(np.recarray)


def _maps(plans: Sequence[Plan], biases: list[int]) -> Maps:
    """Tables of all layers and room for their objects."""
    layers = records(len(plans), LAYER)
    ends = dict.fromkeys(("cells", "outputs", "positions", "gather", "gradient"), 0)
    for entry, plan, bias in zip(layers, plans, biases, strict=True):
        layer = plan.layer
        for name in ("cells", "positions", "rows", "outputs", "out_cells", "shared_log2"):
            entry[name] = getattr(layer, name)
        entry["function"], entry["bias"] = int(layer.function), bias
        entry["first"], entry["tiles"] = plan.tiles[0], len(plan.tiles)
        sizes = {
            "cells": layer.cells + 2, "outputs": layer.positions * layer.outputs,
            "positions": layer.positions, "gather": layer.positions * layer.rows,
            "gradient": layer.rows * layer.outputs,
        }  # fmt: skip
        for name, size in sizes.items():
            entry[f"{name}_at"] = ends[name]
            ends[name] += size
    room = {name: np.zeros(end, dtype=np.int64) for name, end in ends.items()}
    for entry in layers:
        room["cells"][entry["cells_at"] + entry["cells"] + 1] = ONE
    return Maps(
        layers=layers, code=None,
        gather=np.concatenate([plan.gather.reshape(-1) for plan in plans]),
        pool=np.concatenate([plan.pool.reshape(-1) for plan in plans]), cells=room["cells"],
        sums=np.zeros_like(room["cells"]), outputs=room["outputs"],
        mantissas=np.zeros_like(room["outputs"]), exponents=room["positions"],
        gradient=room["gradient"],
    )  # fmt: skip


@compiled
def _refresh(cores: Cores, geometry: Geometry, maps: Maps) -> None:
    for k in range(len(maps.code)):
        programmer.refresh(cores, geometry, k, maps.code[k, _REFRESH])


@compiled
def _images(
    cores: Cores, geometry: Geometry, maps: Maps, images: Any, targets: Int, found: Any
) -> None:
    """Infer images, and learn them if there are targets; the outputs of each."""
    layers = maps.layers
    last = len(layers) - 1
    outputs = maps.outputs[layers[last].outputs_at :]
    for number in range(len(images)):
        copy(maps.cells, images[number])
        for index in range(len(layers)):
            _forward(cores, geometry, maps, layers[index])
            if index < last:
                _pool(maps, layers[index], layers[index + 1])
        copy(found[number], outputs[: found.shape[1]])
        if len(targets):
            _last_delta(cores, geometry, maps, layers[last], targets[number])
            for index in range(last, 0, -1):
                top = _col2im(cores, geometry, maps, layers[index])
                _normalise(cores, maps, layers[index - 1], layers[index], top)
            for index in range(last, -1, -1):
                _update(cores, geometry, maps, layers[index])


@compiled
def _forward(cores: Cores, geometry: Geometry, maps: Maps, layer: Any) -> None:
    """Activations of all positions."""
    head, outputs = layer.first, layer.outputs
    sums = cores.accumulators[head]
    for position in range(layer.positions):
        for tile in range(layer.tiles):
            _load_cells(cores, maps, layer, position, tile)
            product(cores, geometry, head + tile, maps.code[head + tile, _FORWARD])
        if layer.tiles > 1:
            sums[:outputs] = 0
        for k in range(head + 1, head + layer.tiles):
            post_processing.activate(cores, geometry, k, maps.code[k, _ACTIVATE])
            for line in range(outputs):
                partial = cores.accumulators[k, line] >> PARTIAL_SHIFT
                sums[line] += partial << PARTIAL_SHIFT
        post_processing.activate(cores, geometry, head, maps.code[head, _ACTIVATE])
        start = layer.outputs_at + position * outputs
        copy(maps.outputs[start:], cores.slots[head, _OUTPUT, :outputs])


@compiled
def _load_cells(cores: Cores, maps: Maps, layer: Any, position: int, tile: int) -> None:
    """Gather the cells of a tile's rows at a position."""
    slot = cores.slots[layer.first + tile, _X]
    cells = maps.cells[layer.cells_at :]
    gather = maps.gather[layer.gather_at + position * layer.rows :]
    for at, row in enumerate(range(tile, layer.rows, layer.tiles)):
        slot[at] = cells[gather[row]]


@compiled
def _pool(maps: Maps, layer: Any, following: Any) -> None:
    """The next layer's input object."""
    cells = maps.cells[following.cells_at : following.cells_at + following.cells]
    cells[:] = 0
    for at in range(layer.outputs_at, layer.outputs_at + layer.positions * layer.outputs):
        cells[maps.pool[at]] += maps.outputs[at]
    for at in range(len(cells)):
        cells[at] = round_shift(cells[at], layer.shared_log2)


@compiled
def _last_delta(cores: Cores, geometry: Geometry, maps: Maps, layer: Any, target: Int) -> None:
    k = layer.first
    copy(cores.slots[k, _TARGET], target)
    post_processing.delta(cores, geometry, k, maps.code[k, _DELTA])
    copy(maps.mantissas[layer.outputs_at :], cores.slots[k, _DELTAS, : layer.outputs])
    maps.exponents[layer.positions_at] = cores.exponents[k, _DELTAS]


@compiled
def _load_delta(cores: Cores, maps: Maps, layer: Any, k: int, position: int) -> None:
    start = layer.outputs_at + position * layer.outputs
    copy(cores.slots[k, _DELTAS], maps.mantissas[start : start + layer.outputs])
    cores.exponents[k, _DELTAS] = maps.exponents[layer.positions_at + position]


@compiled
def _top(maps: Maps, layer: Any) -> int:
    """Largest exponent of a layer's errors."""
    top = maps.exponents[layer.positions_at]
    for position in range(layer.positions):
        top = max(top, maps.exponents[layer.positions_at + position])
    return top


@compiled
def _aligning(maps: Maps, layer: Any, position: int, top: int) -> int:
    """Right shift from a position's exponent to the units of sums."""
    exponent = maps.exponents[layer.positions_at + position]
    return min(top - ALIGNED_BITS - exponent, RIGHT_SHIFT_MAX)


@compiled
def _col2im(cores: Cores, geometry: Geometry, maps: Maps, layer: Any) -> int:
    """Sums of the layer's backward partial sums by input cell; the largest exponent."""
    sums = maps.sums[layer.cells_at : layer.cells_at + layer.cells + 2]
    sums[:] = 0
    top = _top(maps, layer)
    for position in range(layer.positions):
        gather = maps.gather[layer.gather_at + position * layer.rows :]
        shift = _aligning(maps, layer, position, top)
        for tile in range(layer.tiles):
            k = layer.first + tile
            _load_delta(cores, maps, layer, k, position)
            product(cores, geometry, k, maps.code[k, _BACKWARD])
            post_processing.activate(cores, geometry, k, maps.code[k, _SUMS])
            for at, row in enumerate(range(tile, layer.rows, layer.tiles)):
                partial = cores.accumulators[k, at] >> PARTIAL_SHIFT
                sums[gather[row]] += round_shift(partial, shift)
    return top


@compiled
def _normalise(cores: Cores, maps: Maps, layer: Any, following: Any, top: int) -> None:
    """Mantissas and exponents of a layer from the next layer's sums."""
    sums = maps.sums[following.cells_at :]
    saturated = 0
    for position in range(layer.positions):
        start = layer.outputs_at + position * layer.outputs
        mantissas = maps.mantissas[start : start + layer.outputs]
        largest = 0
        for at in range(layer.outputs):
            y = maps.outputs[start + at]
            v = sums[maps.pool[start + at]] * post_processing.derivative(y, layer.function)
            mantissas[at] = v
            largest = max(largest, abs(v))
        shift = 0
        while largest >> shift > ONE:
            shift += 1
        for at in range(layer.outputs):
            rounded = round_shift(mantissas[at], shift)
            mantissas[at] = saturate_code(rounded)
            saturated += mantissas[at] != rounded
        exponent = top - ALIGNED_BITS + shift + layer.bias
        maps.exponents[layer.positions_at + position] = clip(
            exponent, -_EXPONENT_MAX - 1, _EXPONENT_MAX
        )
    cores.scalars[layer.first].post_code_saturations += saturated


@compiled
def _update(cores: Cores, geometry: Geometry, maps: Maps, layer: Any) -> None:
    """chi and pulses of a layer."""
    if layer.positions == 1:
        for tile in range(layer.tiles):
            k = layer.first + tile
            _load_cells(cores, maps, layer, 0, tile)
            _load_delta(cores, maps, layer, k, 0)
            update_unit.outer(cores, geometry, k, maps.code[k, _OUTER])
        return
    top = _top(maps, layer)
    _sum_products(maps, layer, top)
    for tile in range(layer.tiles):
        k = layer.first + tile
        for at, row in enumerate(range(tile, layer.rows, layer.tiles)):
            start = layer.gradient_at + row * layer.outputs
            update_unit.add_sums(
                cores, geometry, k, at, maps.code[k, _TRANSFER],
                maps.gradient[start : start + layer.outputs], top - ALIGNED_BITS,
            )  # fmt: skip
        update_unit.transfer(cores, geometry, k, maps.code[k, _TRANSFER])


@compiled
def _sum_products(maps: Maps, layer: Any, top: int) -> None:
    """Products of cells and errors, summed over positions."""
    rows, outputs = layer.rows, layer.outputs
    gradient = maps.gradient[layer.gradient_at : layer.gradient_at + rows * outputs]
    gradient[:] = 0
    cells = maps.cells[layer.cells_at :]
    for position in range(layer.positions):
        gather = maps.gather[layer.gather_at + position * rows :]
        start = layer.outputs_at + position * outputs
        d = maps.mantissas[start : start + outputs]
        shift = _aligning(maps, layer, position, top)
        for row in range(rows):
            x = cells[gather[row]]
            if not x:
                continue
            total = gradient[row * outputs : (row + 1) * outputs]
            if shift <= 0:
                scaled = x << -shift
                for j in range(outputs):
                    total[j] += scaled * d[j]
            else:
                for j in range(outputs):
                    total[j] += round_shift(x * d[j], shift)
