# SPDX-License-Identifier: Apache-2.0
"""Placement: which cells of which crossbar a layer has, and which nodes of a mesh its tiles."""

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ChipNetwork, Network
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.topology import prism

__all__ = [
    "MOST_CORES",
    "check_core",
    "check_tiles",
    "graph_chip",
    "links",
    "multicasts",
    "place",
    "place_edges",
]

TRIES = {False: 4, True: 64}
"""Random placements that are annealed; on direct links until one is of single links."""

MOST_CORES = {"mesh": 63, "prism": 14}
"""Cores of the largest chips of :func:`graph_chip`, of 8 x 8 and 8 x 2 nodes."""

MOVES = 24
"""Swaps of an annealing, by part and core."""

HOT, COLD = 3.0, 0.1
"""Temperatures of an annealing, in links."""


def check_core(network: Network, config: CoreConfig) -> None:
    """Raise ``ValueError`` unless all layers fit into one crossbar without sharing a cell."""
    _check_cells(network, config, 0)
    if network.layers[0].row_start % GROUP:
        raise ValueError(
            f"row_start of layer 0 must be a multiple of {GROUP}, not {network.layers[0].row_start}"
        )


def check_tiles(network: ChipNetwork, config: CoreConfig) -> None:
    """Raise ``ValueError`` unless every tile of layer 0, and the head's layers, fit into a core."""
    first = network.layers[0]
    if len(network.layers) < 2 or not 1 <= network.tiles <= first.inputs:
        raise ValueError(
            f"{network.name} needs 2 layers and 1..{first.inputs} tiles,"
            f" not {len(network.layers)} and {network.tiles}"
        )
    bottom, right = first.row_start + network.tile_rows(0), first.col_start + first.outputs
    if bottom > config.rows or right > config.cols:
        raise ValueError(
            f"{network.name} needs {bottom} rows and {right} columns for each of {network.tiles}"
            f" tiles of layer 0; the crossbar has {config.rows} and {config.cols}"
        )
    _check_cells(network, config, 1)
    if first.row_start % GROUP:
        raise ValueError(
            f"row_start of layer 0 must be a multiple of {GROUP}, not {first.row_start}"
        )
    hidden = network.layers[1].row_start
    if first.col_start != hidden or hidden % GROUP:
        raise ValueError(
            f"col_start of layer 0 and row_start of layer 1 must be the same multiple of"
            f" {GROUP}, not {first.col_start} and {hidden}"
        )


def _check_cells(network: Network, config: CoreConfig, first: int) -> None:
    """Check that layers ``first`` and up fit beside each other and follow one another."""
    used = np.zeros((config.rows, config.cols), dtype=np.bool_)
    for number, layer in enumerate(network.layers):
        if number and layer.inputs != network.layers[number - 1].outputs:
            raise ValueError(
                f"{network.name} layer {number} has {layer.inputs} inputs;"
                f" the layer before has {network.layers[number - 1].outputs} outputs"
            )
        if number < first:
            continue
        bottom, right = layer.row_start + layer.rows, layer.col_start + layer.outputs
        if bottom > config.rows or right > config.cols:
            raise ValueError(
                f"{network.name} needs {bottom} rows and {right} columns for layer {number};"
                f" the crossbar has {config.rows} and {config.cols}"
            )
        cells = used[layer.row_start : bottom, layer.col_start : right]
        if cells.any():
            raise ValueError(f"{network.name} layer {number} shares cells with another layer")
        cells[:] = True


def place(chip: ChipConfig, tiles: int) -> tuple[tuple[int, ...], int]:
    """Nodes of the tiles in the order of the chain, and of the head.

    The tiles fill a rectangle of the mesh (error vectors are multicast to it), the chain winds
    through it along links, its end is as near to the head as can be and then all to the host.
    """
    mesh = chip.noc

    best: tuple[tuple[int, int], tuple[int, ...], int] | None = None
    for cols, rows in _rectangles(mesh.width, mesh.height, tiles):
        for path in _snakes(cols, rows):
            chain = tuple(y * mesh.width + x for x, y in path)
            if chip.host in chain:
                continue
            for head in chip.cores:
                if head in chain:
                    continue
                hops = sum(links(chip, chip.host, node) for node in (*chain, head))
                cost = links(chip, chain[-1], head), hops
                if best is None or cost < best[0]:
                    best = cost, chain, head
    if best is None:
        raise ValueError(
            f"tiles must fill a rectangle of the {mesh.width} x {mesh.height} mesh without host"
            f" ({chip.host}) and head, not {tiles}"
        )
    return best[1], best[2]


