# SPDX-License-Identifier: Apache-2.0
"""Graphs on a chip give the codes that numpy makes of them, window by window."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.graph import INPUT, Graph, Pool, decibels
from phasecore.models.compiler.mapping.inference import InferenceMapping
from phasecore.models.compiler.placement import graph_chip, multicasts
from phasecore.models.compiler.quantise import _mean, _row_codes, blank, quantise
from phasecore.models.compiler.tile import row_tiles, split_columns
from phasecore.models.compiler.windows import LayerInput
from phasecore.models.engine.layers import Layers
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.training.model import make_model
from phasecore.models.training.programmed import program
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.core import DEFAULT
from phasecore.rtl.spec.instructions import Function
from phasecore.verification.compiler.graphs import (
    CORE,
    depthwise,
    joined,
    layer,
    means,
    naive,
    pooled,
    pools,
    reach,
    residual,
    wide,
    wide_mean,
)

GRAPHS = {
    "residual": residual,
    "odd": lambda rng: residual(rng, 5),
    "largest": pooled,
    "mean": lambda rng: pooled(rng, Pool.MEAN, Function.TANH),
    "packed": lambda rng: pooled(rng, Pool.MEAN, outputs=2).with_packed_first(),
    "means": means,
    "means, tanh": lambda rng: means(rng, Function.TANH),
    "frame, packed": lambda rng: _mean_of_frame(rng).with_packed_first(),
    "depthwise": depthwise,
    "joined": joined,
    "reach": reach,
    "wide": wide,
    "pools": pools,
    "copies": lambda rng: _copied(residual(rng), 5),
    "wide mean": wide_mean,
    "mean alone": lambda rng: _ended(wide_mean(rng), "sum"),
    "largest, packed": lambda rng: _in_rows(pooled(rng)),
}


NO_PRISM = ("joined", "reach", "wide", "pools", "wide mean", "mean alone", "copies")
"""With more ways than the direct links have."""


def _in_rows(graph):
    """Without pooling across a row, all of which is in one window."""
    first, last = graph.layers
    first = replace(first, reads=replace(first.reads, block=(3, 1)))
    reads = LayerInput(height=2, width=6, channels=4, kernel=(2, 6))
    last = replace(last, reads=reads, weights=np.resize(last.weights, (reads.matrix_rows, 5)))
    return replace(graph, layers=(first, last)).with_packed_first()


def _copied(graph, copies):
    """With copies on several crossbars."""
    layers = tuple(replace(layer, copies=copies) for layer in graph.layers)
    return replace(graph, layers=layers)


def _ended(graph, name):
    """Up to a layer, whose tensor is the output."""
    at = [layer.name for layer in graph.layers].index(name)
    return replace(graph, layers=graph.layers[: at + 1], ends=())


def _mean_of_frame(rng):
    """One layer, of whose positions the mean is the output."""
    only = layer(
        rng, "only", INPUT, 5, height=6, width=5, channels=1, kernel=(3, 3), pool=Pool.FRAME,
        packed=True,
    )  # fmt: skip
    return Graph(name="mean", dataset="none", shape=(6, 5, 1), layers=(only,))


def images_of(graph, rng, count):
    return rng.integers(0, 128, (count, graph.inputs)).astype(np.uint8)


def cores_of(graph):
    return sum(len(row_tiles(graph, one, CORE)) for one in graph.layers)


@pytest.mark.parametrize(
    ("name", "topology"),
    [(name, "mesh") for name in GRAPHS]
    + [(name, "prism") for name in GRAPHS if name not in NO_PRISM],
)
def test_codes_are_those_of_numpy(name, topology):
    rng = np.random.default_rng(3)
    graph = GRAPHS[name](rng)
    images = images_of(graph, rng, 3)
    chip = graph_chip(CORE, cores_of(graph), topology)
    programmed = program(graph, chip, IDEAL, images, 1)
    mapping = programmed.mapping
    model = make_model(mapping, 1)
    model.set_segments(mapping.segments(0))
    for job in (mapping.setup(), *mapping.programming(), mapping.setup()):
        model.run(job)
    weights = mapping.weights({node: core.crossbar.weights for node, core in model.cores.items()})
    expected = naive(
        graph, [stage.quantised for stage in mapping.stages if stage.is_last], weights, images
    )
    assert len(np.unique(expected)) > 5
    found = [model.run(mapping.inference(part)) for part in (images[:1], images[1:])]
    codes = np.concatenate([np.concatenate(mapping.outputs(results)) for results in found])
    assert np.array_equal(codes.reshape(len(images), -1), expected)


@pytest.mark.parametrize(
    "name",
    [
        "residual",
        "largest, packed",
        "mean",
        "means, tanh",
        "depthwise",
        "joined",
        "wide",
        "pools",
        "wide mean",
        "copies",
    ],
)
def test_whole_layers_have_the_bits_of_programs(name):
    """With the noise of devices and converters, of two batches; and what is counted."""
    rng = np.random.default_rng(5)
    graph = GRAPHS[name](rng)
    images = images_of(graph, rng, 5)
    programmed = program(graph, graph_chip(CORE, cores_of(graph)), PCM, images, 1)
    mapping, cores, found = programmed.mapping, [], []
    for kind in (Layers, None):
        model, parts = programmed.model(), (images[:2], images[2:])
        if kind:
            found.append([kind(mapping, model.cores).outputs(part) for part in parts])
        else:
            results = [mapping.outputs(model.run(mapping.inference(part))) for part in parts]
            found.append(
                [np.concatenate(part).reshape(-1, found[0][0].shape[1]) for part in results]
            )
        cores.append(model.cores)
    assert all(map(np.array_equal, *found))
    for one, other in zip(*(of.values() for of in cores), strict=True):
        counted = [
            (
                core.crossbar.windows, core.adc.clipped, core.adc.overranges,
                core.post.accumulator_saturations, core.post.code_saturations,
            )
            for core in (one, other)
        ]  # fmt: skip
        assert counted[0] == counted[1]
        assert counted[0][0] > 0


@pytest.mark.parametrize(
    "name",
    [
        "residual",
        "means",
        "depthwise",
        "joined",
        "wide",
        "pools",
        "wide mean",
        "mean alone",
        "copies",
    ],
)
def test_integers_follow_floating_point(name):
    """Signal to noise of all layers, with what the devices are corrected for."""
    rng = np.random.default_rng(3)
    graph = GRAPHS[name](rng)
    images = images_of(graph, rng, 20)
    chip = graph_chip(CORE.replace(devices_per_polarity=4, verify_iterations=63), cores_of(graph))
    mapping = program(graph, chip, IDEAL, images, 1).mapping
    model = make_model(mapping, 1)
    model.set_segments(mapping.segments(0))
    for job in (mapping.setup(), *mapping.programming(), mapping.setup()):
        model.run(job)
    outputs = mapping.outputs(model.run(mapping.inference(images)))
    found = np.concatenate(outputs).reshape(len(images), -1) * mapping.code
    exact = graph.outputs(images)
    assert decibels(found, exact) > 20
    written = program(graph, chip, IDEAL, images, 1, iterative=True)
    codes = Layers(written.mapping, written.model().cores).outputs(images)
    assert decibels(codes * written.mapping.code, exact) > 30


def test_columns_become_layers_and_rows_tiles():
    """Groups of channels are whole and add to their columns alone; copies fill what is left."""
    rng = np.random.default_rng(1)
    graph = wide(rng)
    tiles = {one.name: row_tiles(graph, one, CORE) for one in graph.layers}
    found = {name: [(len(one.rows), one.copies) for one in part] for name, part in tiles.items()}
    assert found == {
        "each": [(24, 1), (24, 1)], "wide:0": [(24, 1)], "wide:1": [(24, 1)],
        "sum:0": [(32, 1), (32, 1), (16, 2)], "sum:1": [(32, 1), (32, 1), (16, 2)],
        "last": [(32, 1), (8, 2)],
    }  # fmt: skip
    assert [one.channels for one in tiles["each"]] == [range(12), range(12, 24)]
    copied = replace(graph.layers[0], copies=2)
    assert [one.channels.start for one in row_tiles(graph, copied, CORE)] == [0, 8, 16]
    assert {(len(one.rows), one.copies) for one in row_tiles(graph, copied, CORE)} == {(16, 2)}
    more = row_tiles(graph, replace(copied, copies=3), CORE)
    assert [(one.channels.start, one.copies, one.share) for one in more] == [
        (first, 2, 0.5) for first in (0, 0, 8, 8, 16, 16)
    ]  # fmt: skip
    whole, images = wide(np.random.default_rng(1), DEFAULT), images_of(graph, rng, 3)
    assert len(whole.layers) == 4
    assert np.allclose(whole.outputs(images), graph.outputs(images))
    narrow = replace(whole.layers[2], weights=whole.layers[2].weights[:, :24], bias=np.zeros(24))
    with pytest.raises(ValueError, match="sum: skip wide must be on as many crossbars"):
        split_columns(replace(whole, layers=(*whole.layers[:2], narrow)), CORE)
    ended = split_columns(replace(whole, layers=whole.layers[:2]), CORE)
    assert ended.ends == ("wide:0", "wide:1")
    assert np.allclose(
        replace(whole, layers=whole.layers[:2]).outputs(images), ended.outputs(images)
    )
    each, *_ = quantise(graph, images, CORE, PCM)
    for tile in each.tiles:
        own = np.arange(24) // 12 == tile.channels.start // 12
        assert (tile.scale[own] > 0).all()
        assert not tile.scale[~own].any()


def test_means_stay_in_the_accumulators():
    """However many positions there are; none of 24 bits is lost."""
    rng = np.random.default_rng(1)
    for side in (2, 3, 23, 60):
        only = layer(rng, "only", INPUT, 2, height=side, width=side, channels=1, pool=Pool.FRAME)
        graph = Graph(name="mean", dataset="none", shape=(side, side, 1), layers=(only,))
        (one,) = quantise(graph, images_of(graph, rng, 2), CORE, IDEAL)
        assert 0 < side**2 * one.pool_scale.min() <= side**2 * one.pool_scale.max() < 2**23 / 127
        gain = side**2 * one.pool_scale / 2**one.pool_shift
        assert one.code == pytest.approx(one.step / gain)
    large = replace(only, reads=replace(only.reads, height=1000, width=1000))
    with pytest.raises(ValueError, match="no scale of the hardware makes the mean of 1000000"):
        _mean(large, 1.0, CORE)


def test_a_bias_has_room_however_little_a_tile_counts():
    """Of many copies each is worth little, and the accumulators' steps are small."""
    rng = np.random.default_rng(1)
    graph = _copied(residual(rng), 64)
    stem = replace(graph.layers[0], bias=3 * np.abs(graph.layers[0].weights).sum(axis=0))
    graph = replace(graph, layers=(stem, *graph.layers[1:]))
    one = quantise(graph, images_of(graph, rng, 9), CORE, IDEAL)[0]
    held = 64 * one.tiles[-1].offset + one.bias_codes * one.bias_scale
    exact = stem.bias * 2**one.shift / one.step + sum(tile.scale for tile in one.tiles) / 2
    assert np.abs(held - exact).max() <= one.bias_scale.max() / 2
    assert one.shift == 8


