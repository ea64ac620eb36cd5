# SPDX-License-Identifier: Apache-2.0
"""Layers of a graph on networks of direct links and others, a node each.

A prism P_n x K_m has n columns of m nodes; a node has links with all of its own column and of the
two beside it. Layers whose ways are all single links are columns of at most m of them, with ways
inside a column or to the next one: CP-SAT finds such columns, or proves that there are none. On a
mesh, a torus and a hypercube layers are placed by annealing and vectors take the shortest way,
dimension by dimension; a vector for several readers takes each link once.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from phasecore.models.compiler.annealing import Ways, annealed
from phasecore.models.compiler.graph import INPUT, Graph
from phasecore.rtl.spec.topology import prism

__all__ = ["Flow", "compared", "flows", "prism_columns"]

SECONDS = 60.0
"""Most that a search for columns takes, by number of cores."""

Link = tuple[int, int]


@dataclass(frozen=True)
class Flow:
    """A tensor: the layer that makes it, those that read it, and its bytes of an image."""

    maker: int
    readers: tuple[int, ...]
    size: int


def flows(graph: Graph) -> list[Flow]:
    """Tensors that layers send one another; the host's are none of them."""
    number = {layer.name: at for at, layer in enumerate(graph.layers)}
    readers: dict[str, list[int]] = {}
    for layer in graph.layers:
        for tensor in dict.fromkeys(layer.inputs):
            if tensor != INPUT:
                readers.setdefault(tensor, []).append(number[layer.name])
    return [
        Flow(number[name], tuple(found), graph.layer(name).vectors * graph.channels(name))
        for name, found in readers.items()
    ]


def prism_columns(
    layers: int, ways: Sequence[Link], cores: int, seconds: float = SECONDS
) -> list[int] | None:
    """Column of every layer on a prism of ``cores`` a column; None: proven that there is none.

    Raises
    ------
    TimeoutError
        neither found nor disproven in so many seconds
    ImportError
        without the package ``ortools``
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ImportError(
            "proofs for prisms need the package ortools: pip install 'phasecore[place]'"
        ) from error
    model: Any = cp_model.CpModel()
    columns = range(layers)
    inside = [[model.new_bool_var("") for _ in columns] for _ in range(layers)]
    column = [model.new_int_var(0, layers - 1, "") for _ in range(layers)]
    for one, places in zip(column, inside, strict=True):
        model.add_exactly_one(places)
        model.add(one == sum(at * place for at, place in enumerate(places)))
    for at in columns:
        model.add(sum(places[at] for places in inside) <= cores)
    for one, to in ways:
        model.add_linear_constraint(column[to] - column[one], -1, 1)
    # A placement and its mirror image are the same.
    model.add(2 * column[0] <= layers - 1)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return None
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        raise TimeoutError(f"undecided for {cores} cores a column after {seconds:.0f} s")
    found = [solver.value(one) for one in column]
    return [at - min(found) for at in found]


def compared(graph: Graph, seconds: float = SECONDS) -> dict[str, Any]:
    """Figures of the prism with the fewest cores a column, of a mesh, a torus and a hypercube."""
    sent, count = flows(graph), len(graph.layers)
    found: dict[str, Any] = {"layers": count, "ways": sum(len(flow.readers) for flow in sent)}
    found["prism"] = _on_prism(count, sent, seconds)
    width = math.isqrt(count - 1) + 1
    height = -(-count // width)
    for name, nodes, way in (
        ("mesh", width * height, partial(_grid_way, width, height, wraps=False)),
        ("torus", width * height, partial(_grid_way, width, height, wraps=True)),
        ("hypercube", 1 << (count - 1).bit_length(), _cube_way),
    ):
        found[name] = {"nodes": nodes, **_annealed(count, nodes, sent, way)}
    return found


def _on_prism(count: int, sent: Sequence[Flow], seconds: float) -> dict[str, Any]:
    """Fewest cores a column, and whether fewer are proven to be too few."""
    ways = [(flow.maker, to) for flow in sent for to in flow.readers]
    started, proven, cores = time.perf_counter(), True, 0
    columns: list[int] | None = None
    while columns is None:
        cores += 1
        try:
            columns = prism_columns(count, ways, cores, seconds)
        except TimeoutError:
            proven = False
    length = max(columns) + 1
    members: Counter[int] = Counter()
    nodes = []
    for at in columns:
        nodes.append(members[at] * length + at)
        members[at] += 1
    links = {*prism(length, cores)}
    links |= {(to, one) for one, to in links}
    single = sum((nodes[one], nodes[to]) in links for one, to in ways)
    return {
        "cores_per_column": cores,
        "columns": length,
        "fewer_proven_impossible": proven,
        "seconds": round(time.perf_counter() - started, 1),
        "single_hop": round(single / len(ways), 4),
        **_loads(nodes, sent, lambda one, to: [(one, to)]),
    }


def _annealed(
    count: int, nodes: int, sent: Sequence[Flow], way: Callable[[int, int], list[Link]]
) -> dict[str, Any]:
    """Figures of the places with the fewest bytes times links."""
    hops = np.array([[len(way(one, to)) for to in range(nodes)] for one in range(nodes)])
    ways = Ways.of(nodes, [(f.maker, to, f.size) for f in sent for to in f.readers])
    rng = np.random.Generator(np.random.PCG64(0))
    _, places = annealed(rng.permutation(nodes), count, nodes, ways, hops, rng)
    lengths = [int(hops[places[f.maker], places[to]]) for f in sent for to in f.readers]
    return {
        "single_hop": round(lengths.count(1) / len(lengths), 4),
        "hops_mean": round(float(np.mean(lengths)), 2),
        "hops_most": max(lengths),
        **_loads(places, sent, way),
    }


def _loads(
    nodes: Sequence[int], sent: Sequence[Flow], way: Callable[[int, int], list[Link]]
) -> Mapping[str, int]:
    """Bytes of an image on the busiest link, and on all links that carry something."""
    loads: Counter[Link] = Counter()
    for flow in sent:
        for link in {link for to in flow.readers for link in way(nodes[flow.maker], nodes[to])}:
            loads[link] += flow.size
    return {
        "link_bytes_most": max(loads.values()),
        "link_bytes_mean": round(sum(loads.values()) / len(loads)),
    }


def _grid_way(width: int, height: int, one: int, to: int, *, wraps: bool) -> list[Link]:
    """Links of a mesh or torus: first along the row, then along the column."""
    y, x = divmod(one, width)
    row, col = divmod(to, width)
    places = [(y, at) for at in _steps(x, col, width, wraps=wraps)]
    places += [(at, col) for at in _steps(y, row, height, wraps=wraps)][1:]
    numbers = [at[0] * width + at[1] for at in places]
    return [*itertools.pairwise(numbers)]


def _steps(one: int, to: int, size: int, *, wraps: bool) -> Iterator[int]:
    """Places from one to another, the shorter way round if there is one."""
    step = 1 if to > one else -1
    if wraps and 2 * abs(to - one) > size:
        step = -step
    yield one
    while one != to:
        one = (one + step) % size
        yield one


def _cube_way(one: int, to: int) -> list[Link]:
    """Links of a hypercube: bits from the lowest on."""
    found, bit = [], 1
    while one != to:
        if (one ^ to) & bit:
            found.append((one, one ^ bit))
            one ^= bit
        bit <<= 1
    return found
