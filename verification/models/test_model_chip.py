# SPDX-License-Identifier: Apache-2.0
"""Golden chip: packets by hand, what is refused, and results that do not depend on the order."""

import random
from collections import deque
from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.compiler.mapping import NONE_SENT, ChipMapping
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.networks import CHIP_NETWORKS
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import affine_packet, header, vector_packet
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.instructions import (
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    Segment,
    StreamDescriptor,
    encode,
)
from phasecore.rtl.spec.messages import MessageKind, message_fields, message_head
from phasecore.rtl.spec.noc import FabricConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.oracle.chip import Chip, deadlock
from phasecore.verification.oracle.core import Core, Trace
from phasecore.verification.oracle.local_control import Grant
from phasecore.verification.oracle.network_interface import (
    FabricError,
    Message,
    NetworkInterface,
    affine_packets,
    credit_packets,
    flits,
    partial_packets,
    partial_sums,
    payload_flits,
    read_packet,
    split,
    vector_packets,
)

TINY, DEFAULT = CHIPS["tiny"], CHIPS["default"]
FABRIC = FabricConfig()
HALT = encode(Opcode.HALT)
SUM = ObjectDescriptor(x=0, y=0, stream=0, partial=1)


def interface(config=TINY.core, **objects):
    """Network interface of a core with the objects given as ``o<number>``."""
    found = NetworkInterface(Core(config, IDEAL, 1), FABRIC)
    for name, descriptor in objects.items():
        found.local.define(int(name[1:]), descriptor)
    return found


def vector(object_=0, start=0, codes=(1,), value=0, last=1, **head):
    """Flits of a VECTOR packet; ``head`` overrules fields of the head."""
    message = Message(MessageKind.VECTOR, object_, start, np.array(codes), value, bool(last))
    first, *data = flits(message, {"x": 0, "y": 0})
    for name, amount in head.items():
        field = message_fields(first) | {name: amount}
        field["value"] -= field["value"] >> 7 << 8
        first = message_head(first & ((1 << HEADER.bits) - 1), **field)
    return [first, *data]


# Packets


def test_a_vector_by_hand():
    codes = np.zeros(256, dtype=np.int64)
    codes[8:20] = [1, -1, 127, -128, 5, 6, 7, 8, 9, 10, 11, -12]
    stream = StreamDescriptor(object=5, x=2, y=1, vc=1)
    (packet,) = vector_packets(codes, -3, stream, DEFAULT.core, FABRIC, start=8, length=12)
    head = {
        "multicast": 0, "order": 1, "length": 3, "x": 2, "y": 1,
    }  # fmt: skip
    assert {name: HEADER[name].of(packet[0]) for name in head} == head
    assert message_fields(packet[0]) == {
        "kind": 0, "object": 5, "last": 1, "trim": 4, "start": 1, "value": 253,
    }  # fmt: skip
    assert packet[1:] == [0x08070605807FFF01, 0x00000000F40B0A09]


def test_partial_sums_by_hand():
    # 64 accumulator counts are 1; ties go to the even one; 16 bits saturate.
    accumulators = np.array([0, 64, -64, 32, 96, -32, -96, 31, 2097088, 2097120, -2097153, 1 << 23])
    sums = [0, 1, -1, 0, 2, 0, -2, 0, 32767, 32767, -32768, 32767]
    assert partial_sums(accumulators).tolist() == sums
    vector_ = np.zeros(16, dtype=np.int64)
    vector_[:12] = accumulators
    stream = StreamDescriptor(object=2, multicast=1, cols=0b101, rows=0b10)
    packets = partial_packets(vector_, stream, TINY.core, FABRIC, start=0, length=11)
    # Blocks of 8 lines, 4 lines per flit.
    assert [len(packet) for packet in packets] == [3, 2]
    assert [message_fields(packet[0]) for packet in packets] == [
        {"kind": 1, "object": 2, "last": 0, "trim": 0, "start": 0, "value": 0},
        {"kind": 1, "object": 2, "last": 1, "trim": 1, "start": 2, "value": 0},
    ]
    route = {"multicast": 1, "order": 0, "length": 3, "cols": 0b101, "rows": 0b10}
    assert {name: HEADER[name].of(packets[0][0]) for name in route} == route
    assert packets[0][1:] == [0x0000_FFFF_0001_0000, 0x0000_FFFE_0000_0002]
    assert packets[1][1:] == [0x0000_8000_7FFF_7FFF]


