# SPDX-License-Identifier: Apache-2.0
"""Golden chip: results that do not depend on the order, who waits for whom, what is refused."""

import random
from collections import deque

import numpy as np
import pytest

from phasecore.models.compiler.mapping import NONE_SENT, ChipMapping
from phasecore.models.compiler.network import ONE
from phasecore.models.compiler.networks import CHIP_NETWORKS
from phasecore.models.golden.device import IDEAL, PCM
from phasecore.models.golden.packets import affine_packet, header, vector_packet
from phasecore.rtl.spec.chip import CHIPS, ChipConfig
from phasecore.rtl.spec.instructions import (
    Axis,
    Function,
    ObjectDescriptor,
    Opcode,
    PacketKind,
    RouteDescriptor,
    Segment,
    encode,
    slot_ring,
)
from phasecore.rtl.spec.messages import MessageKind
from phasecore.verification.oracle.chip import Chip, deadlock
from phasecore.verification.oracle.core import Core
from phasecore.verification.oracle.network_interface import (
    Message,
    NocFault,
    flits,
    payload_flits,
    read_packet,
    split,
)

TINY, DEFAULT = CHIPS["tiny"], CHIPS["default"]
HALT = encode(Opcode.HALT)
SUM = ObjectDescriptor(x=0, y=0, route=0, partial=1)


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
        limit = payload_flits(self.config.noc, route)
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
        for index, descriptor in enumerate(tables.routes):
            chip.define_route(node, index, descriptor)


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
    """Events of a trace by object or route, those of one in order."""
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
        for attribute in (
            "crossbar.conductance",
            "crossbar.events",
            "update.chi",
            "slots",
            "exponents",
        ):
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
        assert chip.interfaces[node].routes.credits == expected.interfaces[node].routes.credits
        assert chip.interfaces[node].faults == dict.fromkeys(NocFault, 0)
    assert chip.host.routes.credits == expected.host.routes.credits


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
    unit = 2.0 ** mapping.segments(1.0)[mapping.tiles[0]][0].forward_lsb_log2
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
    chip.define_route(0, 0, RouteDescriptor(object=0, x=there[0], y=there[1], credits=credits))
    ring = slot_ring(TINY.core, 2, depth)
    chip.define_object(1, 0, ObjectDescriptor(x=here[0], y=here[1], route=0, **ring))
    chip.define_route(1, 1, RouteDescriptor(object=3, x=host[0], y=host[1], credits=host_credits))
    chip.define_object(TINY.host, 3, ObjectDescriptor(x=there[0], y=there[1], route=1))
    ring = slot_ring(TINY.core, 5, 2)
    chip.define_object(0, 1, ObjectDescriptor(x=host[0], y=host[1], route=2, **ring))
    chip.define_route(TINY.host, 2, RouteDescriptor(object=1, x=here[0], y=here[1], credits=2))
    return chip


def send(slot, route=0, length=8, **values):
    unused = dict.fromkeys(("partial", "first_line", "merge", "object"), 0)
    return encode(Opcode.SEND, route=route, slot=slot, length=length, **{**unused, **values})


def wait(*objects):
    return encode(Opcode.AWAIT, objects=sum(1 << index for index in objects))


def release(*objects):
    return encode(Opcode.RELEASE, objects=sum(1 << index for index in objects))


def gather(object_, destination=0, block=0, **values):
    fields = dict.fromkeys(("block_row", "block_col", "largest"), 0)
    return encode(
        Opcode.GATHER, object=object_, destination=destination, block=block, **{**fields, **values}
    )


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
    assert chip.interfaces[0].routes.credits[0][0] == 1
    assert chip.interfaces[1].routes.credits[1][0] == 4
    assert chip.host.routes.credits[2][0] == 2
    # Objects and routes go on where they were.
    once = {0: [wait(1), send(5), release(1), HALT], 1: [*programs[1][:3], HALT]}
    again = chip.run(once, packets[:1])
    assert [r.codes.tolist() for r in again] == [[*range(1, 9)]]
    assert chip.interfaces[0].local.at[1] == TINY.core.lines


