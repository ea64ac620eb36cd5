# SPDX-License-Identifier: Apache-2.0
"""Channel dependency graphs of the NoCs: no cycle, no deadlock (docs/contract/network.md)."""

from collections.abc import Iterable

from phasecore.models.noc.cycle_model import (
    CLAIM_ORDER,
    LOCAL,
    STEP,
    path,
)
from phasecore.rtl.spec.noc import NocConfig

__all__ = [
    "Channel", "channel_dependencies", "direct_dependencies", "find_cycle", "mesh_dependencies",
]  # fmt: skip

Channel = tuple[int, int, int, int]
"""Link out of router (x, y) through a port, virtual channel: (x, y, port, vc)."""


def channel_dependencies(
    width: int, height: int, routes: Iterable[tuple[tuple[int, int], list[tuple[int, int]]]]
) -> dict[Channel, set[Channel]]:
    """Edges from every channel to those that a packet holding it may wait for.

    ``routes`` are (source, [(port, vc) of every router on the way]).
    """
    edges: dict[Channel, set[Channel]] = {}
    for at, hops in routes:
        before: Channel | None = None
        for port, vc in hops:
            if not (0 <= at[0] < width and 0 <= at[1] < height):
                raise ValueError(f"a route leaves the {width} x {height} mesh at {at}")
            channel = (*at, port, vc)
            edges.setdefault(channel, set())
            if before is not None:
                edges[before].add(channel)
            before = channel
            if port != LOCAL:
                at = at[0] + STEP[port][0], at[1] + STEP[port][1]
    return edges


def mesh_dependencies(shape: NocConfig) -> dict[Channel, set[Channel]]:
    """All waiting in a mesh: both networks' unicasts, and the claims of multicasts.

    A packet stays on the channel of its injection. A multicast follows XY paths; where it forks
    it holds some outputs while it waits for a later one of ``CLAIM_ORDER``. It forks only to
    channels with room for all of it, so once it has claimed them all it waits for none of them.
    """
    width, height, channels = shape.width, shape.height, shape.virtual_channels
    nodes = [(x, y) for x in range(width) for y in range(height)]
    lower = shape.xy_channels
    edges = channel_dependencies(width, height, (
        (source, [(port, vc) for port in path(source, to, shape.order(vc))])
        for vc in range(channels) for source in nodes for to in nodes
    ))  # fmt: skip
    for vc in range(lower):
        for x, y in nodes:
            claims = [(x, y, port, vc) for port in CLAIM_ORDER if (x, y, port, vc) in edges]
            for index, held in enumerate(claims):
                edges[held].update(claims[index + 1 :])
    return edges


def direct_dependencies(shape: NocConfig) -> dict[Channel, set[Channel]]:
    """All waiting in a NoC of direct links, as :func:`mesh_dependencies` has it for a mesh.

    A packet holds its link while it waits for the local port at the other end; a multicast holds
    some links while it waits for later ones, and for its own local port last.
    """
    edges: dict[Channel, set[Channel]] = {}
    for node in range(shape.nodes):
        y, x = divmod(node, shape.width)
        for vc in range(shape.virtual_channels):
            claims = [(x, y, 1 + k, vc) for k in range(len(shape.neighbours[node]))]
            claims.append((x, y, LOCAL, vc))
            for index, held in enumerate(claims):
                later = claims[index + 1 :] if vc < shape.xy_channels else []
                edges.setdefault(held, set()).update(later)
            for held, other in zip(claims, shape.neighbours[node], strict=False):
                edges[held].add((other % shape.width, other // shape.width, LOCAL, vc))
    return edges


def find_cycle(edges: dict[Channel, set[Channel]]) -> list[Channel]:
    """Channels of one cycle, or nothing."""
    waiting = dict.fromkeys(edges, 0)
    for ends in edges.values():
        for end in ends:
            waiting[end] += 1
    free = [node for node, count in waiting.items() if count == 0]
    while free:
        for end in edges[free.pop()]:
            waiting[end] -= 1
            if waiting[end] == 0:
                free.append(end)
    left = {node for node, count in waiting.items() if count}
    if not left:
        return []
    # Every channel left has a predecessor left: walking back must close a circle.
    back = {end: node for node in left for end in edges[node] if end in left}
    seen: list[Channel] = []
    node = next(iter(left))
    while node not in seen:
        seen.append(node)
        node = back[node]
    return seen[seen.index(node) :][::-1]
