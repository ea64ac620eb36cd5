# SPDX-License-Identifier: Apache-2.0
"""A whole NoC, mesh or direct links, under random, malformed and blocked traffic."""

import os
import random
from collections import Counter

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.rtl.noc.packet_guard import FAULTS
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.noc.agent import LinkAgent
from phasecore.verification.noc.packets import flit, packet, words
from phasecore.verification.support.streams import reset

CONFIG = NocConfig.from_json(os.environ["PHASECORE_NOC"])
NODES = range(CONFIG.nodes)
CHANNELS = range(CONFIG.virtual_channels)
LAST = CONFIG.virtual_channels - 1
OUTSIDE = {"x": CONFIG.width, "y": 0}


def at(node):
    """Coordinates of a node as header fields."""
    y, x = divmod(node, CONFIG.width)
    return {"x": x, "y": y}


def reach(node):
    """Nodes to which a node can send, itself included."""
    return sorted({node, *CONFIG.neighbours[node]}) if CONFIG.direct else list(NODES)


def named(cols, rows):
    """Nodes of a multicast."""
    return [n for n in NODES if cols >> n % CONFIG.width & 1 and rows >> n // CONFIG.width & 1]


def unicast(number, length, to, vc):
    return packet(number, length, order=CONFIG.order(vc), **at(to))


def multicasts(node):
    """(cols, rows) of all multicasts that a node can send."""
    return [
        (cols, rows)
        for cols in range(1, 1 << CONFIG.width) for rows in range(1, 1 << CONFIG.height)
        if set(named(cols, rows)) <= set(reach(node))
    ]  # fmt: skip


class Driver(LinkAgent):
    """Network interfaces of all nodes."""

    def __init__(self, dut, **options):
        super().__init__(CONFIG, NODES, **options)
        self.dut = dut
        self.strobes = {node: Counter() for node in NODES}

    async def cycle(self):
        dut, channels = self.dut, CONFIG.virtual_channels
        valid = vc = head = tail = data = credit = 0
        for node in NODES:
            if sent := self.next_flit(node):
                v, (first, last, word) = sent
                valid |= 1 << node
                vc |= v << CONFIG.vc_bits * node
                head |= first << node
                tail |= last << node
                data |= word << CONFIG.flit_bits * node
            credit |= self.next_credits(node) << channels * node
        dut.i_valid.value, dut.i_vc.value, dut.i_data.value = valid, vc, data
        dut.i_head.value, dut.i_tail.value, dut.o_credit.value = head, tail, credit
        await RisingEdge(dut.clk)
        back, came, strobes = (int(port.value) for port in (dut.i_credit, dut.o_valid, dut.error))
        for node in NODES:
            self.take_credits(node, back >> channels * node)
        if came:
            self._receive(came)
        for node in NODES if strobes else ():
            bits = strobes >> len(FAULTS) * node
            self.strobes[node].update(kind for k, kind in enumerate(FAULTS) if bits >> k & 1)

    def _receive(self, came):
        dut = self.dut
        vcs, heads, tails, data = (
            int(port.value) for port in (dut.o_vc, dut.o_head, dut.o_tail, dut.o_data)
        )
        for node in (n for n in NODES if came >> n & 1):
            vc = vcs >> CONFIG.vc_bits * node & (1 << CONFIG.vc_bits) - 1
            word = data >> CONFIG.flit_bits * node & (1 << CONFIG.flit_bits) - 1
            self.take_flit(node, vc, heads >> node & 1, tails >> node & 1, word)

    def errors(self):
        """Counters of malformed packets of all nodes."""
        value = int(self.dut.errors.value)
        return [value >> 16 * node & 0xFFFF for node in NODES]

    async def drain(self, limit=20000):
        """Run until nothing is left outside, and nothing has come for longer than a timeout."""
        quiet = 0
        for _ in range(limit):
            await self.cycle()
            quiet = quiet + 1 if self.idle() else 0
            if quiet == CONFIG.timeout + 20:
                return
        raise AssertionError("the NoC does not drain")

    def compare(self, expected):
        """Hold what arrived whole, (node, channel, words), against ``expected``."""
        got = Counter(
            (*channel, packet) for channel, packets in self.packets.items() for packet in packets
            if packet is not None
        )  # fmt: skip
        assert not got - expected, f"nobody sent {got - expected}"
        assert not expected - got, f"missing: {expected - got}"


async def start(dut, **options):
    names = ("i_valid", "i_vc", "i_head", "i_tail", "i_data", "o_credit")
    await reset(dut, **dict.fromkeys(names, 0))
    return Driver(dut, **options)


def good(driver, expected, number, node, vc):
    """Queue a random well-formed packet; ``expected`` learns where it arrives."""
    choices = multicasts(node) if CONFIG.order(vc) == 0 and random.random() < 0.3 else []
    if choices:
        cols, rows = random.choice(choices)
        flits = packet(number, random.randint(1, CONFIG.depth), multicast=1, cols=cols, rows=rows)
        to = named(cols, rows)
    else:
        to = [random.choice(reach(node))]
        flits = unicast(number, random.choice([1, 1, 2, 5, 9]), to[0], vc)
    driver.queues[node, vc] += flits
    expected.update((end, vc, words(flits)) for end in to)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def everything_arrives_once(dut, duty):
    """Random unicasts and multicasts from all nodes, with and without stalls."""
    driver = await start(dut, send=duty, take=duty)
    expected = Counter()
    for number in range(500):
        good(driver, expected, number, *random.choice(list(driver.queues)))
    await driver.drain()
    driver.compare(expected)
    assert not any(driver.strobes.values())
    assert driver.errors() == [0] * CONFIG.nodes


def malformed(node, vc):
    """Of every kind, packets of a node that must be dropped (and cancelled, the last of them)."""
    order = CONFIG.order(vc)
    to = {"order": order, **at(reach(node)[0])}
    outside = [packet(99, 2, order=order, **OUTSIDE), packet(99, 1, order=order, x=0, y=15)]
    outside += [packet(99, 1, order=order, **at(far)) for far in set(NODES) - set(reach(node))]
    lengths = [
        [flit(HEADER.pack(length=2, **to), 1, 1)],
        [flit(HEADER.pack(length=0, **to), 1, 0), flit(1), flit(2, 0, 1)],
    ]
    if order == 0:
        outside += [
            packet(99, 1, multicast=1, cols=1, rows=0),
            packet(99, 1, multicast=1, cols=1 << CONFIG.width, rows=1),
        ]
        everything = (1 << CONFIG.width) - 1, (1 << CONFIG.height) - 1
        if everything not in multicasts(node):
            outside.append(packet(99, 1, multicast=1, cols=everything[0], rows=everything[1]))
        cols, rows = multicasts(node)[-1]
        lengths.append(packet(99, CONFIG.depth + 1, multicast=1, cols=cols, rows=rows))
    return {
        "destination": outside,
        "length": [*lengths, [*packet(99, 4, **to)[:2], flit(99 << 32, 0, 1)],
                   [*packet(99, 2, **to)[:1], flit(99 << 32), flit(99 << 32, 0, 1)]],
        "head": [packet(99, 3, **to)[1:], [flit(7, 0, 1)]],
        "tail": [[*packet(99, 4, **to)[:3], *packet(99, 2, **to)]],
        "network": [packet(99, 2, **{**to, "order": 1 - order})],
    }  # fmt: skip


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def malformed_packets_harm_no_other(dut):
    """Each kind from each node between good packets of all: counted, the good ones arrive."""
    driver = await start(dut, send=0.8, take=0.8)
    expected, strobes, cancelled = Counter(), {node: Counter() for node in NODES}, 0
    # One channel after the other: a strobe may tell of several channels.
    for vc in CHANNELS:
        for node in NODES:
            for kind, wrong in malformed(node, vc).items():
                for flits in wrong:
                    good(driver, expected, 100 + node, node, vc)
                    driver.queues[node, vc] += flits
                    strobes[node][kind] += 1
                cancelled += {"length": 2, "tail": 1}.get(kind, 0)
            good(driver, expected, 100 + node, node, vc)
        await driver.drain()
    driver.compare(expected)
    assert driver.strobes == strobes
    assert driver.errors() == [counter.total() for counter in strobes.values()]
    assert sum(packets.count(None) for packets in driver.packets.values()) == cancelled


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_source_that_stops_is_cut(dut):
    """A node falls silent inside a packet: its receiver gets the others' after the timeout."""
    driver = await start(dut)
    to = reach(0)[-1]
    other = next(node for node in NODES if node not in (0, to) and to in reach(node))
    driver.queues[0, 0] += unicast(1, 6, to, 0)[:3]
    for _ in range(10):
        await driver.cycle()
    flits = unicast(2, 3, to, 0)
    driver.queues[other, 0] += flits
    await driver.drain()
    assert driver.packets[to, 0] == [None, words(flits)]
    assert driver.strobes[0] == {"timeout": 1}
    assert driver.errors() == [1] + [0] * (CONFIG.nodes - 1)


@cocotb.test(timeout_time=2, timeout_unit="ms", skip=CONFIG.virtual_channels < 2)
async def a_node_that_never_drains_stops_no_other(dut):
    """What goes to others on another channel, with direct links on any channel, arrives."""
    driver = await start(dut)
    stuck, source = CONFIG.nodes - 1, reach(CONFIG.nodes - 1)[0]
    driver.blocked.update((stuck, vc) for vc in CHANNELS)
    late = [unicast(number, 6, stuck, 0) for number in range(4)]
    for flits in late:
        driver.queues[source, 0] += flits
    for _ in range(60):
        await driver.cycle()
    assert driver.held[stuck, 0] == CONFIG.depth
    expected = Counter()
    for number in range(300):
        node = random.choice([n for n in NODES if n != stuck])
        to = random.choice([n for n in reach(node) if n != stuck])
        channels = CHANNELS if CONFIG.direct and node != source else [LAST]
        vc = random.choice(channels)
        flits = unicast(100 + number, random.choice([1, 3, 6]), to, vc)
        driver.queues[node, vc] += flits
        expected[to, vc, words(flits)] += 1
    for _ in range(2500):
        await driver.cycle()
    driver.compare(expected)
    driver.blocked.clear()
    await driver.drain()
    assert driver.packets[stuck, 0] == [words(flits) for flits in late]
    assert not any(driver.strobes.values())
