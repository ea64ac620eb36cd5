# SPDX-License-Identifier: Apache-2.0
"""Integers of a trained graph: targets of PROGRAM, converter ranges and affine tables.

Scales first, then weights: a column's scale is rounded up to one of the 8-bit affine table, and its
weights are made larger by as much, so that no rounding of scales is left.

With x the input codes, worth s each, W the weights and L the converter's range, a column of a tile
is programmed with k W in codes of conductance, dealt out over its copies. A count of the converter
is then worth 2**L s / k, and 2**shift in the accumulators is worth u, a step of the activation
function's index:

    scale = 2**(shift + L) s / (k u)

k is bounded by what the devices reach and by what the converter counts of the calibration images.
L is chosen for the least noise of converter and devices together: a fine range makes weights small
beside what devices add, a coarse one leaves the converter's codes unused.
The bias, half a count of every tile and a residual are added in the same accumulators: everything
is rounded once.

Every channel has a u of its own, so that all fill their codes; what the codes of a row are worth is
in its weights. The output's are worth the same, and those of a row of pixels in one vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from phasecore.models.compiler.graph import (
    INPUT,
    MEANS,
    Graph,
    GraphLayer,
    Images,
    Pool,
    Real,
)
from phasecore.models.compiler.network import INDEX_LOG2, ONE
from phasecore.models.compiler.ranges import (
    CLIPS,
    Samples,
    alike_values,
    channel_codes,
    code_limit,
    observed,
)
from phasecore.models.compiler.recipe import mean_pulse
from phasecore.models.compiler.tile import RowTile, row_tiles
from phasecore.models.golden.arithmetic import Int
from phasecore.models.golden.device import DeviceProfile
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import Function

__all__ = ["QuantLayer", "Tile", "blank", "corrected", "quantise"]

REACH = {False: 0.6, True: 0.9}
"""Part of the devices' conductance that weights use: beyond it pulses of PCM add little, and
iterative programming misses upwards only what is left above."""

SCALE_MAX = 255
BIAS_ROOM = 1.2
"""Times what the constant makes that a bias may be: offsets hold a fourth as much beside it, of
which some is left for corrections."""

SHIFT_MAX = 15
OFFSET_STEP = 64
"""Accumulator steps of an affine offset."""

TANH_INDEX_LOG2 = 6

_STEPS = {Function.SIGMOID: 2.0**-INDEX_LOG2, Function.TANH: 2.0**-TANH_INDEX_LOG2}
"""Real step of an activation table's index."""


@dataclass(frozen=True, kw_only=True)
class Tile(RowTile):
    """Integers of a tile.

    Attributes
    ----------
    targets : codes of PROGRAM, shape (height, columns)
    weights : conductances that are wanted, in codes, shape (height, columns)
    scale, offset : affine table of the converter's codes, by column
    lsb_log2 : converter range
    gain : of the converters, where scales alone do not make up for what drift has taken
    """

    targets: Int
    weights: Int
    scale: Int
    offset: Int
    lsb_log2: int
    gain: float = 1.0


@dataclass(frozen=True)
class QuantLayer:
    """Integers of a layer.

    Attributes
    ----------
    tiles : in the order in which they add up
    shift : right shift before the function
    bias_codes, bias_scale : what of the bias the offsets do not hold, by column
    skip_scale : affine scale of the residual's codes, by column; 0 without one
    step : real value of an activation's code, or of an index of its table, by column
    pool_scale, pool_shift : affine scale of activations of which the mean is taken, by output, and
        the right shift of their sum
    code : real value of an output code, by output
    """

    layer: GraphLayer
    tiles: tuple[Tile, ...]
    shift: int
    bias_codes: Int
    bias_scale: Int
    skip_scale: Int
    step: Real
    pool_scale: Int
    pool_shift: int
    code: Real