def test_residual_and_bias_have_their_values():
    """The residual's codes are worth what the accumulators take them for; the bias comes once."""
    rng = np.random.default_rng(1)
    graph = residual(rng)
    found = {one.layer.name: one for one in quantise(graph, images_of(graph, rng, 9), CORE, IDEAL)}
    total = found["sum"]
    assert total.skip_scale * total.step / 2**total.shift == pytest.approx(found["side"].code)
    first, last = found["down"].tiles
    assert not first.offset.any()
    assert last.offset.any()


@pytest.mark.parametrize("topology", ["mesh", "prism"])
def test_every_way_is_one_link(topology):
    graph = residual(np.random.default_rng(1))
    chip = graph_chip(CORE, cores_of(graph), topology)
    layers = quantise(graph, np.full((1, graph.inputs), 9, np.uint8), CORE, IDEAL)
    mapping = InferenceMapping(graph, layers, chip, IDEAL)
    for node, tables in mapping.tables.items():
        for route in tables.routes:
            if route.multicast:
                continue
            to = route.y * chip.noc.width + route.x
            if topology == "prism":
                assert to in chip.noc.neighbours[node]
            else:
                (ax, ay), (bx, by) = chip.place(node), chip.place(to)
                assert abs(ax - bx) + abs(ay - by) <= 2