def test_partial_sums_come_in_by_hand():
    adds, replaces = interface(o0=SUM), interface(o0=replace(SUM, replace=1))
    sums = np.array([1, -2, 32767, -32768, 100])
    for found in (adds, replaces):
        found.core.post.accumulators[8:14] = [10, 10, 8388000, -8388608, -7000, 77]
        (packet,) = partial_packets(
            np.pad(sums << 6, (8, 3)), StreamDescriptor(object=0), TINY.core, FABRIC, start=8,
            length=5,
        )  # fmt: skip
        assert found.receive(packet) is None
        assert found.local.ready(0)
        assert found.local.lines[0] == 13
    expected = [10 + 64, 10 - 128, 8388607, -8388608, -600, 77]
    assert adds.core.post.accumulators[8:14].tolist() == expected
    assert replaces.core.post.accumulators[8:14].tolist() == [64, -128, 2097088, -2097152, 6400, 77]
    # Saturations on the way are not counted.
    assert adds.core.post.accumulator_saturations == 0
    ((number, lines, got),) = adds.core.trace.sums_received
    assert (number, lines.tolist(), got.tolist()) == (0, [*range(8, 13)], sums.tolist())


def test_a_partial_sum_without_affine_is_exact():
    core = Core(TINY.core, IDEAL, 1)
    codes = np.array([-127, -1, 0, 1, 127])
    core.post.activate(codes, start=0, function=Function.NONE)
    assert partial_sums(core.post.accumulators[:5]).tolist() == (2 * codes + 1).tolist()


@pytest.mark.parametrize("multicast", [0, 1])
@pytest.mark.parametrize(
    ("lanes", "depth", "start", "length", "kind", "unicasts", "multicasts"),
    [
        # Words of 64 lines: 8 flits of bytes, 16 flits of sums.
        (64, 4, 0, 256, MessageKind.VECTOR, [64] * 4, [24, 24, 16] * 4),
        (64, 4, 40, 50, MessageKind.VECTOR, [24, 26], [24, 24, 2]),
        (64, 4, 0, 250, MessageKind.PARTIAL, [32] * 7 + [26], [12, 12, 12, 12, 12, 4] * 3
         + [12, 12, 12, 12, 10]),
        (256, 4, 8, 200, MessageKind.VECTOR, [64, 64, 64, 8], [24] * 8 + [8]),
        (64, 16, 0, 128, MessageKind.VECTOR, [64, 64], [64, 64]),
        (64, 2, 0, 20, MessageKind.VECTOR, [20], [8, 8, 4]),
    ],
)  # fmt: skip
def test_packets_end_at_words_and_at_their_longest(
    multicast, lanes, depth, start, length, kind, unicasts, multicasts
):
    config, fabric = DEFAULT.core.replace(post_lanes=lanes), FABRIC.replace(depth=depth)
    stream = StreamDescriptor(object=0, multicast=multicast)
    message = Message(kind, 0, start, np.arange(length))
    parts = list(split(message, config, payload_flits(fabric, stream)))
    assert [len(part.values) for part in parts] == (multicasts if multicast else unicasts)
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert np.concatenate([part.values for part in parts]).tolist() == [*range(length)]
    assert [part.start for part in parts] == [start + int(part.values[0]) for part in parts]


def test_credits_by_hand():
    objects = [ObjectDescriptor(x=1, y=2, stream=9, vc=1), None]
    ((head,),) = credit_packets([Grant(0, 255)], objects, FABRIC)
    assert HEADER.unpack(head) | {"cols": 0, "rows": 0} == {
        "multicast": 0, "order": 1, "length": 1, "x": 1, "y": 2, "cols": 0, "rows": 0,
    }  # fmt: skip
    assert message_fields(head) == {
        "kind": 2, "object": 9, "last": 0, "trim": 0, "start": 0, "value": 255,
    }  # fmt: skip