@dataclass(frozen=True)
class _Devices:
    """Devices of a core, and how they are programmed."""

    config: CoreConfig
    profile: DeviceProfile
    iterative: bool

    @property
    def _pulse(self) -> float:
        """Conductance codes of a pulse."""
        return mean_pulse(self.profile) * self._unit

    @property
    def _unit(self) -> float:
        """Conductance codes of a uS."""
        return self.config.g_max / self.profile.g_full_scale

    @property
    def _error(self) -> float:
        """What a weight misses and the read noise add to it, deviation in conductance codes."""
        profile, count = self.profile, 2 * self.config.devices_per_polarity
        read = count * float(profile.read_deviation(profile.read_noise_conductance)) ** 2
        if self.iterative:
            written = float(profile.program_deviation(profile.g_full_scale / count))
            return math.sqrt((count * written**2 + read) * self._unit**2 + 1 / 12)
        return math.sqrt((profile.set_sd**2 + read) * self._unit**2 + self._pulse**2 / 12)

    def bounds(
        self, weights: Real, limits: Real, source: float, driven: Real, copies: int
    ) -> tuple[int, Real]:
        """Converter range of a tile, and real value of a count by column.

        It is 0 of columns without weights: what they count is noise.

        Parameters
        ----------
        weights : shape (rows, columns)
        limits : largest sums that codes must hold, by column
        source : real value of an input code of 1
        driven : input codes of some windows, shape (windows, rows)
        """
        config = self.config
        reach = REACH[self.iterative] * config.g_max * config.devices_per_polarity
        largest = np.abs(weights).max(axis=0)
        used = largest > 0
        if not used.any():
            return config.lsb_log2_min, np.zeros(used.shape)
        by_weight, limits = copies * reach / largest[used], limits[used]
        by_count = ONE * source / limits
        devices = copies * self._error**2 * float(np.mean((driven**2).sum(axis=1)))
        best, least, values = config.lsb_log2_min, np.inf, np.zeros(used.shape)
        for lsb in range(config.lsb_log2_min, config.lsb_log2_max + 1):
            factor = np.minimum(by_weight, by_count * 2.0**lsb)
            counts = (1 / 12 + self.profile.adc_noise**2) * 4.0**lsb
            noise = float(np.mean((counts + devices) * (source / (factor * limits)) ** 2))
            if noise < least:
                best, least = lsb, noise
                values[used] = 2.0**lsb * source / factor
        return best, values

    def targets(self, weights: Real) -> Int:
        """Targets of PROGRAM for conductances ``weights``, in codes.

        A column is pulsed until it reads its target or more, on average half a pulse more. What a
        weight misses by whole pulses, the next one of its column makes up for: neighbours see much
        the same codes.
        """
        pulse = self._pulse
        unit = 2.0**self.config.read_lsb_log2 / (ONE >> (8 - min(6, self.config.input_bits)))
        found, missed = np.zeros(weights.shape, dtype=np.int64), np.zeros(weights.shape[1])
        for row, exact in enumerate(weights):
            wanted = np.where(exact == 0, 0, exact + missed)
            pulses = np.rint(np.abs(wanted) / pulse)
            targets = np.ceil((pulses - 0.5) * pulse / unit).clip(1, ONE)
            found[row] = np.sign(wanted) * np.where(pulses > 0, targets, 0)
            missed += exact - np.sign(wanted) * pulses * pulse
        return found


def quantise(
    graph: Graph, images: Images, config: CoreConfig, profile: DeviceProfile, *,
    iterative: bool = False,
) -> list[QuantLayer]:  # fmt: skip
    """Integers of all layers.

    Parameters
    ----------
    images : of calibration, shape (images, inputs): they show how large sums and activations are
    iterative : devices are programmed iteratively, not by the pulses of PROGRAM

    Raises
    ------
    ValueError
        naming the layer, for values that no integers of the hardware hold
    """
    graph.check()
    if not len(images):
        raise ValueError("images must be at least 1 for calibration, not 0")
    samples, devices = observed(graph, images), _Devices(config, profile, iterative)
    codes = {INPUT: np.full(graph.shape[2], graph.code)}
    alike = alike_values(graph, samples)
    found = []
    for layer in graph.layers:
        tiles = row_tiles(graph, layer, config)
        try:
            if layer.only_pools:
                one = _only_pooled(
                    _empty(layer, tiles, config, codes[layer.source]), samples[layer.name], config,
                    alike=alike.get(layer.name),
                )  # fmt: skip
            else:
                rows = _row_codes(graph, layer, codes)
                skip = codes[layer.skip] if layer.skip else None
                one = _quantised(
                    layer, tiles, samples[layer.name], rows, skip, devices,
                    alike=alike.get(layer.name),
                )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"layer {layer.name}: {error}") from error
        codes[layer.name] = one.code
        found.append(one)
    return found


def blank(graph: Graph, config: CoreConfig) -> list[QuantLayer]:
    """Layers whose integers are all 0 and shifts 0: for programs, rings and places, which do not
    depend on them.

    Raises ``ValueError``, naming the layer, for a graph that is none, or cannot be mapped.
    """
    graph.check()
    return [
        _empty(layer, row_tiles(graph, layer, config), config, np.zeros(layer.outputs))
        for layer in graph.layers
    ]


