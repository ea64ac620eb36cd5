# SPDX-License-Identifier: Apache-2.0
"""Tiles: what of a layer is on one crossbar.

Columns first: a layer of more columns than a crossbar has becomes several layers, whose tensors lie
side by side in the vectors of those that read it. Rows next: tiles of a layer add up. Those of a
layer whose kernels are grouped have whole groups of channels, and add only to the columns of these.

Rows that are left take copies of a tile's, as many as there is room for: all of them together are a
weight, of several times the devices. The noise of these averages out (multi-memristive synapses:
Boybat et al., Nature Communications 9, 2514 (2018), doi:10.1038/s41467-018-04933-y). More copies
than a crossbar has room for are on several, whose sums add up as those of other rows do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from phasecore.models.compiler.graph import INPUT, MEANS, Graph, GraphLayer, Pool
from phasecore.models.compiler.windows import LayerInput
from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP

__all__ = ["RowTile", "long_input", "row_tiles", "split_columns"]


@dataclass(frozen=True)
class RowTile:
    """Rows of a layer on one crossbar.

    Attributes
    ----------
    channels : of the layer's pixels, that it reads
    rows : of the im2col matrix of these channels
    copies : of these rows on the crossbar; none of a layer without weights
    pitch : from the first row of a copy to that of the next one
    share : of the weights that these copies are together; others have the rest
    """

    channels: range
    rows: range
    copies: int
    pitch: int
    share: float = 1.0

    @property
    def height(self) -> int:
        """Rows of the crossbar, from the first on."""
        return (self.copies - 1) * self.pitch + len(self.rows)

    def lines(self) -> Int:
        """Rows of the crossbar that are copies of each row, shape (copies, rows)."""
        first = self.pitch * np.arange(self.copies)
        return first[:, np.newaxis] + np.arange(len(self.rows))

    def index(self, layer: GraphLayer) -> slice | Int:
        """Its rows in the matrix of all channels."""
        whole = layer.reads.channels
        if len(self.channels) == whole:
            return slice(self.rows.start, self.rows.stop)
        pixel, channel = np.divmod(np.arange(self.rows.start, self.rows.stop), len(self.channels))
        return pixel * whole + self.channels.start + channel


def row_tiles(graph: Graph, layer: GraphLayer, config: CoreConfig) -> list[RowTile]:
    """Tiles of a layer's rows: as few as possible, of whole pixels where they fit.

    Copies begin at blocks of lines, as GATHER does.
    """
    if layer.only_pools:
        rows = range(layer.columns)
        return [RowTile(rows, rows, 0, len(rows))]
    found, block = [], config.post_lanes
    # Crossbars that have the same rows, and copies on each.
    alike = -(-layer.copies * block // config.rows)
    copies = -(-layer.copies // alike)
    most = config.rows // (block * copies) * block if copies > 1 else config.rows
    for channels in _parts(graph, layer, config.lines, most):
        pixel = len(channels)
        total = layer.reads.matrix_rows // layer.reads.channels * pixel
        size = -(-total // -(-total // most))
        whole = -(-size // pixel) * pixel
        size = whole if whole <= most else size
        pitch = -(-size // block) * block
        copies = (config.rows - size) // pitch + 1
        found += [
            RowTile(channels, range(first, min(first + size, total)), copies, pitch, 1 / alike)
            for first in range(0, total, size)
            for _ in range(alike)
        ]
    return found


def _parts(graph: Graph, layer: GraphLayer, lines: int, rows: int) -> Iterator[range]:
    """Channels of a layer's pixels that are in one vector: of several sources if that has room for
    them, without those at the ends that have no weights; of whole groups, as many as fit."""
    reads = layer.reads
    if reads.packed:
        yield range(reads.channels)
        return
    parts: list[range] = []
    for part in graph.lines(layer):
        if parts and part.stop - parts[-1].start <= lines:
            parts[-1] = range(parts[-1].start, part.stop)
        else:
            parts.append(part)
    used = (layer.weights.reshape(-1, reads.channels, layer.columns) != 0).any(axis=(0, 2))
    # A layer has a tile, be all its weights 0.
    used[0] |= not used.any()
    if layer.parts > 1 and not layer.joined:
        whole = reads.channels // layer.parts
        fit = max(1, rows // (reads.pixels * whole))
        count = -(-layer.parts // fit)
        size = -(-layer.parts // count) * whole
        parts = [
            range(first, min(first + size, reads.channels))
            for first in range(0, reads.channels, size)
        ]
    for part in parts:
        channels = np.flatnonzero(used[part.start : part.stop])
        if channels.size:
            yield range(part.start + int(channels[0]), part.start + int(channels[-1]) + 1)


def long_input(graph: Graph, config: CoreConfig) -> Graph:
    """The same, an input that its only reader takes as a whole being a row of long vectors.

    Of equal length, as few as possible: a perceptron's 784 pixels are 4 vectors of 196.
    """
    first, *rest = graph.layers
    reads, total = first.reads, graph.inputs
    is_whole = reads.kernel == (reads.height, reads.width) and not any(reads.padding)
    if reads.packed or not is_whole or any(INPUT in layer.inputs for layer in rest):
        return graph
    size = max(size for size in range(1, min(total, config.lines) + 1) if total % size == 0)
    row = replace(reads, height=1, width=total // size, channels=size, kernel=(1, total // size))
    return replace(
        graph, shape=(1, total // size, size), layers=(replace(first, reads=row), *rest)
    )  # fmt: skip


def split_columns(graph: Graph, config: CoreConfig) -> Graph:
    """The same, layers whose columns are too many being several layers.

    Raises ``ValueError``, naming the layer, if a residual would have to be split.
    """
    graph = _with_means_apart(graph, config)
    parts: dict[str, tuple[str, ...]] = {}
    found: list[GraphLayer] = []
    for layer in graph.layers:
        sources = [name for source in layer.sources for name in parts.get(source, (source,))]
        columns = _columns(layer, config)
        count = len(sources) if layer.only_pools else len(columns)
        names = tuple(f"{layer.name}:{at}" for at in range(count)) if count > 1 else (layer.name,)
        parts[layer.name] = names
        if layer.only_pools:
            for name, source in zip(names, sources, strict=True):
                channels = replace(graph, layers=tuple(found)).channels(source)
                reads = replace(layer.reads, channels=channels)
                found.append(GraphLayer.pooling(name, source, reads, layer.pool))
            continue
        skips: Sequence[str | None] = [None] * len(columns)
        if layer.skip is not None:
            skips = parts.get(layer.skip, (layer.skip,))
        if len(skips) != len(columns):
            raise ValueError(
                f"layer {layer.name}: skip {layer.skip} must be on as many crossbars as its"
                f" columns, {len(columns)}, not {len(skips)}"
            )
        for at, part in enumerate(columns):
            found.append(replace(
                layer, name=names[at], source=sources[0], joined=tuple(sources[1:]),
                weights=layer.weights[:, part.start : part.stop],
                bias=layer.bias[part.start : part.stop],
                skip=skips[at],
            ))  # fmt: skip
    ends = tuple(name for layer in graph.results for name in parts[layer.name])
    return replace(graph, layers=tuple(found), ends=ends if len(ends) > 1 else ())


def _with_means_apart(graph: Graph, config: CoreConfig) -> Graph:
    """The same, means of frames of more columns than lines can be pooled behind being layers of
    their own: the others need not be on more crossbars for it."""
    found: list[GraphLayer] = []
    for layer in graph.layers:
        if layer.pool is not Pool.FRAME or layer.columns <= _pooled_lines(config):
            found.append(layer)
            continue
        rows, cols = layer.reads.iterations
        reads = LayerInput(height=rows, width=cols, channels=layer.columns, largest=True)
        found.append(replace(layer, name=f"{layer.name}-sums", pool=Pool.NONE))
        found.append(GraphLayer.pooling(layer.name, found[-1].name, reads, Pool.FRAME))
    return replace(graph, layers=tuple(found))


def _pooled_lines(config: CoreConfig) -> int:
    """Most columns whose mean is taken beside them: it takes the lines behind."""
    return config.lines // 2 // GROUP * GROUP


def _columns(layer: GraphLayer, config: CoreConfig) -> list[range]:
    """Columns of a layer by crossbar; but for the last, as many as whole groups of lines."""
    total = layer.columns
    most = config.cols // GROUP * GROUP
    if layer.pool in MEANS:
        most = _pooled_lines(config)
    if layer.groups > 1 or total <= GROUP:
        return [range(total)]
    return [range(first, min(first + most, total)) for first in range(0, total, most)]
