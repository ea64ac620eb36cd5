# SPDX-License-Identifier: Apache-2.0
"""Layers on prisms: fewest cores a column, with proofs; bytes on links beside other networks."""

import itertools
from functools import partial

import numpy as np
import pytest

from phasecore.models.compiler.fabrics import (
    Flow,
    _cube_way,
    _grid_way,
    _loads,
    compared,
    flows,
    prism_columns,
)
from phasecore.models.compiler.graph import INPUT, Graph
from phasecore.verification.compiler.graphs import joined, layer

pytest.importorskip("ortools")


def dense_block(count):
    """Input and layers of a DenseNet's block: each reads all before it."""
    return [*itertools.combinations(range(count + 1), 2)]


def relayed(count):
    """The same, each layer passing on what came before."""
    return [*itertools.pairwise(range(count + 1))]


def residual_blocks(count):
    """Two layers a block, and a way around them."""
    ways = [*itertools.pairwise(range(2 * count + 1))]
    return ways + [(at, at + 2) for at in range(0, 2 * count, 2)]


@pytest.mark.parametrize(
    ("ways", "least"),
    [
        (relayed(12), 1), (dense_block(1), 1), (dense_block(2), 2), (dense_block(6), 4),
        (residual_blocks(9), 2),
    ],
)  # fmt: skip
def test_the_fewest_cores_a_column(ways, least):
    """Two neighbouring columns hold a complete graph of as many layers, and no larger one."""
    count = 1 + max(map(max, ways))
    assert least == 1 or prism_columns(count, ways, least - 1) is None
    columns = prism_columns(count, ways, least)
    assert all(abs(columns[one] - columns[to]) <= 1 for one, to in ways)
    assert max(columns.count(at) for at in columns) <= least
    assert min(columns) == 0


def test_flows_are_tensors_that_layers_read():
    graph = joined(np.random.default_rng(1))
    names = [one.name for one in graph.layers]
    found = {names[flow.maker]: flow for flow in flows(graph)}
    assert found["near"] == Flow(0, tuple(map(names.index, ("both", "wide", "all"))), 25 * 3)
    assert found["all"].size == 25 * 5
    assert names[-1] not in found


def test_links_carry_every_tensor_once():
    """A chain of three layers on the shortest ways, whatever the network; then a triangle."""
    rng = np.random.default_rng(1)
    frame = {"height": 4, "width": 3}
    chain = (
        layer(rng, "a", INPUT, 2, **frame, channels=1),
        layer(rng, "b", "a", 5, **frame, channels=2),
        layer(rng, "c", "b", 1, **frame, channels=5),
    )  # fmt: skip
    found = compared(Graph(name="chain", dataset="none", shape=(4, 3, 1), layers=chain))
    for name in ("prism", "mesh", "torus", "hypercube"):
        assert found[name]["single_hop"] == 1
        assert found[name]["link_bytes_most"] == 12 * 5
        assert found[name]["link_bytes_mean"] == 12 * (2 + 5) / 2
    assert found["prism"]["cores_per_column"] == 1
    both = (*chain[:2], layer(rng, "c", "b", 2, **frame, channels=5, skip="a"))
    found = compared(Graph(name="triangle", dataset="none", shape=(4, 3, 1), layers=both))
    assert (found["prism"]["cores_per_column"], found["prism"]["columns"]) == (2, 2)
    assert found["prism"]["fewer_proven_impossible"]
    # Two ways of a triangle are single links of any other, the third is not.
    for name in ("mesh", "torus", "hypercube"):
        assert found[name]["single_hop"] == pytest.approx(2 / 3, abs=1e-4)
        assert found[name]["hops_most"] == 2


def test_ways_go_dimension_by_dimension():
    """The shorter way round a torus; a vector for several readers takes a link once."""
    mesh, torus = partial(_grid_way, 5, 4, wraps=False), partial(_grid_way, 5, 4, wraps=True)
    assert mesh(0, 13) == [(0, 1), (1, 2), (2, 3), (3, 8), (8, 13)]
    assert torus(0, 13) == [(0, 4), (4, 3), (3, 8), (8, 13)]
    assert torus(2, 17) == [(2, 17)]
    assert _cube_way(1, 6) == [(1, 0), (0, 2), (2, 6)]
    found = _loads([0, 2, 13], [Flow(0, (1, 2), 10), Flow(1, (2,), 6)], mesh)
    assert found == {"link_bytes_most": 16, "link_bytes_mean": round((10 + 10 + 16 * 3) / 5)}


def test_a_search_without_an_answer_says_so():
    with pytest.raises(TimeoutError, match="undecided for 5 cores a column after 0 s"):
        prism_columns(30, dense_block(29), 5, seconds=1e-6)