def test_tiles_in_a_rectangle_get_multicasts():
    """Every core in its columns and rows is a consumer, with a number of its own."""
    graph = residual(np.random.default_rng(1))
    layers = quantise(graph, np.full((1, graph.inputs), 9, np.uint8), CORE, IDEAL)
    mapping = InferenceMapping(graph, layers, graph_chip(CORE, cores_of(graph)), IDEAL)
    routes = [route for tables in mapping.tables.values() for route in tables.routes]
    several = [route for route in routes if route.multicast]
    assert several
    for route in several:
        assert route.consumers == route.cols.bit_count() * route.rows.bit_count() > 1
    members = [entry.member for tables in mapping.tables.values() for entry in tables.objects]
    assert max(members) == max(route.consumers for route in several) - 1


def test_parts_of_the_output_have_room_together():
    """In the host bridge, however many vectors of each are on their way."""
    graph = pools(np.random.default_rng(1))
    layers = blank(graph, CORE)
    chip = graph_chip(CORE, cores_of(graph))
    mapping = InferenceMapping(graph, layers, chip, IDEAL)
    made = [stage for stage in mapping.stages if stage.layer in graph.results]
    routes = [mapping.tables[stage.node].routes[0] for stage in made]
    flits = [message_flits(stage.layer.outputs, CORE) for stage in made]
    assert [route.object for route in routes] == [0, 1]
    held = sum(route.credits * part for route, part in zip(routes, flits, strict=True))
    assert chip.bridge_flits - sum(flits) < held <= chip.bridge_flits
    core = CHIPS["default"].core
    wide = layer(np.random.default_rng(1), "wide", INPUT, 600, height=1, width=1, channels=4)
    wide = split_columns(Graph(name="w", dataset="none", shape=(1, 1, 4), layers=(wide,)), core)
    with pytest.raises(ValueError, match="bridge_flits must be at least 85 for the outputs of w, "):
        InferenceMapping(wide, blank(wide, core), graph_chip(core, 3), IDEAL)
    chip = graph_chip(core, 3, bridge_flits=85).replace(host_objects=2)
    with pytest.raises(ValueError, match="host_objects must be at least 3 for the outputs of w, n"):
        InferenceMapping(wide, blank(wide, core), chip, IDEAL)
    chip = chip.replace(host_objects=3)
    assert chip.bridge_flits == 128
    InferenceMapping(wide, blank(wide, core), chip, IDEAL)


