# SPDX-License-Identifier: Apache-2.0
"""Perceptrons on a chip: places, descriptors, programs, packets, and what comes of them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.flits import message_flits
from phasecore.models.compiler.mapping import NONE_SENT, ChipMapping, Tables, check_tables
from phasecore.models.compiler.network import ONE, Layer
from phasecore.models.compiler.networks import CHIP_NETWORKS
from phasecore.models.compiler.placement import place
from phasecore.models.golden.chip import Chip
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import Result, parse_input
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.instructions import (
    HEADER,
    DeltaSource,
    Drift,
    Function,
    Opcode,
    decode,
    unpack,
)
from phasecore.rtl.spec.noc import NocConfig
from phasecore.verification.oracle.activation import activation
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.fixed_point import round_shift

SMALL = CHIP_NETWORKS["mlp-64-14-10"]
TINY = CHIP_NETWORKS["mlp-48-12-10"]
THREE_LAYERS = replace(
    SMALL,
    name="three",
    layers=(
        Layer(inputs=20, outputs=7, row_start=0, col_start=0),
        Layer(inputs=7, outputs=5, row_start=0, col_start=0),
        Layer(inputs=5, outputs=4, row_start=8, col_start=6),
    ),
    tiles=2,
)


def mapped(network, profile=IDEAL, **changes):
    core = network.config.replace(**changes)
    return ChipMapping(network, network.chip.replace(core=core), profile)


def route_of(packet):
    return unpack(HEADER, int.from_bytes(packet[:8], "little"))["slot"]


def names(program):
    return [decode(word)[0].name for word in program]


class Reference:
    """Training written down from the blocks of five cores, without programs or messages."""

    def __init__(self, network, profile, seed):
        self.network = network
        self.mapping = mapped(network, profile)
        self.recipe = self.mapping.recipe
        self.cores = {
            node: Core(network.config, profile, seed + node) for node in self.mapping.nodes
        }
        self.segments = self.mapping.segments(network.training.eta)
        for core in self.cores.values():
            core.refresh_high = network.training.refresh_high
            core.refresh_low = network.training.refresh_low
            core._calibrate({"drift": Drift.NONE})

    def codes(self, node, segment, vector, backward):
        """Codes of the sensed lines of a segment."""
        core, config = self.cores[node], self.network.config
        driven, sensed, lsb_log2 = (
            (segment.cols, segment.rows, segment.backward_lsb_log2)
            if backward
            else (segment.rows, segment.cols, segment.forward_lsb_log2)
        )
        drive = np.zeros(config.lines, dtype=np.int64)
        drive[driven] = vector
        counts = core.crossbar.window(drive, lsb_log2=lsb_log2, backward=backward)
        return core.adc.read_out(counts, lsb_log2, config.input_bits)[sensed]

    def forward(self, image):
        """Inputs (with bias) and activations of every layer."""
        network, tiles = self.network, self.mapping.tiles
        values = [np.append(image, ONE).astype(np.int64)]
        total = np.zeros(network.layers[0].outputs, dtype=np.int64)
        for tile, node in enumerate(tiles):
            part = values[0][tile :: len(tiles)]
            total += 2 * self.codes(node, self.segments[node][0], part, False) + 1
        for index, shift in enumerate(self.recipe.shifts):
            y, _ = activation(round_shift(64 * total, shift), Function.SIGMOID)
            values.append(y)
            if index < network.last:
                values[-1] = np.append(y, ONE)
                segment = self.segments[self.mapping.head][index]
                total = 2 * self.codes(self.mapping.head, segment, values[-1], False) + 1
        return values

    def learn(self, image, label):
        """Outputs before the image was learnt."""
        network, head = self.network, self.mapping.head
        post, biases = self.cores[head].post, self.recipe.biases
        values = self.forward(image)
        target = network.training.targets(network.layers[-1].outputs)[label]
        error = post.delta(
            target,
            values[-1],
            start=0,
            function=Function.SIGMOID,
            source=DeltaSource.DIFFERENCE,
            bias=biases[-1],
        )
        errors = [error]
        for index in reversed(range(network.last)):
            codes = self.codes(head, self.segments[head][index], errors[0][0], True)
            mantissas, exponent = post.delta(
                codes, values[index + 1], start=0, function=Function.SIGMOID,
                exponent=errors[0][1], bias=biases[index],
            )  # fmt: skip
            errors.insert(0, (mantissas[:-1], exponent))
        for tile, node in enumerate(self.mapping.tiles):
            part = values[0][tile :: network.tiles]
            self.update(node, self.segments[node][0], part, *errors[0])
        for index in reversed(range(1, len(network.layers))):
            self.update(head, self.segments[head][index - 1], values[index], *errors[index])
        return values[-1]

    def update(self, node, segment, x, d, exponent):
        core = self.cores[node]
        vectors = np.zeros((2, self.network.config.lines), dtype=np.int64)
        vectors[0, segment.rows], vectors[1, segment.cols] = x, d
        pulses = core.update.outer(segment, *vectors, exponent, True)
        if len(pulses):
            core.programmer.pulses(pulses)

    def refresh(self):
        for node in self.mapping.nodes:
            core = self.cores[node]
            count = len(self.network.layers) - 1 if node == self.mapping.head else 1
            for number, segment in enumerate(self.segments[node][:count]):
                core.programmer.refresh(segment, number > 0, core.refresh_high, core.refresh_low)


def configured(reference, profile, seed):
    """A chip with the mapping's descriptors, after setup."""
    mapping = reference.mapping
    chip, setup = Chip(mapping.hardware, profile, seed), mapping.setup()
    for node, tables in setup.tables.items():
        for index, descriptor in enumerate(tables.objects):
            chip.define_object(node, index, descriptor)
        for index, descriptor in enumerate(tables.routes):
            chip.define_route(node, index, descriptor)
    for node, core in reference.cores.items():
        chip.cores[node].refresh_high = core.refresh_high
        chip.cores[node].refresh_low = core.refresh_low
        chip.cores[node].segments[: len(reference.segments[node])] = reference.segments[node]
    assert chip.run(setup.programs, setup.packets) == []
    return chip


