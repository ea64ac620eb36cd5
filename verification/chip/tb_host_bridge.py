# SPDX-License-Identifier: Apache-2.0
"""HostBridge between clients of cocotbext-axi and a node's router, against packets of the model."""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.rtl.spec.messages import MESSAGE, MessageKind, message_fields
from phasecore.rtl.spec.registers.table import FaultCode
from phasecore.verification.chip.bridge_bench import (
    CHANNELS,
    CHIP,
    LINES,
    compare,
    credit_of,
    lines_of_a_packet,
    messages,
    random_message,
    random_object,
    random_route,
    start,
    vector,
)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.4], pauses=[False, True])
async def both_ways_at_once(dut, duty, pauses):
    """Few credits everywhere, undefined routes and objects between; nothing gets lost."""
    bench = await start(dut, duty=duty, pauses=pauses)
    router, routes = bench.router, min(CHIP.host_routes, 4) - 1
    for index in range(routes):
        await bench.define(index, random_route(credits=random.choice([1, 2]), object=index))
    await bench.define(0, random_object())
    packets, errors = [], 0
    for _ in range(60):
        route, (first, length) = random.randint(0, routes), lines_of_a_packet()
        packet, codes = vector(route, first, length)
        bench.give(packet)
        if route == routes:
            errors += 1
        else:
            packets += messages(bench.routes[route], codes, first)
    producer = Producer(bench)
    sent, flying, seen = [], [0] * routes, 0
    while router.quiet < 60:
        await RisingEdge(dut.clk)
        for vc, words in router.packets[seen:]:
            fields = message_fields(words[0])
            if fields["kind"] == MessageKind.CREDIT:
                producer.credited((vc, words))
                continue
            sent.append((vc, words))
            if fields["last"]:
                flying[fields["object"]] += 1
                assert flying[fields["object"]] <= bench.routes[fields["object"]].credits
        seen = len(router.packets)
        if random.random() < 0.3:
            for route in range(routes):
                if flying[route]:
                    flying[route] -= 1
                    bench.credit(route)
        producer.step()
    compare(sent, packets)
    assert not producer.waiting, "credits are missing"
    assert await bench.results() == producer.results
    assert router.faults == [FaultCode.NOC_OBJECT] * (errors + producer.faults)


class Producer:
    """A core that sends the host vectors for which there is room, and messages for nobody."""

    def __init__(self, bench):
        self.bench, self.left = bench, 60
        self.waiting, self.results, self.faults = deque(), [], 0
        self.vc = random.choice(CHANNELS)

    def step(self):
        """Perhaps send something."""
        if not self.left or random.random() < 0.5:
            return
        words, result = random_message(self.vc, 0)
        if random.random() < 0.4:
            self.bench.router.send(self.vc, [words[0] ^ 15 << MESSAGE["object"].low, *words[1:]])
            self.faults += 1
        elif sum(self.waiting) + len(words) <= CHIP.bridge_flits:
            self.bench.router.send(self.vc, words)
            self.waiting.append(len(words))
            self.results.append(result)
        self.left -= 1

    def credited(self, message):
        """A credit has come back."""
        assert message == credit_of(self.bench.objects[0])
        self.waiting.popleft()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def credits_wait_for_the_router(dut):
    """A router that takes nothing holds up the next result, but no credit is lost."""
    bench = await start(dut)
    await bench.define(0, random_object())
    await bench.define(0, random_route())
    bench.router.frozen = True
    packet, codes = vector(0)
    for _ in range(3):
        bench.give(packet)
    await bench.settle()
    results = []
    for _ in range(4):
        words, result = random_message(0, 0)
        bench.router.send(0, words)
        results.append(result)
    await bench.settle()
    bench.router.frozen = False
    await bench.settle()
    assert await bench.results() == results
    credit = credit_of(bench.objects[0])
    assert bench.router.packets.count(credit) == len(results)
    sent = [packet for packet in bench.router.packets if packet != credit]
    compare(sent, 3 * messages(bench.routes[0], codes, 0))


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_of_one_cycle_are_all_counted(dut):
    """Packets for an undefined route while messages for an undefined route keep coming."""
    bench = await start(dut)
    for _ in range(20):
        bench.give(vector(1, 0, 1)[0])
    for _ in range(60):
        bench.credit(1, vc=0)
        if random.random() < 0.5:
            await RisingEdge(dut.clk)
    await bench.settle()
    assert bench.router.faults == [FaultCode.NOC_OBJECT] * 80


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def one_flit_per_cycle(dut):
    """Packets one behind the other cost one cycle each besides their flits; results likewise."""
    bench = await start(dut)
    await bench.define(0, random_route(vc=0))
    await bench.define(0, random_object(vc=0))
    count = 12
    flits_ = 0
    for _ in range(count):
        packet, codes = vector(0)
        flits_ += sum(len(words) for _, words in messages(bench.routes[0], codes, 0))
        bench.give(packet)
    while not bench.router.packets:
        await RisingEdge(dut.clk)
    first = bench.router.cycles
    total = sum(1 for _ in range(count)) * len(messages(bench.routes[0], codes, 0))
    while len(bench.router.packets) < total:
        await RisingEdge(dut.clk)
    cycles = bench.router.cycles - first
    per_packet = max(flits_ // count + 1, LINES // 8 + 3)
    assert cycles <= count * per_packet, f"{cycles} cycles for {flits_} flits"

    words, _ = random_message(0, 0)
    fitting = CHIP.bridge_flits // len(words)
    for _ in range(fitting):
        bench.router.send(0, words)
    while not int(dut.m_axis__tvalid.value):
        await RisingEdge(dut.clk)
    beats = cycles = 0
    while beats < fitting * len(words):
        beats += int(dut.m_axis__tvalid.value)
        cycles += 1
        await RisingEdge(dut.clk)
    assert cycles <= fitting * (len(words) + 2), f"{cycles} cycles for {beats} beats"