def test_a_table_by_hand():
    found = interface()
    packets = affine_packets(
        np.array([128, 255, 1]), np.array([-128, 127, -1]), StreamDescriptor(object=1), TINY.core,
        FABRIC, start=4,
    )  # fmt: skip
    assert [packet[1:] for packet in packets] == [[0x0000_FF01_7FFF_8080]]
    assert found.receive(packets[0]) is None
    assert found.core.post.scales[1, 3:8].tolist() == [0, 128, 255, 1, 0]
    assert found.core.post.offsets[1, 3:8].tolist() == [0, -128, 127, -1, 0]


def test_packets_can_be_read_again():
    rng = np.random.default_rng(4)
    for _ in range(200):
        kind = MessageKind(rng.choice([0, 1, 3]))
        bits, grain = (7, 8) if kind is MessageKind.VECTOR else (15, 4)
        values = rng.integers(-(2**bits), 2**bits, rng.integers(1, 30))
        exponent = int(rng.integers(-128, 128)) if kind is MessageKind.VECTOR else 0
        start, last = grain * int(rng.integers(0, 20)), bool(rng.integers(2))
        message = Message(kind, int(rng.integers(16)), start, values, exponent, last)
        again = read_packet(flits(message, {"x": 1, "y": 1}))
        assert again.values.tolist() == values.tolist()
        assert (again.kind, again.object, again.start, again.value, again.last) == (
            kind, message.object, start, exponent, last,
        )  # fmt: skip


def test_lines_begin_with_a_flit():
    message = Message(MessageKind.VECTOR, 0, 4, np.zeros(4, dtype=np.int64))
    with pytest.raises(ValueError, match=r"^start must be a multiple of 8, not 4$"):
        flits(message, {})


# Receiving


def test_vectors_go_round_the_ring():
    found = interface(o1=ObjectDescriptor(x=0, y=0, stream=0, slot=3, depth=2))
    core = found.core
    core.slots[...] = 99
    assert found.receive(vector(1, 0, [1, 2], 5, last=0)) is None
    assert not found.local.ready(1)
    assert core.exponents[3] == 0
    assert found.receive(vector(1, 8, [3], -7)) is None
    assert found.local.ready(1)
    assert core.exponents[3] == -7
    assert core.slots[3].tolist() == [1, 2, *[99] * 6, 3, *[99] * 7]
    assert found.receive(vector(1, 0, [4])) is None
    assert core.slots[4, 0] == 4
    assert found.receive(vector(1, 0, [5])) is FabricError.FABRIC_CREDIT
    found.local.release(0b10)
    assert found.receive(vector(1, 0, [6])) is None
    assert core.slots[3, :2].tolist() == [6, 2]
    received = [(o, s, lines.tolist(), v.tolist(), e) for o, s, lines, v, e in core.trace.received]
    assert received == [
        (1, 3, [0, 1, 8], [1, 2, 3], -7), (1, 4, [0], [4], 0), (1, 3, [0], [6], 0),
    ]  # fmt: skip
    assert [(slot, lines.tolist()) for slot, lines, _ in core.trace.vectors] == [
        (3, [0, 1]), (3, [8]), (4, [0]), (3, [0]),
    ]  # fmt: skip


def credit(stream, value=1, data=()):
    message = Message(MessageKind.CREDIT, stream, value=value)
    (head,) = flits(message, {"x": 0, "y": 0})
    return [head + (len(data) << HEADER["length"].low), *data]


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (vector(3), "FABRIC_OBJECT"),  # Not enabled.
        (vector(4), "FABRIC_OBJECT"),  # There are four.
        (vector(1), "FABRIC_OBJECT"),  # Of partial sums.
        (vector(0, kind=1), "FABRIC_OBJECT"),  # Of vectors.
        (vector(2, kind=3), "FABRIC_OBJECT"),  # There are two tables.
        (vector(0, 16), "FABRIC_RANGE"),
        (vector(0, 8, [1] * 9), "FABRIC_RANGE"),
        (vector(0, codes=[]), "FABRIC_RANGE"),
        (vector(1, 8, [1] * 32, kind=1), "FABRIC_RANGE"),
        (vector(1, 32, [1], kind=3), "FABRIC_RANGE"),
        (vector(2), "FABRIC_CREDIT"),
        (vector(2, 8, last=0), "FABRIC_CREDIT"),
        (credit(0, 5), "FABRIC_OBJECT"),
        (credit(9, 5), "FABRIC_OBJECT"),
        (credit(1, 5, [0]), "FABRIC_RANGE"),
    ],
)
def test_messages_are_refused(packet, error):
    found = interface(
        o0=ObjectDescriptor(x=0, y=0, stream=0), o1=SUM,
        o2=ObjectDescriptor(x=0, y=0, stream=0, depth=2, arrived=2),
        o3=ObjectDescriptor(x=0, y=0, stream=0, enable=0),
    )  # fmt: skip
    found.streams.define(1, StreamDescriptor(object=0, credits=7))
    for cancelled in (False, True):
        assert found.receive(packet, cancelled=cancelled) is FabricError[error]
    assert found.errors == dict.fromkeys(FabricError, 0) | {FabricError[error]: 2}
    core = found.core
    assert not core.slots.any()
    assert not core.post.accumulators.any()
    assert not core.post.scales.any()
    assert found.local.arrived == [0, 0, 2, 0]
    assert found.streams.credits == [0, 7, 0, 0]
    assert core.trace == Trace()