def test_a_multicast_has_as_many_members_as_a_route():
    chip = graph_chip(CORE, 63)
    for nodes in (range(40), range(0, 63, 8), (*range(24), 40, 41)):
        found = multicasts(chip, [*nodes])
        assert sorted(itertools.chain(*found)) == sorted(nodes)
        for part in found:
            x, y = zip(*map(chip.place, part), strict=True)
            assert len(part) == len(set(x)) * len(set(y)) <= 16
    assert len(multicasts(chip, range(40))) == 3


def changed(graph, **fields):
    return replace(graph, layers=(*graph.layers[:-1], replace(graph.layers[-1], **fields)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "nothing"}, "layer sum: source nothing is not made before it"),
        ({"skip": INPUT}, "layer sum: skip input must have 54 codes, not 72"),
        ({"joined": ("nothing",)}, "layer sum: source nothing is not made before it"),
        ({"joined": ("side",)}, "layer sum: channels must be 14, those of its sources, not 6"),
        ({"joined": ("down",)}, "layer sum: inputs must not be twice among down, down"),
        ({"joined": ("stem",)}, "layer sum: source stem must have 36 codes, not 144"),
        ({"pool": Pool.FRAME, "groups": 2}, "layer sum: skip must not be side of a layer"),
        ({"name": "stem"}, "layer stem: there is another tensor of that name"),
        ({"function": Function.NONE}, "layer sum: function must not be NONE"),
        ({"pool": Pool.MEAN}, "layer sum: pool must be mean or largest where a block"),
        ({"bias": np.zeros(5)}, "layer sum: bias must have 6 values, not 5"),
    ],
)
def test_what_is_no_graph_is_refused(fields, message):
    graph = changed(residual(np.random.default_rng(1)), **fields)
    with pytest.raises(ValueError, match=message):
        quantise(graph, np.zeros((1, graph.inputs), np.uint8), CORE, IDEAL)


def test_rings_hold_what_comes_early():
    """The fast branch sends two rows and two pixels before the slow one's first vector."""
    graph = reach(np.random.default_rng(1))
    layers = quantise(graph, np.full((1, graph.inputs), 9, np.uint8), CORE, IDEAL)
    mapping = InferenceMapping(graph, layers, graph_chip(CORE, 7), IDEAL)
    objects = {stage.name: mapping.tables[stage.node].objects for stage in mapping.stages}
    early = 2 * 7 + 2
    assert objects["both"][0].depth > early
    assert objects["other"][0].depth > early
    assert objects["sum"][1].depth > early


