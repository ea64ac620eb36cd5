# SPDX-License-Identifier: Apache-2.0
"""Room that rings of a pipeline must have, so that no branch waits for the other for ever."""

import itertools
from collections.abc import Iterator

import numpy as np

from phasecore.models.compiler.graph import Graph, GraphLayer
from phasecore.models.compiler.mapping.stage import Stage
from phasecore.models.compiler.windows import smallest_depth
from phasecore.models.golden.arithmetic import Int
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import ObjectDescriptor

__all__ = ["Depths"]


class Depths:
    """What the layers of a graph need of one another, noted tile by tile."""

    def __init__(self, graph: Graph):
        self._graph = graph
        # By window of every layer.
        self._needs: dict[str, Int] = {}

    def note(self, stage: Stage, frame: ObjectDescriptor) -> None:
        """Vectors of its source that a layer's positions need, and all before them, by position."""
        needs = [frame.need(*place) for place in _iterations(frame)]
        needs[-1] = frame.height * frame.width
        found = np.maximum.accumulate(needs)
        self._needs[stage.layer.name] = np.maximum(found, self._needs.get(stage.layer.name, found))

    def ahead(self, stage: Stage, frame: ObjectDescriptor, config: CoreConfig) -> int:
        """Vectors for which there must be room beside those of a tile's own windows.

        Two rows of a block, or another frame of a layer that has one position, so that nobody
        waits; of a tile whose pixels come before the last one's those that come meanwhile; and
        those of one input that come before another one's.
        """
        layer = stage.layer
        reads, ahead = layer.reads, 2 * layer.reads.block[0]
        if reads.iterations == (1, 1):
            ahead = reads.height * reads.row_vectors(config)
        needs, most, dead = self._needs[layer.name], 0, 0
        come = np.max([self._come(layer, tensor) for tensor in stage.sources], axis=0)
        if len(stage.quantised.tiles) > 1:
            come = np.maximum(come, _needed(needs, np.arange(1, layer.windows + 1)))
        for position, place in enumerate(_iterations(frame)):
            most = max(most, int(come[position]) - dead)
            dead = frame.dead(*place)
        return max(0, most - smallest_depth(frame)) + ahead

    def lag(self, layer: GraphLayer, tensor: str) -> int:
        """Vectors of a residual that a layer's core must hold before it can add the first."""
        return max(1, int((self._come(layer, tensor) - np.arange(layer.windows)).max()))

    def _come(self, layer: GraphLayer, tensor: str) -> Int:
        """By window of a layer, vectors of an input that come before all others have theirs.

        The branches begin with tensors that both read. When the layer has the other inputs of a
        window, so much of these has been sent; and so much may have come of it through this branch
        by then. A vector leaves a core when the window behind it has been gathered.
        """
        found = np.zeros(layer.windows, dtype=np.int64)
        others = [other for other in layer.inputs if other != tensor]
        if not others:
            return found
        before, beside = self._before([tensor]), self._before(others)
        common = before & beside
        fronts = {
            source
            for child in self._graph.layers
            if child is layer or child.name in (before | beside) - common
            for source in child.inputs
            if source in common
        }
        # One window further, as a tile before the last one needs.
        reads = self._reads(layer, np.arange(1, layer.windows + 1))
        sent = self._sent({name: vectors for name, vectors in reads if name != tensor})
        for front in fronts:
            found = np.maximum(found, self._made(tensor, front, sent[front]))
        return found

    def _before(self, tensors: list[str]) -> set[str]:
        """The tensors, and all of which they are made."""
        found = set(tensors)
        for layer in reversed(self._graph.layers):
            if layer.name in found:
                found.update(layer.inputs)
        return found

    def _reads(self, layer: GraphLayer, windows: Int) -> Iterator[tuple[str, Int]]:
        """Vectors of its inputs that a layer's windows need, and all before them."""
        vectors = _needed(self._needs[layer.name], windows)
        yield from ((source, vectors) for source in layer.sources)
        if layer.skip is not None:
            yield layer.skip, windows

    def _sent(self, wanted: dict[str, Int]) -> dict[str, Int]:
        """Vectors of all tensors that have been sent when those that are ``wanted`` have."""
        found = dict(wanted)
        for layer in reversed(self._graph.layers):
            if layer.name not in found:
                continue
            windows = found[layer.name] * (layer.windows // layer.vectors)
            for source, vectors in self._reads(layer, windows):
                found[source] = np.maximum(found.get(source, 0), vectors)
        return found

    def _made(self, tensor: str, front: str, count: Int) -> Int:
        """Most vectors of a tensor when there are ``count`` of another one before it."""
        found = {front: count}
        for layer in self._graph.layers:
            windows = [
                found[source] if source == layer.skip else self._windows(layer, found[source])
                for source in layer.inputs if source in found
            ]  # fmt: skip
            if windows and layer.name not in found:
                least: Int = np.minimum.reduce(windows)
                found[layer.name] = least // (layer.windows // layer.vectors)
        return found[tensor]

    def _windows(self, layer: GraphLayer, vectors: Int) -> Int:
        """Windows of a layer for which so many vectors of a source are enough."""
        needs = self._needs[layer.name]
        frames, rest = np.divmod(vectors, needs[-1])
        found: Int = frames * len(needs) + np.searchsorted(needs, rest, side="right")
        return found


def _iterations(frame: ObjectDescriptor) -> Iterator[tuple[int, int]]:
    """Rows and columns of a frame's iterations."""
    return itertools.product(range(frame.out_height), range(frame.out_width))


def _needed(needs: Int, positions: Int) -> Int:
    """Vectors that positions need, counted on over the frames."""
    frames, at = np.divmod(positions, len(needs))
    found: Int = frames * needs[-1] + needs[at]
    return found