def test_a_cancelled_packet_leaves_bytes_but_no_vector():
    found = interface(o0=ObjectDescriptor(x=0, y=0, stream=0), o1=SUM)
    packet = vector(0, 0, range(1, 15), 3)
    assert found.receive(packet[:2], cancelled=True) is FabricError.FABRIC_CANCELLED
    assert found.core.slots[0].tolist() == [*range(1, 9), *[0] * 8]
    assert found.core.exponents[0] == 0
    assert not found.local.ready(0)
    assert found.receive(packet[:1], cancelled=True) is FabricError.FABRIC_CANCELLED
    assert found.receive(vector(1, kind=1)[:1], cancelled=True) is FabricError.FABRIC_CANCELLED
    assert found.receive(packet) is None
    assert found.local.ready(0)
    assert found.errors[FabricError.FABRIC_CANCELLED] == 3


def test_credits_stop_at_255():
    found = interface()
    found.streams.define(2, StreamDescriptor(object=0, credits=3, needed=4))
    assert not found.sendable(2)
    assert found.receive(credit(2, 1)) is None
    assert found.sendable(2)
    assert found.receive(credit(2, 251)) is None
    assert found.streams.credits[2] == 255
    assert found.receive(credit(2, 1)) is FabricError.FABRIC_CREDIT
    assert found.streams.credits[2] == 255
    with pytest.raises(ValueError, match=r"^stream must be in 0\.\.3, not 4$"):
        found.streams.define(4, StreamDescriptor(object=0))


# The chip


class FlitChip(Chip):
    """Messages travel as packets of flits."""

    def arrive(self, node, message, limit):
        parts = [message]
        if message.kind is not MessageKind.CREDIT:
            parts = list(split(message, self.config.core, limit))
        for part in parts:
            packet = flits(part, {"x": 0, "y": 0})
            if node == self.config.host:
                super().arrive(node, read_packet(packet), limit)
            else:
                assert self.interfaces[node].receive(packet) is None


class ShuffledChip(Chip):
    """Anybody may go first, and messages take any time; those of one channel stay in order."""

    def __init__(self, *arguments, rng):
        super().__init__(*arguments)
        self.rng, self.waiting = rng, {}

    def start(self, task, tasks):
        tasks.append(task)

    def post(self, source, message, route):
        limit = payload_flits(self.config.fabric, route)
        for node in self.destinations(route):
            self.waiting.setdefault((source, node, route.vc), deque()).append((message, limit))

    def schedule(self, tasks):
        while tasks or self.waiting:
            ready = [task for task in tasks if task.ready]
            choices = [*ready, *self.waiting]
            if not choices:
                raise ValueError(deadlock(tasks))
            choice = self.rng.choice(choices)
            if choice not in ready:
                self.arrive(choice[1], *self.waiting[choice].popleft())
                if not self.waiting[choice]:
                    del self.waiting[choice]
            elif not choice.step():
                tasks.remove(choice)


def define(chip, mapping):
    for node, tables in mapping.tables.items():
        for index, descriptor in enumerate(tables.objects):
            chip.define_object(node, index, descriptor)
        for index, descriptor in enumerate(tables.streams):
            chip.define_stream(node, index, descriptor)


