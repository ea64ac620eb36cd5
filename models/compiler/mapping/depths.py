# SPDX-License-Identifier: Apache-2.0
"""Room that rings of a pipeline must have, so that no branch waits for the other for ever."""

import itertools
from collections.abc import Iterator

import numpy as np

from phasecore.models.compiler.graph import INPUT, Graph, GraphLayer, Pool
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
        waits; and of a tile whose pixels come before the last one's those that come meanwhile.
        """
        reads = stage.layer.reads
        ahead = 2 * reads.block[0]
        if reads.iterations == (1, 1):
            ahead = reads.height * reads.row_vectors(config)
        if len(stage.quantised.tiles) == 1:
            return ahead
        needs, most, dead = self._needs[stage.layer.name], 0, 0
        for position, place in enumerate(_iterations(frame)):
            most = max(most, _needed(needs, position + 1) - dead)
            dead = frame.dead(*place)
        return max(0, most - smallest_depth(frame)) + ahead

    def lag(self, number: int, tensor: str) -> int:
        """Vectors of a residual that a layer's core must hold before it can add the first of them.

        The branches begin with a tensor that both read. When the layer has the window of a
        position, so much of that tensor has been sent; and so much may have come of it through the
        other branch by then. A vector leaves a core when the window behind it has been gathered.
        """
        layers = {layer.name: layer for layer in self._graph.layers}
        path = [self._graph.layers[number]]
        while path[-1].source != INPUT:
            path.append(layers[path[-1].source])
        sources, branch, common = [layer.source for layer in path], [], tensor
        while common not in sources:
            branch.append(self._sent(layers[common]))
            common = layers[common].source
        path = path[: sources.index(common) + 1]
        most = 1
        for position in range(path[0].windows):
            # One further, as a tile before the last one needs.
            index = position + 1
            for layer in path:
                needs = self._needs[layer.name] if layer is path[0] else self._sent(layer)
                index = _needed(needs, index)
            # So many vectors of the common tensor.
            for needs in reversed(branch):
                frames, rest = divmod(index, int(needs[-1]))
                index = frames * len(needs) + int(np.searchsorted(needs, rest, side="right"))
            most = max(most, index - position)
        return most

    def _sent(self, layer: GraphLayer) -> Int:
        """Likewise by vector that a layer sends."""
        needs = self._needs[layer.name]
        return needs[-1:] if layer.pool is Pool.FRAME else needs


def _iterations(frame: ObjectDescriptor) -> Iterator[tuple[int, int]]:
    """Rows and columns of a frame's iterations."""
    return itertools.product(range(frame.out_height), range(frame.out_width))


def _needed(needs: Int, position: int) -> int:
    """Vectors that a position needs, counted on over the frames."""
    frames, at = divmod(position, len(needs))
    return frames * int(needs[-1]) + int(needs[at])