def outputs(mapping, results: list[Result]):
    assert {result.slot for result in results} <= {0}
    return np.array(mapping.outputs(results))


@pytest.mark.parametrize("profile", [IDEAL, PCM], ids=lambda profile: profile.name)
@pytest.mark.parametrize("network", [SMALL, TINY, THREE_LAYERS], ids=lambda network: network.name)
def test_the_chip_does_what_the_blocks_do(network, profile):
    rng = np.random.default_rng(8)
    network = replace(
        network, training=replace(network.training, eta=10.0, refresh_high=25, refresh_low=10)
    )
    reference = Reference(network, profile, seed=11)
    mapping, chip, sent = reference.mapping, configured(reference, profile, 11), NONE_SENT
    first, last = network.layers[0], network.layers[-1]
    # Rings of two slots: odd stretches end in the middle of them.
    for stretch, count in enumerate((5, 4, 1, 3)):
        images = rng.integers(0, 128, (count, first.inputs), dtype=np.uint8)
        labels = rng.integers(0, last.outputs, count).astype(np.uint8)
        job = mapping.training(images, labels, sent, refresh=stretch % 2 == 0, read=stretch != 1)
        sent = sent.after(job)
        results = chip.run(job.programs, job.packets)
        expected = [reference.learn(*pair) for pair in zip(images, labels, strict=True)]
        if stretch % 2 == 0:
            reference.refresh()
        if stretch != 1:
            assert np.array_equal(outputs(mapping, results), expected)
        job = mapping.inference(images[: 1 + stretch], sent)
        sent = sent.after(job)
        results = chip.run(job.programs, job.packets)
        expected = [reference.forward(image)[-1] for image in images[: 1 + stretch]]
        assert np.array_equal(outputs(mapping, results), expected)
    assert sum(core.programmer.refreshed for core in reference.cores.values()) > 0
    for node, core in reference.cores.items():
        assert core.programmer.set_pulses > 0
        assert np.array_equal(chip.cores[node].crossbar.conductance, core.crossbar.conductance)
        assert np.array_equal(chip.cores[node].update.chi, core.update.chi)
        assert np.array_equal(chip.cores[node].programmer.dirty, core.programmer.dirty)


