# SPDX-License-Identifier: Apache-2.0
"""One router at (1, 1) of a 4 x 4 mesh under random, malformed and blocked traffic."""

import os
import random
from collections import Counter

import cocotb
from cocotb.triggers import RisingEdge

from phasecore.models.noc.cycle_model import EAST, LOCAL, NORTH, OPPOSITE, SOUTH, WEST, next_port
from phasecore.rtl.noc.packet_guard import FAULTS
from phasecore.rtl.noc.routing import reachable
from phasecore.rtl.spec.noc import NocConfig
from phasecore.rtl.spec.packets import HEADER
from phasecore.verification.noc.agent import LinkAgent
from phasecore.verification.noc.packets import flit, packet, words
from phasecore.verification.support.streams import reset

CONFIG = NocConfig.from_json(os.environ["PHASECORE_NOC"])
AT = (1, 1)
PORTS = range(5)
CHANNELS = range(CONFIG.virtual_channels)


def outputs(header):
    """Outputs of the router under test for a packet."""
    to = HEADER.unpack(header)
    if not to["multicast"]:
        return {next_port(AT, (to["x"], to["y"]), to["order"])}
    cols = {x for x in range(4) if to["cols"] >> x & 1}
    rows = {y for y in range(4) if to["rows"] >> y & 1}
    found = {EAST} if max(cols) > AT[0] else set()
    found |= {WEST} if min(cols) < AT[0] else set()
    if AT[0] in cols:
        found |= {NORTH} if max(rows) > AT[1] else set()
        found |= {SOUTH} if min(rows) < AT[1] else set()
        found |= {LOCAL} if AT[1] in rows else set()
    return found


class Driver(LinkAgent):
    """Neighbours of the router."""

    def __init__(self, dut, **options):
        super().__init__(CONFIG, PORTS, **options)
        self.dut = dut
        self.strobes = Counter()

    async def cycle(self):
        dut = self.dut
        for port in PORTS:
            sent = self.next_flit(port)
            link = f"i__{port}__"
            getattr(dut, f"{link}valid").value = sent is not None
            if sent:
                vc, (head, tail, word) = sent
                getattr(dut, f"{link}vc").value = vc
                getattr(dut, f"{link}flit").value = word << 2 | tail << 1 | head
            getattr(dut, f"o__{port}__credit").value = self.next_credits(port)
        await RisingEdge(dut.clk)
        for port in PORTS:
            self.take_credits(port, int(getattr(dut, f"i__{port}__credit").value))
            if int(getattr(dut, f"o__{port}__valid").value):
                value = int(getattr(dut, f"o__{port}__flit").value)
                word = value >> 2 & (1 << CONFIG.flit_bits) - 1
                vc = int(getattr(dut, f"o__{port}__vc").value)
                self.take_flit(port, vc, value & 1, value >> 1 & 1, word)
        strobes = int(dut.error.value)
        self.strobes.update(name for bit, name in enumerate(FAULTS) if strobes >> bit & 1)

    async def drain(self, limit=20000):
        """Run until nothing is left inside and outside."""
        for _ in range(limit):
            await self.cycle()
            if self.idle():
                return
        raise AssertionError("the router does not drain")


async def start(dut, **options):
    idle = {f"i__{p}__{name}": 0 for p in PORTS for name in ("valid", "vc", "flit")}
    idle |= {f"o__{p}__credit": 0 for p in PORTS}
    await reset(dut, x=AT[0], y=AT[1], **idle)
    return Driver(dut, **options)


def destinations(port, vc):
    """Nodes to which a packet on this input channel can go."""
    order = CONFIG.order(vc)
    return [
        (x, y) for x in range(4) for y in range(4)
        if next_port(AT, (x, y), order) in reachable(CONFIG, port, vc)
        and (port == LOCAL or next_port(AT, (x, y), order) != port)
    ]  # fmt: skip