def graph_chip(core: CoreConfig, cores: int, topology: str = "mesh") -> ChipConfig:
    """Chip with a host and at least so many cores, for graphs.

    ``topology``: ``mesh``, or ``prism``: the direct links of a prism of two cores a column, whose
    last column has the host, and a link from the host to the first column.

    Raises ``ValueError`` for more cores than such a chip can have.
    """
    if cores > (most := MOST_CORES[topology]):
        raise ValueError(f"cores must be at most {most} of a {topology}, not {cores}")
    if topology == "prism":
        columns = -(-cores // 2) + 1
        host = ((0, columns - 1),) if columns > 2 else ()
        links = (*host, *prism(columns, 2))
        noc = NocConfig(width=columns, height=2, topology="table", links=links)
        return ChipConfig(core=core, noc=noc, host=columns - 1)
    rows = next(rows for rows in (2, 4, 8) if cores < 6 * rows or rows == 8)
    width = max(2, -(-(cores + 1) // rows))
    return ChipConfig(core=core, noc=NocConfig(width=width, height=rows), host=width - 1)


@cache
def place_edges(
    chip: ChipConfig, parts: int, edges: tuple[tuple[int | None, int | None], ...],
    groups: tuple[tuple[int, ...], ...] = (),
) -> tuple[int, ...]:  # fmt: skip
    """Nodes of parts that send to one another.

    On a mesh all vectors together go over few links; on direct links each goes over one.

    Parameters
    ----------
    parts : their number, at most that of the cores
    edges : producer and consumer by number; None is the host
    groups : parts that read the same vectors; a multicast to all of them saves links

    Raises ``ValueError`` if none was found on direct links.
    """
    places = _Places(chip, parts, edges, groups)
    for attempt in range(TRIES[chip.noc.direct]):
        places.anneal(np.random.Generator(np.random.PCG64(attempt)))
        if chip.noc.direct and places.longest == 1:
            break
    if chip.noc.direct and places.longest > 1:
        raise ValueError(
            f"no placement found of {parts} parts on {chip.noc.topology} of {chip.noc.nodes} nodes"
            f" with {len(edges)} ways of one link"
        )
    return tuple(places.best[:parts])


class _Places:
    """Nodes of parts, of cores without any, then of the host; the best that were found.

    A swap of two changes but the ways of these, and the groups that they are in.
    """

    def __init__(
        self, chip: ChipConfig, parts: int, edges: Sequence[tuple[int | None, int | None]],
        groups: Sequence[Sequence[int]],
    ):  # fmt: skip
        self._chip, self._parts, self._count = chip, parts, len(chip.cores)
        self._at = [chip.place(node) for node in range(chip.noc.nodes)]
        self._hops: list[list[int]] = _hops(chip).tolist()
        self._edges = [tuple(self._count if end is None else end for end in edge) for edge in edges]
        self._groups = [list(group) for group in groups if len(group) > 1]
        ends = range(self._count + 1)
        self._ways = [[edge for edge in self._edges if part in edge] for part in ends]
        self._shared = [[group for group in self._groups if part in group] for part in ends]
        self._nodes: list[int] = []
        self.best: list[int] = []
        self._least = math.inf

    @property
    def longest(self) -> int:
        """Links of the longest way."""
        return max(self._hops[self.best[one]][self.best[to]] for one, to in self._edges)

    def _cost(
        self, ways: Sequence[tuple[int, ...]], groups: Sequence[Sequence[int]]
    ) -> int:  # fmt: skip
        nodes = self._nodes
        links = sum(self._hops[nodes[one]][nodes[to]] for one, to in ways)
        return links - sum(len(group) - self._multicasts(group) for group in groups)

    def _multicasts(self, group: Sequence[int]) -> int:
        """How many :func:`multicasts` finds for a group."""
        cols: dict[int, int] = {}
        rows: dict[int, int] = {}
        for part in group:
            x, y = self._at[self._nodes[part]]
            cols[x] = cols.get(x, 0) | 1 << y
            rows[y] = rows.get(y, 0) | 1 << x
        return min(len(set(cols.values())), len(set(rows.values())))

    def anneal(self, rng: np.random.Generator) -> None:
        """Random places, then swaps, of which fewer and fewer make it worse."""
        self._nodes = [*rng.permutation(self._chip.cores).tolist(), self._chip.host]
        cost = self._cost(self._edges, self._groups)
        moves = MOVES * self._parts * self._count
        pairs = np.stack([rng.integers(self._parts, size=moves), rng.integers(
            self._count, size=moves
        )])  # fmt: skip
        # A worse place is taken with probability exp(-more / temperature).
        bounds = -np.geomspace(HOT, COLD, moves) * np.log(rng.random(moves))
        for one, other, bound in zip(*pairs.tolist(), bounds.tolist(), strict=True):
            if one == other:
                continue
            ways, groups = self._touched(one, other)
            before = self._cost(ways, groups)
            self._swap(one, other)
            more = self._cost(ways, groups) - before
            if more > bound:
                self._swap(one, other)
                continue
            cost += more
            if cost < self._least:
                self._least, self.best = cost, list(self._nodes)

    def _touched(
        self, one: int, other: int
    ) -> tuple[list[tuple[int, ...]], list[list[int]]]:  # fmt: skip
        """Ways and groups of two parts, each once."""
        ways = self._ways[one] + [way for way in self._ways[other] if one not in way]
        groups = self._shared[one] + [group for group in self._shared[other] if one not in group]
        return ways, groups

    def _swap(self, one: int, other: int) -> None:
        nodes = self._nodes
        nodes[one], nodes[other] = nodes[other], nodes[one]


def links(chip: ChipConfig, one: int, other: int) -> int:
    """Links from a node to another one: on direct links one, as nothing goes over two."""
    if chip.noc.direct:
        return 1
    (ax, ay), (bx, by) = chip.place(one), chip.place(other)
    return abs(ax - bx) + abs(ay - by)


def multicasts(chip: ChipConfig, nodes: Sequence[int]) -> list[tuple[int, ...]]:
    """Nodes by multicast, few of which reach all: one goes to all nodes of some columns and rows.

    Columns in which the same rows are wanted are one, or rows with the same columns.
    """
    found = []
    for axis in (0, 1):
        lines: dict[int, list[int]] = {}
        for node in nodes:
            lines.setdefault(chip.place(node)[axis], []).append(node)
        alike: dict[tuple[int, ...], list[int]] = {}
        for members in lines.values():
            places = tuple(sorted(chip.place(node)[1 - axis] for node in members))
            alike.setdefault(places, []).extend(members)
        found.append([tuple(sorted(part, key=nodes.index)) for part in alike.values()])
    return min(found, key=len)


def _hops(chip: ChipConfig) -> NDArray[np.int64]:
    """Links between nodes; more on direct links, where no vector goes over two."""
    mesh = chip.noc
    if not mesh.direct:
        x, y = np.array([chip.place(node) for node in range(mesh.nodes)]).T
        found: NDArray[np.int64] = abs(x[:, None] - x) + abs(y[:, None] - y)
        return found
    far = np.full((mesh.nodes, mesh.nodes), mesh.nodes)
    np.fill_diagonal(far, 0)
    for node, others in enumerate(mesh.neighbours):
        far[node, list(others)] = 1
    for node in range(mesh.nodes):
        far = np.minimum(far, far[:, [node]] + far[node])
    return np.where(far > 1, far * mesh.nodes, far)


def _rectangles(width: int, height: int, size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Columns and rows of all rectangles of ``size`` nodes of a mesh."""
    for cols in range(1, min(width, size) + 1):
        rows, rest = divmod(size, cols)
        if rest or rows > height:
            continue
        for x in range(width - cols + 1):
            for y in range(height - rows + 1):
                yield list(range(x, x + cols)), list(range(y, y + rows))


def _snakes(cols: list[int], rows: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Paths (x, y) that wind through a rectangle, row by row or column by column."""
    corners = [(xs, ys) for xs in (cols, cols[::-1]) for ys in (rows, rows[::-1])]
    for xs, ys in corners:
        yield [(x, y) for i, y in enumerate(ys) for x in (xs, xs[::-1])[i % 2]]
    for xs, ys in corners:
        yield [(x, y) for i, x in enumerate(xs) for y in (ys, ys[::-1])[i % 2]]