def test_places_of_the_default_chip():
    assert place(CHIPS["default"], 4) == ((1, 0, 3, 4), 5)
    mapping = mapped(CHIP_NETWORKS["mlp-784-250-10"])
    assert mapping.nodes == (1, 0, 3, 4, 5)
    assert [mapping.segments(1.0)[node][0].row_count for node in mapping.nodes] == [
        197, 196, 196, 196, 251,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("width", "height", "host", "tiles"),
    [(3, 2, 2, 1), (3, 2, 2, 3), (3, 2, 4, 2), (2, 2, 3, 2), (4, 2, 0, 6), (4, 4, 5, 8)],
)
def test_chains_follow_links_and_avoid_the_host(width, height, host, tiles):
    chip = ChipConfig(noc=NocConfig(width=width, height=height), host=host)
    chain, head = place(chip, tiles)
    assert host not in (*chain, head)
    assert len({*chain, head}) == tiles + 1
    steps = [chip.place(node) for node in (*chain, head)]
    for (ax, ay), (bx, by) in itertools.pairwise(steps):
        assert abs(ax - bx) + abs(ay - by) == 1
    # What a multicast to their columns and rows reaches are the tiles alone.
    assert len({x for x, _ in steps[:-1]}) * len({y for _, y in steps[:-1]}) == tiles


def test_no_rectangle():
    message = r"^tiles must fill a rectangle of the 4 x 2 mesh without host \(0\) and head, not 5$"
    with pytest.raises(ValueError, match=message):
        place(ChipConfig(noc=NocConfig(width=4, height=2), host=0), 5)


@pytest.mark.parametrize("network", [*CHIP_NETWORKS.values(), THREE_LAYERS], ids=lambda n: n.name)
def test_routes_and_objects_belong_together(network):
    """Every ring has an owner for each slot: a credit, or a vector that is there."""
    mapping = mapped(network)
    chip = mapping.hardware
    node_at = {chip.place(node): node for node in range(chip.noc.nodes)}
    seen = set()
    for node, tables in mapping.tables.items():
        for number, route in enumerate(tables.routes):
            consumers = [
                other
                for place_, other in node_at.items()
                if (
                    (route.cols >> place_[0] & 1 and route.rows >> place_[1] & 1)
                    if route.multicast
                    else place_ == (route.x, route.y)
                )
            ]
            assert route.consumers == len(consumers)
            order = [*mapping.nodes, chip.host]
            for member, consumer in enumerate(sorted(consumers, key=order.index)):
                descriptor = mapping.tables[consumer].objects[route.object]
                assert (descriptor.x, descriptor.y) == chip.place(node)
                assert descriptor.route == number
                seen.add((consumer, route.object))
                assert descriptor.member == member
                if consumer != chip.host:
                    assert route.credits == descriptor.depth - descriptor.arrived
    defined = {
        (node, index)
        for node, tables in mapping.tables.items()
        for index in range(len(tables.objects))
    }
    assert seen == defined