def test_a_send_does_not_block_what_follows():
    chip = pair(credits=0)
    segment = Segment(row_start=0, row_count=16, col_start=0, col_count=16)
    chip.cores[0].segments[0] = segment
    product = encode(Opcode.FORWARD, segment=0, slot=0, precision=8, input_signs=3, polarities=3)
    activate = {
        "segment": 0, "axis": Axis.COLS, "from_slot": 0, "slot": 0, "accumulate": 0,
        "function": Function.IDENTITY, "shift": 7, "affine": 0, "table": 0, "destination_line": 0,
    }  # fmt: skip
    program = [
        send(3), product, encode(Opcode.ACTIVATE, destination=4, **activate),
        encode(Opcode.ACTIVATE, destination=3, **activate), HALT,
    ]  # fmt: skip
    message = r"^deadlock: core 0 waits for its SEND; SEND of core 0 waits for credits of route 0$"
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
        r" host waits for credits of route 2$"
    )
    packet = vector_packet(np.arange(8), config=TINY.core)
    chip.host.routes.credits[2][0] = 0
    with pytest.raises(ValueError, match=message):
        chip.run({0: [wait(1), HALT], 1: [wait(0, 2), HALT]}, [packet_to(2, packet)])


def packet_to(route, packet):
    """A packet with the host route in its header."""
    return packet[:1] + bytes([route]) + packet[2:]


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
    ((route, lines, values),) = chip.cores[1].trace.sums_sent
    assert (route, lines.tolist(), values.tolist()) == (1, [*range(8)], [*range(8)])
    # The host takes vectors only.
    assert chip.host.faults[NocFault.NOC_OBJECT] == 1


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
    chip.define_route(TINY.host, 4, RouteDescriptor(object=1, x=0, y=0, credits=0))
    chip.run({}, [*bad, *undefined, good, packet_to(4, table), *bad])
    assert chip.host.malformed == 2 * len(bad)
    assert chip.host.faults[NocFault.NOC_OBJECT] == len(undefined)
    assert chip.interfaces[0].local.arrived[1] == 1
    assert chip.cores[0].slots[5, :8].tolist() == [*range(8)]
    # Tables take no credits.
    assert chip.cores[0].post.scales[1, 8] == 5
    assert chip.cores[0].post.offsets[1, 8] == 6


def test_multicasts_of_the_host_take_credits_of_all_consumers():
    chip = pair()
    several = RouteDescriptor(object=0, multicast=1, cols=3, rows=1, credits=1, consumers=2)
    chip.define_route(TINY.host, 4, several)
    packet = packet_to(4, vector_packet(np.arange(8), config=TINY.core))
    with pytest.raises(ValueError, match="credits of route 4"):
        chip.run({}, [packet, packet])
    assert chip.host.routes.credits[4][:3] == [0, 0, 0]
    chip.host.take(Message(MessageKind.CREDIT, 4, 1, value=3))
    with pytest.raises(ValueError, match="credits of route 4"):
        chip.run({}, [packet])
    chip.host.take(Message(MessageKind.CREDIT, 4, 0, value=1))
    chip.run({}, [packet])
    assert chip.host.routes.credits[4][:3] == [0, 2, 0]


def test_nothing_is_harmed_by_messages_to_nowhere():
    chip = pair()
    chip.define_route(0, 1, RouteDescriptor(object=0, x=7, y=7))
    chip.define_route(0, 2, RouteDescriptor(object=9, x=1, y=0))
    chip.run({0: [send(3, 1), send(3, 2), send(3, 3), send(3), HALT], 1: [wait(0), HALT]})
    assert chip.undeliverable == 1
    # An undefined route is the sender's error, an undefined object the receiver's, per packet.
    assert chip.interfaces[0].faults[NocFault.NOC_OBJECT] == 1
    assert chip.interfaces[1].faults[NocFault.NOC_OBJECT] == 1
    assert chip.interfaces[1].local.arrived[0] == 1


