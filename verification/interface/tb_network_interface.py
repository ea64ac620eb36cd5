# SPDX-License-Identifier: Apache-2.0
"""NetworkInterface: random traffic both ways, chains of partial sums, bad input, latencies."""

import random
from dataclasses import replace

import cocotb
import numpy as np

from phasecore.rtl.spec.instructions import CREDITS_MAX, MEMBERS, slot_ring
from phasecore.rtl.spec.messages import LINES_PER_FLIT, PAYLOAD_FLITS, message_head
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.interface.session import (
    AFFINE,
    CHANNELS,
    CONFIG,
    CREDIT,
    HEAD,
    LINES,
    NOC,
    PARTIAL,
    VECTOR,
    Session,
)
from phasecore.verification.oracle.network_interface import Message, flits

OBJECTS = range(CONFIG.objects)
CONSUMERS = [1, 1, 2, 3, MEMBERS]
SENT = range(CONFIG.slots // 2, CONFIG.slots)
"""Slots of SENDs; the rings of objects are in the others."""


async def begin(dut, **options):
    session = Session(dut, **options)
    await session.start()
    return session


def release_some(session, chance):
    """End an object's iteration, now and then."""
    if random.random() < chance:
        session.release(random.choice(OBJECTS))


def integers(low, high, count):
    return np.array([random.randint(low, high) for _ in range(count)], dtype=np.int64)


def message(kind, target, *, small=False, start=0, length=None, lines=LINES):
    """A vector of up to ``lines`` random values; ``small`` partial sums never saturate."""
    unit = LINES_PER_FLIT[kind]
    length = length or random.choice([lines - start, random.randint(1, lines - start)])
    most = {VECTOR: 127, PARTIAL: 255 if small else 32767, AFFINE: 32767}[kind]
    assert start % unit == 0
    return Message(
        kind, target, start, integers(-most - 1, most, length), random.randint(-128, 127)
        if kind is VECTOR else 0,
    )  # fmt: skip


def packed_ring(base, size):
    """A ring of vectors of any pitch, of which it need not hold whole ones."""
    flits_ = size * CONFIG.post_lanes // 8
    pitch = random.randint(1, min(flits_, LINES // 8))
    depth = random.randint(1, flits_ // pitch)
    return {"base": base, "size": size, "pitch": pitch, "depth": depth}


def longest(session, index):
    """Lines that a vector of an object may have."""
    entry = session.model.local.descriptors[index]
    return LINES if entry is None or entry.partial else min(LINES, 8 * entry.pitch)


async def objects(session, *, large):
    """Objects of random kinds, all partial ones on one channel if ``large``; their channels.

    Rings are of slots, or of packed vectors in a part of the memory behind the slots.
    """
    free, channels = CONFIG.slots // 2, []
    together = random.choice(CHANNELS)
    part = (CONFIG.memory_words - CONFIG.slot_words) // len(OBJECTS)
    for index in OBJECTS:
        depth = random.randint(1, 3)
        partial, packed = random.random() < 0.4, random.random() < 0.5
        if packed or depth > free:
            ring = packed_ring(CONFIG.slot_words + index * part, random.randint(1, part))
        else:
            ring = slot_ring(CONFIG, CONFIG.slots // 2 - free, depth)
            free -= 0 if partial else depth
        await session.object(
            index, enable=index == 0 or random.random() < 0.85, partial=partial,
            replace=int(large and random.random() < 0.3), cursor=random.random() < 0.1,
            vc=random.choice(CHANNELS), member=random.randrange(MEMBERS), **ring,
        )  # fmt: skip
        channels.append(together if partial and large else random.choice(CHANNELS))
    return channels


def corrupt(words):
    """A packet with a mistake, or a cancelled one; options of ``Session.give``."""
    head, *rest = words
    kind = head >> HEADER.bits & 3
    choice = random.randrange(5)
    if choice == 0:
        return words, {"cancel_at": random.randint(1, len(words) - 1)}
    route = HEADER.pack(**HEAD, length=1 + len(rest))
    target = random.choice([*OBJECTS, 15, CONFIG.affine_tables])
    if choice == 1:
        beyond = LINES // LINES_PER_FLIT[kind] - len(rest) + random.randint(1, 3)
        return [message_head(route, kind=kind, object=target, start=beyond), *rest], {}
    if choice == 2:
        single = HEADER.pack(**HEAD, length=1)
        return [message_head(single, kind=kind, object=target, last=1)], {}
    if choice == 3:
        return [message_head(route, kind=CREDIT, object=target, value=3), *rest], {}
    other = random.choice((VECTOR, PARTIAL, AFFINE))
    return [message_head(route, kind=other, object=15), *rest], {}


def credit(route, count, member=0):
    return flits(Message(CREDIT, route, member, value=count), HEAD)


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(large=[False, True], rate=[1.0, 0.5])
async def messages_reach_their_memories(dut, large, rate):
    """Vectors, sums, tables and credits, interleaved, some of them bad; small sums in any order.

    Post-processing adds to the accumulators meanwhile unless the sums saturate.
    """
    session = await begin(dut, inject=rate, memory=rate, take=rate, sums=0.9 if rate < 1 else 1.0,
                          disturb=not large)  # fmt: skip
    for _ in range(6 if LINES <= 16 else 3):
        session.fill([], bits=24 if large else 16)
        channels = await objects(session, large=large)
        for index in range(CONFIG.routes):
            await session.route(
                index, enable=random.random() < 0.7, consumers=random.choice(CONSUMERS),
                credits=random.choice([1, CREDITS_MAX - 60]),
            )  # fmt: skip
        for _ in range(60):
            index = random.choice(OBJECTS)
            kind = (
                PARTIAL
                if session.model.local.descriptors[index] is not None
                and (session.model.local.descriptors[index].partial)
                else VECTOR
            )
            choice, vc = random.random(), channels[index]
            if choice < 0.15:
                table = random.randrange(CONFIG.affine_tables)
                session.vector(CHANNELS[table % len(CHANNELS)], message(AFFINE, table))
            elif choice < 0.3:
                member = random.choice([0, 0, 1, MEMBERS - 1, MEMBERS, 255])
                session.give(random.choice(CHANNELS), credit(random.randrange(16), 60, member))
            elif choice < 0.45:
                words = flits(message(kind, index, small=not large, length=8), HEAD)
                words, options = corrupt(words)
                session.give(vc, words, **options)
            else:
                lines = longest(session, index) if random.random() < 0.95 else LINES
                session.vector(vc, message(kind, index, small=not large, lines=lines),
                               random.randint(1, PAYLOAD_FLITS))  # fmt: skip
        await session.drain(lambda: release_some(session, 0.1))
    assert any(session.model.faults.values()), "nothing bad came"


async def routes(session, **values):
    """Routes of random routes; returns their numbers."""
    for index in range(CONFIG.routes):
        given = {
            "enable": random.random() < 0.9, "multicast": random.random() < 0.3,
            "vc": random.choice(CHANNELS), "x": random.randrange(4), "y": random.randrange(4),
            "cols": random.randint(1, 15), "rows": random.randint(1, 15),
            "object": random.randrange(16), "credits": random.randint(0, 2),
            "consumers": random.choice(CONSUMERS if random.random() < 0.9 else [0, 17, 31]),
        }  # fmt: skip
        await session.route(index, **{**given, **values})
    return range(CONFIG.routes)


def pay(session, route):
    """Credits for one more vector of a route come, in any order on any channel."""
    descriptor = session.model.routes.descriptors[route]
    members = [] if descriptor is None else list(range(descriptor.consumers))
    random.shuffle(members)
    for member in members:
        session.give(random.choice(CHANNELS), credit(route, 1, member))


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(rate=[1.0, 0.5])
async def sends_go_out_as_packets(dut, rate):
    """Vectors and partial sums by unicasts and multicasts, credits both ways, vectors coming in."""
    session = await begin(dut, inject=rate, memory=rate, take=rate)
    for _ in range(6 if LINES <= 16 else 3):
        channels = await objects(session, large=False)
        known = await routes(session)
        session.fill(SENT)
        for _ in range(25):
            route, start = random.choice(known), 8 * random.randrange(LINES // 8)
            length = random.choice([LINES - start, random.randint(1, LINES - start)])
            partial, slot = random.random() < 0.4, random.choice(SENT)
            session.send(route, partial=partial, slot=slot, start=start, length=length)
            pay(session, route)
            index = random.choice(OBJECTS)
            descriptor = session.model.local.descriptors[index]
            if descriptor is not None and not descriptor.partial:
                lines = longest(session, index)
                session.vector(channels[index], message(VECTOR, index, lines=lines))
        await session.drain(lambda: release_some(session, 1.0))


@cocotb.test(timeout_time=50, timeout_unit="ms")
@cocotb.parametrize(replace=[0, 1], rate=[1.0, 0.5])
async def chains_add_on_the_way(dut, replace, rate):
    """A merging SEND sends what has come, packet by packet, while other vectors come."""
    session = await begin(dut, inject=rate, memory=rate, take=rate)
    await session.object(1, **slot_ring(CONFIG, 0, 2))
    seen = 0
    for _ in range(12):
        session.fill([])
        vc = random.choice(CHANNELS)
        if random.random() < 0.3:
            await session.object(0, partial=1, replace=replace)
        route = random.choice(await routes(session, enable=1, consumers=random.choice(CONSUMERS)))
        if session.model.local.descriptors[0] is None:
            await session.object(0, partial=1, replace=replace)
        length = random.choice([LINES, random.randint(1, LINES)])
        session.send(route, partial=1, length=length, merge=1)
        pay(session, route)
        for _ in range(random.choice([0, 5, 40])):
            await session.cycle()
        limit = random.choice([PAYLOAD_FLITS, NOC.depth - 1])
        session.vector(vc, message(PARTIAL, 0, length=length), limit)
        for other in CHANNELS:
            if other != vc:
                for _ in range(3):
                    session.vector(other, message(VECTOR, 1))
        early = []

        def look(early=early, length=length):
            session.release(1)
            early.append(bool(session.packets) and session.model.local.lines[0] < length)

        await session.drain(look)
        session.release(0)
        seen += any(early)
        await session.drain()
    assert seen or LINES <= 16, "no packet left before the last had come"


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def every_kind_of_bad_message_is_counted_and_dropped(dut):
    """One by one, by name, each between good vectors of a neighbour that must not notice."""
    session = await begin(dut)
    await session.object(0, **slot_ring(CONFIG, 0, 2))
    await session.object(1, partial=1)
    await session.object(2, enable=0)
    await session.object(3, **slot_ring(CONFIG, 2))
    await session.route(0, credits=CREDITS_MAX - 255)
    await session.route(1, enable=0)
    await session.route(2, consumers=MEMBERS)
    await session.route(3, consumers=MEMBERS + 1)
    unit = LINES // 8

    def packet(kind, target, *, flits_=1, **values):
        words = [random.getrandbits(64) for _ in range(flits_)]
        route = HEADER.pack(**HEAD, length=1 + flits_)
        return [message_head(route, kind=kind, object=target, **values), *words]

    beyond = OBJECTS[-1] + 1
    cases = [
        ("NOC_OBJECT", packet(VECTOR, 2, last=1), {}),
        ("NOC_OBJECT", packet(PARTIAL, 2, last=1), {}),
        ("NOC_OBJECT", packet(VECTOR, beyond, last=1), {}),
        ("NOC_OBJECT", packet(VECTOR, 1, last=1), {}),
        ("NOC_OBJECT", packet(PARTIAL, 0, last=1), {}),
        ("NOC_OBJECT", packet(AFFINE, CONFIG.affine_tables), {}),
        ("NOC_OBJECT", packet(CREDIT, 1, flits_=0, value=1), {}),
        ("NOC_OBJECT", packet(CREDIT, CONFIG.routes, flits_=0, value=1), {}),
        ("NOC_OBJECT", packet(CREDIT, 0, flits_=0, value=1, start=1), {}),
        ("NOC_OBJECT", packet(CREDIT, 2, flits_=0, value=1, start=MEMBERS), {}),
        ("NOC_OBJECT", packet(CREDIT, 3, flits_=0, value=1), {}),
        ("NOC_RANGE", packet(VECTOR, 0, start=unit, last=1), {}),
        ("NOC_RANGE", packet(VECTOR, 0, start=unit - 1, flits_=2, last=1), {}),
        ("NOC_RANGE", packet(PARTIAL, 1, start=2 * unit, last=1), {}),
        ("NOC_RANGE", packet(AFFINE, 0, start=2 * unit), {}),
        ("NOC_RANGE", packet(VECTOR, 0, flits_=0, last=1), {}),
        ("NOC_RANGE", packet(PARTIAL, 1, flits_=0, last=1), {}),
        ("NOC_RANGE", packet(AFFINE, 0, flits_=0), {}),
        ("NOC_RANGE", packet(CREDIT, 0, flits_=1, value=1), {}),
        ("NOC_CANCELLED", packet(VECTOR, 0, last=1), {"cancel_at": 1}),
        ("NOC_CANCELLED", packet(VECTOR, 0, flits_=2, last=1), {"cancel_at": 2}),
        ("NOC_CANCELLED", packet(PARTIAL, 1, flits_=2, last=1), {"cancel_at": 2}),
        ("NOC_CANCELLED", packet(AFFINE, 1, flits_=2), {"cancel_at": 2}),
        ("NOC_OBJECT", packet(VECTOR, 2, flits_=2, last=1), {"cancel_at": 2}),
    ]
    for expected, words, options in cases:
        before = dict(session.model.faults)
        good = message(VECTOR, 0)
        session.vector(0, good)
        session.give(0, words, **options)
        session.vector(1, message(VECTOR, 3))
        await session.drain()
        found = [error.name for error, count in session.model.faults.items()
                 if count > before[error]]  # fmt: skip
        assert found == [expected], f"{expected} expected, {found} counted"
        session.model.local.release(0b1001)
    words, short = CONFIG.memory_words, slot_ring(CONFIG, 3) | {"pitch": unit - 1}
    for expected, length, descriptor in (
        ("NOC_OBJECT", 1, {"cursor": 1, **slot_ring(CONFIG, 3)}),
        ("NOC_OBJECT", 1, {"base": words - 1, "size": 2}),
        ("NOC_OBJECT", 1, {"base": 0, "size": 0}),
        ("NOC_RANGE", unit, short),
    ):
        await session.object(2, **descriptor)
        before = dict(session.model.faults)
        session.give(0, packet(VECTOR, 2, flits_=length, last=1))
        await session.drain()
        found = [error.name for error, count in session.model.faults.items()
                 if count > before[error]]  # fmt: skip
        assert found == [expected], f"{expected} expected of {descriptor}, {found} counted"
    session.vector(0, message(VECTOR, 3))
    session.vector(0, message(VECTOR, 3))
    session.give(1, credit(0, 255))
    session.give(1, credit(0, 1))
    before = dict(session.model.faults)
    await session.drain()
    added = {error.name: count - before[error] for error, count in session.model.faults.items()}
    packets = -(-LINES // min(CONFIG.post_lanes, 8 * PAYLOAD_FLITS))
    assert added.pop("NOC_CREDIT") in range(2, packets + 2)
    assert not any(added.values())
    session.send(3)
    await session.drain()
    assert session.dropped == 1
    # SENDs are dropped while bad messages come: each of both is counted.
    for _ in range(40):
        session.give(0, packet(VECTOR, 0, flits_=0, last=1))
        session.send(1)
    await session.drain()
    assert session.dropped == 41


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(rate=[1.0, 0.5])
async def credits_and_payments_meet(dut, rate):
    """Every consumer's counter is exact, whatever comes while a vector is paid for."""
    session = await begin(dut, inject=rate, take=rate)
    session.fill(SENT)
    for _ in range(4):
        counts = {0: random.randint(1, MEMBERS), 1: random.randint(1, MEMBERS)}
        for route, consumers in counts.items():
            await session.route(route, consumers=consumers, credits=random.randint(0, 3))
        for _ in range(6):
            session.send(random.choice([0, 1]), slot=SENT[0], length=random.choice([1, LINES]))
        # Enough for all, most of it in a row for the same few members.
        come = [
            (route, member, count)
            for route, consumers in counts.items()
            for member in range(consumers)
            for count in random.choice([(6,), (1, 5), (3, 2, 1), (1,) * 6])
        ]
        random.shuffle(come) if random.random() < 0.5 else come.sort()
        for route, member, count in come:
            session.give(0, credit(route, count, member))
        await session.drain()
        for route in counts:
            await slowest_decides(session, route)


async def slowest_decides(session, route):
    """As many vectors go as the poorest member has credits for; another when it gets one."""
    credits_ = session.model.routes.credits[route]
    consumers = session.model.routes.descriptor(route).consumers
    least = min(credits_[:consumers])
    for _ in range(least + 1):
        session.send(route, slot=SENT[0], length=1)
    poor = [member for member in range(consumers) if credits_[member] == least]
    random.shuffle(poor)
    for members in (poor[:-1], poor[-1:]):
        for _ in range(50 + 40 * least):
            await session.cycle()
        left = len(session.commands) + len(session.sending)
        assert left == 1, f"{left} vectors are left before {members} get a credit"
        for member in members:
            session.give(random.choice(CHANNELS), credit(route, 1, member))
    await session.drain()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def channels_never_wait_for_each_other(dut):
    """Sums that wait for post-processing, and a link without credits, stop nothing else."""
    session = await begin(dut, sums=0.0)
    await session.object(0, partial=1)
    await session.object(1, **slot_ring(CONFIG, 0, 3))
    await session.route(0)
    session.take = 0.0
    session.send(0, slot=SENT[0])
    while not session.sending:
        await session.cycle()
    session.sums, session.idle = 0.0, False
    busy = session.dut.accumulators__ready
    session.vector(0, message(PARTIAL, 0, length=8))
    session.give(1, credit(0, 1))
    session.vector(1, message(VECTOR, 1))
    session.vector(1, message(VECTOR, 1))
    random_, random.random = random.random, lambda: 0.5
    for _ in range(6 * LINES):
        await session.cycle()
        assert not int(busy.value) or session.now < 30
    random.random = random_
    assert session.model.local.present(1) == 2, "vectors waited for sums"
    assert session.model.local.present(0) == 0
    assert session.model.routes.credits[0][0] >= 1
    session.take, session.sums = 1.0, 1.0
    await session.drain()
    assert session.model.local.present(0) == 1


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def writing_a_descriptor_restarts_its_counters(dut):
    """The ring position, the lines that have come, the credits."""
    session = await begin(dut)
    session.fill(SENT)
    for _ in range(5):
        await session.object(0, **slot_ring(CONFIG, 0, 3))
        await session.object(1, partial=1)
        await session.route(0, credits=2)
        for _ in range(random.randint(1, 2)):
            session.vector(0, message(VECTOR, 0))
        session.vector(1, message(PARTIAL, 1))
        for _ in range(random.randint(0, 2)):
            session.send(0, slot=SENT[0])
        await session.drain()
    # A virtual channel that does not exist: the route is not enabled, credits go on the last.
    await session.route(1, vc=3)
    await session.object(2, vc=3, arrived=1, **slot_ring(CONFIG, 0))
    descriptors = session.model.local.descriptors
    descriptors[2] = replace(descriptors[2], vc=CHANNELS[-1])
    session.send(1)
    session.release(2)
    await session.drain()
    assert session.dropped == 1
    await session.object(1, partial=1)
    session.send(0, partial=1, merge=1, object_=1)
    session.give(0, credit(0, 1))
    for _ in range(30):
        await session.cycle()
    session.vector(1, message(PARTIAL, 1, length=LINES))
    await session.drain()


def times(session, name):
    return [cycle for event, cycle in session.log if event == name]


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def latencies_are_as_promised(dut):
    """SEND to head 2 cycles, merged lines to head 3, vector to arrived 1, a flit per cycle."""
    session = await begin(dut)
    session.fill(SENT)
    await session.object(0, partial=1)
    await session.object(1, **slot_ring(CONFIG, 0, 3))
    await session.route(0, credits=CREDITS_MAX)
    session.send(0, slot=SENT[0])
    session.send(0, slot=SENT[0])
    await session.drain()
    accepted, heads, tails = (times(session, name) for name in ("accept", "head", "tail"))
    assert heads[0] - accepted[0] == 2
    words = len(heads) + 2 * LINES // 8
    assert tails[-1] - heads[0] == words - 1, "gap between the flits of two vectors"

    session.log.clear()
    for _ in range(3):
        session.vector(0, message(VECTOR, 1, length=LINES))
    await session.drain()
    last, arrived = times(session, "last in"), times(session, "arrived")
    assert arrived[-1] - last[-1] == 1
    assert last[-1] - last[0] == (len(last) - 1) * (last[1] - last[0]), "vectors waited"

    session.log.clear()
    session.send(0, partial=1, merge=1)
    for _ in range(5):
        await session.cycle()
    session.vector(0, message(PARTIAL, 0, length=LINES))
    await session.drain()
    last, heads, tails = (times(session, name) for name in ("last in", "head", "tail"))
    assert len(last) == len(heads) > 1
    assert heads[0] - last[0] == 3
    # A packet of two flits has one read of the accumulators, and waits for the write before it.
    late = 0 if CONFIG.post_lanes >= 4 * PAYLOAD_FLITS else len(heads)
    assert tails[-1] - heads[-1] <= PAYLOAD_FLITS
    assert heads[-1] - last[-1] <= 3 + late, "the chain is slower than a flit per cycle"
