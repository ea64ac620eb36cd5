# SPDX-License-Identifier: Apache-2.0
"""The host bridge on the way in: packets of the host become messages to the cores."""

import itertools
import random

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from phasecore.models.golden.packets import header
from phasecore.rtl.spec.instructions import MEMBERS, PacketKind, RouteDescriptor
from phasecore.rtl.spec.messages import message_fields
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.chip.bridge_bench import (
    CHIP,
    LINES,
    NOC,
    STALLS,
    affine,
    compare,
    lines_of_a_packet,
    messages,
    random_route,
    start,
    tables,
    vector,
)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def packets_become_messages(dut, duty, pauses):
    """VECTOR and AFFINE packets of all starts and lengths, in order, with every flit."""
    bench = await start(dut, duty=duty, pauses=pauses)
    for index in range(CHIP.host_routes):
        await bench.define(index, random_route())
    expected = []
    for _ in range(150):
        route, (first, length) = random.randrange(CHIP.host_routes), lines_of_a_packet()
        descriptor = bench.routes[route]
        if random.random() < 0.3:
            packet, scale, offset = affine(route, first, length)
            expected += tables(descriptor, scale, offset, first)
        else:
            packet, codes = vector(route, first, length)
            expected += messages(descriptor, codes, first)
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected)
    assert bench.router.faults == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def multicasts_take_credits_of_all_consumers(dut, duty):
    """Short packets; the next vector only when the poorest consumer has a credit."""
    bench = await start(dut, duty=duty)
    cols, rows = (1 << NOC.width) - 1, (1 << NOC.height) - 1
    route = RouteDescriptor(
        object=3, multicast=1, cols=cols, rows=rows, credits=1, consumers=MEMBERS
    )
    await bench.define(1, route)
    expected = []
    for _ in range(3):
        packet, codes = vector(1)
        expected.append(messages(route, codes, 0))
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected[0])
    bench.credit(1, 9, member=0)
    for left in (expected[0], expected[0] + expected[1]):
        members = random.sample(range(1, MEMBERS), MEMBERS - 1)
        for member in members[:-1]:
            bench.credit(1, 1, member=member)
        await bench.settle()
        compare(bench.router.packets, left)
        bench.credit(1, 1, member=members[-1])
        await bench.settle()
    compare(bench.router.packets, list(itertools.chain(*expected)))
    assert bench.router.faults == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(**STALLS)
async def vectors_wait_for_credits(dut, duty, pauses):
    """A vector takes a credit, a table none; who waits holds up those behind, in order."""
    bench = await start(dut, duty=duty, pauses=pauses)
    await bench.define(0, random_route(credits=2))
    await bench.define(1, random_route(credits=0))
    await bench.define(2, random_route())
    packets = [vector(0) for _ in range(3)]
    expected = [messages(bench.routes[0], codes, 0) for _, codes in packets]
    table, scale, offset = affine(1)
    expected.append(tables(bench.routes[1], scale, offset, 0))
    behind, codes = vector(2)
    expected.append(messages(bench.routes[2], codes, 0))
    for packet in (*(packet for packet, _ in packets), table, behind):
        bench.give(packet)
    await bench.settle()
    compare(bench.router.packets, expected[0] + expected[1])
    before = bench.router.stalled
    await ClockCycles(dut.clk, 10)
    assert bench.router.stalled - before == 10, bench.router.stalled - before
    bench.credit(0)
    await bench.settle()
    compare(bench.router.packets, list(itertools.chain(*expected)))
    before = bench.router.stalled
    await ClockCycles(dut.clk, 10)
    assert bench.router.stalled == before, "waits without a packet"
    # No vector has gone ahead of its credits.
    bench.router.packets.clear()
    for route in (1, 1, 1, 1):
        bench.give(vector(route)[0])
    await bench.settle()
    assert bench.router.packets == []
    bench.credit(1, 3)
    await bench.settle()
    heads = [words for _, words in bench.router.packets if message_fields(words[0])["last"]]
    assert len(heads) == 3, f"{len(heads)} vectors"
    assert bench.router.faults == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def credits_and_payments_meet(dut, duty):
    """No payment is lost while credits come: as many vectors go as the poorest member has paid."""
    bench = await start(dut, duty=duty)
    await bench.define(0, random_route(credits=6, consumers=3))
    await bench.define(1, random_route(credits=0))
    packets = [vector(0) for _ in range(8)]
    for packet, _ in packets:
        bench.give(packet)
    for _ in range(120):
        bench.credit(1)
        bench.credit(0, member=random.choice([0, 2]))
    await bench.settle()
    expected = [messages(bench.routes[0], codes, 0) for _, codes in packets[:6]]
    compare(bench.router.packets, list(itertools.chain(*expected)))
    assert bench.router.faults == []


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_write_restarts_the_credits(dut):
    """Either word of a descriptor; without a route a packet that waits is dropped."""
    bench = await start(dut)
    route = random_route(credits=1)
    for word in (0, 1):
        await bench.define(0, route)
        bench.router.packets.clear()
        expected = []
        for _ in range(3):
            packet, codes = vector(0)
            bench.give(packet)
            expected.append(messages(route, codes, 0))
        await bench.settle()
        compare(bench.router.packets, expected[0])
        await bench.write(1, 0, word, route.pack()[word])
        await bench.settle()
        compare(bench.router.packets, expected[0] + expected[1])
        await bench.define(0, random_route(enable=0))
        await bench.settle()
        compare(bench.router.packets, expected[0] + expected[1])
        assert bench.router.faults == [FaultCode.NOC_OBJECT]
        bench.router.faults.clear()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=[False, True])