def test_weights_come_from_the_tiles_in_turn():
    mapping = mapped(TINY)
    codes = {
        node: 1000 * number + np.arange(256).reshape(16, 16)
        for number, node in enumerate(mapping.nodes)
    }
    first, second = mapping.weights(codes)
    units = mapping.recipe.weight_units
    assert first.shape == (49, 12)
    for row in (0, 1, 7, 30, 48):
        expected = codes[mapping.tiles[row % 4]][row // 4, :12]
        assert first[row] * units[0] == pytest.approx(expected)
    assert second * units[1] == pytest.approx(codes[mapping.head][:13, :10])


def test_packets_deal_out_the_inputs():
    mapping = mapped(TINY)
    image = np.arange(1, 49, dtype=np.uint8)[None]
    packets = mapping.training(image, np.array([3], dtype=np.uint8)).packets
    assert [route_of(packet) for packet in packets] == [0, 1, 2, 3, 4]
    *parts, target = (parse_input(packet, config=mapping.config) for packet in packets)
    assert [part.codes.tolist() for part in parts] == [
        [*range(1, 49, 4), ONE], [*range(2, 49, 4)], [*range(3, 49, 4)], [*range(4, 49, 4)],
    ]  # fmt: skip
    assert target.codes.tolist() == mapping.network.training.targets(10)[3].tolist()
    bias, zeros = (parse_input(packet, config=mapping.config) for packet in mapping.setup().packets)
    assert (bias.start, bias.codes.tolist()) == (8, [0, 0, 0, 0, ONE])
    assert (zeros.start, zeros.codes.tolist()) == (0, [0] * 12)
    with pytest.raises(ValueError, match=r"^images must have shape \(images, 48\), not \(1, 47\)$"):
        mapping.inference(image[:, 1:])


def test_programs_by_instruction():
    mapping = mapped(TINY)
    tile, tail, head = mapping.tiles[0], mapping.tiles[-1], mapping.head
    programs = mapping.training_programs(1, refresh=True, read=True)
    assert names(programs[tile]) == [
        "AWAIT", "FORWARD", "ACTIVATE", "SEND", "AWAIT", "OUTER", "RELEASE", "REFRESH", "HALT",
    ]  # fmt: skip
    assert names(programs[tail]) == [
        "AWAIT", "FORWARD", "ACTIVATE", "RELEASE", "SEND", "AWAIT", "OUTER", "RELEASE", "REFRESH",
        "HALT",
    ]  # fmt: skip
    assert names(programs[head]) == [
        "AWAIT", "ACTIVATE", "FORWARD", "ACTIVATE", "AWAIT", "DELTA", "BACKWARD", "DELTA", "SEND",
        "SEND", "OUTER", "RELEASE", "REFRESH", "HALT",
    ]  # fmt: skip
    sends = [
        decode(word)[1]
        for node in (tile, tail)
        for word in programs[node]
        if decode(word)[0] is Opcode.SEND
    ]
    assert [(send["partial"], send["merge"], send["length"]) for send in sends] == [
        (1, 0, 12), (1, 1, 12),
    ]  # fmt: skip
    assert "SEND" not in names(mapping.training_programs(1)[head][9:])
    with pytest.raises(ValueError, match=r"^images must be at least 1, not 0$"):
        mapping.training_programs(0)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("images", [1, 2, 3, 6, 7])
def test_loops_alternate_between_the_slots_of_the_ring(images, first):
    mapping = mapped(TINY)

    def slots(program, opcode, field):
        """Values of a field in the order in which the instructions run."""
        found, counter, pc = [], 0, 0
        while decode(program[pc])[0] is not Opcode.HALT:
            operation, values = decode(program[pc])
            pc += 1
            if operation is Opcode.LOOP:
                counter += 1
                pc = values["target"] if counter < values["count"] else pc
            elif operation is opcode and values.get("source", 1):
                found.append(values[field])
        return found

    expected = [(first + image) % 2 for image in range(images)]
    programs = mapping.training_programs(images, x=first, target=first)
    target = mapping.tables[mapping.head].objects[0].base // mapping.config.blocks
    assert slots(programs[mapping.head], Opcode.DELTA, "slot") == [target + i for i in expected]
    inference = mapping.inference_programs(images, x=first)
    for node in mapping.tiles:
        for program in (programs[node], inference[node]):
            assert slots(program, Opcode.FORWARD, "slot") == expected
        assert slots(programs[node], Opcode.OUTER, "slot") == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rows": 8},
            r"^mlp-48-12-10 needs 13 rows and 12 columns for each of 4 tiles of layer 0;",
        ),
        ({"slots": 4}, r"^mlp-48-12-10 needs 7 slots, not 4$"),
        ({"segments": 1}, r"^mlp-48-12-10 needs 2 segments, not 1$"),
        ({"objects": 2}, r"^mlp-48-12-10 needs 3 objects, not 2$"),
        ({"routes": 1}, r"^mlp-48-12-10 needs 2 routes, not 1$"),
        ({"program_depth": 32}, r"^mlp-48-12-10 needs 39 program_depth, not 32$"),
    ],
)
def test_a_core_that_is_too_small(changes, message):
    with pytest.raises(ValueError, match=message):
        mapped(TINY, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host_routes": 5}, r"^mlp-48-12-10 needs 6 host_routes, not 5$"),
        (
            {"noc": NocConfig(width=2, height=2), "host": 0},
            r"^mlp-48-12-10 needs 5 cores for 4 tiles and the head, not 3$",
        ),
    ],
)
def test_a_chip_that_is_too_small(changes, message):
    chip = TINY.chip.replace(**changes)
    with pytest.raises(ValueError, match=message):
        ChipMapping(TINY, chip, IDEAL)