def trained(make, network, images=7):
    """A chip that has learnt some images, its results and what it holds."""
    mapping = ChipMapping(network, network.chip, PCM)
    chip, sent = make(mapping.hardware, PCM, 5), NONE_SENT
    define(chip, mapping)
    for node, segments in mapping.segments(20.0).items():
        chip.cores[node].segments[: len(segments)] = segments
    rng = np.random.default_rng(1)
    jobs = [mapping.setup()]
    for count in (images, 2):
        inputs = rng.integers(0, 128, (count, network.layers[0].inputs), dtype=np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        jobs.append(mapping.training(inputs, labels, sent, refresh=False))
        sent = sent.after(jobs[-1])
    results = []
    for job in jobs:
        results += chip.run(job.programs, job.packets)
    return chip, results


def by_first(events):
    """Events of a trace by object or stream, those of one in order."""
    found = {}
    for first, *rest in events:
        found.setdefault(first, []).append([np.asarray(part).tolist() for part in rest])
    return found


def assert_same(one, other):
    chip, results = one
    expected, sent = other
    assert [(r.slot, r.start, r.codes.tolist()) for r in results] == [
        (r.slot, r.start, r.codes.tolist()) for r in sent
    ]
    for node, core in expected.cores.items():
        found = chip.cores[node]
        for attribute in ("crossbar.g", "crossbar.e", "update.chi", "slots", "exponents"):
            value, want = found, core
            for name in attribute.split("."):
                value, want = getattr(value, name), getattr(want, name)
            assert np.array_equal(value, want), attribute
        trace, want = found.trace, core.trace
        for name in ("codes", "devices"):
            pairs = zip(getattr(trace, name), getattr(want, name), strict=True)
            assert all(np.array_equal(*pair) for pair in pairs)
        for name in ("received", "sums_received", "sums_sent"):
            assert by_first(getattr(trace, name)) == by_first(getattr(want, name))
        local, wanted = chip.interfaces[node].local, expected.interfaces[node].local
        assert vars(local) | {"config": 0} == vars(wanted) | {"config": 0}
        assert chip.interfaces[node].streams.credits == expected.interfaces[node].streams.credits
        assert chip.interfaces[node].errors == dict.fromkeys(FabricError, 0)
    assert chip.host.streams.credits == expected.host.streams.credits


@pytest.fixture(scope="module")
def reference():
    return {name: trained(Chip, CHIP_NETWORKS[name]) for name in ("mlp-48-12-10", "mlp-64-14-10")}


@pytest.mark.parametrize("name", ["mlp-48-12-10", "mlp-64-14-10"])
@pytest.mark.parametrize("order", range(6))
def test_the_order_does_not_matter(name, order, reference):
    def make(*arguments):
        return ShuffledChip(*arguments, rng=random.Random(order))

    assert_same(trained(make, CHIP_NETWORKS[name]), reference[name])


@pytest.mark.parametrize("name", ["mlp-48-12-10", "mlp-64-14-10"])
def test_vectors_at_once_are_their_packets(name, reference):
    assert_same(trained(FlitChip, CHIP_NETWORKS[name]), reference[name])


def test_results_of_long_vectors_come_in_packets(reference):
    _, results = reference["mlp-48-12-10"]
    # Words of 8 lines; outputs of 10.
    assert [(r.slot, r.start, len(r.codes)) for r in results] == [(0, 0, 8), (0, 8, 2)] * 9


@pytest.mark.parametrize("name", CHIP_NETWORKS)
def test_tiles_add_up_to_the_whole_layer(name):
    """Each tile's floor and rounding is at most one count: 2 codes + 1 of all against floats."""
    network = CHIP_NETWORKS[name]
    mapping = ChipMapping(network, network.chip, IDEAL)
    chip = Chip(mapping.hardware, IDEAL, 2)
    define(chip, mapping)
    for node, segments in mapping.segments(1.0).items():
        chip.cores[node].segments[: len(segments)] = segments
    setup = mapping.setup()
    chip.run(setup.programs, setup.packets)
    rng = np.random.default_rng(3)
    images = rng.integers(0, 128, (4, network.layers[0].inputs), dtype=np.uint8)
    job = mapping.inference(images)
    chip.run(job.programs, job.packets)
    assert sum(core.adc.clipped for core in chip.cores.values()) == 0
    weights = mapping.weights({node: core.crossbar.weights for node, core in chip.cores.items()})
    inputs = np.pad(images, ((0, 0), (0, 1)), constant_values=ONE) / ONE
    unit = 2.0 ** mapping.segments(1.0)[mapping.tiles[0]][0].range_forward
    counts = inputs @ weights[0] * (mapping.recipe.weight_units[0] * ONE / unit)
    received = chip.cores[mapping.head].trace.sums_received
    assert [number for number, *_ in received] == [2] * len(images)
    sums = np.array([values for *_, values in received])
    error = np.abs(sums - 2 * counts)
    assert error.max() <= network.tiles
    assert error.max() > 0.2
    assert np.abs(counts).max() > 1.5 * network.tiles


# Waiting


def pair(*, depth=1, credits=1, host_credits=4):
    """Tiny chip: core 0 sends to object 0 of core 1, which sends to the host."""
    chip = Chip(TINY, IDEAL, 1)
    host = TINY.place(TINY.host)
    here, there = TINY.place(0), TINY.place(1)
    chip.define_stream(0, 0, StreamDescriptor(object=0, x=there[0], y=there[1], credits=credits))
    chip.define_object(1, 0, ObjectDescriptor(x=here[0], y=here[1], stream=0, slot=2, depth=depth))
    chip.define_stream(1, 1, StreamDescriptor(object=3, x=host[0], y=host[1], credits=host_credits))
    chip.define_object(TINY.host, 3, ObjectDescriptor(x=there[0], y=there[1], stream=1))
    chip.define_object(0, 1, ObjectDescriptor(x=host[0], y=host[1], stream=2, slot=5, depth=2))
    chip.define_stream(TINY.host, 2, StreamDescriptor(object=1, x=here[0], y=here[1], credits=2))
    return chip


def send(slot, stream=0, length=8, **values):
    unused = dict.fromkeys(("partial", "start", "merge", "object"), 0)
    return encode(Opcode.SEND, stream=stream, slot=slot, length=length, **{**unused, **values})


def wait(*objects):
    return encode(Opcode.AWAIT, objects=sum(1 << index for index in objects))


def release(*objects):
    return encode(Opcode.RELEASE, objects=sum(1 << index for index in objects))


def loop(count):
    return encode(Opcode.LOOP, counter=0, target=0, count=count)


def test_a_relay():
    chip = pair()
    packets = [
        packet_to(2, vector_packet(np.arange(1 + n, 9 + n), config=TINY.core)) for n in range(6)
    ]
    # Two vectors per turn, because the host's ring has two slots.
    source = [
        *(word for slot in (5, 6) for word in (wait(1), send(slot), release(1))), loop(3), HALT,
    ]  # fmt: skip
    programs = {0: source, 1: [wait(0), send(2, 1), release(0), loop(6), HALT]}
    results = chip.run(programs, packets)
    assert [(r.slot, r.start, r.codes.tolist()) for r in results] == [
        (3, 0, [*range(1 + n, 9 + n)]) for n in range(6)
    ]
    assert chip.interfaces[0].streams.credits[0] == 1
    assert chip.interfaces[1].streams.credits[1] == 4
    assert chip.host.streams.credits[2] == 2
    # Objects and streams go on where they were.
    once = {0: [wait(1), send(5), release(1), HALT], 1: [*programs[1][:3], HALT]}
    again = chip.run(once, packets[:1])
    assert [r.codes.tolist() for r in again] == [[*range(1, 9)]]
    assert chip.interfaces[0].local.position[1] == 1


def test_a_send_does_not_block_what_follows():
    chip = pair(credits=0)
    segment = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
    chip.cores[0].segments[0] = segment
    product = encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3)
    activate = {
        "segment": 0, "side": 0, "from_slot": 0, "slot": 0, "accumulate": 0,
        "function": Function.IDENTITY, "shift": 7, "affine": 0, "table": 0, "start": 0,
    }  # fmt: skip
    program = [
        send(3), product, encode(Opcode.ACTIVATE, destination=4, **activate),
        encode(Opcode.ACTIVATE, destination=3, **activate), HALT,
    ]  # fmt: skip
    message = r"^deadlock: core 0 waits for its SEND; SEND of core 0 waits for credits of stream 0$"
    with pytest.raises(ValueError, match=message):
        chip.run({0: program})
    # The slot that is sent is not written before it is sent.
    assert [slot for slot, *_ in chip.cores[0].trace.vectors] == [4]