async def malformed_packets_are_dropped_whole(dut, pauses):
    """Every kind; the packets around it are sent, and nothing of it."""
    bench = await start(dut, pauses=pauses)
    await bench.define(0, random_route())
    undefined = [1, CHIP.host_routes - 1, CHIP.host_routes, 16, 255]
    bad = [*bad_packets(), *((FaultCode.NOC_OBJECT, vector(slot)[0]) for slot in undefined)]
    bad += [(FaultCode.NOC_OBJECT, affine(slot)[0]) for slot in undefined]
    await bench.define(2, random_route(vc=3))
    if NOC.virtual_channels < 4:
        bad.append((FaultCode.NOC_OBJECT, vector(2)[0]))
    for route, consumers in ((3, 0), (4, MEMBERS + 1)):
        await bench.define(route, random_route(consumers=consumers))
        bad.append((FaultCode.NOC_OBJECT, vector(route)[0]))
    expected, errors = [], []
    random.shuffle(bad)
    for code, frame in bad:
        for _ in range(random.randrange(2)):
            first, length = lines_of_a_packet()
            packet, codes = vector(0, first, length)
            bench.give(packet)
            expected += messages(bench.routes[0], codes, first)
        bench.source.send_nowait(AxiStreamFrame(frame))
        errors.append(code)
    await bench.settle()
    compare(bench.router.packets, expected)
    assert sorted(bench.router.faults) == sorted(errors)


def bad_packets():
    """(FaultCode, frame) of every kind that the checks of a stream packet know."""
    good, table = vector(0)[0], affine(0)[0]
    short = vector(0, 0, 5)[0]

    def head(kind=PacketKind.VECTOR, *, start=0, length=LINES):
        return header(kind, start=start, length=length) + good[8:]

    def keep(packet, *beats):
        enables = [int(bit) for text in beats for bit in reversed(text)]
        return AxiStreamFrame(packet, tkeep=enables + [1] * (len(packet) - len(enables)))

    full = "11111111"
    yield FaultCode.PACKET_MAGIC, good[:7] + b"\x51" + good[8:]
    yield FaultCode.PACKET_KIND, b"\x03" + good[1:]
    yield FaultCode.PACKET_KIND, head(PacketKind.RESULT)
    yield FaultCode.PACKET_RANGE, head(start=4, length=8)
    yield FaultCode.PACKET_RANGE, head(length=0)
    yield FaultCode.PACKET_RANGE, head(start=8, length=LINES - 7)
    yield FaultCode.PACKET_RANGE, head(start=0xFFF8, length=8)
    yield FaultCode.PACKET_EARLY, good[:8]
    yield FaultCode.PACKET_EARLY, good[:-8]
    yield FaultCode.PACKET_EARLY, table[:-8]
    yield FaultCode.PACKET_LATE, good + good[-8:]
    yield FaultCode.PACKET_LATE, good + good
    yield FaultCode.PACKET_LATE, table + table
    yield FaultCode.PACKET_KEEP, keep(good, "01111111")
    yield FaultCode.PACKET_KEEP, keep(good, full, "11101111")
    yield FaultCode.PACKET_KEEP, keep(short + b"\0\0\0", full, "00111110")
    yield FaultCode.PACKET_KEEP, short[:-1]
