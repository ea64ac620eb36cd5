# SPDX-License-Identifier: Apache-2.0
"""Direct links: tables and their checker, traffic, the cycle model, configuration."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasecore.models.noc.cycle_model import Direct, Traffic
from phasecore.rtl.noc.direct import DIRECT, ROUTER, direct_verilog
from phasecore.rtl.noc.mesh import MESH, mesh_verilog
from phasecore.rtl.spec.core import TINY
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.topology import MAX_LINKS, neighbours, prism, problems
from phasecore.verification.noc import traffic as noc

PRISM = NocConfig(topology="prism", width=3, height=2)
TABLE = NocConfig(
    topology="table", width=2, height=2, links=((0, 1), (1, 2), (0, 2), (3, 2)), timeout=40
)
"""Four nodes with one, two and three links; 0 and 3 have none."""


# Tables


@pytest.mark.parametrize(("columns", "cores"), [(1, 1), (5, 1), (1, 4), (2, 2), (8, 2), (6, 5)])
def test_prism_is_the_strong_product(columns, cores):
    """Degree 3 m - 1 inside, m^2 links between columns, each column and the next a clique."""
    edges = prism(columns, cores)
    assert problems(columns * cores, edges) == []
    place = [divmod(node, columns)[::-1] for node in range(columns * cores)]
    joined = {frozenset(edge) for edge in edges}
    assert joined == {
        frozenset((a, b)) for a, b in combinations(range(columns * cores), 2)
        if abs(place[a][0] - place[b][0]) <= 1
    }  # fmt: skip
    around = neighbours(columns * cores, edges)
    degrees = {len(around[node]) for node in range(len(place)) if 0 < place[node][0] < columns - 1}
    assert degrees <= {3 * cores - 1}
    between = Counter(place[a][0] for a, b in edges if place[a][0] != place[b][0])
    assert set(between.values()) <= {cores**2}


@given(columns=st.integers(1, 8), cores=st.integers(1, 8))
def test_prism_has_one_direction(columns, cores):
    """Forward to the next column, inside a column to the later cores: never in a circle."""
    for source, target in prism(columns, cores):
        (y, x), (to_y, to_x) = divmod(source, columns), divmod(target, columns)
        assert (x + 1 == to_x) or (x == to_x and y < to_y)


@pytest.mark.parametrize(
    ("nodes", "edges", "found"),
    [
        (2, [(0, 2)], ["edge (0, 2) leaves the nodes 0..1", "no way from node 0 to 1"]),
        (2, [(0, 1), (1, 1)], ["edge (1, 1) links a node to itself"]),
        (2, [(0, 1), (0, 1)], ["edge (0, 1) is there already, perhaps in reverse"]),
        (2, [(0, 1), (1, 0)], ["edge (1, 0) is there already, perhaps in reverse"]),
        (4, [(0, 1), (2, 3)], ["no way from node 0 to 2, 3"]),
        (25, [(0, k) for k in range(1, 25)], ["node 0 has 24 neighbours, more than 23"]),
        (1, [], []),
    ],
    ids=["outside", "self", "twice", "reverse", "apart", "degree", "alone"],
)
def test_checker_finds(nodes, edges, found):
    assert problems(nodes, edges) == found


@given(st.sets(st.sampled_from(list(combinations(range(8), 2))), min_size=5))
def test_checker_accepts_what_is_sound(edges):
    """Some set of edges falls apart, or it has every edge once per direction."""
    edges = sorted(edges)
    if found := problems(8, edges):
        assert [reason.split(" to ")[0] for reason in found] == ["no way from node 0"]
        return
    around = neighbours(8, edges)
    links = {(node, other) for node in range(8) for other in around[node]}
    assert len(links) == 2 * len(edges)
    assert links == {*edges, *((target, source) for source, target in edges)}


# RTL


@pytest.mark.parametrize("config", [PRISM.replace(timeout=40), TABLE], ids=["prism", "table"])
def test_direct_links(simulate, config):
    simulate(
        None, TINY, top=DIRECT, verilog=direct_verilog(config),
        bench="phasecore.verification.noc.tb_network", env={"PHASECORE_NOC": config.to_json()},
    )  # fmt: skip


@pytest.mark.parametrize("networks", [2, pytest.param(1, marks=pytest.mark.full)])
def test_mesh(simulate, networks):
    config = NocConfig(width=3, height=2, timeout=40, networks=networks)
    simulate(
        None, TINY, top=MESH, verilog=mesh_verilog(config),
        bench="phasecore.verification.noc.tb_network", env={"PHASECORE_NOC": config.to_json()},
    )  # fmt: skip


@pytest.mark.parametrize("length", [1, 4, 8])
def test_zero_load_latency_is_exact_for_every_link(length):
    """Two switches, so L + 2 cycles; one to itself. The simulation top compares each."""
    result = noc.traffic(PRISM, pattern="pairs", length=length, warmup=0, measure=1 << 30)
    assert result["received"] == PRISM.nodes + 2 * len(PRISM.edges)
    assert result["latency_max"] == length + 2


@pytest.mark.parametrize(
    ("pattern", "length", "order", "load"),
    [
        ("uniform", 1, "alternate", 0.5),
        ("forward", 4, "route", 0.9),
        ("uniform", 8, "xy", 0.6),
    ],
)
def test_every_packet_arrives_in_the_cycle_of_the_model(tmp_path, pattern, length, order, load):
    drawn = Traffic(load, pattern, length, order)
    model = Direct(PRISM, drawn).run(1500)
    assert noc.deliveries(PRISM, drawn, tmp_path / "trace.txt", 1500) == sorted(
        (packet.cycle, packet.node, packet.source, packet.birth) for packet in model
    )


@pytest.mark.parametrize("length", [1, 4])
def test_overload_with_stalls_and_multicasts(length):
    """All flits, credits and orders are checked."""
    result = noc.traffic(
        PRISM, load=0.9, length=length, order="alternate", multicast=30, stall=30, warmup=0,
        measure=40_000, limit=0,
    )  # fmt: skip
    assert result["flits_received"] >= 130_000
    assert not result["hung"]


def test_switches_are_one_module():
    text = direct_verilog(NocConfig(topology="prism", width=8, height=2))
    assert text.count(f"\nmodule {ROUTER}(") == 1
    assert text.count(f"\n  {ROUTER} ") == 16
    assert text.count(f"\nmodule {DIRECT}(") == 1


# Configuration


def test_unknown_topology():
    with pytest.raises(
        ValueError, match=r"^topology must be one of mesh, prism, table, not 'ring'$"
    ):
        NocConfig(topology="ring")


@pytest.mark.parametrize("links", [5, ((0,),), ((0, 1, 2),), ((0, "1"),)])
def test_links_are_pairs(links):
    with pytest.raises(TypeError, match=r"^links must be pairs of nodes, not "):
        NocConfig(topology="table", links=links)


def test_links_belong_to_a_table():
    with pytest.raises(ValueError, match=r"^links are for the topology 'table', not 'prism'$"):
        NocConfig(topology="prism", links=((0, 1),))
    with pytest.raises(ValueError, match=r"^links: edge \(1, 1\) links a node to itself; no way"):
        NocConfig(topology="table", width=2, height=1, links=((1, 1),))


def test_json_round_trip():
    assert NocConfig.from_json(TABLE.to_json()) == TABLE
    assert TABLE.neighbours == [(1, 2), (0, 2), (0, 1, 3), (2,)]
    assert (TABLE.ports, PRISM.ports, NocConfig().ports) == (4, 6, 5)


def test_the_widest_prism_fits():
    config = NocConfig(topology="prism", width=3, height=8)
    assert config.ports == 1 + MAX_LINKS


def test_one_network_gives_all_channels_to_xy():
    config = NocConfig(virtual_channels=3, networks=1)
    assert config.xy_channels == 3
    assert [config.order(vc) for vc in range(3)] == [0, 0, 0]
