# SPDX-License-Identifier: Apache-2.0
"""How large the values of a graph are, by calibration images, and what codes of them are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.graph import BATCH, MEANS, Graph, GraphLayer, Images, Real
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.tile import RowTile
from phasecore.rtl.spec.instructions import Function

__all__ = ["CLIPS", "Samples", "alike_values", "channel_codes", "code_limit", "observed"]

CLIPS = tuple(float(part) for part in np.geomspace(1, 0.1, 12))
"""Parts of the largest value among which the limit of a range is chosen: what is beyond is clipped,
which may cost less than coarser steps for all others."""

SAMPLES = 16000
"""Positions of a layer by which ranges are chosen."""

RANGE = 16
"""A channel's codes are worth no less than a code of all channels, by this."""


@dataclass
class Samples:
    """What the calibration images have shown of a layer: windows at some positions, shape
    (positions, rows), all that is added there, and outputs, shape (vectors, outputs)."""

    windows: NDArray[np.float32]
    sums: Real
    outputs: Real

    def activations(self, layer: GraphLayer) -> Real:
        """What codes must hold before the outputs, shape (values, outputs): the larger activations
        of which a mean is taken, too."""
        if layer.pool in MEANS:
            return layer.activations(self.sums).reshape(-1, layer.outputs)
        return self.outputs

    def tile(self, layer: GraphLayer, tile: RowTile) -> Real:
        """Sums of a tile, shape (positions, columns)."""
        index = tile.index(layer)
        found: Real = self.windows[:, index] @ layer.weights[index] * tile.share
        return found


def observed(graph: Graph, images: Images) -> dict[str, Samples]:
    """Samples of all layers."""
    found: dict[str, list[Samples]] = {layer.name: [] for layer in graph.layers}
    rng = np.random.Generator(np.random.PCG64(0))
    for start in range(0, len(images), BATCH):
        for layer, windows, sums, output in graph.run(images[start : start + BATCH]):
            rows = windows.reshape(-1, windows.shape[-1])
            count = -(-SAMPLES * BATCH // len(images))
            chosen = rng.permutation(len(rows))[:count]
            found[layer.name].append(Samples(
                rows[chosen].astype(np.float32), sums.reshape(-1, layer.columns)[chosen],
                rng.permutation(output.reshape(-1, layer.outputs))[:count],
            ))  # fmt: skip
    return {
        name: Samples(
            np.concatenate([part.windows for part in parts]),
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.outputs for part in parts]),
        )
        for name, parts in found.items()
    }


def alike_values(graph: Graph, samples: dict[str, Samples]) -> dict[str, tuple[Real, Real]]:
    """Layers whose codes must all be worth the same, with activations and outputs that show how
    much.

    Those of the output, which may be of several layers, or pooled, and those of rows of pixels.
    """

    def values(layer: GraphLayer) -> tuple[Real, Real]:
        known = samples[layer.name]
        return known.activations(layer).reshape(-1, 1), known.outputs.reshape(-1, 1)

    found = {layer.name: values(layer) for layer in graph.layers if layer.has_rows}
    makers = list(graph.results)
    while makers:
        activations, outputs = zip(*map(values, makers), strict=True)
        whole = np.concatenate(activations), np.concatenate(outputs)
        found |= dict.fromkeys((maker.name for maker in makers), whole)
        makers = [graph.layer(maker.source) for maker in makers if maker.only_pools]
    return found


def code_limit(
    values: Real, rest: Real, function: Function, clips: Sequence[float] = CLIPS, *,
    power: int = 2,
) -> Real:  # fmt: skip
    """By column the largest value for which codes should be, shape (columns,).

    It is chosen for the least error of what ``function`` makes of ``values`` plus ``rest``, both of
    shape (values, columns): the mean of its absolute value to a ``power``. The lower that is, the
    less a few large values count.
    """
    largest = np.maximum(np.abs(values).max(axis=0), 1e-12)
    floor = 0.0 if function is Function.RELU else -np.inf
    exact = np.maximum(values + rest, floor)
    best: Real = largest
    errors = np.full(largest.shape, np.inf)
    for part in clips:
        limit = part * largest
        coded = np.rint((values / limit).clip(-1, 1) * ONE) * limit / ONE
        error = np.mean(np.abs(np.maximum(coded + rest, floor) - exact) ** power, axis=0)
        best, errors = np.where(error < errors, limit, best), np.minimum(error, errors)
    return best


def channel_codes(
    values: Real, layer: GraphLayer, clips: Sequence[float], *, alike: Real | None
) -> Real:  # fmt: skip
    """Values of a code of 1 that are best for outputs ``values``, shape (values, outputs); for
    those of ``alike`` one value."""
    whole = (values if alike is None else alike).reshape(-1, 1)
    common = code_limit(whole, 0 * whole, layer.function, clips) / ONE
    if alike is not None:
        return np.repeat(common, layer.outputs)
    found: Real = code_limit(values, 0 * values, layer.function, clips) / ONE
    # A channel that hardly ever was anything may be something, and its weights must have scales.
    return np.maximum(found, common / RANGE)
