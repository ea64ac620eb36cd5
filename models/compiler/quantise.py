# SPDX-License-Identifier: Apache-2.0
"""Integers of a trained graph: targets of PROGRAM, converter ranges and affine tables.

Scales first, then weights: a column's scale is rounded up to one of the 8-bit affine table, and its
weights are made larger by as much, so that no rounding of scales is left.

With x the input codes, worth s each, W the weights and L the converter's range, a column of a tile
is programmed with k W in codes of conductance. A count of the converter is then worth 2**L s / k,
and 2**shift in the accumulators is worth u, a step of the activation function's index:

    scale = 2**(shift + L) s / (k u)

k is bounded by what the devices reach and by what the converter counts of the calibration images.
The bias, half a count of every tile and a residual are added in the same accumulators: everything
is rounded once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phasecore.models.compiler.graph import (
    BATCH,
    INPUT,
    MEANS,
    Graph,
    GraphLayer,
    Images,
    Real,
)
from phasecore.models.compiler.network import INDEX_LOG2, ONE
from phasecore.models.compiler.recipe import mean_pulse
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["QuantLayer", "Tile", "corrected", "quantise", "row_tiles"]

REACH = 0.6
"""Part of the devices' conductance that weights use: beyond it pulses of PCM add little."""

CLIPS = tuple(float(part) for part in np.geomspace(1, 0.1, 12))
"""Parts of the largest value among which the limit of a range is chosen: what is beyond is clipped,
which may cost less than coarser steps for all others."""

SAMPLES = 4000
"""Positions of a layer by which ranges are chosen."""

FILLED = 0.75
"""Part of a tile's columns whose weights have all of the devices' range; the others' sums would be
larger than the converter's range."""

SCALE_MAX = 255
SHIFT_MAX = 15
OFFSET_STEP = 64
"""Accumulator steps of an affine offset."""

TANH_INDEX_LOG2 = 6

_STEPS = {Function.SIGMOID: 2.0**-INDEX_LOG2, Function.TANH: 2.0**-TANH_INDEX_LOG2}
"""Real step of an activation table's index."""


@dataclass(frozen=True)
class Tile:
    """Part of a layer's rows, on one crossbar.

    Attributes
    ----------
    rows : of the layer's matrix
    targets : codes of PROGRAM, shape (rows, columns)
    scale, offset : affine table of the converter's codes, by column
    lsb_log2 : converter range
    """

    rows: range
    targets: Int
    scale: Int
    offset: Int
    lsb_log2: int


@dataclass(frozen=True)
class QuantLayer:
    """Integers of a layer.

    Attributes
    ----------
    tiles : in order of their rows
    shift : right shift before the function
    bias_codes, bias_scale : what of the bias the offsets do not hold, by column
    skip_scale : affine scale of the residual's codes, 0 without one
    step : real value of an activation's code, or of an index of its table
    pool_scale, pool_shift : affine scale of activations of which the mean is taken, and the right
        shift of their sum
    code : real value of an output code
    """

    layer: GraphLayer
    tiles: tuple[Tile, ...]
    shift: int
    bias_codes: Int
    bias_scale: Int
    skip_scale: int
    step: float
    pool_scale: int
    pool_shift: int
    code: float


@dataclass
class _Samples:
    """What the calibration images have shown of a layer: windows at some positions, shape
    (positions, rows), all that is added there, and outputs, shape (values,)."""

    windows: Real
    sums: Real
    outputs: Real

    def activations(self, layer: GraphLayer) -> Real:
        """What codes must hold before the outputs, shape (values,): the larger activations of which
        a mean is taken, too."""
        if layer.pool in MEANS:
            return layer.activations(self.sums).reshape(-1)
        return self.outputs

    def tile(self, layer: GraphLayer, rows: range) -> Real:
        """Sums of a tile, shape (positions, columns)."""
        part = slice(rows.start, rows.stop)
        found: Real = self.windows[:, part] @ layer.weights[part]
        return found