@pytest.mark.parametrize(
    "after",
    [send(1), release(1), HALT, encode(Opcode.CALIBRATE), encode(Opcode.WAIT, units=32)],
    ids=["SEND", "RELEASE", "HALT", "CALIBRATE", "WAIT"],
)
def test_what_waits_for_the_sender(after):
    chip = pair(credits=0)
    with pytest.raises(ValueError, match=r"^deadlock: core 0 waits for its SEND; SEND of core 0 "):
        chip.run({0: [send(3), after, HALT]})
    assert chip.interfaces[0].local.refused == 0


def test_what_does_not_wait_for_the_sender():
    chip = pair(credits=0)
    program = [send(3), encode(Opcode.WAIT, units=31), wait(1), HALT]
    with pytest.raises(ValueError, match=r"core 0 waits for objects 1;"):
        chip.run({0: program})


def test_everybody_waits():
    chip = pair()
    message = (
        r"^deadlock: core 0 waits for objects 1; core 1 waits for objects 0, 2;"
        r" host waits for credits of stream 2$"
    )
    packet = vector_packet(np.arange(8), config=TINY.core)
    chip.host.streams.credits[2] = 0
    with pytest.raises(ValueError, match=message):
        chip.run({0: [wait(1), HALT], 1: [wait(0, 2), HALT]}, [packet_to(2, packet)])


