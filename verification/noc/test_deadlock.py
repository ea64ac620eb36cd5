# SPDX-License-Identifier: Apache-2.0
"""Deadlock freedom: the channel dependency graph of every NoC has no cycle."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.models.noc.cycle_model import (
    CLAIM_ORDER,
    EAST,
    LOCAL,
    NORTH,
    OPPOSITE,
    SOUTH,
    STEP,
    WEST,
    path,
)
from phasecore.models.noc.deadlock import (  # fmt: skip
    channel_dependencies,
    direct_dependencies,
    find_cycle,
    mesh_dependencies,
)
from phasecore.rtl.noc import routing
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.topology import problems

SHAPES = [(1, 1), (8, 1), (1, 8), (2, 2), (3, 5), (4, 4), (8, 8)]


def nodes(width, height):
    return [(x, y) for x in range(width) for y in range(height)]


def unicasts(width, height, routes_of):
    """Routes of all pairs of nodes."""
    for source in nodes(width, height):
        for to in nodes(width, height):
            for hops in routes_of(source, to):
                yield source, hops


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_mesh_has_no_cycle(width, height, channels):
    edges = mesh_dependencies(NocConfig(width=width, height=height, virtual_channels=channels))
    links = width * (height - 1) + (width - 1) * height
    lower = (channels + 1) // 2
    assert len(edges) == channels * (2 * links + width * height)
    assert sum(vc < lower for *_, vc in edges) == lower * (2 * links + width * height)
    assert find_cycle(edges) == []


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("columns", "cores"), [(1, 1), (1, 4), (8, 1), (2, 2), (5, 2), (8, 8)])
def test_prism_has_no_cycle(columns, cores, channels):
    shape = NocConfig(topology="prism", width=columns, height=cores, virtual_channels=channels)
    edges = direct_dependencies(shape)
    assert len(edges) == channels * (2 * len(shape.edges) + shape.nodes)
    assert find_cycle(edges) == []


@given(st.sets(st.sampled_from(list(combinations(range(8), 2))), min_size=7))
def test_no_table_has_a_cycle(links):
    links = sorted(links)
    if not problems(8, links):
        shape = NocConfig(topology="table", width=4, height=2, links=tuple(links))
        assert find_cycle(direct_dependencies(shape)) == []


def test_multicasts_without_room_at_all_ends_have_a_cycle():
    """Why a multicast on direct links first waits for room everywhere.

    Else one that holds the local port of node 0 could wait for its other link, which is full of
    what waits for the local port of node 1, which another one holds, and so on.
    """
    shape = NocConfig(topology="prism", width=2, height=2, virtual_channels=1)
    edges = direct_dependencies(shape)
    # Node 2, at (0, 1), sends to 0 and 1 on its ports 1 and 2; node 3, at (1, 1), does, too.
    edges[0, 0, LOCAL, 0].add((0, 1, 2, 0))
    edges[1, 0, LOCAL, 0].add((1, 1, 1, 0))
    assert find_cycle(edges)


def test_both_orders_on_one_channel_have_a_cycle():
    """Why the virtual networks share no channel."""
    edges = channel_dependencies(2, 2, unicasts(2, 2, lambda source, to: [
        [(port, 0) for port in path(source, to, order)] for order in (0, 1)
    ]))  # fmt: skip
    assert find_cycle(edges)


def test_a_ring_has_a_cycle():
    """Routing that goes round and round: east, north, west, south on a 2 x 2 mesh."""
    turn = {(0, 0): EAST, (1, 0): NORTH, (1, 1): WEST, (0, 1): SOUTH}

    def around(source, to):
        hops, at = [], source
        while at != to:
            hops.append((turn[at], 0))
            dx, dy = STEP[turn[at]]
            at = at[0] + dx, at[1] + dy
        return [[*hops, (LOCAL, 0)]]

    cycle = find_cycle(channel_dependencies(2, 2, unicasts(2, 2, around)))
    assert sorted(cycle) == sorted((*at, port, 0) for at, port in turn.items())


def test_claims_in_any_order_have_a_cycle():
    """Why a multicast claims its outputs in one order: two could each hold what the other needs."""
    edges = mesh_dependencies(NocConfig(width=2, height=2, virtual_channels=1))
    edges[0, 0, NORTH, 0].add((0, 0, EAST, 0))
    cycle = find_cycle(edges)
    assert sorted(cycle) == [(0, 0, NORTH, 0), (0, 0, EAST, 0)]


def test_a_cycle_is_a_walk_along_edges():
    edges = channel_dependencies(3, 3, unicasts(3, 3, lambda source, to: [
        [(port, 0) for port in path(source, to, order)] for order in (0, 1)
    ]))  # fmt: skip
    cycle = find_cycle(edges)
    assert all(after in edges[before] for before, after in pairwise([*cycle, cycle[0]]))


def test_routes_must_stay_in_the_mesh():
    with pytest.raises(ValueError, match=r"^a route leaves the 1 x 1 mesh at \(1, 0\)$"):
        channel_dependencies(1, 1, [((0, 0), [(EAST, 0), (LOCAL, 0)])])


def test_the_router_claims_in_the_order_of_the_model():
    assert routing.CLAIM_ORDER == CLAIM_ORDER
    prism = NocConfig(topology="prism", width=2, height=2)
    assert routing.claim_order(prism) == (1, 2, 3, LOCAL)
    assert routing.OPPOSITE == OPPOSITE


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_router_has_just_the_turns_of_its_routing(channels):
    """Outputs that the RTL connects at each input are those that some route takes."""
    config = NocConfig(width=4, height=4, virtual_channels=channels)
    for vc in range(channels):
        taken = {port: set() for port in range(5)}
        for source, hops in unicasts(4, 4, lambda s, t, vc=vc: [path(s, t, config.order(vc))]):
            del source
            taken[LOCAL].add(hops[0])
            for before, after in pairwise(hops):
                taken[OPPOSITE[before]].add(after)
        for port in range(5):
            assert set(routing.reachable(config, port, vc)) == taken[port]


@given(
    source=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    to=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    order=st.integers(0, 1),
)
def test_paths_are_minimal_and_turn_once(source, to, order):
    hops = path(source, to, order)
    assert len(hops) == 1 + abs(source[0] - to[0]) + abs(source[1] - to[1])
    assert hops[-1] == LOCAL
    horizontal = [port in (EAST, WEST) for port in hops[:-1]]
    assert horizontal == sorted(horizontal, reverse=not order)