def test_rows_have_the_codes_of_their_tensors():
    """However much one of the tensors side by side is coarser than another one."""
    graph = reach(np.random.default_rng(1))
    codes = {
        name: at + np.arange(graph.channels(name)) / 8
        for at, name in enumerate(("both", "sum", "other"), 1)
    }
    rows = _row_codes(graph, graph.layers[-1], codes)
    assert rows[:4].tolist() == [1, 1.125, 1.25, 1.375]
    assert rows[8:11].tolist() == [2, 2.125, 2.25]
    assert rows[16:].tolist() == [3, 3.125, 3.25]


def test_every_channel_fills_its_codes():
    """However small the weights of its column are; outputs are worth the same, unless a residual
    says otherwise."""
    rng = np.random.default_rng(2)
    graph = residual(rng)
    stem, *rest = graph.layers
    stem = replace(stem, weights=stem.weights * [1, 0.3, 2, 1], bias=stem.bias * [1, 0.3, 2, 1])
    graph, images = replace(graph, layers=(stem, *rest)), images_of(graph, rng, 40)
    first, *_, last = quantise(graph, images, CORE, IDEAL)
    largest = next(graph.run(images))[3].reshape(-1, 4).max(axis=0)
    assert (0.3 * largest < 127 * first.code).all()
    assert (127 * first.code < 1.5 * largest).all()
    assert len(set(first.code.tolist())) == 4
    assert len(set(last.code.tolist())) == 6
    plain = replace(graph, layers=(stem, replace(rest[0], skip=None)))
    assert len(set(quantise(plain, images, CORE, IDEAL)[-1].code.tolist())) == 1


def test_nothing_lies_between_tensors_side_by_side():
    """Weights there are 0, and a ring of whole vectors never has other bytes in their place."""
    graph = reach(np.random.default_rng(1))
    layers = quantise(graph, np.full((1, graph.inputs), 9, np.uint8), CORE, IDEAL)
    mapping = InferenceMapping(graph, layers, graph_chip(CORE, 7), IDEAL)
    for stage in mapping.stages:
        frame = mapping.tables[stage.node].objects[0]
        assert not stage.layer.joined or frame.size * CORE.post_lanes % (8 * frame.pitch) == 0
    last = graph.layers[-1]
    wrong = replace(last, weights=np.ones_like(last.weights))
    with pytest.raises(ValueError, match="layer last: weights between its sources must be 0"):
        replace(graph, layers=(*graph.layers[:-1], wrong)).check()


def test_the_input_is_sent_in_one_way():
    """As packed rows or by pixel, not both."""
    graph = residual(np.random.default_rng(1))
    stem = graph.layers[0]
    other = replace(stem, name="other", reads=replace(stem.reads, packed=False))
    with pytest.raises(ValueError, match="layer other: input must be sent as layer stem reads"):
        replace(graph, layers=(stem, other)).check()
    square = replace(stem, name="square", skip=INPUT, weights=stem.weights[:, :2],
                     bias=stem.bias[:2])  # fmt: skip
    with pytest.raises(ValueError, match="layer square: input must be sent as layer square reads"):
        replace(graph, layers=(square,)).check()


def test_what_has_no_room_is_refused():
    rng = np.random.default_rng(1)
    graph = residual(rng)
    images = images_of(graph, rng, 2)
    with pytest.raises(ValueError, match="images must be at least 1 for calibration, not 0"):
        quantise(graph, images[:0], CORE, IDEAL)
    layers = quantise(graph, images, CORE, IDEAL)
    with pytest.raises(ValueError, match="residual needs 6 cores, not 3"):
        InferenceMapping(graph, layers, graph_chip(CORE, 3), IDEAL)
    small = CORE.replace(vector_words=32, slots=16)
    with pytest.raises(ValueError, match="is outside"):
        InferenceMapping(graph, layers, graph_chip(small, 6), IDEAL)
    wide = layer(rng, "wide", INPUT, 40, height=2, width=2, channels=4)
    wide = replace(graph, shape=(2, 2, 4), layers=(wide,))
    layers = quantise(wide, np.zeros((1, 16), np.uint8), CORE, IDEAL)
    with pytest.raises(ValueError, match="layer wide needs 40 columns; a core has 32"):
        InferenceMapping(wide, layers, graph_chip(CORE, 1), IDEAL)
    mapping = InferenceMapping(
        graph, quantise(graph, images, CORE, IDEAL), graph_chip(CORE, 6), IDEAL
    )
    with pytest.raises(ValueError, match="images must be at most 1820, not 2000"):
        mapping.inference(np.zeros((2000, graph.inputs), np.uint8))
    with pytest.raises(ValueError, match="residual does not learn on a chip"):
        mapping.training(images, images[:, 0])