def packet_to(stream, packet):
    """A packet with the host stream in its header."""
    return packet[:1] + bytes([stream]) + packet[2:]


def test_merging_waits_for_sums_not_for_vectors():
    chip = pair()
    chip.define_object(1, 2, SUM)
    program = [send(0, 1, partial=1, merge=1, object=2), HALT]
    with pytest.raises(ValueError, match=r"SEND of core 1 waits for partial sums of object 2$"):
        chip.run({1: program})
    sums = Message(MessageKind.PARTIAL, 2, 0, np.arange(8), last=False)
    chip.interfaces[1].take(sums)
    chip.run({1: program})
    assert chip.interfaces[1].local.lines[2] == 0
    ((stream, lines, values),) = chip.cores[1].trace.sums_sent
    assert (stream, lines.tolist(), values.tolist()) == (1, [*range(8)], [*range(8)])
    # The host takes vectors only.
    assert chip.host.errors[FabricError.FABRIC_OBJECT] == 1


# Bad input


def test_host_packets_that_are_malformed():
    chip = pair()
    good = packet_to(2, vector_packet(np.arange(8), config=TINY.core))
    bad = [
        good[:-1],
        good[:4],
        good[:6] + b"\0\0" + good[8:],
        header(PacketKind.RESULT, slot=2, start=0, length=1) + b"\1",
        header(PacketKind.VECTOR, slot=2, start=16, length=1) + b"\1",
    ]
    undefined = [packet_to(3, good), packet_to(200, good)]
    table = affine_packet([5], [6], config=TINY.core, start=8)
    chip.define_stream(TINY.host, 4, StreamDescriptor(object=1, x=0, y=0, credits=0))
    chip.run({}, [*bad, *undefined, good, packet_to(4, table), *bad])
    assert chip.host.malformed == 2 * len(bad)
    assert chip.host.errors[FabricError.FABRIC_OBJECT] == len(undefined)
    assert chip.interfaces[0].local.arrived[1] == 1
    assert chip.cores[0].slots[5, :8].tolist() == [*range(8)]
    # Tables take no credits.
    assert chip.cores[0].post.scales[1, 8] == 5
    assert chip.cores[0].post.offsets[1, 8] == 6


def test_multicasts_of_the_host_take_credits_of_all_consumers():
    chip = pair()
    several = StreamDescriptor(
        object=0, multicast=1, cols=3, rows=1, credits=3, consumers=2, needed=2
    )
    chip.define_stream(TINY.host, 4, several)
    packet = packet_to(4, vector_packet(np.arange(8), config=TINY.core))
    with pytest.raises(ValueError, match="credits of stream 4"):
        chip.run({}, [packet, packet])
    assert chip.host.streams.credits[4] == 1


