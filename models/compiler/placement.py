# SPDX-License-Identifier: Apache-2.0
"""Placement: which cells of which crossbar a layer has, and which nodes of a mesh its tiles."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.annealing import Ways, annealed
from phasecore.models.compiler.network import ChipNetwork, Network
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP, MEMBERS
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.parameters import integer
from phasecore.rtl.spec.topology import prism

__all__ = [
    "MOST_CORES",
    "MOST_PLANNED",
    "PlannedMesh",
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

MOST_PLANNED = 1023
"""Cores of the largest mesh that is planned without a chip of that size: 32 x 32 nodes."""


@dataclass(frozen=True, kw_only=True)
class PlannedMesh(NocConfig):
    """A mesh of more nodes than messages name: chips of 8 x 8 nodes side by side, as if links
    between them were links inside. For plans, not for hardware."""

    width: int = integer(16, 1, 32)
    """Columns of nodes."""

    height: int = integer(16, 1, 32)
    """Rows of nodes."""

    @property
    def chips(self) -> int:
        """Chips of 8 x 8 nodes that it takes."""
        return -(-self.width // 8) * -(-self.height // 8)


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


def graph_chip(
    core: CoreConfig, cores: int, topology: str = "mesh", bridge_flits: int = 64
) -> ChipConfig:  # fmt: skip
    """Chip with a host and at least so many cores, for graphs.

    Parameters
    ----------
    topology : ``mesh``, or ``prism``: the direct links of a prism of two cores a column, whose last
        column has the host, and a link from the host to the first column
    bridge_flits : for which the host bridge must have room

    Raises ``ValueError`` for more cores than such a chip can have, or be planned with.
    """
    room = max(64, 1 << (bridge_flits - 1).bit_length())
    if topology == "mesh" and MOST_CORES["mesh"] < cores <= MOST_PLANNED:
        width = math.isqrt(cores) + 1
        mesh = PlannedMesh(width=width, height=-(-(cores + 1) // width))
        return ChipConfig(core=core, noc=mesh, host=width - 1, bridge_flits=room)
    if cores > (most := MOST_CORES[topology]):
        raise ValueError(f"cores must be at most {most} of a {topology}, not {cores}")
    if topology == "prism":
        columns = -(-cores // 2) + 1
        host = ((0, columns - 1),) if columns > 2 else ()
        links = (*host, *prism(columns, 2))
        noc = NocConfig(width=columns, height=2, topology="table", links=links)
        return ChipConfig(core=core, noc=noc, host=columns - 1, bridge_flits=room)
    rows = next(rows for rows in (2, 4, 8) if cores < 6 * rows or rows == 8)
    width = max(2, -(-(cores + 1) // rows))
    noc = NocConfig(width=width, height=rows)
    return ChipConfig(core=core, noc=noc, host=width - 1, bridge_flits=room)


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
        self._at = np.array([chip.place(node) for node in range(chip.noc.nodes)])
        self._hops = _hops(chip)
        self._edges = [tuple(self._count if end is None else end for end in edge) for edge in edges]
        several = [list(group) for group in groups if len(group) > 1]
        self._ways = Ways.of(self._count + 1, [(one, to, 1) for one, to in self._edges], several)
        self.best: list[int] = []
        self._least = math.inf

    @property
    def longest(self) -> int:
        """Links of the longest way."""
        return max(int(self._hops[self.best[one], self.best[to]]) for one, to in self._edges)

    def anneal(self, rng: np.random.Generator) -> None:
        """Random places, then swaps, of which fewer and fewer make it worse."""
        nodes = np.array([*rng.permutation(self._chip.cores), self._chip.host])
        least, best = annealed(
            nodes, self._parts, self._count, self._ways, self._hops, rng, self._at
        )
        if least < self._least:
            self._least, self.best = least, best


def links(chip: ChipConfig, one: int, other: int) -> int:
    """Links from a node to another one: on direct links one, as nothing goes over two."""
    if chip.noc.direct:
        return 1
    (ax, ay), (bx, by) = chip.place(one), chip.place(other)
    return abs(ax - bx) + abs(ay - by)


def multicasts(chip: ChipConfig, nodes: Sequence[int]) -> list[tuple[int, ...]]:
    """Nodes by multicast, few of which reach all: one goes to all nodes of some columns and rows.

    Columns in which the same rows are wanted are one, or rows with the same columns, as far as a
    route has members.
    """
    found = []
    for axis in (0, 1):
        lines: dict[int, list[int]] = {}
        for node in nodes:
            lines.setdefault(chip.place(node)[axis], []).append(node)
        alike: dict[tuple[int, ...], list[list[int]]] = {}
        for members in lines.values():
            members.sort(key=lambda node: chip.place(node)[1 - axis])
            for first in range(0, len(members), MEMBERS):
                part = members[first : first + MEMBERS]
                places = tuple(chip.place(node)[1 - axis] for node in part)
                alike.setdefault(places, []).append(part)
        ways: list[list[int]] = []
        for places, parts in alike.items():
            at_once = MEMBERS // len(places)
            ways += [
                [*itertools.chain(*parts[first : first + at_once])]
                for first in range(0, len(parts), at_once)
            ]
        found.append([tuple(sorted(way, key=nodes.index)) for way in ways])
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
