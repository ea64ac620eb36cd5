# SPDX-License-Identifier: Apache-2.0
"""Programs of graphs without data: they end, or say who waits for whom; what links carry."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.placement import graph_chip
from phasecore.models.compiler.quantise import blank
from phasecore.models.compiler.schedule import Deadlock, schedule
from phasecore.models.compiler.traffic import (
    bytes_passed,
    descriptor_bytes,
    hops,
    link_flits,
    ring_bytes,
)
from phasecore.models.golden.device import IDEAL
from phasecore.models.training.model import make_model
from phasecore.verification.compiler.graphs import CORE, reach, tiny_dense
from phasecore.verification.compiler.test_inference import GRAPHS, NO_PRISM, cores_of

IMAGES = 4


def mapped(graph, topology="mesh"):
    chip = graph_chip(CORE, cores_of(graph), topology)
    return InferenceMapping(graph, blank(graph, CORE), chip, IDEAL)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("topology", ["mesh", "prism"])
def test_programs_come_to_an_end(name, topology):
    """With every window, one after another, in rings that are never fuller than they can be."""
    if topology == "prism" and name in NO_PRISM:
        pytest.skip("more ways than the direct links have")
    mapping = mapped(GRAPHS[name](np.random.default_rng(3)), topology)
    timing = schedule(mapping, IMAGES)
    assert len(timing.image_ends) == IMAGES
    assert timing.image_ends == sorted(timing.image_ends)
    for stage in mapping.stages:
        starts = np.array(timing.windows[stage.node])
        places = len(stage.layer.reads.places)
        assert len(starts) == IMAGES * stage.layer.windows * places
        if stage.layer.only_pools:
            assert timing.busy(stage.node) == 0
        else:
            assert (np.diff(starts) >= CORE.window_cycles).all()
            assert 0 < timing.busy(stage.node) <= 1
        for number, entry in enumerate(mapping.tables[stage.node].objects):
            if entry.enable and not entry.partial:
                assert 0 < timing.used[stage.node, number] <= entry.depth
    slowest = max(len(starts) for starts in timing.windows.values()) * CORE.window_cycles
    assert slowest <= IMAGES * timing.cycles_per_image


def test_a_ring_that_is_too_short_stops_a_circle():
    """A window of 5 x 5 needs 17 vectors before its first; the golden model stops there, too."""
    mapping = mapped(reach(np.random.default_rng(1)))
    stem = mapping.stages[0].node
    tables = mapping.tables[stem]
    routes = [replace(tables.routes[0], credits=16)]
    mapping.tables[stem] = replace(tables, routes=routes)
    circle = "slow waits for vectors of stem, stem waits for credits of slow"
    other_way = "stem waits for credits of slow, slow waits for vectors of stem"
    with pytest.raises(Deadlock, match=f"the programs stop: ({circle}|{other_way})$"):
        schedule(mapping, 1)
    model = make_model(mapping, 1)
    model.set_segments(mapping.segments(0))
    model.run(mapping.setup())
    with pytest.raises(ValueError, match="deadlock: "):
        model.run(mapping.inference(np.zeros((1, mapping.network.inputs), dtype=np.uint8)))
    mapping.tables[stem] = tables
    assert schedule(mapping, 1).cycles > 0


def test_one_window_by_hand():
    """Two dense layers of one window each, on neighbours."""
    timing = schedule(mapped(tiny_dense(np.random.default_rng(1))), 1)
    first, second = (starts[0] for starts in timing.windows.values())
    # Window, read-out, post-processing, SEND over two routers; then GATHER and load.
    assert 128 + 10 < timing.image_ends[0] - second < 128 + 30
    assert 128 + 20 < second - first < 128 + 50
    assert timing.cycles >= timing.image_ends[0] - 10


def test_links_carry_what_is_sent():
    """A multicast takes every link once; all that leaves a node goes over its links."""
    mapping = mapped(GRAPHS["joined"](np.random.default_rng(3)))
    timing = schedule(mapping, 2)
    flits = link_flits(mapping, timing)
    width = mapping.hardware.noc.width
    for (one, other), count in flits.items():
        assert abs(one // width - other // width) + abs(one % width - other % width) == 1
        assert count > 0
    for node, tables in mapping.tables.items():
        sent = sum(timing.sent[node, number] for number in range(len(tables.routes))) / 2
        out = sum(count for (one, _), count in flits.items() if one == node)
        through = sum(count for (_, other), count in flits.items() if other == node)
        assert out <= through + 4 * sent
        assert out > 0 or not sent
    ways = hops(mapping)
    assert min(ways) == 1
    assert sum(ways) >= len(flits)
    assert set(descriptor_bytes(mapping)) == set(ring_bytes(mapping)) == set(mapping.nodes)
    # A flit passes a router before every link, and one behind the last.
    arrived = sum(
        timing.sent[node, number] * max(1, route.cols.bit_count() * route.rows.bit_count()) / 2
        for node, tables in mapping.tables.items() for number, route in enumerate(tables.routes)
    )  # fmt: skip
    assert bytes_passed(mapping, timing) == 8 * (sum(flits.values()) + arrived)
    assert all(200 < size < 1200 for size in descriptor_bytes(mapping).values())
    assert max(ring_bytes(mapping).values()) <= CORE.memory_words * CORE.post_lanes