def test_nothing_is_harmed_by_messages_to_nowhere():
    chip = pair()
    chip.define_stream(0, 1, StreamDescriptor(object=0, x=7, y=7))
    chip.define_stream(0, 2, StreamDescriptor(object=9, x=1, y=0))
    chip.run({0: [send(3, 1), send(3, 2), send(3, 3), send(3), HALT], 1: [wait(0), HALT]})
    assert chip.undeliverable == 1
    # An undefined stream is the sender's error, an undefined object the receiver's, per packet.
    assert chip.interfaces[0].errors[FabricError.FABRIC_OBJECT] == 1
    assert chip.interfaces[1].errors[FabricError.FABRIC_OBJECT] == 1
    assert chip.interfaces[1].local.arrived[0] == 1


def test_the_host_refuses_what_it_has_no_object_for():
    chip = pair()
    producer = TINY.place(1)
    for index, descriptor in ((3, {"enable": 0}), (4, {"vc": 2})):
        chip.define_object(TINY.host, index, ObjectDescriptor(
            x=producer[0], y=producer[1], stream=1, **descriptor,
        ))  # fmt: skip
    for object_ in (3, 4, 9):
        chip.host.take(Message(MessageKind.VECTOR, object_, 0, np.arange(8)))
    assert chip.host.errors[FabricError.FABRIC_OBJECT] == 3
    chip.define_object(TINY.host, 3, ObjectDescriptor(x=producer[0], y=producer[1], stream=1))
    for start, codes in ((16, np.arange(1)), (0, np.arange(0))):
        assert chip.host.take(Message(MessageKind.VECTOR, 3, start, codes)) == []
    credits = chip.host.streams.credits[2]
    assert chip.host.take(Message(MessageKind.CREDIT, 2, values=np.arange(1), value=1)) == []
    assert chip.host.streams.credits[2] == credits
    assert chip.host.errors[FabricError.FABRIC_RANGE] == 3
    assert chip.host.take(Message(MessageKind.CREDIT, 2, value=254)) == []
    assert chip.host.streams.credits[2] == 255
    assert chip.host.errors[FabricError.FABRIC_CREDIT] == 1


def test_refused_packets_are_counted_one_by_one():
    chip = pair()
    chip.define_stream(0, 2, StreamDescriptor(object=9, x=1, y=0))
    chip.run({0: [send(3, 2, length=16), HALT]})
    assert chip.interfaces[1].errors[FabricError.FABRIC_OBJECT] == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (encode(Opcode.LOAD, affine=0, slot=0), r"LOAD is illegal for a core on a chip"),
        (encode(Opcode.READ, slot=0, start=0, length=8), r"READ is illegal for a core on a chip"),
        (send(0, 4), r"SEND: stream must be in 0\.\.3, not 4"),
        (send(8), r"SEND: slot must be in 0\.\.7, not 8"),
        (send(0, object=4), r"SEND: object must be in 0\.\.3, not 4"),
        (send(0, start=4), r"SEND: start must be a multiple of 8, not 4"),
        (send(0, start=8, length=9), r"SEND: length must be in 1\.\.8, not 9"),
        (wait(4), r"AWAIT: objects must be in 0\.\.15, not 16"),
        (release(4), r"RELEASE: objects must be in 0\.\.15, not 16"),
    ],
)
def test_illegal_instructions_of_a_chip(word, message):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        pair().run({0: [word, HALT]})


@pytest.mark.parametrize("word", [send(0), wait(0), release(0)])
def test_illegal_instructions_of_a_core(word):
    core = Core(TINY.core.replace(objects=0, streams=0), IDEAL, 1)
    with pytest.raises(ValueError, match=r"^\w+ is illegal for a core that stands alone$"):
        core.run([word, HALT])


def test_entries_that_do_not_exist():
    chip = pair()
    with pytest.raises(ValueError, match=r"^object must be in 0\.\.7, not 8$"):
        chip.define_object(TINY.host, 8, SUM)
    with pytest.raises(ValueError, match=r"^stream must be in 0\.\.15, not 16$"):
        chip.define_stream(TINY.host, 16, StreamDescriptor(object=0))


def test_seeds_differ_by_node():
    chip = Chip(ChipConfig(core=TINY.core), IDEAL, 10)
    for node, core in chip.cores.items():
        assert np.array_equal(core.crossbar.g, Core(TINY.core, IDEAL, 10 + node).crossbar.g)