def test_the_host_refuses_what_it_has_no_object_for():
    chip = pair()
    producer = TINY.place(1)
    for index, descriptor in ((3, {"enable": 0}), (4, {"vc": 2})):
        chip.define_object(TINY.host, index, ObjectDescriptor(
            x=producer[0], y=producer[1], route=1, **descriptor,
        ))  # fmt: skip
    for object_ in (3, 4, 9):
        chip.host.take(Message(MessageKind.VECTOR, object_, 0, np.arange(8)))
    assert chip.host.faults[NocFault.NOC_OBJECT] == 3
    chip.define_object(TINY.host, 3, ObjectDescriptor(x=producer[0], y=producer[1], route=1))
    for start, codes in ((16, np.arange(1)), (0, np.arange(0))):
        assert chip.host.take(Message(MessageKind.VECTOR, 3, start, codes)) == []
    credits = list(chip.host.routes.credits[2])
    assert chip.host.take(Message(MessageKind.CREDIT, 2, values=np.arange(1), value=1)) == []
    assert chip.host.routes.credits[2] == credits
    assert chip.host.faults[NocFault.NOC_RANGE] == 3
    assert chip.host.take(Message(MessageKind.CREDIT, 2, 1, value=1)) == []
    assert chip.host.routes.credits[2] == credits
    assert chip.host.faults[NocFault.NOC_OBJECT] == 4
    chip.host.routes.credits[2][0] = 4000
    assert chip.host.take(Message(MessageKind.CREDIT, 2, value=96)) == []
    assert chip.host.routes.credits[2][0] == 4095
    assert chip.host.faults[NocFault.NOC_CREDIT] == 1


def test_refused_packets_are_counted_one_by_one():
    chip = pair()
    chip.define_route(0, 2, RouteDescriptor(object=9, x=1, y=0))
    chip.run({0: [send(3, 2, length=16), HALT]})
    assert chip.interfaces[1].faults[NocFault.NOC_OBJECT] == 2


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (encode(Opcode.LOAD, affine=0, slot=0), r"LOAD is illegal for a core on a chip"),
        (
            encode(Opcode.READ, slot=0, first_line=0, length=8),
            r"READ is illegal for a core on a chip",
        ),
        (send(0, 4), r"SEND: route must be in 0\.\.3, not 4"),
        (send(8), r"SEND: slot must be in 0\.\.7, not 8"),
        (send(0, object=4), r"SEND: object must be in 0\.\.3, not 4"),
        (send(0, first_line=4), r"SEND: first_line must be a multiple of 8, not 4"),
        (send(0, first_line=8, length=9), r"SEND: length must be in 1\.\.8, not 9"),
        (wait(4), r"AWAIT: objects must be in 0\.\.15, not 16"),
        (release(4), r"RELEASE: objects must be in 0\.\.15, not 16"),
        (gather(4), r"GATHER: object must be in 0\.\.3, not 4"),
        (gather(0, destination=8), r"GATHER: destination must be in 0\.\.7, not 8"),
        (gather(0, block=2), r"GATHER: block must be in 0\.\.1, not 2"),
    ],
)
def test_illegal_instructions_of_a_chip(word, message):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        pair().run({0: [word, HALT]})


@pytest.mark.parametrize("word", [send(0), wait(0), release(0), gather(0)])
def test_illegal_instructions_of_a_core(word):
    core = Core(TINY.core.replace(objects=0, routes=0, vector_words=0, sum_words=0), IDEAL, 1)
    with pytest.raises(ValueError, match=r"^\w+ is illegal for a core that stands alone$"):
        core.run([word, HALT])


def test_entries_that_do_not_exist():
    chip = pair()
    with pytest.raises(ValueError, match=r"^object must be in 0\.\.7, not 8$"):
        chip.define_object(TINY.host, 8, SUM)
    with pytest.raises(ValueError, match=r"^route must be in 0\.\.15, not 16$"):
        chip.define_route(TINY.host, 16, RouteDescriptor(object=0))


def test_seeds_differ_by_node():
    chip = Chip(ChipConfig(core=TINY.core), IDEAL, 10)
    for node, core in chip.cores.items():
        assert np.array_equal(
            core.crossbar.conductance, Core(TINY.core, IDEAL, 10 + node).crossbar.conductance
        )