def test_flits_of_a_vector():
    default, tiny = CHIPS["default"].core, CHIPS["tiny"].core
    # Words of 64 lines: 8 data flits and a head each.
    assert [message_flits(lines, default) for lines in (1, 8, 10, 64, 65, 250)] == [
        2, 2, 3, 9, 11, 36,
    ]  # fmt: skip
    # Words of 8 lines: one data flit and a head each.
    assert message_flits(10, tiny) == 4


def test_the_bridge_holds_what_the_chip_may_send():
    for network in CHIP_NETWORKS.values():
        mapping = mapped(network)
        flits = message_flits(10, mapping.config)
        assert (
            mapping.tables[mapping.head].routes[1].credits == mapping.hardware.bridge_flits // flits
        )
    back, results = mapping.tables[mapping.head].routes
    head = replace(mapping.tables[mapping.head], routes=[back, replace(results, credits=17)])
    mapping.tables[mapping.head] = head
    message = r"sends the host vectors of 4 flits with 17 credits; the bridge holds 64 flits$"
    with pytest.raises(ValueError, match=message):
        mapping.check()


@pytest.mark.parametrize(
    ("where", "values", "message"),
    [
        (("head", 1), {"x": 1, "y": 0}, "^object 0 of node 1 has two producers: route 1"),
        (("tile", 1), {"member": 0}, "object 1 of node 0 is member 0 of route 0 of node 5, as"),
        (("tile", 1), {"member": 4}, "is member 4 of route 0 of node 5, which has 4 consumers$"),
        (("tile", 1), {"enable": 0}, "route 0 of node 5 goes to object 1 of node 0, which is not"),
        (("head", 0), {"consumers": 3}, "route 0 of node 5 goes to 4 nodes, not to 3$"),
        (("head", 0), {"consumers": 17}, r"^consumers must be in 1\.\.16, not 17$"),
    ],
)
def test_tables_of_a_chip_are_refused(where, values, message):
    mapping = mapped(CHIP_NETWORKS["mlp-784-250-10"])
    check_tables(mapping.hardware, mapping.tables)
    kind, index = where
    node = mapping.head if kind == "head" else mapping.tiles[1]
    tables = mapping.tables[node]
    objects, routes = list(tables.objects), list(tables.routes)
    changed = routes if kind == "head" else objects
    changed[index] = replace(changed[index], **values)
    mapping.tables[node] = Tables(objects, routes)
    with pytest.raises(ValueError, match=message):
        check_tables(mapping.hardware, mapping.tables)


def test_outputs_too_long_for_the_bridge():
    layers = (
        Layer(inputs=64, outputs=14, row_start=0, col_start=0),
        Layer(inputs=14, outputs=500, row_start=0, col_start=0),
    )
    network = replace(SMALL, layers=layers)
    with pytest.raises(ValueError, match=r"vectors of 79 flits with 0 credits; the bridge holds"):
        mapped(network, cols=512, vector_words=256)