def row_tiles(layer: GraphLayer, config: CoreConfig) -> list[range]:
    """Rows of a layer's matrix by crossbar: as few as possible, of whole pixels where they fit."""
    total, most = layer.reads.matrix_rows, config.rows
    count = -(-total // most)
    size = -(-total // count)
    pixel = layer.reads.channels
    whole = -(-size // pixel) * pixel
    size = whole if whole <= most else size
    return [range(first, min(first + size, total)) for first in range(0, total, size)]


def quantise(
    graph: Graph, images: Images, config: CoreConfig, profile: DeviceProfile
) -> list[QuantLayer]:
    """Integers of all layers.

    Parameters
    ----------
    images : of calibration, shape (images, inputs): they show how large sums and activations are

    Raises
    ------
    ValueError
        naming the layer, for values that no integers of the hardware hold
    """
    graph.check()
    if not len(images):
        raise ValueError("images must be at least 1 for calibration, not 0")
    samples = _samples(graph, images)
    codes = {INPUT: graph.code}
    found = []
    for layer in graph.layers:
        try:
            rows = _row_codes(graph, layer, codes)
            one = _quantised(layer, samples[layer.name], rows, codes, config, profile)
        except ValueError as error:
            raise ValueError(f"layer {layer.name}: {error}") from error
        codes[layer.name] = one.code
        found.append(one)
    return found


def _samples(graph: Graph, images: Images) -> dict[str, _Samples]:
    """Samples of all layers."""
    found: dict[str, list[_Samples]] = {layer.name: [] for layer in graph.layers}
    rng = np.random.Generator(np.random.PCG64(0))
    for start in range(0, len(images), BATCH):
        for layer, windows, sums, output in graph.run(images[start : start + BATCH]):
            rows = windows.reshape(-1, windows.shape[-1])
            count = -(-SAMPLES * BATCH // len(images))
            chosen = rng.permutation(len(rows))[:count]
            found[layer.name].append(_Samples(
                rows[chosen], sums.reshape(-1, layer.columns)[chosen],
                rng.permutation(output.reshape(-1))[:count],
            ))  # fmt: skip
    return {
        name: _Samples(
            np.concatenate([part.windows for part in parts]),
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.outputs for part in parts]),
        )
        for name, parts in found.items()
    }


def _limit(values: Real, rest: Real, function: Function) -> Real:
    """By column the largest value for which codes should be, shape (columns,).

    It is chosen for the least squared error of what ``function`` makes of ``values`` plus ``rest``.
    """
    largest = np.maximum(np.abs(values).max(axis=0), 1e-12)
    floor = 0.0 if function is Function.RELU else -np.inf
    exact = np.maximum(values + rest, floor)
    best: Real = largest
    errors = np.full(largest.shape, np.inf)
    for part in CLIPS:
        limit = part * largest
        coded = np.rint((values / limit).clip(-1, 1) * ONE) * limit / ONE
        error = np.mean((np.maximum(coded + rest, floor) - exact) ** 2, axis=0)
        best, errors = np.where(error < errors, limit, best), np.minimum(error, errors)
    return best


def _row_codes(graph: Graph, layer: GraphLayer, codes: dict[str, float]) -> Real:
    """Real value of an input code of 1 by row of a layer's matrix, shape (rows,)."""
    found = np.full(layer.reads.channels, max(codes[tensor] for tensor in layer.sources))
    for tensor, part in zip(layer.sources, graph.lines(layer), strict=True):
        found[part] = codes[tensor]
    return np.tile(found, layer.reads.matrix_rows // len(found))


def _quantised(
    layer: GraphLayer, known: _Samples, row_codes: Real, codes: dict[str, float],
    config: CoreConfig, profile: DeviceProfile,
) -> QuantLayer:  # fmt: skip
    # Weights of rows whose codes are worth less are smaller by as much.
    source, rows = float(row_codes.max()), row_tiles(layer, config)
    matrix = layer.weights * (row_codes / source)[:, np.newaxis]
    skip = codes[layer.skip] if layer.skip else 0.0
    table = _STEPS.get(layer.function)
    step = table or _code(known.activations(layer), layer.function)
    bounds = [
        _bounds(
            matrix[part.start : part.stop],
            _limit(sums, known.sums - sums, layer.function), source, config,
        )
        for part, sums in ((part, known.tile(layer, part)) for part in rows)
    ]  # fmt: skip
    shift = _shift([source * 2.0**lsb / factor for lsb, factor in bounds], skip, step)
    skip_scale = 0
    if skip:
        skip_scale = max(1, math.floor(2.0**shift * skip / step))
    if skip and not table:
        # A step that the residual's scale holds exactly.
        step = 2.0**shift * skip / skip_scale
    scales = [
        np.ceil(2.0 ** (shift + lsb) * source / (factor * step)).clip(1, SCALE_MAX).astype(np.int64)
        for lsb, factor in bounds
    ]
    exact = layer.bias * 2.0**shift / step + sum(scales) / 2
    offset, bias_codes, bias_scale = _bias(exact)
    tiles = []
    for part, scale, (lsb, _) in zip(rows, scales, bounds, strict=True):
        factor = 2.0 ** (shift + lsb) * source / (scale * step)
        weights = matrix[part.start : part.stop] * factor
        is_last = part.stop == layer.reads.matrix_rows
        tiles.append(Tile(
            part, _targets(weights, config, profile), scale,
            offset if is_last else np.zeros_like(offset), lsb,
        ))  # fmt: skip
    code = 1 / ONE if table else step
    gain = 1.0 if table or layer.pool not in MEANS else code / _code(known.outputs, layer.function)
    pool_scale, pool_shift = _mean(layer, gain, config)
    code *= 2.0**pool_shift / (layer.pooled * pool_scale) if layer.pool in MEANS else 1
    return QuantLayer(
        layer, tuple(tiles), shift, bias_codes, bias_scale, skip_scale, step, pool_scale,
        pool_shift, code,
    )  # fmt: skip


def _code(values: Real, function: Function) -> float:
    """Value of a code of 1 that is best for ``values``, shape (values,)."""
    column = values[:, np.newaxis]
    return float(_limit(column, 0 * column, function)[0]) / ONE


def _mean(layer: GraphLayer, gain: float, config: CoreConfig) -> tuple[int, int]:
    """Scale and shift with which a sum of codes becomes nearly ``gain`` times their mean.

    What they miss is in the value of the output's code. No sum leaves the accumulators.
    """
    count = layer.pooled
    largest = min(SCALE_MAX, ((1 << (config.acc_bits - 1)) - 1) // (ONE * count))
    for shift in range(SHIFT_MAX, -1, -1):
        scale = math.floor(2.0**shift * gain / count)
        if 1 <= scale <= largest:
            return scale, shift
    raise ValueError(f"no scale of the hardware makes the mean of {count} positions")


def _bounds(weights: Real, limits: Real, source: float, config: CoreConfig) -> tuple[int, Real]:
    """Converter range of a tile, and largest k of its columns."""
    reach = REACH * config.g_max * config.devices_per_polarity
    by_weight = reach / np.maximum(np.abs(weights).max(axis=0), 1e-12)
    by_count = ONE * source / limits
    for lsb in range(config.lsb_log2_min, config.lsb_log2_max):
        if np.mean(by_count * 2.0**lsb >= by_weight) >= FILLED:
            break
    else:
        lsb = config.lsb_log2_max
    return lsb, np.minimum(by_weight, by_count * 2.0**lsb)


def _shift(values: Sequence[Real], skip: float, step: float) -> int:
    """Largest shift with which the scales fit: of counts worth ``values``, of a residual."""
    largest = max([skip, *(float(part.max()) for part in values)])
    shift = math.floor(math.log2(SCALE_MAX * step / largest))
    if shift < 0:
        raise ValueError(
            f"a count is worth {largest / step:.3g} steps of its activations, more than {SCALE_MAX}"
        )
    return min(shift, SHIFT_MAX)


def _bias(exact: Real) -> tuple[Int, Int, Int]:
    """Offsets, and codes and scales of a constant, that make accumulator values ``exact``."""
    offset = np.rint(exact / OFFSET_STEP).clip(-128, 127).astype(np.int64)
    rest = exact - offset * OFFSET_STEP
    scale = np.maximum(1, np.ceil(np.abs(rest) / ONE)).astype(np.int64)
    if scale.max() > SCALE_MAX:
        largest = float(np.abs(exact).max())
        raise ValueError(f"bias must be at most {ONE * SCALE_MAX} accumulator steps, not {largest}")
    return offset, np.rint(rest / scale).astype(np.int64), scale


def _targets(weights: Real, config: CoreConfig, profile: DeviceProfile) -> Int:
    """Targets of PROGRAM for conductances ``weights``, in codes.

    A column is pulsed until it reads its target or more, on average half a pulse more. What a
    weight misses by whole pulses, the next one of its column makes up for: neighbours see much the
    same codes.
    """
    unit = 2.0**config.read_lsb_log2 / (ONE >> (8 - min(6, config.input_bits)))
    pulse = mean_pulse(profile) * config.g_max / profile.g_full_scale
    found, missed = np.zeros(weights.shape, dtype=np.int64), np.zeros(weights.shape[1])
    for row, exact in enumerate(weights):
        wanted = np.where(exact == 0, 0, exact + missed)
        pulses = np.rint(np.abs(wanted) / pulse)
        targets = np.ceil((pulses - 0.5) * pulse / unit).clip(1, ONE)
        found[row] = np.sign(wanted) * np.where(pulses > 0, targets, 0)
        missed += exact - np.sign(wanted) * pulses * pulse
    return found


def corrected(
    graph: Graph, layers: Sequence[QuantLayer], images: Images,
    programmed: Sequence[Real],
) -> list[QuantLayer]:  # fmt: skip
    """The same with scales and biases for the weights that the devices have got.

    Parameters
    ----------
    images : of calibration
    programmed : conductances by layer, shape (rows, columns), in codes
    """
    samples, codes, found = _samples(graph, images), {INPUT: graph.code}, []
    for one, weights in zip(layers, programmed, strict=True):
        layer, known = one.layer, samples[one.layer.name]
        step, row_codes = one.step, _row_codes(graph, layer, codes)
        exact = np.array(layer.bias)
        tiles = []
        for tile in one.tiles:
            part = slice(tile.rows.start, tile.rows.stop)
            wanted = known.tile(layer, tile.rows)
            counts = (known.windows / row_codes)[:, part] @ weights[part]
            counts *= 2.0**-tile.lsb_log2
            # Straight line through what a count should be worth, in the integers of a scale.
            spread = counts - counts.mean(axis=0)
            worth = (spread * wanted).sum(axis=0) / np.maximum((spread**2).sum(axis=0), 1e-12)
            scale = np.rint(worth * 2.0**one.shift / step).clip(1, SCALE_MAX).astype(np.int64)
            exact += wanted.mean(axis=0) - counts.mean(axis=0) * scale * step / 2.0**one.shift
            tiles.append(replace(tile, scale=scale))
        total = exact * 2.0**one.shift / step + sum(tile.scale for tile in tiles) / 2
        offset, bias_codes, bias_scale = _bias(total)
        tiles[-1] = replace(tiles[-1], offset=offset)
        codes[layer.name] = one.code
        found.append(replace(
            one, tiles=tuple(tiles), bias_codes=bias_codes, bias_scale=bias_scale
        ))  # fmt: skip
    return found