def _empty(
    layer: GraphLayer, rows: Sequence[RowTile], config: CoreConfig, code: Real
) -> QuantLayer:
    """Integers that are all 0, and the value of an output code."""
    columns, zero = (np.zeros(count, dtype=np.int64) for count in (layer.columns, layer.outputs))
    tiles = []
    for part in rows:
        cells = np.zeros((part.height, layer.columns), dtype=np.int64)
        tiles.append(Tile(
            **vars(part), targets=cells, weights=cells, scale=columns, offset=columns,
            lsb_log2=config.lsb_log2_min,
        ))  # fmt: skip
    return QuantLayer(layer, tuple(tiles), 0, columns, columns, columns, code, zero, 0, code)


def _row_codes(graph: Graph, layer: GraphLayer, codes: dict[str, Real]) -> Real:
    """Real value of an input code of 1 by row of a layer's matrix, shape (rows,)."""
    largest = max(float(codes[tensor].max()) for tensor in layer.sources)
    found = np.full(layer.reads.channels, largest)
    for tensor, part in zip(layer.sources, graph.lines(layer), strict=True):
        found[part] = codes[tensor][: len(part)]
    return np.tile(found, layer.reads.matrix_rows // len(found))


def _quantised(
    layer: GraphLayer, rows: Sequence[RowTile], known: Samples, row_codes: Real,
    skip: Real | None, devices: _Devices, *, alike: tuple[Real, Real] | None,
) -> QuantLayer:  # fmt: skip
    config = devices.config
    # Weights of rows whose codes are worth less are smaller by as much.
    source = float(row_codes.max())
    matrix = layer.weights * (row_codes / source)[:, np.newaxis]
    table = _STEPS.get(layer.function)
    # What is clipped before a mean is missing in it, whereas rounding averages out.
    clips = (1.0,) if layer.pool in MEANS else CLIPS
    step = channel_codes(known.activations(layer), layer, clips, alike=alike and alike[0])
    step = np.full(layer.columns, table) if table else np.tile(step, layer.groups)
    bounds = []
    for part in rows:
        sums, index = known.tile(layer, part), part.index(layer)
        limits = code_limit(sums, known.sums - sums, layer.function)
        driven = known.windows[:, index] / row_codes[index]
        own = matrix[index] * part.share
        bounds.append(devices.bounds(own, limits, source, driven, part.copies))
    shift = _shift([value for _, value in bounds], skip, step, layer.bias)
    skip_scale = np.zeros(layer.columns, dtype=np.int64)
    if skip is not None:
        skip_scale = np.maximum(1, np.floor(2.0**shift * skip / step)).astype(np.int64)
    if skip is not None and not table:
        # A step that the residual's scale holds exactly.
        step = 2.0**shift * skip / skip_scale
    scales = [
        np.ceil(2.0**shift * value / step).clip(0, SCALE_MAX).astype(np.int64)
        for _, value in bounds
    ]
    exact = layer.bias * 2.0**shift / step + sum(scales) / 2
    offset, bias_codes, bias_scale = _bias(exact)
    tiles = []
    for part, scale, (lsb, _) in zip(rows, scales, bounds, strict=True):
        factor = 2.0 ** (shift + lsb) * source / (np.maximum(scale, 1) * step)
        weights = np.zeros((part.height, layer.columns))
        own = matrix[part.index(layer)] * part.share
        weights[part.lines()] = own * factor / part.copies
        tiles.append(Tile(
            **vars(part), targets=devices.targets(weights),
            weights=np.rint(weights).astype(np.int64), scale=scale,
            offset=offset if part is rows[-1] else np.zeros_like(offset), lsb_log2=lsb,
        ))  # fmt: skip
    code = np.full(layer.outputs, 1 / ONE) if table else step[: layer.outputs]
    gain = np.ones(layer.outputs)
    if layer.pool in MEANS and not table:
        gain = code / channel_codes(known.outputs, layer, CLIPS, alike=alike and alike[1])
    pool_scale, pool_shift = _mean(layer, gain, config)
    if layer.pool in MEANS:
        code = code * 2.0**pool_shift / (layer.pooled * pool_scale)
    return QuantLayer(
        layer, tuple(tiles), shift, bias_codes, bias_scale, skip_scale, step, pool_scale,
        pool_shift, code,
    )  # fmt: skip


def _only_pooled(
    one: QuantLayer, known: Samples, config: CoreConfig, *, alike: tuple[Real, Real] | None
) -> QuantLayer:
    """Integers of a layer without weights; ``one.code`` is that of its source."""
    if one.layer.pool is Pool.NONE:
        return one
    exact = channel_codes(known.outputs, one.layer, CLIPS, alike=alike and alike[1])
    scale, shift = _mean(one.layer, one.code / exact, config)
    code = one.code * 2.0**shift / (one.layer.pooled * scale)
    return replace(one, pool_scale=scale, pool_shift=shift, code=code)


def _mean(layer: GraphLayer, gain: Real, config: CoreConfig) -> tuple[Int, int]:
    """Scale and shift with which a sum of codes becomes nearly ``gain`` times their mean.

    What they miss is in the value of the output's code. No sum leaves the accumulators.
    """
    count = layer.pooled
    largest = min(SCALE_MAX, ((1 << (config.acc_bits - 1)) - 1) // (ONE * count))
    for shift in range(SHIFT_MAX, -1, -1):
        scale = np.floor(2.0**shift * gain / count).astype(np.int64)
        if 1 <= scale.max() <= largest:
            return scale.clip(1), shift
    raise ValueError(f"no scale of the hardware makes the mean of {count} positions")


def _shift(values: Sequence[Real], skip: Real | None, step: Real, bias: Real) -> int:
    """Largest shift with which the scales fit: of counts worth ``values``, of a residual, and of
    the constant that makes what offsets do not hold of a bias."""
    parts = [*values] if skip is None else [*values, skip]
    largest = max(float((part / step).max()) for part in parts)
    room = BIAS_ROOM * ONE * SCALE_MAX
    largest = max(largest, SCALE_MAX * float(np.abs(bias / step).max()) / room)
    shift = math.floor(math.log2(SCALE_MAX / largest))
    if shift < 0:
        raise ValueError(
            f"a count is worth {largest:.3g} steps of its activations, more than {SCALE_MAX}"
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


def corrected(
    graph: Graph, layers: Sequence[QuantLayer], images: Images, programmed: Sequence[Real], *,
    gains: bool = False,
) -> list[QuantLayer]:  # fmt: skip
    """The same with scales and biases for the weights that the devices have got.

    Parameters
    ----------
    images : of calibration
    programmed : conductances of all copies by layer, shape (rows, columns), in codes
    gains : of the converters of a tile may grow, as little as its largest scale needs
    """
    samples, found = observed(graph, images), []
    codes = {INPUT: np.full(graph.shape[2], graph.code)}
    for one, weights in zip(layers, programmed, strict=True):
        layer, known = one.layer, samples[one.layer.name]
        if layer.only_pools:
            codes[layer.name] = one.code
            found.append(one)
            continue
        step, row_codes = one.step, _row_codes(graph, layer, codes)
        exact = np.array(layer.bias)
        tiles = []
        for tile in one.tiles:
            index = tile.index(layer)
            wanted = known.tile(layer, tile)
            counts = (known.windows[:, index] / row_codes[index]) @ weights[index]
            counts *= 2.0**-tile.lsb_log2 * tile.share
            # Straight line through what a count should be worth, in the integers of a scale.
            spread = counts - counts.mean(axis=0)
            worth = (spread * wanted).sum(axis=0) / np.maximum((spread**2).sum(axis=0), 1e-12)
            needed = np.where(tile.scale == 0, 0, worth * 2.0**one.shift / step)
            gain = max(1.0, float(needed.max()) / SCALE_MAX) if gains else 1.0
            scale = np.rint(needed / gain).clip(1, SCALE_MAX).astype(np.int64)
            scale[tile.scale == 0] = 0
            counted = gain * counts.mean(axis=0) * scale * step / 2.0**one.shift
            exact += wanted.mean(axis=0) - counted
            tiles.append(replace(tile, scale=scale, gain=gain))
        total = exact * 2.0**one.shift / step + sum(tile.scale for tile in tiles) / 2
        offset, bias_codes, bias_scale = _bias(total)
        tiles[-1] = replace(tiles[-1], offset=offset)
        codes[layer.name] = one.code
        found.append(replace(
            one, tiles=tuple(tiles), bias_codes=bias_codes, bias_scale=bias_scale
        ))  # fmt: skip
    return found