def random_packet(number, port, vc):
    order = CONFIG.order(vc)
    if order == 0 and random.random() < 0.4:
        length = random.randint(1, min(4, CONFIG.depth))
        # Masks as they look after the hops before: nothing behind, one column once in it.
        cols = {EAST: 0b0011, WEST: 0b1110, NORTH: 0b0010, SOUTH: 0b0010}.get(port, 0b1111)
        rows = {NORTH: 0b0011, SOUTH: 0b1110}.get(port, 0b1111)
        return packet(number, length, multicast=1,
                      cols=random.choice([c for c in range(1, 16) if c & cols == c]),
                      rows=random.choice([r for r in range(1, 16) if r & rows == r]))  # fmt: skip
    x, y = random.choice(destinations(port, vc))
    return packet(number, random.choice([1, 1, 2, 5, 9]), order=order, x=x, y=y)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5])
async def everything_arrives_once(dut, duty):
    """Random unicasts and multicasts at all inputs, with and without stalls."""
    driver = await start(dut, send=duty, take=duty)
    expected = Counter()
    for number in range(600):
        port, vc = random.choice(list(driver.queues))
        flits = random_packet(number, port, vc)
        driver.queues[port, vc] += flits
        expected.update((out, vc, *words(flits)) for out in outputs(flits[0][2]))
    await driver.drain()
    got = Counter(
        (*channel, *came) for channel, packets in driver.packets.items() for came in packets
    )
    assert got == expected
    assert not driver.strobes
    assert int(dut.errors.value) == 0


MALFORMED = {
    "destination": lambda n: [
        packet(n, 2, x=4, y=0), packet(n, 1, x=0, y=15), packet(n, 1, multicast=1, cols=3, rows=0),
        packet(n, 1, multicast=1, cols=0b10001, rows=1),
    ],
    "length": lambda n: [
        [flit(HEADER.pack(length=2, x=1, y=2), 1, 1)],
        [flit(HEADER.pack(length=0, x=1, y=2), 1, 0), flit(1), flit(2, 0, 1)],
        packet(n, CONFIG.depth + 1, multicast=1, cols=15, rows=15),
        # These have begun to leave and are cancelled: too short, too long.
        [*packet(n, 4, x=1, y=2)[:2], flit(n << 32, 0, 1)],
        [*packet(n, 3, x=2, y=2)[:2], flit(n << 32), flit(n << 32), flit(n << 32, 0, 1)],
    ],
    "head": lambda n: [packet(n, 3, x=1, y=2)[1:], [flit(7, 0, 1)]],
    "network": lambda n: [packet(n, 2, order=1, x=2, y=2)],
}  # fmt: skip


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def malformed_packets_are_dropped(dut):
    """Each kind between good packets: counted, and the good ones arrive."""
    driver = await start(dut, send=0.8, take=0.8)
    good = []
    for kind, make in MALFORMED.items():
        before = driver.strobes[kind]
        for bad in make(99):
            driver.queues[LOCAL, 0] += bad
            good.append(packet(len(good), 3, x=1, y=2))
            driver.queues[LOCAL, 0] += good[-1]
        await driver.drain()
        assert driver.strobes[kind] - before == len(make(99)), f"{kind}: {driver.strobes}"
    whole = [came for came in driver.packets[NORTH, 0] if came is not None]
    assert whole == [words(flits) for flits in good]
    assert driver.packets[NORTH, 0].count(None) == 1
    assert driver.packets[EAST, 0] == [None]
    assert sum(map(len, driver.packets.values())) == len(good) + 2
    assert int(dut.errors.value) == sum(len(make(0)) for make in MALFORMED.values())


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_head_inside_a_packet_cancels_it(dut):
    """The packet without tail is cancelled, the one that cut it is dropped, the next arrives."""
    driver = await start(dut)
    good = packet(3, 2, x=1, y=2)
    driver.queues[LOCAL, 0] += [*packet(1, 4, x=1, y=2)[:2], *packet(2, 2, x=2, y=2), *good]
    await driver.drain()
    assert driver.packets[NORTH, 0] == [None, words(good)]
    assert driver.strobes == {"tail": 1}
    assert driver.packets[EAST, 0] == []


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def a_packet_that_stops_is_ended(dut):
    """A source falls silent inside a packet: others get its channel after the timeout."""
    driver = await start(dut)
    other = packet(2, 3, x=1, y=2)
    driver.queues[LOCAL, 0] += packet(1, 6, x=1, y=2)[:3]
    for _ in range(10):
        await driver.cycle()
    driver.queues[SOUTH, 0] += other
    for _ in range(CONFIG.timeout - 12):
        await driver.cycle()
    assert driver.packets[NORTH, 0] == []
    await driver.drain()
    assert driver.packets[NORTH, 0] == [None, words(other)]
    late = packet(3, 1, x=1, y=2)
    driver.queues[LOCAL, 0] += [*packet(1, 6, x=1, y=2)[3:], *late]
    await driver.drain()
    assert driver.packets[NORTH, 0][2:] == [words(late)]
    assert driver.strobes == {"timeout": 1}


