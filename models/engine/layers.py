# SPDX-License-Identifier: Apache-2.0
"""Whole layers of a trained graph at once: the bits of its programs, without programs or messages.

All windows of a tile are multiplied by its weights in one product, in floating-point numbers that
are integers below 2**53. Every core numbers its windows as its program does, so that the noise of
each is the same.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import INPUT, MEANS, GraphLayer, Images, Pool
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.quantise import QuantLayer, Tile
from phasecore.models.engine.jit import compiled
from phasecore.models.golden.adc_interface import read_out
from phasecore.models.golden.core import Core
from phasecore.models.golden.crossbar import BOTH, count, list_driven, prepare
from phasecore.models.golden.fixed_point import CODE_MAX, copy, round_shift
from phasecore.models.golden.network_interface import partial_sum
from phasecore.models.golden.post_processing import (
    OFFSET_FRACTION_BITS,
    activation,
    overflows,
)
from phasecore.models.golden.state import Cores, Geometry
from phasecore.rtl.spec.core import PARTIAL_SHIFT
from phasecore.rtl.spec.instructions import Function

__all__ = ["Codes", "Layers"]

AT_ONCE = 4096
"""Windows of a product."""

Codes = NDArray[np.int8]
Sums = NDArray[np.int32]


@compiled
def _convert(
    cores: Cores, geometry: Geometry, k: int, windows: Any, charges: Any, codes: Any
) -> Any:
    """Converter's codes of windows and their charges, by window.

    Returns how many are clipped, and how many were at the converter's limit.
    """
    lines, clipped, at_limit = charges.shape[1], 0, 0
    for at in range(len(windows)):
        copy(cores.x, windows[at])
        list_driven(cores, k)
        copy(cores.charge, charges[at])
        count(cores, geometry, k, cores.charge[:lines])
        more = read_out(cores, geometry, k, 0, lines, cores.codes)
        clipped, at_limit = clipped + more[0], at_limit + more[1]
        copy(codes[at], cores.codes[:lines])
    return clipped, at_limit


@compiled
def _activate(sums: Any, shift: int, function: int, codes: Any) -> int:
    """Activations of ``sums``; how many are saturated."""
    saturated = 0
    for at in range(len(sums)):
        u = round_shift(int(sums[at]), shift)
        codes[at] = activation(u, function)
        saturated += overflows(u, function)
    return saturated


@compiled
def _send(sums: Any) -> None:
    """What the next tile gets of ``sums``, in their place."""
    for at in range(len(sums)):
        sums[at] = partial_sum(int(sums[at])) << PARTIAL_SHIFT


class Layers:
    """A graph on cores that have its weights and are calibrated.

    Parameters
    ----------
    mapping : of the graph
    cores : golden cores by node, whose windows, and what they count, go on
    """

    def __init__(self, mapping: InferenceMapping, cores: Mapping[int, Core]):
        self._graph = mapping.network
        self._limit = 1 << (mapping.config.acc_bits - 1)
        self._layers: dict[int, tuple[QuantLayer, list[Core]]] = {}
        for stage in mapping.stages:
            _, found = self._layers.setdefault(stage.number, (stage.quantised, []))
            found.append(cores[stage.node])

    def run(self, images: Images) -> Iterator[tuple[QuantLayer, Codes]]:
        """Every layer with its output codes, shape (images, codes).

        Memory is that of the largest layer's windows: images are given some at a time.
        """
        tensors: dict[str, Codes] = {INPUT: images.astype(np.int8)}
        for one, cores in self._layers.values():
            layer = one.layer
            windows = _in_blocks(layer, self._graph.windows(layer, tensors))
            codes = windows if layer.only_pools else self._products(one, cores, windows, tensors)
            found = self._pooled(cores[-1], one, codes)
            tensors[layer.name] = found.reshape(len(images), -1)
            yield one, tensors[layer.name]

    def _products(
        self, one: QuantLayer, cores: list[Core], windows: Codes, tensors: Mapping[str, Codes]
    ) -> Codes:
        """Activations by window."""
        layer = one.layer
        sums = np.zeros((len(windows), layer.columns), dtype=np.int32)
        for tile, core in zip(one.tiles, cores, strict=True):
            if tile is not one.tiles[0]:
                _send(sums.reshape(-1))
            if tile is one.tiles[-1]:
                sums = self._add(core, sums, one.bias_codes, one.bias_scale)
                if layer.skip is not None:
                    skip = tensors[layer.skip].reshape(sums.shape)
                    sums = self._add(core, sums, skip, one.skip_scale)
            codes = _converted(core, tile, windows[:, tile.index(layer)])
            sums = self._add(core, sums, codes, tile.scale, tile.offset)
        return self._activated(cores[-1], sums, one.shift, layer.function)

    def outputs(self, images: Images) -> Codes:
        """Output codes, shape (images, codes)."""
        return self._graph.output({one.layer.name: codes for one, codes in self.run(images)})

    def counts(self) -> dict[str, int]:
        """What all cores have clipped so far."""
        cores = [core for _, found in self._layers.values() for core in found]
        return {
            "clipped": sum(core.adc.clipped for core in cores),
            "overranges": sum(core.adc.overranges for core in cores),
            "accumulator_saturations": sum(core.post.accumulator_saturations for core in cores),
            "code_saturations": sum(core.post.code_saturations for core in cores),
        }

    def _add(
        self, core: Core, sums: Sums, codes: NDArray[Any], scale: NDArray[np.int64],
        offset: NDArray[np.int64] | int = 0,
    ) -> Sums:  # fmt: skip
        """Sums with scaled codes added, within the accumulators."""
        exact = sums + codes * scale.astype(np.int32)
        exact += np.int32(1 << OFFSET_FRACTION_BITS) * np.asarray(offset, dtype=np.int32)
        found: Sums = exact.clip(-self._limit, self._limit - 1)
        core.post.accumulator_saturations += int(np.count_nonzero(found != exact))
        return found

    def _activated(self, core: Core, sums: Sums, shift: int, function: Function) -> Codes:
        codes = np.empty(sums.shape, dtype=np.int8)
        saturated = _activate(sums.reshape(-1), shift, int(function), codes.reshape(-1))
        core.post.code_saturations += saturated
        return codes

    def _pooled(self, core: Core, one: QuantLayer, codes: Codes) -> Codes:
        """Outputs by vector, of activations by window."""
        layer = one.layer
        if layer.pool is Pool.NONE:
            return codes
        parts = codes.reshape(-1, layer.pooled, layer.outputs)
        if layer.pool is Pool.LARGEST:
            largest: Codes = parts.max(axis=1)
            return largest
        assert layer.pool in MEANS
        sums = np.zeros(parts[:, 0].shape, dtype=np.int32)
        for at in range(layer.pooled):
            sums = self._add(core, sums, parts[:, at], one.pool_scale)
        return self._activated(core, sums, one.pool_shift, Function.IDENTITY)


def _converted(core: Core, tile: Tile, windows: Codes) -> Codes:
    """Converter's codes of a tile, shape (windows, columns); ``windows`` are of its rows."""
    crossbar, bits = core.crossbar, core.config.input_bits
    cores, k = crossbar.cores, crossbar.number
    columns = tile.targets.shape[1]
    weights = cores.weights[k, : tile.height, :columns]
    lines = tile.lines()
    prepare(cores.scalars[k], bits, tile.lsb_log2, 0, BOTH, 0, 0, columns)
    cores.x[:] = 0
    codes = np.empty((len(windows), columns), dtype=np.int8)
    for start in range(0, len(windows), AT_ONCE):
        part = windows[start : start + AT_ONCE]
        widths = np.zeros((len(part), tile.height), dtype=np.int8)
        widths[:, lines] = (np.sign(part) * (np.minimum(np.abs(part), CODE_MAX) >> (8 - bits)))[
            :, np.newaxis
        ]
        clipped, at_limit = _convert(
            cores, crossbar.geometry, k, widths, widths.astype(np.float64) @ weights,
            codes[start : start + AT_ONCE],
        )  # fmt: skip
        core.adc.clipped += clipped
        core.adc.overranges += at_limit
    return codes


def _in_blocks(layer: GraphLayer, windows: Codes) -> Codes:
    """Windows of all images in the order of the program, a pooled block after the other, shape
    (windows, rows); those behind the last whole block are left out."""
    high, wide = layer.reads.block
    rows, cols = layer.reads.iterations
    found = windows.reshape(len(windows), *layer.reads.positions, -1)[
        :, : rows * high, : cols * wide
    ]
    found = found.reshape(len(windows), rows, high, cols, wide, -1).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(found).reshape(-1, found.shape[-1])
