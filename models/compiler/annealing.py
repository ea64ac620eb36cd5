# SPDX-License-Identifier: Apache-2.0
"""Simulated annealing of places (Kirkpatrick et al., Science 220, 671 (1983)), as a kernel.

Places are swapped in pairs; what a swap makes worse is taken with a probability that falls with the
temperature. Only the ways and groups of the two are looked at again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasecore.models.engine.jit import compiled
from phasecore.models.golden.fixed_point import copy

__all__ = ["Ways", "annealed"]

MOVES, MOST_MOVES = 24, 8_000_000
"""Swaps of an annealing, by part and core, and in all."""

HOT, COLD = 3.0, 0.1
"""Temperatures of an annealing, in links."""


@dataclass(frozen=True)
class Ways:
    """Ways between parts, and groups of parts that read the same, as lists behind one another.

    Attributes
    ----------
    ends, weights : other ends of every part's ways, and what a link of each of these costs
    groups, shared : members of every group, groups of every part
    unit : of the weights, by which temperatures are multiplied
    """

    ends: tuple[NDArray[np.int64], NDArray[np.int64]]
    weights: NDArray[np.int64]
    groups: tuple[NDArray[np.int64], NDArray[np.int64]]
    shared: tuple[NDArray[np.int64], NDArray[np.int64]]
    unit: float

    @classmethod
    def of(
        cls, parts: int, ways: Sequence[tuple[int, int, int]], groups: Sequence[Sequence[int]] = ()
    ) -> "Ways":
        """Of (end, other end, weight), for parts of these numbers."""
        ends: list[list[int]] = [[] for _ in range(parts)]
        weights: list[list[int]] = [[] for _ in range(parts)]
        for one, to, weight in ways:
            for at, other in ((one, to), (to, one)):
                ends[at].append(other)
                weights[at].append(weight)
        shared = [[at for at, group in enumerate(groups) if part in group] for part in range(parts)]
        unit = sum(weight for *_, weight in ways) / max(1, len(ways))
        return cls(_flat(ends), _flat(weights)[1], _flat(groups), _flat(shared), unit)


def annealed(
    nodes: NDArray[np.int64], parts: int, slots: int, ways: Ways, hops: NDArray[np.int64],
    rng: np.random.Generator, at: NDArray[np.int64] | None = None,
) -> tuple[float, list[int]]:  # fmt: skip
    """Swap nodes of pairs, of which fewer and fewer make it worse; the least cost and its nodes.

    Parameters
    ----------
    nodes : at first, of the parts, then those that no part has; behind ``slots`` none is swapped
    parts : how many are parts that have ways
    hops : links between nodes
    at : x and y of every node, by which multicasts to groups are counted
    """
    moves = min(MOVES * parts * slots, MOST_MOVES)
    ones, others = rng.integers(parts, size=moves), rng.integers(slots, size=moves)
    # A worse place is taken with probability exp(-more / temperature).
    bounds = -np.geomspace(HOT, COLD, moves) * np.log(rng.random(moves)) * ways.unit
    at = np.zeros((len(hops), 2), dtype=np.int64) if at is None else at
    masks = np.zeros((2, at.max() + 1), dtype=np.int64)
    best = nodes.copy()
    least = _anneal(
        nodes.copy(), best, ones, others, bounds, hops, at, ways.ends, ways.weights, ways.groups,
        ways.shared, masks,
    )  # fmt: skip
    return float(least), best.tolist()


def _flat(lists: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each list begins, and where the last one ends; all lists behind one another."""
    ends = np.cumsum([0, *map(len, lists)])
    return ends, np.array([value for part in lists for value in part], dtype=np.int64)


@compiled
def _anneal(
    nodes: Any, best: Any, ones: Any, others: Any, bounds: Any, hops: Any, at: Any, ways: Any,
    weights: Any, groups: Any, shared: Any, masks: Any,
) -> Any:  # fmt: skip
    """Swap pairs of parts, unless one makes it worse by more than its bound; the least cost."""
    given = (hops, at, ways, weights, groups, shared, masks)
    cost, least = _cost(nodes, hops, at, ways, weights, groups, masks), np.inf
    for move in range(len(ones)):
        one, other = ones[move], others[move]
        if one == other:
            continue
        before = _cost_of_two(nodes, one, other, *given)
        nodes[one], nodes[other] = nodes[other], nodes[one]
        more = _cost_of_two(nodes, one, other, *given) - before
        if more > bounds[move]:
            nodes[one], nodes[other] = nodes[other], nodes[one]
            continue
        cost += more
        if cost < least:
            least = cost
            copy(best, nodes)
    return least


@compiled
def _cost(
    nodes: Any, hops: Any, at: Any, ways: Any, weights: Any, groups: Any, masks: Any
) -> Any:  # fmt: skip
    """Links of all ways, less those that multicasts save."""
    cost = 0
    for part in range(len(ways[0]) - 1):
        for index in range(ways[0][part], ways[0][part + 1]):
            # Every way is in the lists of both of its ends.
            if part < ways[1][index]:
                cost += weights[index] * hops[nodes[part], nodes[ways[1][index]]]
    for group in range(len(groups[0]) - 1):
        first, end = groups[0][group], groups[0][group + 1]
        cost -= end - first - _multicasts_of(nodes, groups[1], first, end, at, masks)
    return cost


@compiled
def _cost_of_two(
    nodes: Any, one: int, other: int, hops: Any, at: Any, ways: Any, weights: Any, groups: Any,
    shared: Any, masks: Any,
) -> Any:  # fmt: skip
    """Links of all ways of two parts, less those that multicasts to their groups save."""
    cost = 0
    (starts, ends), (begins, in_group) = ways, shared
    for part in (one, other):
        for index in range(starts[part], starts[part + 1]):
            if part == one or ends[index] != one:
                cost += weights[index] * hops[nodes[part], nodes[ends[index]]]
        for index in range(begins[part], begins[part + 1]):
            group = in_group[index]
            first, end = groups[0][group], groups[0][group + 1]
            known = False
            if part == other:
                for member in range(first, end):
                    known = known or groups[1][member] == one
            if not known:
                cost -= end - first - _multicasts_of(nodes, groups[1], first, end, at, masks)
    return cost


@compiled
def _multicasts_of(
    nodes: Any, members: Any, first: int, end: int, at: Any, masks: Any
) -> Any:  # fmt: skip
    """How many :func:`multicasts` finds for a group."""
    for axis in range(2):
        for index in range(masks.shape[1]):
            masks[axis, index] = 0
    for member in range(first, end):
        x, y = at[nodes[members[member]], 0], at[nodes[members[member]], 1]
        masks[0, x] |= 1 << y
        masks[1, y] |= 1 << x
    least = end - first
    for axis in range(2):
        different = 0
        for index in range(masks.shape[1]):
            is_new = masks[axis, index] != 0
            for before in range(index):
                is_new = is_new and masks[axis, before] != masks[axis, index]
            different += is_new
        least = min(least, different)
    return least
