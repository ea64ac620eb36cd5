# SPDX-License-Identifier: Apache-2.0
"""Tables of direct links: the prism family, a checker for any table. No Amaranth import.

A table is a sequence of edges (source node, target node). Every edge is a link from source to
target, for activations, and one from target to source, for error vectors.
"""

from collections.abc import Sequence

__all__ = ["MAX_LINKS", "Edge", "neighbours", "prism", "problems"]

Edge = tuple[int, int]

MAX_LINKS = 23
"""Most neighbours of a node: those inside the widest prism, P_n x K_8."""


def prism(columns: int, cores: int) -> tuple[Edge, ...]:
    """Edges of P_n x K_m (strong product): n columns of m cores, node = core * n + column.

    Every core is linked to all of the next column, and to the later ones of its own; an inner
    core has 3 m - 1 neighbours.
    """
    return tuple(
        (core * columns + column, to * columns + column + step)
        for column in range(columns)
        for step in (0, 1)[: columns - column]
        for core in range(cores)
        for to in range(cores)
        if step or to > core
    )


def problems(nodes: int, edges: Sequence[Edge]) -> list[str]:
    """What is wrong with a table, one line each; nothing if it is sound.

    A sound table has nodes 0..nodes-1, no link of a node to itself, every edge once (its reverse
    is implied), at most ``MAX_LINKS`` neighbours of a node, and ways between all nodes.
    """
    found: list[str] = []
    seen: set[frozenset[int]] = set()
    for source, target in edges:
        name = f"edge ({source}, {target})"
        if not (0 <= source < nodes and 0 <= target < nodes):
            found.append(f"{name} leaves the nodes 0..{nodes - 1}")
        elif source == target:
            found.append(f"{name} links a node to itself")
        elif frozenset((source, target)) in seen:
            found.append(f"{name} is there already, perhaps in reverse")
        else:
            seen.add(frozenset((source, target)))
    around = neighbours(nodes, [(min(edge), max(edge)) for edge in seen])
    for node, others in enumerate(around):
        if len(others) > MAX_LINKS:
            found.append(f"node {node} has {len(others)} neighbours, more than {MAX_LINKS}")
    reached, new = {0}, {0}
    while new:
        new = {other for node in new for other in around[node]} - reached
        reached |= new
    if cut := sorted(set(range(nodes)) - reached):
        found.append(f"no way from node 0 to {', '.join(map(str, cut))}")
    return found


def neighbours(nodes: int, edges: Sequence[Edge]) -> list[tuple[int, ...]]:
    """Of every node the others that it has links with, ascending; port k + 1 leads to number k."""
    around: list[set[int]] = [set() for _ in range(nodes)]
    for source, target in edges:
        around[source].add(target)
        around[target].add(source)
    return [tuple(sorted(others)) for others in around]
