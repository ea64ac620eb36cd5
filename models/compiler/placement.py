# SPDX-License-Identifier: Apache-2.0
"""Placement: which cells of which crossbar a layer has, and which nodes of a mesh its tiles."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from phasecore.models.compiler.network import ChipNetwork, Network
from phasecore.rtl.spec.chip import ChipConfig
from phasecore.rtl.spec.core import CoreConfig
from phasecore.rtl.spec.instructions import GROUP
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.topology import prism

__all__ = ["check_core", "check_tiles", "graph_chip", "is_reached", "place", "place_edges"]

TRIES = 64
"""Random placements that are improved by exchanges."""


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

    def distance(a: int, b: int) -> int:
        (ax, ay), (bx, by) = chip.place(a), chip.place(b)
        return abs(ax - bx) + abs(ay - by)

    best: tuple[tuple[int, int], tuple[int, ...], int] | None = None
    for cols, rows in _rectangles(mesh.width, mesh.height, tiles):
        for path in _snakes(cols, rows):
            chain = tuple(y * mesh.width + x for x, y in path)
            if chip.host in chain:
                continue
            for head in chip.cores:
                if head in chain:
                    continue
                hops = sum(distance(chip.host, node) for node in (*chain, head))
                cost = distance(chain[-1], head), hops
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
    """
    if topology == "prism":
        columns = -(-cores // 2) + 1
        host = ((0, columns - 1),) if columns > 2 else ()
        links = (*host, *prism(columns, 2))
        noc = NocConfig(width=columns, height=2, topology="table", links=links)
        return ChipConfig(core=core, noc=noc, host=columns - 1)
    rows = 2 if cores < 12 else 4
    width = max(2, -(-(cores + 1) // rows))
    return ChipConfig(core=core, noc=NocConfig(width=width, height=rows), host=width - 1)


def place_edges(
    chip: ChipConfig, parts: int, edges: Sequence[tuple[int | None, int | None]],
    groups: Sequence[Sequence[int]] = (),
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
    hops, rng = _hops(chip), np.random.Generator(np.random.PCG64(0))
    # Places: of the parts, of cores without any, then of the host.
    ends = [tuple(-1 if end is None else end for end in edge) for edge in edges]

    def cost(nodes: list[int]) -> int:
        links = sum(int(hops[nodes[one], nodes[to]]) for one, to in ends)
        members = [[nodes[part] for part in group] for group in groups]
        return links - sum(len(group) - 1 for group in members if is_reached(chip, group))

    best: tuple[int, list[int]] | None = None
    for _ in range(TRIES):
        nodes = [*rng.permutation(chip.cores).tolist(), chip.host]
        least, better = cost(nodes), True
        while better:
            better = False
            for a, b in itertools.combinations(range(len(chip.cores)), 2):
                if a >= parts:
                    continue
                nodes[a], nodes[b] = nodes[b], nodes[a]
                if (now := cost(nodes)) < least:
                    least, better = now, True
                else:
                    nodes[a], nodes[b] = nodes[b], nodes[a]
        if best is None or least < best[0]:
            best = least, nodes
    assert best is not None
    if chip.noc.direct and any(hops[best[1][one], best[1][to]] > 1 for one, to in ends):
        raise ValueError(
            f"no placement found of {parts} parts on {chip.noc.topology} of {chip.noc.nodes} nodes"
            f" with {len(edges)} ways of one link"
        )
    return tuple(best[1][:parts])


def is_reached(chip: ChipConfig, nodes: Sequence[int]) -> bool:
    """Whether a multicast reaches just these: they are all those of some columns and rows."""
    x, y = (set(axis) for axis in zip(*map(chip.place, nodes), strict=True))
    return len(x) * len(y) == len(nodes)


def _hops(chip: ChipConfig) -> NDArray[np.int64]:
    """Links between nodes; on direct links, where no vector goes over two, many where there is
    none."""
    mesh = chip.noc
    if mesh.direct:
        far = np.full((mesh.nodes, mesh.nodes), mesh.nodes**2)
        for node, others in enumerate(mesh.neighbours):
            far[node, list(others)] = 1
        return far
    x, y = np.array([chip.place(node) for node in range(mesh.nodes)]).T
    found: NDArray[np.int64] = abs(x[:, None] - x) + abs(y[:, None] - y)
    return found


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