@cocotb.test(timeout_time=2, timeout_unit="ms", skip=CONFIG.virtual_channels < 2)
async def a_blocked_channel_stops_no_other(dut):
    """East never drains on channel 0: what goes elsewhere, or on channel 1, passes."""
    driver = await start(dut)
    driver.blocked.add((EAST, 0))
    stuck = packet(1, 12, x=3, y=1)
    driver.queues[WEST, 0] += stuck
    for _ in range(30):
        await driver.cycle()
    upper = CONFIG.xy_channels
    for number in range(20):
        driver.queues[LOCAL, upper] += packet(number, 5, order=1, x=3, y=1)
        driver.queues[SOUTH, 0] += packet(number, 5, x=1, y=3)
    for _ in range(300):
        await driver.cycle()
    assert len(driver.packets[EAST, upper]) == len(driver.packets[NORTH, 0]) == 20
    assert driver.held[EAST, 0] == CONFIG.depth
    driver.blocked.clear()
    await driver.drain()
    assert driver.packets[EAST, 0] == [words(stuck)]


@cocotb.test(timeout_time=2, timeout_unit="ms", skip=CONFIG.arbiter != "round_robin")
async def every_input_gets_its_turn(dut):
    """All inputs want one output all the time: each gets an equal part."""
    driver = await start(dut)
    inputs = [LOCAL, EAST, SOUTH, WEST]
    assert OPPOSITE[SOUTH] == NORTH
    for port in inputs:
        for _ in range(100):
            driver.queues[port, 0] += packet(port, 1, x=1, y=3)
    for _ in range(203):
        await driver.cycle()
    shares = Counter(came[0] >> 32 for came in driver.packets[NORTH, 0])
    assert set(shares) == set(inputs)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert sum(shares.values()) >= 200


@cocotb.test(timeout_time=2, timeout_unit="ms", skip=CONFIG.arbiter != "age")
async def the_oldest_goes_first(dut):
    """Packets at three inputs, the later the input the older; now and then somebody's turn."""
    driver = await start(dut)
    now = 1 << CONFIG.age_bits
    births = {EAST: now - 1, SOUTH: now - 20, WEST: now - 40}
    for port, birth in births.items():
        for _ in range(24):
            ((head, tail, word),) = packet(port, 1, x=1, y=3)
            driver.queues[port, 0].append((head, tail, word | birth << CONFIG.flit_bits))
    await driver.drain()
    came = [first >> 32 for first, *_ in driver.packets[NORTH, 0]]
    assert sum(port == WEST for port in came[1:24]) >= 20
    assert set(came[:17]) - {WEST}, "nobody else had a turn"
    assert Counter(came) == dict.fromkeys(births, 24)
