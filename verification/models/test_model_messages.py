# SPDX-License-Identifier: Apache-2.0
"""Network interface of the model: packets, credits and tables, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from phasecore.models.golden.device import IDEAL
from phasecore.rtl.spec.chip import CHIPS
from phasecore.rtl.spec.instructions import (
    Function,
    ObjectDescriptor,
    RouteDescriptor,
    slot_ring,
)
from phasecore.rtl.spec.messages import MessageKind, message_fields, message_head
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.oracle.core import Core, Trace
from phasecore.verification.oracle.local_control import Grant
from phasecore.verification.oracle.network_interface import (
    Message,
    NetworkInterface,
    NocFault,
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
NOC = NocConfig()
SUM = ObjectDescriptor(x=0, y=0, route=0, partial=1)


def ring(slot=0, depth=1, **values):
    """Object of vectors on a ring of slots."""
    return ObjectDescriptor(x=0, y=0, route=0, **slot_ring(TINY.core, slot, depth), **values)


def interface(config=TINY.core, **objects):
    """Network interface of a core with the objects given as ``o<number>``."""
    found = NetworkInterface(Core(config, IDEAL, 1), NOC)
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
    route = RouteDescriptor(object=5, x=2, y=1, vc=1)
    (packet,) = vector_packets(codes, -3, route, DEFAULT.core, NOC, start=8, length=12)
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
    route = RouteDescriptor(object=2, multicast=1, cols=0b101, rows=0b10)
    packets = partial_packets(vector_, route, TINY.core, NOC, start=0, length=11)
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
            np.pad(sums << 6, (8, 3)), RouteDescriptor(object=0), TINY.core, NOC, start=8,
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
    config, noc = DEFAULT.core.replace(post_lanes=lanes), NOC.replace(depth=depth)
    route = RouteDescriptor(object=0, multicast=multicast)
    message = Message(kind, 0, start, np.arange(length))
    parts = list(split(message, config, payload_flits(noc, route)))
    assert [len(part.values) for part in parts] == (multicasts if multicast else unicasts)
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert np.concatenate([part.values for part in parts]).tolist() == [*range(length)]
    assert [part.start for part in parts] == [start + int(part.values[0]) for part in parts]


def test_credits_by_hand():
    objects = [ObjectDescriptor(x=1, y=2, route=9, vc=1), None]
    ((head,),) = credit_packets([Grant(0, 255)], objects, NOC)
    assert HEADER.unpack(head) | {"cols": 0, "rows": 0} == {
        "multicast": 0, "order": 1, "length": 1, "x": 1, "y": 2, "cols": 0, "rows": 0,
    }  # fmt: skip
    assert message_fields(head) == {
        "kind": 2, "object": 9, "last": 0, "trim": 0, "start": 0, "value": 255,
    }  # fmt: skip


def test_a_table_by_hand():
    found = interface()
    packets = affine_packets(
        np.array([128, 255, 1]), np.array([-128, 127, -1]), RouteDescriptor(object=1), TINY.core,
        NOC, start=4,
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
    found = interface(o1=ring(3, 2))
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
    assert found.receive(vector(1, 0, [5])) is NocFault.NOC_CREDIT
    found.local.release(0b10)
    assert found.receive(vector(1, 0, [6])) is None
    assert core.slots[3, :2].tolist() == [6, 2]
    received = [(o, s, lines.tolist(), v.tolist(), e) for o, s, lines, v, e in core.trace.received]
    assert received == [
        (1, 3, [0, 1, 8], [1, 2, 3], -7), (1, 4, [0], [4], 0), (1, 3, [0], [6], 0),
    ]  # fmt: skip
    written = [list(zip(slots, lines, strict=True)) for slots, lines, _ in core.trace.vectors]
    assert written == [[(3, 0), (3, 1)], [(3, 8)], [(4, 0)], [(3, 0)]]


def credit(route, value=1, data=(), member=0):
    message = Message(MessageKind.CREDIT, route, member, value=value)
    (head,) = flits(message, {"x": 0, "y": 0})
    return [head + (len(data) << HEADER["length"].low), *data]


@pytest.mark.parametrize(
    ("packet", "error"),
    [
        (vector(3), "NOC_OBJECT"),  # Not enabled.
        (vector(4), "NOC_OBJECT"),  # There are four.
        (vector(1), "NOC_OBJECT"),  # Of partial sums.
        (vector(0, kind=1), "NOC_OBJECT"),  # Of vectors.
        (vector(2, kind=3), "NOC_OBJECT"),  # There are two tables.
        (vector(0, 16), "NOC_RANGE"),
        (vector(0, 8, [1] * 9), "NOC_RANGE"),
        (vector(0, codes=[]), "NOC_RANGE"),
        (vector(1, 8, [1] * 32, kind=1), "NOC_RANGE"),
        (vector(1, 32, [1], kind=3), "NOC_RANGE"),
        (vector(2), "NOC_CREDIT"),
        (vector(2, 8, last=0), "NOC_CREDIT"),
        (credit(0, 5), "NOC_OBJECT"),
        (credit(9, 5), "NOC_OBJECT"),
        (credit(1, 5, member=3), "NOC_OBJECT"),
        (credit(1, 5, member=16), "NOC_OBJECT"),
        (credit(1, 5, [0]), "NOC_RANGE"),
    ],
)
def test_messages_are_refused(packet, error):
    found = interface(
        o0=ring(), o1=SUM, o2=ring(0, 2, arrived=2), o3=ring(enable=0),
    )  # fmt: skip
    found.routes.define(1, RouteDescriptor(object=0, credits=7, consumers=3))
    for cancelled in (False, True):
        assert found.receive(packet, cancelled=cancelled) is NocFault[error]
    assert found.faults == dict.fromkeys(NocFault, 0) | {NocFault[error]: 2}
    core = found.core
    assert not core.slots.any()
    assert not core.post.accumulators.any()
    assert not core.post.scales.any()
    assert found.local.arrived == [0, 0, 2, 0]
    assert found.routes.credits == [[0] * 16, [7] * 3 + [0] * 13, [0] * 16, [0] * 16]
    assert core.trace == Trace()


def test_a_cancelled_packet_leaves_bytes_but_no_vector():
    found = interface(o0=ring(), o1=SUM)
    packet = vector(0, 0, range(1, 15), 3)
    assert found.receive(packet[:2], cancelled=True) is NocFault.NOC_CANCELLED
    assert found.core.slots[0].tolist() == [*range(1, 9), *[0] * 8]
    assert found.core.exponents[0] == 0
    assert not found.local.ready(0)
    assert found.receive(packet[:1], cancelled=True) is NocFault.NOC_CANCELLED
    assert found.receive(vector(1, kind=1)[:1], cancelled=True) is NocFault.NOC_CANCELLED
    assert found.receive(packet) is None
    assert found.local.ready(0)
    assert found.faults[NocFault.NOC_CANCELLED] == 3


def test_credits_stop_at_4095():
    found = interface()
    found.routes.define(2, RouteDescriptor(object=0, credits=4000, consumers=2))
    assert found.receive(credit(2, 95)) is None
    assert found.receive(credit(2, 1)) is NocFault.NOC_CREDIT
    assert found.receive(credit(2, 94, member=1)) is None
    assert found.receive(credit(2, 2, member=1)) is NocFault.NOC_CREDIT
    assert found.routes.credits[2] == [4095, 4095] + [0] * 14


def test_the_poorest_consumer_decides():
    found = interface()
    found.routes.define(2, RouteDescriptor(object=0, credits=1, consumers=3))
    assert found.routes.sendable(2)
    found.routes.pay(2)
    for member in (2, 2, 0):
        assert found.receive(credit(2, 1, member=member)) is None
        assert not found.routes.sendable(2)
    assert found.receive(credit(2, 1, member=1)) is None
    assert found.routes.sendable(2)
    found.routes.pay(2)
    assert found.routes.credits[2] == [0, 0, 1] + [0] * 13
    for consumers in (0, 17):
        found.routes.define(2, RouteDescriptor(object=0, consumers=consumers))
        assert found.routes.descriptor(2) is None
    with pytest.raises(ValueError, match=r"^route must be in 0\.\.3, not 4$"):
        found.routes.define(4, RouteDescriptor(object=0))
